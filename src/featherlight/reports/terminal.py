"""Tables and sections as text for a terminal."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from featherlight.reports.results import tables_of
from featherlight.reports.sections import Section
from featherlight.reports.tables import WIDTH_OF_PLAIN_OUTPUT, Table
from featherlight.reports.writer import BRIEF, shown
from featherlight.store.records import Record

if TYPE_CHECKING:
    from rich.console import Console, JustifyMethod
    from rich.table import Table as RichTable

MANY = 500  # rows


def print_tables(records: Sequence[Record], *, reference: str | None = None, headline: bool = False) -> None:
    """All runs, and the summary over seeds where there are several, on standard output.

    headline: the short table of the quickstart in place of the one of all runs.
    """
    from rich.console import Console

    console = Console(width=None if Console().is_terminal else WIDTH_OF_PLAIN_OUTPUT)
    tables = tables_of(records, reference=reference, headline=headline)
    for heading, one in tables.items():
        if len(tables) > 2:  # several tasks
            console.print(f"\n{heading}", style="bold", markup=False, highlight=False)
        print_table(one, console)


def print_table(shown: Table, console: "Console") -> None:
    """A table and its notes on a terminal; too narrow a terminal breaks lines but loses no column."""
    if len(shown.rows) > MANY:  # rich would take seconds over them
        print(_to_plain(shown))
    else:
        drawn = _to_terminal(shown, width=console.width)
        console.print(drawn, width=max(console.width, console.measure(drawn).minimum), crop=False, no_wrap=True)
    for note in shown.notes:
        console.print(note, style="dim", markup=False, highlight=False)


def _to_plain(shown: Table) -> str:
    """A table as aligned lines, however wide."""
    lines = [shown.columns, *shown.rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    lines.insert(1, tuple("─" * width for width in widths))
    return "\n".join(
        "  ".join(
            cell.ljust(width) if place < shown.words else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def _to_terminal(shown: Table, *, width: int) -> "RichTable":
    """A table for rich; where all would be wider than width, intervals go below their values.

    Cells are plain text: in "89.9 [87.8, 91.7]" rich would look for a style.
    """
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    folded = sum(max(map(len, column)) + 2 for column in zip(*shown.rows, strict=True)) > width
    lines = [[cell.replace(" [", "\n[") if folded else cell for cell in line] for line in shown.rows]
    drawn = RichTable(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for place, heading in enumerate(shown.columns):
        justify: JustifyMethod = "left" if place < shown.words else "right"
        # Headings and names may break between words, other cells only where they are folded.
        parts = [part for line in lines for part in (line[place].split() if place == 0 else line[place].splitlines())]
        drawn.add_column(Text(heading), justify=justify, min_width=max(map(len, [*heading.split(), *parts])))
    for line in lines:
        drawn.add_row(*(Text(cell) for cell in line))
    return drawn


def print_report(sections: Sequence[Section]) -> None:
    """The tables that answer first, with their doubts, on standard output."""
    from rich.console import Console

    console = Console(width=None if Console().is_terminal else WIDTH_OF_PLAIN_OUTPUT)
    for section in sections:
        if section.heading in BRIEF:
            _print_section(section, console)


def _print_section(section: Section, console: "Console") -> None:
    """A section without its explanation and comparisons of pairs."""
    for says, sheet in section.tables.items():
        if not says.startswith("Each level of"):
            console.print(f"\n{section.heading}: {says}", style="bold", markup=False, highlight=False)
            print_table(shown(sheet), console)
    for doubt in section.doubts:
        console.print(f"! {doubt}", markup=False, highlight=False)
