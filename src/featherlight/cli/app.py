"""The application that the commands belong to, and options that several of them have."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None,
    help="Takes a text task and a pre-trained encoder and finds the model that you should ship.",
)  # fmt: skip
store_app = typer.Typer(no_args_is_help=True, help="List, remove or tidy up results.")
app.add_typer(store_app, name="store")


StoreOption = Annotated[Path, typer.Option("--store", help="Folder that keeps every result.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output, nothing else.")]
DataOption = Annotated[
    Path | None, typer.Option("--data", envvar="FEATHERLIGHT_DATA", help="Root folder of local data sets.")
]
WorkersOption = Annotated[int, typer.Option(help="Processes at a time; the cores are shared among them.", min=1)]
IsolateOption = Annotated[
    bool, typer.Option("--isolate", help="A process for each result, which makes peaks of memory comparable.")
]
WattsOption = Annotated[float | None, typer.Option(help="Power of the machine. [default: 65]", min=0)]
PriceOption = Annotated[float, typer.Option(help="Of a kilowatt-hour.", min=0)]
GridOption = Annotated[float, typer.Option(help="Grams of CO2 a kilowatt-hour; 480: the world in 2023.", min=0)]


def drop_output() -> None:
    """Forget what standard output still holds, for it cannot be written."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
