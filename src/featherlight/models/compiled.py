"""A model made faster in place by torch.compile; its weights keep their names. Knows no task."""

import sysconfig
from pathlib import Path

import torch
import torch._dynamo
from torch import nn

from featherlight.errors import UserError

_VARIANTS = 32  # one text or several, training or not, one thread or all: each is compiled on its own


def compile_in_place(model: nn.Module, device: str) -> None:
    """Compile the forward and backward pass at the next call, once for all lengths of text.

    Raises UserError at once if what compiles is missing here. Dropout then draws other numbers of the same seed.
    """
    missing = missing_tool(device)
    if missing:
        raise UserError(f"--compile: torch.compile does not work here: {missing}, or leave --compile out.")
    torch._dynamo.config.recompile_limit = _VARIANTS
    model.compile(dynamic=True)


def missing_tool(device: str) -> str | None:
    """What torch.compile lacks on this machine and how to get it; None if it has all it needs."""
    if device == "cuda":
        from torch.utils._triton import has_triton

        return None if has_triton() else "Triton is missing, which writes GPU code. Run `pip install triton`"
    if device != "cpu":
        return None
    # CPU code is C++ that includes Python's own headers.
    from torch._inductor import exc
    from torch._inductor.cpp_builder import get_cpp_compiler

    try:
        get_cpp_compiler()
    except (exc.InvalidCxxCompiler, RuntimeError):
        return "there is no C++ compiler. Install one (`apt install g++`), or name it in the variable CXX"
    headers = Path(sysconfig.get_path("include")) / "Python.h"
    return None if headers.exists() else f"{headers} is missing. Install Python's headers (`apt install python3-dev`)"
