"""A model in, its matrices out, each with the kind of part that it belongs to. Knows no method of compression."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor, nn

from featherlight.errors import UserError, listed, nearest

EMBEDDING, _RECURRENT, _LINEAR = KINDS = ("embedding", "recurrent", "linear")


@dataclass(frozen=True)
class Part:
    """One matrix of a model. name: of the tensor. kind: "embedding", "recurrent" or "linear"."""

    name: str
    kind: str
    weight: nn.Parameter


def parts_of(model: nn.Module, names: Sequence[str] = ()) -> list[Part]:
    """The matrices of a model, a shared one once; biases and norms are vectors and stay out.

    names: only these: kinds, or names of modules and tensors ("classifier", "layer.0", "classifier.hidden.weight").
    Raises UserError for a name that fits nothing.
    """
    owners = {id(weight): owner for owner in model.modules() for weight in owner.parameters(recurse=False)}
    parts = [
        Part(name, _kind_of(owners[id(weight)]), weight)
        for name, weight in model.named_parameters()
        if weight.dim() > 1 and "bias" not in name.rpartition(".")[2]  # XLNet's biases have two dimensions
    ]
    for name in names:
        if not any(_fits(part, name) for part in parts):
            modules = [part.name.split(".") for part in parts]
            prefixes = [prefix for words in modules for prefix in accumulate(words, "{}.{}".format)]
            raise UserError(
                f"--parts {name}: this model has no such part. {nearest(name, dict.fromkeys([*KINDS, *prefixes]))}"
                f"Known: {listed([*KINDS, *(part.name for part in parts)])}."
            )
    return [part for part in parts if not names or any(_fits(part, name) for name in names)]


def _kind_of(owner: nn.Module) -> str:
    if isinstance(owner, nn.Embedding):
        return EMBEDDING
    return _RECURRENT if isinstance(owner, nn.RNNBase) else _LINEAR


def _fits(part: Part, name: str) -> bool:
    """Whether a part is of this kind, or has these words of its name one after the other."""
    return name == part.kind or f".{name}." in f".{part.name}."


def zeros(weight: Tensor) -> int:
    """How many numbers of a tensor are 0."""
    return weight.numel() - int(torch.count_nonzero(weight))


def share_of_zeros(parts: Sequence[Part]) -> float:
    """The share of zeros over all these matrices together."""
    total = sum(part.weight.numel() for part in parts)
    return sum(zeros(part.weight) for part in parts) / total


def zeros_by_name(parts: Sequence[Part]) -> dict[str, int]:
    """name -> zeros, to be compared with what a step leaves."""
    return {part.name: zeros(part.weight) for part in parts}


def changed(before: Mapping[str, int], parts: Sequence[Part]) -> dict[str, dict[str, int]]:
    """name -> {"zeros", "parameters"} of the parts that have other zeros than `before` says."""
    now = zeros_by_name(parts)
    return {
        part.name: {"zeros": now[part.name], "parameters": part.weight.numel()}
        for part in parts
        if now[part.name] != before[part.name]
    }
