"""Reads a table or a file of aspect terms by its ending: the one place that knows every reader."""

from collections.abc import Callable, Mapping
from pathlib import Path

from featherlight.data.aspects import read_aspects
from featherlight.data.tables import Table, read_csv, read_jsonl, read_parquet, read_tsv
from featherlight.errors import UserError

READERS: Mapping[str, Callable[[Path], Table]] = {
    ".csv": read_csv,
    ".tsv": read_tsv,
    ".jsonl": read_jsonl,
    ".parquet": read_parquet,
    ".xml": read_aspects,
    ".seg": read_aspects,
}


def read_table(path: Path) -> Table:
    """A file with one of these endings; UserError names file, place and remedy."""
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise UserError(f"{path}: unknown kind of file. Use one of {', '.join(READERS)}.")
    return reader(path)
