"""A model's config in; its sizes and the shapes of its weights out, without a single weight in memory.

House shapes: d layers, h width, a heads, f width of the feed-forward part, v vocabulary, e width of the embeddings.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForSequenceClassification

from featherlight.errors import UserError, listed

IN_LAYER = re.compile(r"\.(layers?|albert_layer_groups|h)\.\d")


@dataclass(frozen=True)
class Family:
    """What one layer keeps for its backward pass, in tensors of batch x length x width (inner: x feed-forward width).

    kept: inputs of products, in the precision of products; masks: of dropout; sums: inputs of norms, in fp32;
    casts: further copies of a layer's input where products run in bf16; inner: of the feed-forward part.
    """

    kept: int = 6  # input, query, key, value, attention's output, input of the feed-forward part
    masks: int = 2
    sums: int = 2
    casts: int = 2  # query, key and value each cast their input
    inner: int = 2  # before and after the activation


BERT = Family()
FAMILIES: Mapping[str, Family] = {
    **dict.fromkeys(("bert", "roberta", "xlm-roberta", "camembert", "electra", "ernie"), BERT),
    "distilbert": Family(masks=1),
    "albert": Family(kept=8, masks=1, sums=0, casts=0),  # what it adds up stays in bf16, inputs of norms too
}


@dataclass(frozen=True)
class Architecture:
    """What decides a model's memory. table: weights of the word embeddings; shared: all layers have the same weights.

    tensors: (shape, part) of each distinct weight; parts are "embedding", "layer" (those of all layers) and "head".
    """

    kind: str
    layers: int
    width: int
    heads: int
    inner: int
    vocabulary: int
    embedding: int
    shared: bool
    dropout: float
    attention_dropout: float
    activation: str
    tensors: tuple[tuple[tuple[int, ...], str], ...]

    @property
    def family(self) -> Family:
        """What its layers keep."""
        return FAMILIES[self.kind]

    @property
    def table(self) -> int:
        """Weights of the word embeddings."""
        return self.vocabulary * self.embedding

    def count(self, *parts: str, matrices: bool = False) -> int:
        """Weights of these parts, or of all; matrices: without biases and norms."""
        return sum(
            prod(shape)
            for shape, part in self.tensors
            if (not parts or part in parts) and (len(shape) > 1 or not matrices)
        )


def config_of_sizes(*, layers: int, hidden: int, heads: int, ffn: int, vocab: int, length: int) -> Any:
    """A BERT of these sizes."""
    if hidden % heads:
        raise UserError(f"--hidden {hidden} --heads {heads}: each head takes the same share; {hidden} is no multiple.")
    return AutoConfig.for_model(
        "bert", num_hidden_layers=layers, hidden_size=hidden, num_attention_heads=heads, intermediate_size=ffn,
        vocab_size=vocab, max_position_embeddings=max(512, length),
    )  # fmt: skip


def architecture_of(config: Any) -> Architecture:
    """The sizes of the sequence classifier that a config describes; UserError for a family that is not known."""
    if config.model_type not in FAMILIES:
        raise UserError(
            f"model type {config.model_type!r}: what its layers keep for the backward pass is not known here. "
            f"Known: {listed(sorted(FAMILIES))}. --measure tells what any model takes."
        )
    with torch.device("meta"):
        model = AutoModelForSequenceClassification.from_config(config)
    seen: dict[int, tuple[tuple[int, ...], str]] = {}
    for name, weight in model.named_parameters():
        inside = name.startswith(f"{model.base_model_prefix}.")
        part = "head" if not inside else "layer" if IN_LAYER.search(name) else "embedding"
        part = "head" if "pooler" in name else part
        seen.setdefault(id(weight), (tuple(weight.shape), part))
    rows, columns = model.get_input_embeddings().weight.shape

    def size(*names: str) -> Any:
        return next(getattr(config, name) for name in names if getattr(config, name, None) is not None)

    return Architecture(
        kind=config.model_type,
        layers=size("num_hidden_layers"),
        width=size("hidden_size", "dim"),
        heads=size("num_attention_heads"),
        inner=size("intermediate_size", "hidden_dim"),
        vocabulary=rows,
        embedding=columns,
        shared=config.model_type == "albert",
        dropout=float(size("hidden_dropout_prob", "dropout")),
        attention_dropout=float(size("attention_probs_dropout_prob", "attention_dropout")),
        activation=str(size("hidden_act", "activation")),
        tensors=tuple(seen.values()),
    )
