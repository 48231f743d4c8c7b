"""Encoders with fewer attention heads than their width has room for.

In their own configs the heads fill the hidden size, so that a head cannot be left out without all others growing.
Here a head keeps its size, and `kept_heads` says how many of them each layer has; everything else, the forward
pass too, is that of `transformers`. Importing `featherlight.models` makes these known to `AutoModel...`.
"""

from typing import Any

import torch
from torch import nn
from transformers import CONFIG_MAPPING, MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING

from featherlight.models.families import FAMILIES, HEADS, NARROW, family_of, plain_type

BIAS_HEADS = "bias_heads"  # which columns of a bias that all layers share belong to the heads that a layer has kept


def _own_biases(attention: Any, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """Forward pre-hook of MPNet's attention: of the bias of all heads [B, H, T, T], what belongs to the layer's own."""
    states, mask, bias, *rest = inputs
    return (states, mask, bias[:, getattr(attention, BIAS_HEADS)], *rest)


def _narrow(model: Any, heads: int) -> None:
    """Give every attention layer of a model this many heads; its new matrices wait for weights."""
    family = family_of(model.config.model_type)
    for layer in model.base_model.get_submodule(family.layers):
        attention = layer.get_submodule(family.query.rpartition(".")[0])
        width = heads * attention.attention_head_size
        for name, value in (("num_attention_heads", heads), ("n_heads", heads), ("all_head_size", width)):
            if hasattr(attention, name):
                setattr(attention, name, value)
        for name in (family.query, family.key, family.value):
            layer.set_submodule(name, nn.Linear(layer.get_submodule(name).in_features, width))
        if family.shared_bias:
            attention.register_buffer(BIAS_HEADS, torch.arange(heads))
            attention.register_forward_pre_hook(_own_biases)
        layer.set_submodule(family.attended, nn.Linear(width, layer.get_submodule(family.attended).out_features))


def _narrow_classes(kind: str) -> tuple[Any, Any]:
    """Config and sequence classifier of a family; the first says `kept_heads`, the second has so many in each layer."""
    plain = CONFIG_MAPPING[kind]
    classifier: Any = MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING[plain]
    settings = {"model_type": NARROW + kind, "kept_heads": 12, "__annotations__": {"kept_heads": int}}
    config = type(f"_Narrow{plain.__name__}", (plain,), {"__module__": __name__, **settings})

    def make(self: Any, config: Any) -> None:
        classifier.__init__(self, config)
        _narrow(self, config.kept_heads)

    body = {"__module__": __name__, "__init__": make, "config_class": config}
    return config, type(f"_Narrow{classifier.__name__}", (classifier,), body)


NARROW_MODELS: dict[Any, Any] = dict(
    _narrow_classes(kind) for kind, family in FAMILIES.items() if HEADS in family.removable
)


def narrowed(config: Any, heads: int) -> Any:
    """The config of the narrow model of the same kind; of one that is narrow already, with other heads."""
    kind = NARROW + plain_type(config.model_type)
    narrow = next(known for known in NARROW_MODELS if known.model_type == kind)
    values = {name: value for name, value in config.to_dict().items() if name not in ("model_type", "architectures")}
    return narrow.from_dict({**values, "kept_heads": heads})
