"""What every command prints with: one JSON object for programs, aligned rows for people. Standard output only."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from featherlight.reports.tables import WIDTH_OF_PLAIN_OUTPUT


def print_json(value: Any) -> None:
    """One JSON object on one line."""
    print(json.dumps(value, ensure_ascii=False, allow_nan=False))


def print_rows(rows: Sequence[Mapping[str, object]]) -> None:
    """Aligned columns, numbers to the right; one row per mapping, all with equal keys."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD)
    for name in rows[0] if rows else ():
        numeric = all(isinstance(row[name], int | float) for row in rows)
        table.add_column(str(name), justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        # Text: a name in brackets would be read as a style.
        table.add_row(*(Text(f"{value:,}" if isinstance(value, int) else str(value)) for value in row.values()))
    Console(width=None if Console().is_terminal else WIDTH_OF_PLAIN_OUTPUT).print(table)
