"""A training run's state in one file, swapped in whole: weights, optimiser, place, curves.

Safetensors with a JSON header: nothing that is read back can run code. The best weights so far
stand in a file of their own, named by their step, so that an old checkpoint never meets new weights.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from featherlight.errors import UserError
from featherlight.files import drafted

CHECKPOINT = "checkpoint.safetensors"


@dataclass
class Progress:
    """How far a run is. step: optimiser steps done. best_step: 0 while nothing was evaluated.

    loss_parts: sums over the steps since the last scores, whose entry in `epochs` gets their means.
    """

    step: int = 0
    best_step: int = 0
    best_epoch: float = 0
    best_score: float = float("-inf")
    steps: list[int] = field(default_factory=list)
    loss: list[float] = field(default_factory=list)
    learning_rate: list[float] = field(default_factory=list)
    loss_parts: dict[str, float] = field(default_factory=dict)
    epochs: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0


def _best_file(folder: Path, step: int) -> Path:
    return folder / f"best-{step}.safetensors"


def _own_tensors(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Contiguous copies: safetensors refuses tensors that share memory, as tied weights do."""
    pointers: set[int] = set()
    owned = {}
    for name, tensor in tensors.items():
        shared = tensor.data_ptr() in pointers and tensor.numel() > 0
        pointers.add(tensor.data_ptr())
        owned[name] = tensor.detach().cpu().clone() if shared else tensor.detach().cpu().contiguous()
    return owned


def _moving(model: nn.Module) -> dict[str, Tensor]:
    """A model's tensors without frozen weights, which are where they came from."""
    frozen = {name for name, weight in model.named_parameters(remove_duplicate=False) if not weight.requires_grad}
    return {name: tensor for name, tensor in model.state_dict().items() if name not in frozen}


def write_best(folder: Path, model: nn.Module, step: int) -> None:
    """Keep the model's weights of this step as the best so far."""
    with drafted(_best_file(folder, step)) as draft:
        save_file(_own_tensors(_moving(model)), draft)


def read_best(folder: Path, model: nn.Module, step: int) -> None:
    """Put the best weights into the model, one tensor at a time."""
    path = _best_file(folder, step)
    for name, tensor in _moving(model).items():
        with safe_open(path, framework="pt") as file:  # opened anew, so that what was read leaves memory
            tensor.copy_(file.get_tensor(name))


def write_checkpoint(
    folder: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer | None,
    progress: Progress,
    more: Mapping[str, Tensor] = MappingProxyType({}),
) -> None:
    """Write the whole state, then delete best weights that it does not name.

    optimizer: None where no step follows. more: further tensors, of the optimiser or of masks.
    """
    tensors = {f"model.{name}": tensor for name, tensor in _own_tensors(_moving(model)).items()}
    weights = [weight for group in optimizer.param_groups for weight in group["params"]] if optimizer else []
    memory = optimizer.state if optimizer else {}  # state_dict() of bitsandbytes nests it
    states = enumerate(memory.get(weight, {}) for weight in weights)
    kept = {f"optimizer.{index}.{name}": value for index, state in states for name, value in state.items()}
    tensors |= _own_tensors({name: value for name, value in kept.items() if isinstance(value, Tensor)})
    numbers = {name: value for name, value in kept.items() if not isinstance(value, Tensor)}
    tensors |= {f"more.{name}": tensor for name, tensor in _own_tensors(more).items()}
    header = dict(vars(progress), best_score=repr(progress.best_score))
    about = {"progress": json.dumps(header), "numbers": json.dumps(numbers), "optimizer": type(optimizer).__name__}
    with drafted(folder / CHECKPOINT) as draft:
        save_file(tensors, draft, about)
    for old in folder.glob("best-*.safetensors"):
        if old != _best_file(folder, progress.best_step):
            old.unlink()


def read_checkpoint(
    folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer, more: Mapping[str, Tensor] = MappingProxyType({})
) -> Progress:
    """Put the last state into model, optimiser and `more`; a fresh Progress where there is none."""
    path = folder / CHECKPOINT
    if not path.exists():
        return Progress()
    try:
        with safe_open(path, framework="pt") as file:
            about = file.metadata()
            header, numbers = json.loads(about["progress"]), json.loads(about.get("numbers", "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, KeyError, ValueError) as error:
        raise UserError(f"{path}: damaged ({error}). Delete its folder and start again.") from None
    another = about.get("optimizer") not in (None, "NoneType", type(optimizer).__name__)
    if another or {name[5:] for name in tensors if name.startswith("more.")} != set(more):
        raise UserError(
            f"{path}: was written by another version, or on another kind of device, whose optimiser keeps other "
            "things. Go on with the one that it was begun with, or delete its folder and start again."
        )
    weights = {name[6:]: tensor for name, tensor in tensors.items() if name.startswith("model.")}
    if set(weights) != set(_moving(model)):
        raise UserError(f"{path}: holds other weights than this model trains. Delete its folder and start again.")
    model.load_state_dict(weights, strict=False)
    states: dict[int, dict[str, Any]] = {}
    for name, value in {**tensors, **numbers}.items():
        if name.startswith("optimizer."):
            _, index, key = name.split(".", 2)
            states.setdefault(int(index), {})[key] = value
    for name, tensor in more.items():
        tensor.copy_(tensors[f"more.{name}"])
    optimizer.load_state_dict({"state": states, "param_groups": optimizer.state_dict()["param_groups"]})
    return Progress(**{**header, "best_score": float(header["best_score"])})
