"""What a report is made of: sections of sentences, doubts, tables and figures. Knows no Markdown, HTML or terminal."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from featherlight.analysis.statistics import SMALLEST_P, probability

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Cell = str | int | float | None
BELIEVE = "Before you believe a number"  # what stands over doubts
VALUE = "value"  # the column of a table whose lines have names
NOTHING = "–"  # what stands where a number is not known
_QUANTITY = re.compile(rf"[<+-]? ?\d|[-{NOTHING}]?$")  # how a text begins that is a number, or nothing
_P_VALUE = re.compile(r"(^|[ _])p($| of )")  # in the name of a column, or of a line of values, that holds p-values


@dataclass(frozen=True)
class Table:
    """Cells as numbers or as ready-made words. notes: what to know of them. tinted: by the share of its row."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    notes: Sequence[str] = ()
    tinted: bool = False

    @property
    def words(self) -> list[bool]:
        """For each column whether it holds words, which stand to the left, or numbers.

        A number may be text already: "22.7 M", "+0.3 to +0.9"; but not in the first column, which names the row.
        """
        return [
            any(isinstance(row[place], str) and not (place and _QUANTITY.match(str(row[place]))) for row in self.rows)
            for place in range(len(self.columns))
        ]

    def texts(self) -> list[list[str]]:
        """The cells as they are read: numbers with about four digits."""
        return [
            [cell_text(cell, p=bool(_P_VALUE.search(str(row[0]) if name == VALUE else name)))
             for name, cell in zip(self.columns, row, strict=True)]
            for row in self.rows
        ]  # fmt: skip


@dataclass(frozen=True)
class Section:
    """A heading, what it says, why not to believe it, tables by caption, and figures, drawn when asked for.

    brief: a terminal shows it. folded: details, which a page folds away and Markdown leaves out, but for its figures.
    """

    heading: str
    text: str = ""
    doubts: Sequence[str] = ()
    tables: Mapping[str, Table] = field(default_factory=dict)
    figures: Mapping[str, Callable[[], "Figure"]] = field(default_factory=dict)
    brief: bool = True
    folded: bool = False


def table_of(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Rows with equal keys, which become the columns."""
    return Table(tuple(rows[0]) if rows else (), [tuple(row.values()) for row in rows])


def count_doubts(sections: Sequence[Section]) -> str:
    """One sentence: how many cautions there are, and where."""
    counts = {section.heading: len(section.doubts) for section in sections if section.doubts}
    if not counts:
        return "No assumption was found broken."
    where = ", ".join(f"{heading} ({count})" for heading, count in counts.items())
    total = sum(counts.values())
    return f"{total} caution{'' if total == 1 else 's'} below, beside the numbers concerned: {where}."


def cell_text(cell: Cell, *, p: bool = False) -> str:
    """ "1,062.1", "0.9598", "5.53e-46", a dash where there is nothing; a p-value that underflowed: "< 1e-300"."""
    if cell is None:
        return NOTHING
    if isinstance(cell, str):
        return cell
    if isinstance(cell, int):
        return f"{cell:,}"
    if p and cell < SMALLEST_P:
        return probability(cell)
    if 1000 <= abs(cell) < 1e6:
        return f"{cell:,.1f}"
    return f"{cell:.4g}" if cell == 0 or abs(cell) >= 1e-3 else f"{cell:.3g}"
