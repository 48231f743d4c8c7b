"""What a stage is: its settings, what it reads and makes, how it runs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from featherlight.config import Settings
from featherlight.kinds import Kind, Kinds

Inputs = Mapping[str, Path]


@dataclass(frozen=True)
class Stage:
    """One kind of work.

    version: bumped by hand when the stage's meaning changes, so that old results are not taken for new.
    sources: settings -> content hashes of what the stage reads besides its inputs (data, weights).
    identity: (settings, inputs, their kinds) -> what of them can change the result, with every `auto` resolved. The
    inputs may still be to come; what they will hold is known by their kinds.
    run: (settings, inputs, out) -> the stage's part of the record; writes its files into out.
    makes: (settings, kinds of the inputs) -> what the finished folder holds.
    inputs: the roles of the model folders that a user names.
    check: (settings, inputs, kinds) raises UserError for what cannot work, before anything is computed.
    """

    name: str
    version: int
    settings: type[Settings]
    sources: Callable[[Any], Mapping[str, str]]
    identity: Callable[[Any, Inputs, Kinds], Mapping[str, Any]]
    run: Callable[[Any, Inputs, Path], dict[str, Any]]
    makes: Callable[[Any, Kinds], Kind]
    inputs: tuple[str, ...] = ()
    check: Callable[[Any, Inputs, Kinds], None] = lambda settings, inputs, kinds: None
