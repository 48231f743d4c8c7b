"""Models and folders in, counts and bytes out. Imports no torch."""

import contextlib
import ctypes
import gc
import re
import resource
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from featherlight.errors import UserError

if TYPE_CHECKING:
    from torch import nn

_SIZES = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}
_WEIGHTS = ("model*.safetensors", "model.safetensors.index.json", "model.light", "model.onnx", "adapter.safetensors")
CONFIG = ("config.json", "generation_config.json", "configuration_*.py", "modeling_*.py")
TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
             "chat_template.jinja", "vocab.*", "merges.txt", "*.model", "tokenization_*.py",
             )  # fmt: skip


def parameters(model: "nn.Module") -> int:
    """The number of trained numbers in a model; a tensor that is used twice counts once."""
    return sum(tensor.numel() for tensor in {id(tensor): tensor for tensor in model.parameters()}.values())


def folder_bytes(folder: Path, *, patterns: Iterable[str] = _WEIGHTS + CONFIG + TOKENIZER) -> int:
    """Bytes of the files directly in a checkpoint folder that are needed to load it and predict.

    Counted are weights, config and tokenizer by their Hugging Face names; records, predictions,
    logs, checkpoints of a run and hidden files are not. A linked file counts with its full size. A
    model in one file (.light) has that file's bytes.
    """
    if folder.is_file():
        return folder.stat().st_size
    needed = {path for pattern in patterns for path in folder.glob(pattern) if not path.name.startswith(".")}
    return sum(path.stat().st_size for path in needed)


def bytes_of(text: str, *, option: str) -> int:
    """ "100KB" -> 100000; KB, MB and GB are thousands, KiB, MiB and GiB powers of two. option: for a complaint."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", text)
    if match is None or match[2].upper() not in _SIZES:
        raise UserError(f"--{option} {text!r}: write a size like 100KB, 1.5MB, 64KiB or 4GB.")
    return int(float(match[1]) * _SIZES[match[2].upper()])


def forget_peak_memory() -> None:
    """Start the peak anew, where the system lets a process do so (Linux); elsewhere it counts from the start.

    What earlier work has freed is given back before, where glibc can, for it is no part of what comes.
    """
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None  # glibc alone has it
    if trim is not None:
        trim(0)
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory_bytes() -> int:
    """The most main memory that this process has held at once since `forget_peak_memory`, in bytes."""
    try:
        return status_bytes(Path("/proc/self/status"), "VmHWM")
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024  # macOS counts bytes, others KiB


def status_bytes(status: Path, field: str) -> int:
    """A field of Linux' /proc/PID/status, which is in KiB, in bytes."""
    lines = status.read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:"))


def resident_bytes() -> int:
    """The main memory that this process holds now; where the system does not tell, the most that it has held."""
    try:
        return status_bytes(Path("/proc/self/status"), "VmRSS")
    except OSError:
        return peak_memory_bytes()


def needed_bytes(folder: Path, parameters: int) -> int:
    """Bytes of the files that a model needs; of an adapter with `parameters` in all, its encoder's in fp32 too."""
    from featherlight.models.adapters import read_adapter
    from featherlight.models.source import ADAPTER

    own_bytes = folder_bytes(folder)
    if not (folder / ADAPTER).exists():
        return own_bytes
    _, _, tensors = read_adapter(folder)
    return own_bytes + 4 * (parameters - sum(tensor.numel() for tensor in tensors.values()))
