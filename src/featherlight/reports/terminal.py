"""Sections and tables in, text on standard output out: as wide as the terminal, wide where there is none."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from featherlight.reports.sections import Section, Table, table_of

if TYPE_CHECKING:
    from rich.console import Console

MANY = 500  # rows
_WIDTH_OF_PLAIN_OUTPUT = 200  # columns where no terminal says how wide it is: nothing wraps


def print_sections(sections: Sequence[Section]) -> None:
    """The tables of those sections that are brief, with their doubts; headings where there are several tables."""
    console = _console()
    brief = [section for section in sections if section.brief]
    several = sum(len(section.tables) for section in brief) > 1
    for section in brief:
        for caption, table in section.tables.items():
            if several:
                heading = section.heading if caption == section.heading else f"{section.heading}: {caption}"
                console.print(f"\n{heading}", style="bold", markup=False, highlight=False)
            print_table(table, console)
        for doubt in section.doubts:
            console.print(f"! {doubt}", markup=False, highlight=False)


def print_rows(rows: Sequence[Mapping[str, Any]]) -> None:
    """Rows with equal keys as a table."""
    print_table(table_of(rows))


def print_table(table: Table, console: "Console | None" = None) -> None:
    """A table and its notes; too narrow a terminal breaks lines but loses no column."""
    console = console or _console()
    if len(table.rows) > MANY:  # rich would take seconds over them
        print(_aligned(table))
    elif table.columns:
        _print_fitted(table, console)
    for note in table.notes:
        console.print(note, style="dim", markup=False, highlight=False)


def _console() -> "Console":
    from rich.console import Console

    return Console(width=None if Console().is_terminal else _WIDTH_OF_PLAIN_OUTPUT)


def _aligned(table: Table) -> str:
    lines = [list(table.columns), *table.texts()]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    lines.insert(1, ["─" * width for width in widths])
    return "\n".join(
        "  ".join(
            cell.ljust(width) if words else cell.rjust(width)
            for cell, width, words in zip(line, widths, table.words, strict=True)
        ).rstrip()
        for line in lines
    )


def _print_fitted(table: Table, console: "Console") -> None:
    """A table by rich; where all would be wider than the terminal, words wrap and intervals go below their values.

    Cells are plain text: in "89.9 [87.8, 91.7]" rich would look for a style.
    """
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    texts = table.texts()
    columns = list(zip(*texts, strict=True)) or [()] * len(table.columns)
    folded = sum(max(map(len, column), default=0) + 2 for column in columns) > console.width
    drawn = RichTable(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for heading, column, words in zip(table.columns, columns, table.words, strict=True):
        # Headings and words may break between words, other cells only where they are folded.
        pieces = [piece for cell in column for piece in (cell.split() if words else _folded(cell, folded).splitlines())]
        least = max(map(len, [*heading.split(), *pieces]), default=0)
        drawn.add_column(Text(heading), justify="left" if words else "right", min_width=least)
    for line in texts:
        drawn.add_row(*(Text(_folded(cell, folded)) for cell in line))
    console.print(drawn, width=max(console.width, console.measure(drawn).minimum), crop=False, no_wrap=True)


def _folded(cell: str, folded: bool) -> str:
    """A cell, with an interval on a line of its own if it is to be folded."""
    return cell.replace(" [", "\n[") if folded else cell
