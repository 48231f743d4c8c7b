"""Commands about the store itself."""

from typing import Annotated

import typer

from featherlight.cli.app import RUNS, JsonOption, StoreOption, store_app


@store_app.command("list")
def store_list(store: StoreOption = RUNS, as_json: JsonOption = False) -> None:
    """List the results in a store."""
    from featherlight.commands.results import store_entries

    store_entries(store, as_json=as_json)


@store_app.command("remove")
def store_remove(
    names: Annotated[list[str], typer.Argument(help="Names of results, as `store list` prints them.")],
    store: StoreOption = RUNS,
    as_json: JsonOption = False,
) -> None:
    """Delete results by name."""
    from featherlight.commands.results import removed
    from featherlight.store.entries import remove

    removed(remove(store, names), as_json=as_json)


@store_app.command("gc")
def store_gc(store: StoreOption = RUNS, as_json: JsonOption = False) -> None:
    """Delete unfinished results that no process works on, and teacher logits that no result uses any more."""
    from featherlight.commands.results import removed
    from featherlight.store.entries import collect_garbage

    removed(collect_garbage(store), as_json=as_json)
