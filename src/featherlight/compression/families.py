"""Which entries of which tensors belong to one head, neuron, layer, unit or column: a model in, families out.

A family's members are interchangeable: the heads of one layer, the units of one direction. What encoders call their
parts is in `models.families`; knows nothing of choosing and removing. House shapes: n members, D width, H hidden units
per direction.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from featherlight.errors import UserError
from featherlight.models.families import FAMILIES, HEADS, LAYERS, NEURONS, REMOVABLE, family_of, plain_type
from featherlight.models.layers import layer_prefix

_UNITS, COLUMNS = "units", "columns"
METHODS = (*REMOVABLE, _UNITS, COLUMNS)


@dataclass(frozen=True)
class Slice:
    """Where members stand in one tensor. positions: int64 [n, k] along dim; those of a member belong together.

    outgoing: whether the entries carry the member's output on, so that without them it has no effect.
    """

    tensor: str
    dim: int
    positions: Tensor
    outgoing: bool = False


@dataclass(frozen=True)
class Family:
    """Members of which some go: as many from each family of a kind, for the model has one number for all."""

    name: str
    members: int
    slices: Sequence[Slice]


_RECURRENT = ("featherlight-bilstm", "featherlight-rnn")
_STUDENTS = (*_RECURRENT, "featherlight-bag")
_ENCODERS = {method: [kind for kind, row in FAMILIES.items() if method in row.removable] for method in REMOVABLE}
CAN: Mapping[str, Sequence[str]] = {  # model types by method
    **_ENCODERS, NEURONS: (*_ENCODERS[NEURONS], *_STUDENTS), _UNITS: _RECURRENT, COLUMNS: _STUDENTS,
}  # fmt: skip


def families_of(model: Any, method: str) -> list[Family]:
    """The families that a method chooses from; UserError where the architecture has none of them."""
    kind = plain_type(model.config.model_type)
    if kind not in CAN[method]:
        fitting = [name for name, kinds in CAN.items() if kind in kinds] or ["vocabulary"]
        raise UserError(
            f"--method {method}: a {kind} cannot lose {method}, only models of type {', '.join(CAN[method])} can. "
            f"For this one: --method {', '.join(fitting)}, or topv, which zeroes single weights."
        )
    if kind in FAMILIES:
        return _encoder_families(model, method)
    return {_UNITS: _units, COLUMNS: _columns, NEURONS: _student_neurons}[method](model)


def touched(model: Any, method: str) -> list[str]:
    """The tensors from which a method takes something."""
    families = families_of(model, method)
    if method == LAYERS:
        return [name for name in model.state_dict() if name.startswith(layer_prefix(model))]
    return list(dict.fromkeys(part.tensor for family in families for part in family.slices))


def blocks(members: int, size: int, *, outer: int = 1) -> Tensor:
    """Positions [members, outer x size] in a dimension of `outer` blocks, each with `size` entries per member."""
    numbers = torch.arange(outer * members * size).view(outer, members, size)
    return numbers.transpose(0, 1).reshape(members, -1)


def _encoder_families(model: Any, method: str) -> list[Family]:
    """Heads or neurons of each layer, or the one family of layers."""
    config, names, state = model.config, family_of(model.config.model_type), model.state_dict()
    inner: tuple[str, ...]
    if method == LAYERS:
        return [Family("layers", config.num_hidden_layers, [])]  # whole tensors, see `structured.layer_scores`
    if method == HEADS:
        size = config.hidden_size // config.num_attention_heads
        inner, outer = (names.query, names.key, names.value), names.attended
    else:
        size, inner, outer = 1, (names.up,), names.down
    families = []
    for layer in (f"{layer_prefix(model)}{i}" for i in range(config.num_hidden_layers)):
        places = blocks(state[f"{layer}.{inner[0]}.weight"].shape[0] // size, size)
        slices = [Slice(f"{layer}.{name}.{what}", 0, places) for name in inner for what in ("weight", "bias")]
        slices.append(Slice(f"{layer}.{outer}.weight", 1, places, outgoing=True))
        families.append(Family(layer, len(places), slices))
    return families


def _units(model: Any) -> list[Family]:
    """The hidden units of each direction; they go on to the next step and, four times for pairs, to the classifier."""
    count, gates = model.config.hidden, 4 if model.config.model_type.endswith("lstm") else 1
    into = torch.arange((4 if model.config.pair else 1) * 2 * count).view(-1, 2, count)
    families = []
    for direction, suffix in enumerate(("", "_reverse")):
        rows = blocks(count, 1, outer=gates)
        tensors = [f"body.network.{name}_l0{suffix}" for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
        slices = [Slice(tensor, 0, rows) for tensor in tensors]
        slices.append(Slice(tensors[1], 1, blocks(count, 1), outgoing=True))
        slices.append(Slice("classifier.hidden.weight", 1, into[:, direction].T.contiguous(), outgoing=True))
        families.append(Family(("forward", "backward")[direction], count, slices))
    return families


def _columns(model: Any) -> list[Family]:
    """The columns of the embeddings; they go on to a recurrent layer, or to the classifier of a bag."""
    count = model.config.dim
    table = "embedding.vectors.weight" if model.config.embedding == "hash" else "embedding.weight"
    slices = [Slice(table, 1, blocks(count, 1), outgoing=True)]
    if model.config.model_type in _RECURRENT:
        slices += [Slice(f"body.network.weight_ih_l0{suffix}", 1, blocks(count, 1)) for suffix in ("", "_reverse")]
    else:
        texts = 4 if model.config.pair else 1
        slices.append(Slice("classifier.hidden.weight", 1, blocks(count, 1, outer=texts)))
    return [Family("columns", count, slices)]


def _student_neurons(model: Any) -> list[Family]:
    places = blocks(model.config.classifier, 1)
    inner = [Slice(f"classifier.hidden.{what}", 0, places) for what in ("weight", "bias")]
    return [Family("classifier", len(places), [*inner, Slice("classifier.out.weight", 1, places, outgoing=True)])]
