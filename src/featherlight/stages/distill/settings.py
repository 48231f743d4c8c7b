"""The settings of a distillation on a task, and what was published of them. Imports no torch."""

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import model_validator

from featherlight.config import free, setting
from featherlight.stages.settings import Optimizer, SparsitySettings, TrainSettings, check_sparsity

# Chosen on the select split of SST-2; the temperature agrees with section 6.1.3 of the thesis on featherweight models.
_SUITED: dict[str, dict[str, Any]] = {
    "bilstm": {"learning_rate": 3e-3},  # select 87.7 against 87.0 with 1e-3; docs: 53.9 against 47.8
    "bag": {"temperature": 3.0, "learning_rate": 3e-3, "batch_size": 100},
}
_SPELLED = {"start": "random", "max_length": 512}  # a text is five times as many letters as pieces
_NO_PIECES: dict[str, dict[str, Any]] = {"char": _SPELLED, "byte": _SPELLED, "hash": {"start": "random"}}
_ADADELTA_RATE = 1.0  # as its paper has it (Zeiler 2012, arXiv:1212.5701): the rule finds its own step

# Table 6.1 and sections 6.1.3 to 6.1.5 of the thesis on featherweight models. Its byte pairs came with vectors from
# Wikipedia (BPEmb), which no package here brings: byte pairs of the task and random vectors stand in for them.
_PUBLISHED_ALL: dict[str, Any] = {
    "embedding": "bpe", "start": "random", "vocabulary": 5000, "batch_size": 50, "dropout": 0.1, "weight_decay": 0.0,
    "schedule": "constant", "warmup": 0.0, "clip": 0.0, "loss": "mse", "pooling": "last_as_published",
}  # fmt: skip
_PUBLISHED: dict[str, dict[str, Any]] = {
    "bilstm": {"optimizer": "adadelta", "learning_rate": 1.0},
    "rnn": {"optimizer": "adam", "learning_rate": 1e-4, "weight_decay": 1e-5},
    "bag": {"optimizer": "adam", "learning_rate": 1e-4, "dropout": 0.2, "loss": "soft_mse", "temperature": 3.0},
}
_PUBLISHED_LARGE = {("qqp", "bilstm"), ("mnli", "bilstm"), ("qqp", "rnn"), ("mnli", "rnn")}  # batches of 256


class DistillSettings(SparsitySettings, TrainSettings):
    """Settings of one distillation of a teacher into a student on one task."""

    student: Literal["bilstm", "rnn", "bag"] = setting("bilstm", "Architecture of the student.")
    preset: Literal["own", "published"] = free("own", "published: the thesis on featherweight models, table 6.1.")
    embedding: Literal["wordpiece", "bpe", "char", "byte", "hash"] = setting(
        "wordpiece", "Teacher's vocabulary cut down, own byte pairs, a to z and signs, bytes, or hashed words."
    )
    start: Literal["teacher", "random"] = setting(
        "teacher", "Embeddings start from the teacher's vectors or at random. char, byte, hash: random."
    )
    vectors: Path | None = free(None, "Start from these word vectors instead (a text file of word2vec or GloVe).")
    unlabelled: Path | None = free(None, "More texts without labels, one a line or a table, for the teacher to label.")
    dim: int = setting(25, "Width of the embeddings.", ge=1)
    vocabulary: int = setting(5000, "Number of pieces or hash buckets; padding comes on top.", ge=10)
    hidden: int | None = setting(None, "Hidden units per direction; 150 (rnn 100), doubled for pairs.", ge=1)
    classifier: int | None = setting(None, "Classifier's hidden units; 200 (rnn, bag 100), doubled for pairs.", ge=1)
    pooling: Literal["last", "last_as_published", "max", "mean"] = setting(
        "last", "How a recurrent student sums up its states; as published, the backward half has read one token."
    )
    dropout: float = setting(0.1, "Dropout on embeddings and in the classifier.", ge=0, lt=1)
    alpha: float = setting(0.5, "Weight of the labels in the loss; the rest is the teacher's.", ge=0, le=1)
    loss: Literal["auto", "mse", "kl", "ce", "soft_mse"] = setting(
        "auto", "Distance between the logits of student and teacher; auto: kl for a bag that classifies, else mse."
    )
    temperature: float = setting(2.0, "kl, ce, soft_mse: temperature of the softmax; 1: no softening. A bag: 3.", gt=0)

    prune: Literal["magnitude", "topv", "movement", "random", "nm"] | None = setting(
        None, "Prune while distilling, as `featherlight prune` does."
    )

    epochs: int = setting(8, "Passes over train.", ge=1)
    batch_size: int = setting(50, "Examples per optimiser step. A bag: 100.", ge=1)
    batch_tokens: int = setting(16384, "Most padded tokens in one forward pass.", ge=1)
    optimizer: Optimizer = setting("adam", "Optimiser.")
    learning_rate: float = setting(1e-3, "Peak learning rate. A bilstm or bag: 3e-3; adadelta: 1.", gt=0)
    weight_decay: float = setting(0.0, "Weight decay of matrices; biases and norms have none.", ge=0)

    @model_validator(mode="before")
    @classmethod
    def fill_in(cls, given: Any) -> Any:
        """What suits student, embedding and optimiser, or was published, where nothing else was asked for."""
        if not isinstance(given, dict):
            return given
        student, embedding = str(given.get("student", "bilstm")), str(given.get("embedding"))
        suited = dict(_SUITED.get(student, {}))
        if given.get("preset") == "published":
            suited = _PUBLISHED_ALL | _PUBLISHED.get(student, {})
            if student == "bag":
                suited.pop("pooling")  # it has no states
            suited |= {"batch_size": 256} if (given.get("task"), student) in _PUBLISHED_LARGE else {}
        rule = given.get("optimizer")
        if rule is not None and rule != suited.get("optimizer", "adam"):  # the rate was chosen for another rule
            suited.pop("learning_rate", None)
        if rule == "adadelta":
            suited["learning_rate"] = _ADADELTA_RATE
        return {**suited, **_NO_PIECES.get(embedding, {}), **given}

    @model_validator(mode="after")
    def bags_have_no_states(self) -> Self:
        """A bag is the mean of its embeddings, with nothing hidden to choose from."""
        if self.student == "bag" and (self.hidden is not None or self.pooling != "last"):
            raise ValueError("hidden, pooling: a bag has no hidden states; leave them out, or use bilstm or rnn")
        return self

    @model_validator(mode="after")
    def start_exists(self) -> Self:
        """Starting vectors need pieces that the teacher, or a file, knows."""
        if self.start == "teacher" and self.vectors is None and self.embedding in ("byte", "hash"):
            raise ValueError(f"start teacher: the teacher has no vectors for embedding {self.embedding}; use random")
        if self.vectors is not None and self.embedding in ("byte", "hash"):
            raise ValueError(f"vectors: embedding {self.embedding} has no pieces that a file could know; use wordpiece")
        return self

    @model_validator(mode="after")
    def teacher_labels_count(self) -> Self:
        """A text without a label teaches nothing to a student that listens to labels only."""
        if self.unlabelled is not None and self.alpha == 1:
            raise ValueError("unlabelled: with alpha 1 the teacher has no part in the loss; use a smaller alpha")
        return self

    @model_validator(mode="after")
    def pruning_fits(self) -> Self:
        """What says how to prune needs a method, and must fit it."""
        if self.prune is not None:
            check_sparsity(self, self.prune)
            if self.optimizer == "adamw_8bit":
                raise ValueError(
                    "optimizer: the rounded momentum of adamw_8bit moves pruned weights; use adam or adamw"
                )
        elif unused := [name for name in SparsitySettings.model_fields if self.given(name)]:
            raise ValueError(f"{unused[0]}: has no effect without prune; add --prune topv, for example")
        return self
