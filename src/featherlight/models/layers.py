"""An encoder's layers: what the names of their tensors begin with, and the encoder with some of them alone."""

import copy
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from featherlight.errors import UserError
from featherlight.models.families import family_of
from featherlight.models.narrow import NARROW_MODELS


def layer_prefix(model: Any) -> str:
    """What the names of all tensors in its layers begin with, before a layer's number: "bert.encoder.layer."."""
    return f"{model.base_model_prefix}.{family_of(model.config.model_type).layers}."


def keep_layers(config: Any, kept: Sequence[int]) -> None:
    """Let a config describe the encoder with these layers alone, counted from 0. UserError where that cannot be."""
    if family_of(config.model_type).shared_layers and config.num_hidden_groups > 1:
        raise UserError(f"layers of a {config.model_type} that share weights in groups cannot be cut. Take all.")
    config.num_hidden_layers = len(kept)
    if getattr(config, "layer_types", None):
        config.layer_types = [config.layer_types[i] for i in kept]


def with_layers(model: Any, kept: Sequence[int]) -> Any:
    """A new model with these layers alone, counted from 0, and numbered anew in their order."""
    config = copy.deepcopy(model.config)
    keep_layers(config, kept)
    state, family, begin = model.state_dict(), family_of(config.model_type), layer_prefix(model)
    if not any(name.startswith(begin) for name in state):
        raise UserError(f"the layers of a {config.model_type} model are not known. NAME:3 takes its first three.")
    number = {str(old): str(new) for new, old in enumerate(kept)}
    names = {}  # of the tensors that stay, in this model and in the new one
    for name in state:
        layer, _, rest = name.removeprefix(begin).partition(".")
        if not name.startswith(begin) or family.shared_layers:
            names[name] = name
        elif layer in number and not (number[layer] == "0" and rest.startswith(family.not_in_first)):
            names[name] = f"{begin}{number[layer]}.{rest}"
    smaller = rebuilt(config, {new: state[old] for old, new in names.items()}, like=model)
    if hasattr(model, "new_weights"):
        smaller.new_weights = tuple(sorted(names[old] for old in model.new_weights if old in names))
    return smaller


def rebuilt(config: Any, state: dict[str, Tensor], *, like: Any) -> Any:
    """A new model of this config with these tensors."""
    model = NARROW_MODELS.get(type(config), type(like))(config)
    model.load_state_dict(state)
    return model.eval()
