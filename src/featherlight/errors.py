"""What a user can meet when something is wrong: one class, one helper for unknown names."""

import difflib
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

_T = TypeVar("_T")
_MOST_NAMES, _MOST_LETTERS = 20, 100
_EXTRAS = {  # packages that the base installation lacks -> the extra that brings them
    **dict.fromkeys(("torch", "transformers", "tokenizers", "accelerate", "datasets", "safetensors"), "train"),
    **dict.fromkeys(("pandas", "pyarrow", "filelock"), "train"),
    **dict.fromkeys(("onnx", "onnxruntime"), "onnx"),
    "matplotlib": "report",
    "ray": "ray",
    **dict.fromkeys(("mlflow", "wandb", "tensorboard", "trackio"), "track"),
    **dict.fromkeys(("optuna", "sqlalchemy", "psycopg"), "search"),
    **dict.fromkeys(("statsmodels", "sklearn", "scipy"), "analyze"),
}


class UserError(Exception):
    """Something the user can put right; the message says what, where and how."""


def nearest(name: str, known: Iterable[str]) -> str:
    """ "Did you mean 'x'? " for the closest known name, or an empty string."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"Did you mean {near[0]!r}? " if near else ""


def shortened(text: str) -> str:
    """One line of at most a hundred characters."""
    line = " ".join(text.split())
    return line if len(line) <= _MOST_LETTERS else line[: _MOST_LETTERS - 1] + "…"


def listed(names: Collection[str]) -> str:
    """The names with commas: of many the first twenty and how many there are; long ones shortened."""
    first = ", ".join(shortened(name) for name in list(names)[:_MOST_NAMES])
    return first if len(names) <= _MOST_NAMES else f"{first}, … ({len(names):,} in all)"


def unknown(kind: str, name: object, known: Iterable[str]) -> str:
    """The message about an unknown name: it offers the nearest name and the full list."""
    return f"no {kind} called {name!r}. {nearest(str(name), known)}Known: {', '.join(sorted(known))}."


def pick(kind: str, name: str, known: Mapping[str, _T]) -> _T:
    """known[name], or a UserError that offers the nearest name and the full list."""
    if name in known:
        return known[name]
    raise UserError(unknown(kind, name, known))


def missing_extra(package: str, extra: str) -> UserError:
    """The error for an optional dependency that is not installed, with the command that brings it."""
    return UserError(f"this needs the package {package!r}. Install it with: pip install 'featherlight[{extra}]'")


@contextmanager
def naming_extras() -> Iterator[None]:
    """Raise `missing_extra` where an optional dependency turns out to be missing. Also a decorator."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name not in _EXTRAS:
            raise
        raise missing_extra(error.name, _EXTRAS[error.name]) from None
