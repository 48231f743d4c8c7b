"""The commands `report` and `store`: every record of a store as tables, and the results in it."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from featherlight.commands.console import print_json
from featherlight.errors import UserError
from featherlight.reports.results import print_tables, write_report
from featherlight.reports.terminal import print_rows
from featherlight.store.entries import entries
from featherlight.store.records import collect


def report(store: Path, *, html: Path | None, markdown: Path | None, as_json: bool) -> None:
    """Every record in a store as tables; as HTML and Markdown, too, where files are named."""
    records = collect(store)
    pages = {kind: str(path) for kind, path in (("html", html), ("markdown", markdown)) if path is not None}
    try:
        if pages:
            write_report(records, html=html, markdown=markdown, title=f"Results in {store.name}")
    except OSError as error:
        raise UserError(f"{' or '.join(pages.values())}: cannot be written ({error.strerror}). Name a file.") from None
    if as_json:
        return print_json({"records": records, **pages})
    print_tables(records)
    for path in pages.values():
        print(path)


def store_entries(store: Path, *, as_json: bool) -> None:
    """The results in a store."""
    rows = entries(store)
    if as_json:
        return print_json({"entries": rows})
    print_rows(rows) if rows else print(f"{store} is empty")


def removed(names: Sequence[str], *, as_json: bool) -> None:
    """The names of deleted results."""
    if as_json:
        return print_json({"removed": list(names)})
    print("removed: " + (shlex.join(names) or "nothing"))
