"""An encoder's layers: what the names of their tensors begin with, and the encoder with some of them alone."""

import copy
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from featherlight.models.families import family_of
from featherlight.models.narrow import NARROW_MODELS


def layer_prefix(model: Any) -> str:
    """What the names of all tensors in its layers begin with, before a layer's number: "bert.encoder.layer."."""
    return f"{model.base_model_prefix}.{family_of(model.config.model_type).layers}."


def with_layers(model: Any, kept: Sequence[int]) -> Any:
    """A new model with these layers alone, counted from 0, and numbered anew in their order."""
    config, begin = copy.deepcopy(model.config), layer_prefix(model)
    config.num_hidden_layers = len(kept)
    number = {str(old): str(new) for new, old in enumerate(kept)}
    state = {}
    for name, tensor in model.state_dict().items():
        layer, _, rest = name.removeprefix(begin).partition(".")
        if not name.startswith(begin):
            state[name] = tensor
        elif layer in number:
            state[f"{begin}{number[layer]}.{rest}"] = tensor
    return rebuilt(config, state, like=model)


def rebuilt(config: Any, state: dict[str, Tensor], *, like: Any) -> Any:
    """A new model of this config with these tensors."""
    model = NARROW_MODELS.get(type(config), type(like))(config)
    model.load_state_dict(state)
    return model.eval()
