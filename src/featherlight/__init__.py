"""Featherlight: takes a text task and a pre-trained encoder and finds the model that you should ship.

Importing this package loads nothing heavy: each name is looked up when it is asked for. `load` opens a packed model
with numpy alone; `featherlight.models` makes the students known to transformers. `__init__.pyi` has the signatures.
"""

from importlib import import_module
from typing import Any

_HOMES = {
    **dict.fromkeys(("distill", "evaluate", "finetune", "pack", "prune", "quantize", "Result"), "featherlight.api"),
    "load": "featherlight.inference.open",
    "UserError": "featherlight.errors",
}
__all__ = ["Result", "UserError", "__version__", "distill", "evaluate", "finetune", "load", "pack", "prune", "quantize"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    if name == "__version__":
        from importlib.metadata import version

        return version("featherlight")
    raise AttributeError(f"module 'featherlight' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
