"""What every record says besides its numbers: how long each phase took, and on what machine."""

import functools
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

from featherlight import distributed

_LIBRARIES = ("featherlight", "torch", "transformers", "tokenizers", "accelerate", "datasets", "safetensors", "numpy",
             "onnx", "onnxruntime",
             )  # fmt: skip


def environment() -> dict[str, Any]:
    """Machine, cores, threads, library versions and the commit of this program."""
    import torch

    return {
        "machine": f"{platform.system()} {platform.machine()}, {processor()}",
        "processes": distributed.world_size(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "python": platform.python_version(),
        **{library: version(library) for library in _LIBRARIES},
        "git_commit": _git_commit(),
    }


@functools.cache
def version(library: str) -> str | None:
    """An installed distribution's version; None where it is not installed."""
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return None


def processor() -> str:
    """The processor's name as Linux tells it, elsewhere as Python does."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")


@functools.cache
def _git_commit() -> str | None:
    """The commit that this program was started from, "+" behind it if files differ; None for an installed copy."""
    root = Path(__file__).parents[3]
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--abbrev=40", "--dirty=+", "--exclude=*"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout.strip() or None
