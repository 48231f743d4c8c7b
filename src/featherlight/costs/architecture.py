"""A model's config in; its sizes and the shapes of its weights out, without a single weight in memory.

House shapes: d layers, h width, a heads, f width of the feed-forward part, v vocabulary, e width of the embeddings.
"""

from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from transformers import AutoConfig

from featherlight.errors import UserError, listed
from featherlight.models.adapters import head_names
from featherlight.models.families import FAMILIES, LayerMemory
from featherlight.models.heads import CLASSES, HEADS


@dataclass(frozen=True)
class Architecture:
    """What decides a model's memory. table: weights of the word embeddings; shared: all layers have the same weights.

    local: layers whose tokens look no further than window; distances: those that relative positions tell apart, in
    both directions; convolution: one beside the first layer (DeBERTa v2).
    tensors: (shape, part) of each distinct weight; parts are "embedding", "layer" (those of all layers),
    and "head", with the pooler of an encoder that has one.
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
    local: int = 0
    window: int = 0
    distances: int = 0
    convolution: bool = False

    @property
    def keeps(self) -> LayerMemory:
        """What its layers keep."""
        memory = FAMILIES[self.kind].memory
        assert memory is not None  # see `architecture_of`
        return memory

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
    family = FAMILIES.get(config.model_type)
    if family is None or family.memory is None:
        known = sorted(kind for kind, row in FAMILIES.items() if row.memory is not None)
        raise UserError(
            f"model type {config.model_type!r}: what its layers keep for the backward pass is not known here. "
            f"Known: {listed(known)}. --measure tells what any model takes."
        )
    variant, applies = family.memory.unless
    if applies(config):
        raise UserError(
            f"model type {config.model_type!r} with {variant}: what its layers keep for the backward pass is not known "
            "here. --measure tells what any model takes."
        )
    with torch.device("meta"):
        model = HEADS[CLASSES].model.from_config(config)
    tensors: dict[int, tuple[tuple[int, ...], str]] = {}
    head, layers = tuple(f"{part}." for part in head_names(model)), f"{model.base_model_prefix}.{family.layers}."
    for name, weight in model.named_parameters():
        part = "head" if name.startswith(head) else "layer" if name.startswith(layers) else "embedding"
        tensors.setdefault(id(weight), (tuple(weight.shape), part))
    rows, columns = model.get_input_embeddings().weight.shape

    def first_of(*names: str) -> Any:
        return next(getattr(config, name) for name in names if getattr(config, name, None) is not None)

    return Architecture(
        kind=config.model_type,
        layers=config.num_hidden_layers,
        width=config.hidden_size,
        heads=config.num_attention_heads,
        inner=getattr(config, family.inner),
        vocabulary=rows,
        embedding=columns,
        shared=family.shared_layers,
        dropout=float(first_of("hidden_dropout_prob", "dropout", "embedding_dropout")),
        attention_dropout=float(first_of("attention_probs_dropout_prob", "attention_dropout", "dropout")),
        activation=str(first_of("hidden_act", "activation", "hidden_activation", "ff_activation")),
        tensors=tuple(tensors.values()),
        local=getattr(config, "layer_types", []).count("sliding_attention"),
        window=getattr(config, "sliding_window", 0),
        distances=_distances(config),
        convolution=getattr(config, "conv_kernel_size", 0) > 0,
    )


def _distances(config: Any) -> int:
    """Rows of DeBERTa's table of distances; 0 for other models."""
    if not getattr(config, "relative_attention", False):
        return 0
    furthest = config.max_relative_positions if config.max_relative_positions > 0 else config.max_position_embeddings
    buckets = getattr(config, "position_buckets", -1)
    return int(2 * (buckets if buckets > 0 else furthest))
