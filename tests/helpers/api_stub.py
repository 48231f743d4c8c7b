"""Writes `featherlight/__init__.pyi`, in which editors and mypy see every setting of every function.

    PYTHONPATH=src:tests python -m helpers.api_stub

writes it anew after a setting has changed; a test says when that is due.
"""

import inspect
import textwrap
from os import PathLike
from pathlib import Path
from types import UnionType
from typing import Any, Literal, get_args, get_origin

import featherlight

STUB = Path(featherlight.__file__).with_suffix(".pyi")
FUNCTIONS = ("finetune", "distill", "prune", "quantize", "pack", "evaluate")
WIDTH = 112
HEAD = '''"""Featherlight as a library. Made of the settings classes by tests/helpers/api_stub.py; do not edit."""

# fmt: off
from os import PathLike
from typing import Literal

from featherlight.api import Result as Result
from featherlight.errors import UserError as UserError
from featherlight.inference.open import load as load

__all__ = [{names}]
__version__: str
'''


def stub() -> str:
    """The text of the file."""
    names = textwrap.fill(", ".join(f'"{name}"' for name in sorted(featherlight.__all__)), 105)
    head = HEAD.replace("{names}", names.replace("\n", "\n           "))
    return "\n\n".join([head, *(written(name) for name in FUNCTIONS)])


def written(name: str) -> str:
    """One function: its signature, and its docstring without the list of settings."""
    function = getattr(featherlight, name)
    parameters = list(inspect.signature(function).parameters.values())
    first = next(i for i, p in enumerate(parameters) if p.kind is inspect.Parameter.KEYWORD_ONLY)
    parts = [shown(parameter) for parameter in parameters]
    parts.insert(first, "*")
    unbroken = ", ".join(part if len(part) > WIDTH else part.replace(" ", "\0") for part in parts)
    lines = textwrap.indent("\n".join(textwrap.wrap(unbroken, WIDTH, break_on_hyphens=False)), "    ")
    doc = str(function.__doc__).split("\n\n    Settings:")[0]
    return f'def {name}(\n{lines.replace(chr(0), " ")},\n) -> Result:\n    """{doc}\n    """\n'


def shown(parameter: inspect.Parameter) -> str:
    """A parameter with its type and default."""
    default = parameter.default
    value = "" if default is inspect.Parameter.empty else f" = {default!r}".replace("'", '"')
    return f"{parameter.name}: {typed(parameter.annotation)}{value}"


def typed(annotation: Any) -> str:
    """A type as one writes it; where a path is taken a string will do, and 4 for "4"."""
    if get_origin(annotation) is Literal:
        choices = get_args(annotation)
        number = "int | " if any(str(choice).isdigit() for choice in choices) else ""
        return number + "Literal[" + ", ".join(f'"{choice}"' for choice in choices) + "]"
    if get_origin(annotation) is tuple:
        return f"tuple[{', '.join(typed(one) for one in get_args(annotation))}]"
    if annotation is Path or get_origin(annotation) is PathLike:
        return "str | PathLike[str]"
    if isinstance(annotation, UnionType) or get_args(annotation):
        return " | ".join(dict.fromkeys(part for one in get_args(annotation) for part in typed(one).split(" | ")))
    return "None" if annotation in (None, type(None)) else annotation.__name__


if __name__ == "__main__":
    STUB.write_text(stub(), encoding="utf-8")
