"""BERT, RoBERTa and DistilBERT with fewer attention heads than their width has room for.

In their own configs the heads fill the hidden size, so that a head cannot be left out without all others growing.
Here a head keeps its size, and `kept_heads` says how many of them each layer has; everything else, the forward
pass too, is that of `transformers`. Importing `featherlight.models` makes these known to `AutoModel...`.
"""

from typing import Any

from torch import nn
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    RobertaConfig,
    RobertaForSequenceClassification,
)
from transformers.models.bert.modeling_bert import BertAttention
from transformers.models.distilbert.modeling_distilbert import DistilBertSelfAttention
from transformers.models.roberta.modeling_roberta import RobertaAttention

NARROW = "narrow-"  # what a model type begins with


class _NarrowBertConfig(BertConfig):
    """`num_attention_heads` gives the size of a head, `kept_heads` how many there are in each layer."""

    model_type = NARROW + "bert"
    kept_heads: int = 12


class _NarrowRobertaConfig(RobertaConfig):
    """As `_NarrowBertConfig`."""

    model_type = NARROW + "roberta"
    kept_heads: int = 12


class _NarrowDistilBertConfig(DistilBertConfig):
    """As `_NarrowBertConfig`; here the size of a head comes from `n_heads`."""

    model_type = NARROW + "distilbert"
    kept_heads: int = 12


def _narrow_bert(attention: Any, heads: int) -> None:
    """Give an attention layer of BERT or RoBERTa fewer heads; its new matrices wait for weights."""
    inner, outer = attention.self, attention.output
    inner.num_attention_heads, inner.all_head_size = heads, heads * inner.attention_head_size
    for name in ("query", "key", "value"):
        setattr(inner, name, nn.Linear(inner.query.in_features, inner.all_head_size))
    outer.dense = nn.Linear(inner.all_head_size, outer.dense.out_features)


def _narrow_distilbert(attention: Any, heads: int) -> None:
    """The same for DistilBERT."""
    attention.n_heads, width = heads, heads * attention.attention_head_size
    for name in ("q_lin", "k_lin", "v_lin"):
        setattr(attention, name, nn.Linear(attention.dim, width))
    attention.out_lin = nn.Linear(width, attention.dim)


def _narrow(model: nn.Module, heads: int) -> None:
    """Give every attention layer of a model this many heads."""
    for part in list(model.modules()):
        if isinstance(part, BertAttention | RobertaAttention):
            _narrow_bert(part, heads)
        elif isinstance(part, DistilBertSelfAttention):
            _narrow_distilbert(part, heads)


class _NarrowBertForSequenceClassification(BertForSequenceClassification):
    """BERT with `config.kept_heads` heads in each layer."""

    config_class = _NarrowBertConfig

    def __init__(self, config: _NarrowBertConfig):
        super().__init__(config)
        _narrow(self, config.kept_heads)


class _NarrowRobertaForSequenceClassification(RobertaForSequenceClassification):
    """RoBERTa with `config.kept_heads` heads in each layer."""

    config_class = _NarrowRobertaConfig

    def __init__(self, config: _NarrowRobertaConfig):
        super().__init__(config)
        _narrow(self, config.kept_heads)


class _NarrowDistilBertForSequenceClassification(DistilBertForSequenceClassification):
    """DistilBERT with `config.kept_heads` heads in each layer."""

    config_class = _NarrowDistilBertConfig

    def __init__(self, config: _NarrowDistilBertConfig):
        super().__init__(config)
        _narrow(self, config.kept_heads)


NARROW_MODELS: dict[Any, Any] = {
    _NarrowBertConfig: _NarrowBertForSequenceClassification,
    _NarrowRobertaConfig: _NarrowRobertaForSequenceClassification,
    _NarrowDistilBertConfig: _NarrowDistilBertForSequenceClassification,
}


def narrowed(config: Any, heads: int) -> Any:
    """The config of the narrow model of the same kind; of one that is narrow already, with other heads."""
    kind = NARROW + config.model_type.removeprefix(NARROW)
    found = next(known for known in NARROW_MODELS if known.model_type == kind)
    values = {name: value for name, value in config.to_dict().items() if name not in ("model_type", "architectures")}
    return found.from_dict({**values, "kept_heads": heads})
