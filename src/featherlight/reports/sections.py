"""What a report is made of: sections with sentences, doubts, tables of raw cells and figures."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Cell = str | int | float | None
VALUE = "value"  # the column of a table whose lines have names


@dataclass(frozen=True)
class Sheet:
    """A table of raw cells. words: how many columns from the left hold words."""

    columns: tuple[str, ...]
    rows: Sequence[Sequence[Cell]]
    words: int = 1


@dataclass(frozen=True)
class Section:
    """A heading, what it is about, why not to believe it, tables by caption, and figures, drawn when asked for."""

    heading: str
    about: str
    doubts: Sequence[str] = ()
    tables: Mapping[str, Sheet] = field(default_factory=dict)
    figures: Mapping[str, Callable[[], "Figure"]] = field(default_factory=dict)
