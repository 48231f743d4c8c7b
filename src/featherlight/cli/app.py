"""The application that the commands belong to, and options that several of them have."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(
    add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None,
    help="Takes a text task and a pre-trained encoder and finds the model that you should ship.",
)  # fmt: skip
store_app = typer.Typer(no_args_is_help=True, help="List, remove or garbage-collect results.")
app.add_typer(store_app, name="store")


Values = Mapping[str, Any]  # the settings that were given, by name
RUNS = Path("runs")  # the default store
StoreOption = Annotated[Path, typer.Option("--store", help="Folder that keeps every result.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output, nothing else.")]
WorkersOption = Annotated[int, typer.Option(help="Worker processes; the cores are shared among them.", min=1)]
IsolateOption = Annotated[
    bool, typer.Option("--isolate", help="A new process for each result, so that peak memory can be compared.")
]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Print the plan and its predicted cost; run nothing.")]
WattsOption = Annotated[float | None, typer.Option(help="Power of the machine in watts. [default: 65]", min=0)]
PriceOption = Annotated[float, typer.Option(help="Price of a kilowatt-hour.", min=0)]
GridOption = Annotated[float, typer.Option(help="Grams of CO2 per kilowatt-hour; 480: world average of 2023.", min=0)]


def drop_output() -> None:
    """Discard what is still buffered for standard output, because it cannot be written."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
