"""Featherlight: takes a text task and a pre-trained encoder and finds the model that you should ship.

Importing this package loads nothing heavy. `load` opens a packed model with numpy alone; `featherlight.models`
registers the students with transformers.
"""

from typing import Any


def __getattr__(name: str) -> Any:
    """`featherlight.load` and `featherlight.__version__`, looked up when they are asked for."""
    if name == "load":
        from featherlight.runtime.model import load

        return load
    if name == "__version__":
        from importlib.metadata import version

        return version("featherlight")
    raise AttributeError(f"module 'featherlight' has no attribute {name!r}")
