"""Tables as Markdown."""

import re

from featherlight.reports.tables import Table


def to_markdown(shown: Table) -> str:
    """A table and its notes in Markdown; whatever Markdown would read as its own is escaped."""
    rule = [":--" if place < shown.words else "--:" for place in range(len(shown.columns))]
    lines = [shown.columns, rule, *shown.rows]
    text = "\n".join("| " + " | ".join(quote(cell) for cell in line) + " |" for line in lines)
    return "\n\n".join([text, *(quote(note) for note in shown.notes)]) + "\n"


def quote(cell: str) -> str:
    """Text that means nothing in Markdown but itself."""
    return re.sub(r"([\\|<>`*_])", r"\\\1", " ".join(cell.split()))
