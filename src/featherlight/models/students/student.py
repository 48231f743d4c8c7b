"""The common frame of all students: embeddings, a body that sums a text up, a classifier.

A student reads the texts of a pair apart, with the same body, and compares their vectors.
House shapes: B examples, T tokens, D width, C classes.
"""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput

from featherlight.models.dropout import Dropout
from featherlight.models.students.embeddings import HashEmbedding
from featherlight.models.students.heads import Classifier, compare


class StudentConfig(PretrainedConfig):
    """What every student has.

    embedding: "table" (a vector per piece) or "hash" (`HashEmbedding`). vocab_size: pieces or buckets,
    padding included. dim: width of the embeddings. classifier: hidden units of the classifier. pair:
    whether an example is two texts. Number of classes and their names are inherited (`num_labels`, `id2label`).
    """

    reads_pairs_apart = True

    def __init__(
        self,
        vocab_size: int = 5001,
        embedding: str = "table",
        dim: int = 25,
        classifier: int = 200,
        dropout: float = 0.1,
        pair: bool = False,
        pad_token_id: int = 0,
        **inherited: Any,
    ):
        self.vocab_size, self.embedding, self.dim, self.classifier = vocab_size, embedding, dim, classifier
        self.dropout, self.pair, self.pad_token_id = dropout, pair, pad_token_id
        super().__init__(**inherited)


class Student(PreTrainedModel):
    """Base of the students; a subclass names its config and sets `body`: ([B, T, D], mask [B, T]) -> [B, W]."""

    config_class: type[StudentConfig] = StudentConfig
    main_input_name = "input_ids"

    def __init__(self, config: StudentConfig, *, body: nn.Module, width: int):
        super().__init__(config)
        self.embedding: nn.Module = (
            HashEmbedding(config.vocab_size - 1, config.dim)
            if config.embedding == "hash"
            else nn.Embedding(config.vocab_size, config.dim, padding_idx=config.pad_token_id)
        )
        self.dropout = Dropout(config.dropout)
        self.body = body
        self.classifier = Classifier(
            width * (4 if config.pair else 1), config.classifier, config.num_labels or 0, config.dropout
        )
        self.post_init()  # type: ignore[no-untyped-call]

    def _init_weights(self, module: nn.Module) -> None:
        """PyTorch's own initial weights: the ones of `transformers` (sd 0.02) are made for encoders."""
        reset = getattr(module, "reset_parameters", None)
        if callable(reset):
            reset()

    def get_input_embeddings(self) -> nn.Module:
        """What makes vectors [B, T, D] of token ids [B, T]."""
        return self.embedding

    def vector(self, input_ids: Tensor, attention_mask: Tensor | None) -> Tensor:
        """One vector per text: [B, T] -> [B, W]."""
        if attention_mask is None:
            attention_mask = (input_ids != self.config.pad_token_id).long()
        vectors: Tensor = self.body(self.dropout(self.embedding(input_ids)), attention_mask)
        return vectors

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        pair_input_ids: Tensor | None = None,
        pair_attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
    ) -> SequenceClassifierOutput:
        """input_ids, attention_mask: [B, T]; those of the second text of a pair may have another T.

        labels: class ids [B], or scores [B] for a regression; with them the output has a loss.
        Returns logits [B, C]. An empty text counts as one piece of padding.
        """
        vectors = self.vector(input_ids, attention_mask)
        if pair_input_ids is not None:
            vectors = compare(vectors, self.vector(pair_input_ids, pair_attention_mask))
        logits = self.classifier(vectors)
        loss = None
        if labels is not None and self.config.problem_type == "regression":
            loss = torch.nn.functional.mse_loss(logits.squeeze(-1), labels)
        elif labels is not None:
            loss = torch.nn.functional.cross_entropy(logits, labels)
        return SequenceClassifierOutput(loss=loss, logits=logits)
