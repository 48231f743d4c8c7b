"""What sets one family of encoders apart from another, as data: a model type in, its row out.

A new family is one row of `FAMILIES`. Knows the names of modules and of settings in a config, and what a layer keeps
for its backward pass; loads no model.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

HEADS, NEURONS, LAYERS = REMOVABLE = ("heads", "neurons", "layers")
NARROW = "narrow-"  # what a model type begins with whose layers have fewer heads, see `narrow`


@dataclass(frozen=True)
class LayerMemory:
    """What one layer keeps for its backward pass, in tensors of batch x length x width (inner: x feed-forward width).

    kept: inputs of products, in the precision of products. after: those of them that come after attention.
    masks: of dropout. sums: inputs of norms, in fp32. casts: further copies of inputs where products run in bf16.
    inner, inner_masks: of the feed-forward part. gates: how many such tensors its first product makes.
    attention: where a family has but one of its own, the one of BERT's whose matrices it keeps.
    scores: matrices that are there during attention and are not kept.
    biases: matrices that all layers add to their scores, in fp32: there to the end of the forward pass, and then their
    gradient to the end of the backward pass.
    whole: queries and keys, where they are one tensor with values, which fused attention keeps as it is.
    segments: numbers of batch x length x length that say which tokens are of the same segment.
    positions: tensors that all layers share in fp32, and cast each for itself in bf16.
    relative: what scores with distances keep. nearby: only distances that occur in the text are computed with.
    copied: matrices of width x width in another order, in fp32. uncast: those whose casts in bf16 are not kept.
    entry_sums, entry_masks: of embeddings and the last layer's output, in fp32.
    outputs: whether those of all layers stay to the end of the forward pass.
    again: whether layers can be computed a second time. small: whether it is known what LoRA and adapters keep.
    unless: what a config may say for which all this is not known, in words, and whether it does.
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
    biases: int = 0
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
    unless: tuple[str, Callable[[Any], bool]] = ("", lambda config: False)


@dataclass(frozen=True)
class EncoderFamily:
    """The defaults are BERT's, whose names most families took over.

    layers: the list of layers, within the encoder. query ... down: projections, within a layer; attended and down are
    those that a residual sum follows. inner: what a config calls the feed-forward width.
    targets: what LoRA stands beside, where it is not query and value.
    parts: words in the names of tensors by what these belong to; only those that BERT has not.
    not_in_first: what its first layer lacks, within a layer.
    removable: what can be taken out of it for real. shared_bias: whether scores have a bias for each distance and head,
    in a table that all layers share.
    shared_layers: whether all layers have the same weights. memory: what a layer keeps; None where that is not known.
    counted_from_padding: whether the first token has the number after that of padding as its position.
    reads_last: whether the head reads the last token, and padding is on the left. segments: texts that it tells apart
    though its config does not say so. bf16: False for masks with the least number of fp32, which bf16 cannot hold.
    """

    layers: str = "encoder.layer"
    query: str = "attention.self.query"
    key: str = "attention.self.key"
    value: str = "attention.self.value"
    attended: str = "attention.output.dense"
    up: str = "intermediate.dense"
    down: str = "output.dense"
    inner: str = "intermediate_size"
    targets: Sequence[str] = ()
    parts: Mapping[str, Sequence[str]] = field(default_factory=dict)
    not_in_first: tuple[str, ...] = ()
    removable: Sequence[str] = ()
    shared_bias: bool = False
    shared_layers: bool = False
    memory: LayerMemory | None = LayerMemory()
    counted_from_padding: bool = False
    reads_last: bool = False
    segments: int = 0
    bf16: bool = True


def _one_sided(config: Any) -> bool:
    """Whether DeBERTa's relative positions are not both: from tokens to distances, and from distances to tokens."""
    return bool(config.relative_attention and set(config.pos_att_type or ()) != {"c2p", "p2c"})


_UNLISTED = EncoderFamily(memory=None)
_BERT = EncoderFamily(
    parts={
        "embedding": ("embeddings.",),
        "attention": ("attention.",),
        "feed-forward": ("intermediate.", "output.dense."),
        "head": ("classifier.", "pooler."),
    },
)
_LIKE_ROBERTA = EncoderFamily(counted_from_padding=True)
FAMILIES: Mapping[str, EncoderFamily] = {
    "bert": replace(_BERT, removable=REMOVABLE),
    "roberta": replace(_LIKE_ROBERTA, removable=REMOVABLE),
    "distilbert": EncoderFamily(
        layers="transformer.layer", query="attention.q_lin", key="attention.k_lin", value="attention.v_lin",
        attended="attention.out_lin", up="ffn.lin1", down="ffn.lin2", inner="hidden_dim",
        parts={"feed-forward": ("ffn.",)}, removable=REMOVABLE, memory=LayerMemory(masks=1),
    ),
    "electra": _BERT,
    "ernie": _BERT,
    "xlm-roberta": _LIKE_ROBERTA,
    "camembert": _LIKE_ROBERTA,
    **dict.fromkeys(
        ("xlm-roberta-xl", "roberta-prelayernorm", "xmod", "data2vec-text", "longformer", "ibert"),
        replace(_LIKE_ROBERTA, memory=None),
    ),
    "albert": EncoderFamily(
        layers="encoder.albert_layer_groups", query="attention.query", key="attention.key", value="attention.value",
        attended="attention.dense", up="ffn", down="ffn_output", parts={"feed-forward": (".ffn",)}, shared_layers=True,
        # What it adds up stays in bf16, inputs of norms too.
        memory=LayerMemory(kept=8, after=4, masks=1, sums=0, casts=0, again=False),
    ),
    "xlnet": EncoderFamily(
        layers="layer", attended="rel_attn.layer_norm",  # its attention has no projection that is a module
        up="ff.layer_1", down="ff.layer_2", inner="d_inner", targets=("layer_1", "layer_2"),
        parts={
            "embedding": ("word_embedding",), "attention": ("rel_attn.",), "feed-forward": ("ff.",),
            "head": ("logits_proj.", "sequence_summary."),
        },
        # Three sums of queries and biases; keys of distances, which are twice as many as tokens.
        memory=LayerMemory(
            kept=10, casts=4, inner_masks=1, attention="eager", scores=3, segments=2, positions=2, copied=1, uncast=1,
            entry_sums=0, entry_masks=2, again=False, small=False,
            unless=("memories in training", lambda config: bool(config.use_mems_train)),
        ),
        reads_last=True, segments=2,
    ),
    "deberta": EncoderFamily(
        targets=("in_proj",), bf16=False,
        # Its norms are put together from parts, each of which keeps three tensors.
        memory=LayerMemory(
            sums=6, attention="auto", scores=2, relative=2, nearby=True, entry_sums=3, outputs=True, small=False,
            unless=("distances in one direction, or talking heads",
                    lambda config: _one_sided(config) or getattr(config, "talking_head", False)),
        ),
    ),
    "deberta-v2": EncoderFamily(  # version 3, too
        query="attention.self.query_proj", key="attention.self.key_proj", value="attention.self.value_proj",
        memory=LayerMemory(attention="auto", scores=2, relative=1, outputs=True, small=False,
                           unless=("distances in one direction", _one_sided)),
    ),
    "mpnet": EncoderFamily(
        query="attention.attn.q", key="attention.attn.k", value="attention.attn.v", attended="attention.attn.o",
        parts={"attention": ("relative_attention_bias.",)}, removable=REMOVABLE, shared_bias=True,
        memory=LayerMemory(attention="eager", biases=1, again=False), counted_from_padding=True,
    ),
    "modernbert": EncoderFamily(
        layers="layers", attended="attn.Wo", up="mlp.Wi", down="mlp.Wo", targets=("Wqkv",),
        parts={"attention": ("attn.",), "feed-forward": ("mlp.",), "head": ("head.",)}, not_in_first=("attn_norm.",),
        # The norm that its first layer lacks stands behind its last. Inside: both halves of the first product, one of
        # them after its activation, and their product.
        memory=LayerMemory(
            casts=0, inner=4, gates=2, whole=2, small=False,
            unless=("dropout", lambda config: any((config.attention_dropout, config.mlp_dropout,
                                                   config.embedding_dropout))),
        ),
    ),
}  # fmt: skip


def plain_type(model_type: str) -> str:
    """A model type; that of a narrow encoder without what tells it apart."""
    return model_type.removeprefix(NARROW)


def family_of(model_type: str) -> EncoderFamily:
    """The row of a model type; where there is none, BERT's names, which most families took over."""
    return FAMILIES.get(plain_type(model_type), _UNLISTED)
