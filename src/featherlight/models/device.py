"""Which device and which precision: `auto` becomes a name that a record can state."""

import ctypes
import functools
import os
import sys
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from featherlight.errors import UserError
from featherlight.models.families import family_of

_MALLOPT = {"trim_threshold": -1, "mmap_threshold": -3, "mmap_max": -4}  # from malloc.h
_KERNELS = 64  # that a training keeps; one step uses about thirty
KEPT_KERNELS = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY")  # of oneDNN, and of what calls it in PyTorch


def resolve_device(name: str) -> str:
    """ "auto" -> "cuda", "mps" or "cpu", the fastest there is; a device that is not there is an error."""
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return next(device for device, present in available.items() if present)
    if not available[name]:
        devices = ", ".join(device for device, present in available.items() if present)
        raise UserError(
            f"--device {name}: torch {torch.__version__} finds no such device here. Choose from: {devices}."
        )
    return name


def resolve_precision(name: str, device: str, *, encoder: bool, model_type: str = "") -> str:
    """ "auto" -> "bf16" for an encoder on a device that computes in it, else "fp32".

    Students stay in fp32: their small matrices gain nothing from bf16. model_type: of the model's
    config, where there is a model already; some cannot do it.
    """
    if name == "auto":
        return "bf16" if encoder and has_bf16(device) and family_of(model_type).bf16 else "fp32"
    if name == "bf16" and not family_of(model_type).bf16:
        raise UserError(f"--precision bf16: {model_type} models overflow in bf16. Use --precision fp32.")
    if name == "bf16" and not has_bf16(device):
        raise UserError(f"--precision bf16: this {device} does not compute in bf16. Use --precision fp32.")
    return name


def has_bf16(device: str) -> bool:
    """Whether the device has bf16 arithmetic of its own, rather than an emulation."""
    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device == "cpu":
        return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    return False


def autocast(device: str, precision: str) -> AbstractContextManager[object]:
    """A context in which matrix products run in the given precision."""
    if precision == "bf16":
        return torch.autocast(device, dtype=torch.bfloat16)
    return nullcontext()


def in_full_precision(layer: torch.nn.Module) -> None:
    """Compute a layer in fp32 under any autocast: of 2,026 bfloat16 keeps 2,032."""
    forward = layer.forward

    def whole(inputs: torch.Tensor) -> Any:
        with torch.autocast(inputs.device.type, enabled=False):
            return forward(inputs.float())

    layer.forward = whole  # type: ignore[method-assign]


def wait_for(device: str) -> None:
    """Block until the device is idle, so that a clock sees finished work."""
    if device == "cuda":
        torch.cuda.synchronize()
    elif device == "mps":
        torch.mps.synchronize()


@functools.cache
def keep_freed_memory() -> None:
    """Tell glibc to keep large freed blocks for the next step instead of returning them to the system.

    Every step frees and asks for the same buffers, 47 MB for the gradient of one embedding table.
    Returned and mapped anew they cost a page fault per 4 KB (`benchmarks/keep_memory.py`). Changes no number.
    """
    _set_allocator(mmap_max=0, trim_threshold=2**31 - 1)


def return_freed_memory() -> None:
    """Tell glibc the opposite, for the rest of this process: who computes layers twice is short of memory, not of time.

    Kept blocks leave holes that no block of the same size fits into again (glibc before 2.38 aligns each anew), up
    to as much as all that is in use (docs/studies/memory.md).
    """
    keep_freed_memory()  # is then done, and nobody does it later
    _set_allocator(mmap_max=2**16, mmap_threshold=2**17, trim_threshold=2**17)


def keep_few_kernels() -> None:
    """Tell oneDNN, which multiplies in bf16, to keep the kernels of the last shapes instead of the last 1,024.

    It compiles some for each length of a batch, 0.3 MB each, which stay in the heap between what a step frees: half of
    a training's memory for a few per cent of its time. Both caches read the environment once, at a process's first
    product, and who has set these variables keeps them. Measured in docs/studies/memory.md.
    """
    for name in KEPT_KERNELS:
        os.environ.setdefault(name, str(_KERNELS))


def _set_allocator(**options: int) -> None:
    """glibc's `mallopt`; nothing elsewhere."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        for name, value in options.items():
            mallopt(_MALLOPT[name], value)


def is_encoder(model: Any) -> bool:
    """Whether the model reads both texts of a pair as one sequence; students read them apart."""
    return not getattr(model.config, "reads_pairs_apart", False)


def model_precision(model: Any, name: str, device: str) -> str:
    """The precision that a setting means for this model; UserError if the model or the device cannot do it."""
    return resolve_precision(name, device, encoder=is_encoder(model), model_type=model.config.model_type)
