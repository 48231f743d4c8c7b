"""`report` and `store`: every record of a store as tables, and what a store holds."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from featherlight.commands.console import print_json
from featherlight.commands.stage import show_records
from featherlight.errors import UserError
from featherlight.reports.terminal import print_rows
from featherlight.store.entries import entries


def report(store: Path, *, html: Path | None, markdown: Path | None, as_json: bool) -> None:
    """Every record under a store; as a page and as Markdown where they are asked for."""
    from featherlight.reports.results import write_report
    from featherlight.store.records import collect

    records = collect(store)
    pages = {kind: str(path) for kind, path in (("html", html), ("markdown", markdown)) if path is not None}
    try:
        if pages:
            write_report(records, html=html, markdown=markdown, title=f"Results in {store.name}")
    except OSError as error:
        raise UserError(f"{' or '.join(pages.values())}: cannot be written ({error.strerror}). Name a file.") from None
    if as_json:
        return print_json({"records": records, **pages})
    show_records(records)
    for path in pages.values():
        print(path)


def store_entries(store: Path, *, as_json: bool) -> None:
    """What a store holds."""
    rows = entries(store)
    if as_json:
        return print_json({"entries": rows})
    if not rows:
        return print(f"{store} is empty")
    print_rows(rows)


def removed(names: Sequence[str], *, as_json: bool) -> None:
    """What was deleted."""
    if as_json:
        return print_json({"removed": list(names)})
    print("removed: " + (shlex.join(names) or "nothing"))
