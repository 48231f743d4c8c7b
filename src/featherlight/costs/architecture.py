"""A model's config in; its sizes and the shapes of its weights out, without a single weight in memory.

House shapes: d layers, h width, a heads, f width of the feed-forward part, v vocabulary, e width of the embeddings.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForSequenceClassification

from featherlight.errors import UserError, listed
from featherlight.models.adapters import head_names

_IN_LAYER = re.compile(r"\.(layers?|albert_layer_groups|h)\.\d")


@dataclass(frozen=True)
class Family:
    """What one layer keeps for its backward pass, in tensors of batch x length x width (inner: x feed-forward width).

    kept: inputs of products, in the precision of products. after: those of them that come after attention.
    masks: of dropout. sums: inputs of norms, in fp32. casts: further copies of inputs where products run in bf16.
    inner, inner_masks: of the feed-forward part. gates: how many such tensors its first product makes.
    attention: where a family has but one of its own, the one of BERT's whose matrices it keeps.
    scores: matrices that are there during attention and are not kept.
    whole: queries and keys, where they are one tensor with values, which fused attention keeps as it is.
    segments: numbers of batch x length x length that say which tokens are of the same segment.
    positions: tensors that all layers share in fp32, and cast each for itself in bf16.
    relative: what scores with distances keep. nearby: only distances that occur in the text are computed with.
    copied: matrices of width x width in another order, in fp32. uncast: those whose casts in bf16 are not kept.
    entry_sums, entry_masks: of embeddings and the last layer's output, in fp32.
    outputs: whether those of all layers stay to the end of the forward pass.
    again: whether layers can be computed a second time. small: whether it is known what LoRA and adapters keep.
    """

    kept: int = 6  # input, query, key, value, attention's output, input of the feed-forward part
    after: int = 2
    masks: int = 2
    sums: int = 2
    casts: int = 2  # query, key and value each cast their input
    inner: int = 2  # before and after the activation
    inner_masks: int = 0
    gates: int = 1
    attention: str = ""
    scores: int = 1
    whole: int = 0
    segments: int = 0
    positions: int = 0
    relative: int = 0
    nearby: bool = False
    copied: int = 0
    uncast: int = 0
    entry_sums: int = 1
    entry_masks: int = 1
    outputs: bool = False
    again: bool = True
    small: bool = True


_BERT = Family()
_FAMILIES: Mapping[str, Family] = {
    **dict.fromkeys(("bert", "roberta", "xlm-roberta", "camembert", "electra", "ernie"), _BERT),
    "distilbert": Family(masks=1),
    # What it adds up stays in bf16, inputs of norms too.
    "albert": Family(kept=8, after=4, masks=1, sums=0, casts=0, again=False),
    # Three sums of queries and biases; keys of distances, which are twice as many as tokens.
    "xlnet": Family(
        kept=10, casts=4, inner_masks=1, attention="eager", scores=3, segments=2, positions=2, copied=1, uncast=1,
        entry_sums=0, entry_masks=2, again=False, small=False,
    ),
    # Its norms are put together from parts, each of which keeps three tensors.
    "deberta": Family(
        sums=6, attention="auto", scores=2, relative=2, nearby=True, entry_sums=3, outputs=True, small=False
    ),
    "deberta-v2": Family(attention="auto", scores=2, relative=1, outputs=True, small=False),  # version 3, too
    # The norm that its first layer lacks stands behind its last. Inside: both halves of the first product, one of them
    # after its activation, and their product.
    "modernbert": Family(casts=0, inner=4, gates=2, whole=2, small=False),
}  # fmt: skip
_UNKNOWN: Mapping[str, tuple[str, Callable[[Any], bool]]] = {  # what a config of a known family may say, nevertheless
    "xlnet": ("memories in training", lambda config: config.use_mems_train),
    "deberta": ("distances in one direction, or talking heads",
                lambda config: _one_sided(config) or getattr(config, "talking_head", False)),
    "deberta-v2": ("distances in one direction", lambda config: _one_sided(config)),
    "modernbert": ("dropout", lambda config: any((config.attention_dropout, config.mlp_dropout,
                                                  config.embedding_dropout))),
}  # fmt: skip


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
    def family(self) -> Family:
        """What its layers keep."""
        return _FAMILIES[self.kind]

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
    if config.model_type not in _FAMILIES:
        raise UserError(
            f"model type {config.model_type!r}: what its layers keep for the backward pass is not known here. "
            f"Known: {listed(sorted(_FAMILIES))}. --measure tells what any model takes."
        )
    what, found = _UNKNOWN.get(config.model_type, ("", lambda config: False))
    if found(config):
        raise UserError(
            f"a model of type {config.model_type!r} with {what}: what that keeps for the backward pass is not known "
            "here. --measure tells what any model takes."
        )
    with torch.device("meta"):
        model = AutoModelForSequenceClassification.from_config(config)
    seen: dict[int, tuple[tuple[int, ...], str]] = {}
    head = tuple(f"{part}." for part in head_names(model))
    for name, weight in model.named_parameters():
        part = "head" if name.startswith(head) else "layer" if _IN_LAYER.search(name) else "embedding"
        seen.setdefault(id(weight), (tuple(weight.shape), part))
    rows, columns = model.get_input_embeddings().weight.shape

    size = partial(_first_of, config)
    return Architecture(
        kind=config.model_type,
        layers=size("num_hidden_layers"),
        width=size("hidden_size", "dim"),
        heads=size("num_attention_heads"),
        inner=size("intermediate_size", "hidden_dim", "d_inner"),
        vocabulary=rows,
        embedding=columns,
        shared=config.model_type == "albert",
        dropout=float(size("hidden_dropout_prob", "dropout", "embedding_dropout")),
        attention_dropout=float(size("attention_probs_dropout_prob", "attention_dropout", "dropout")),
        activation=str(size("hidden_act", "activation", "hidden_activation", "ff_activation")),
        tensors=tuple(seen.values()),
        local=getattr(config, "layer_types", []).count("sliding_attention"),
        window=getattr(config, "sliding_window", 0),
        distances=_distances(config),
        convolution=getattr(config, "conv_kernel_size", 0) > 0,
    )


def _first_of(config: Any, *names: str) -> Any:
    """The first of these settings that a config has."""
    return next(getattr(config, name) for name in names if getattr(config, name, None) is not None)


def _one_sided(config: Any) -> bool:
    """Whether DeBERTa's relative positions are not both: from tokens to distances, and from distances to tokens."""
    return bool(config.relative_attention and set(config.pos_att_type or ()) != {"c2p", "p2c"})


def _distances(config: Any) -> int:
    """Rows of DeBERTa's table of distances; 0 for other models."""
    if not getattr(config, "relative_attention", False):
        return 0
    furthest = config.max_relative_positions if config.max_relative_positions > 0 else config.max_position_embeddings
    buckets = getattr(config, "position_buckets", -1)
    return int(2 * (buckets if buckets > 0 else furthest))
