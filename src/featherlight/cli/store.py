"""Commands about the store itself."""

from pathlib import Path
from typing import Annotated

import typer

from featherlight.cli.app import JsonOption, StoreOption, store_app


@store_app.command("list")
def store_list(store: StoreOption = Path("runs"), as_json: JsonOption = False) -> None:
    """What a store holds."""
    from featherlight.commands.results import store_entries

    store_entries(store, as_json=as_json)


@store_app.command("remove")
def store_remove(
    names: Annotated[list[str], typer.Argument(help="Results by name.")],
    store: StoreOption = Path("runs"),
    as_json: JsonOption = False,
) -> None:
    """Delete results by name."""
    from featherlight.commands.results import removed
    from featherlight.store.entries import remove

    removed(remove(store, names), as_json=as_json)


@store_app.command("gc")
def store_gc(store: StoreOption = Path("runs"), as_json: JsonOption = False) -> None:
    """Delete unfinished work that nobody is at, and teacher logits that nothing here uses any more."""
    from featherlight.commands.results import removed
    from featherlight.store.entries import collect_garbage

    removed(collect_garbage(store), as_json=as_json)
