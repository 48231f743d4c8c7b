"""What a user can meet when something is wrong: one class, one helper for unknown names."""

import difflib
from collections.abc import Mapping
from typing import TypeVar

T = TypeVar("T")


class UserError(Exception):
    """Something the user can put right; the message says what, where and how."""


def nearest(name: str, known: Mapping[str, object]) -> str:
    """ "Did you mean 'x'? " for the closest known name, or an empty string."""
    near = difflib.get_close_matches(name, known, n=1)
    return f"Did you mean {near[0]!r}? " if near else ""


def pick(kind: str, name: str, known: Mapping[str, T]) -> T:
    """known[name], or a UserError that offers the nearest name and the full list."""
    if name in known:
        return known[name]
    raise UserError(f"no {kind} called {name!r}. {nearest(name, known)}Known: {', '.join(sorted(known))}.")


def missing_extra(package: str, extra: str) -> UserError:
    """The error for an optional dependency that is not installed, with the command that brings it."""
    return UserError(f"this needs the package {package!r}. Install it with: pip install 'featherlight[{extra}]'")
