"""Files with rows and columns in, `Table` out: CSV, TSV, JSONL, Parquet, aspect terms. Knows no task.

CSV is read with double quotes, TSV without any quoting, both with a header line, all as UTF-8.
"""

import codecs
import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from featherlight.errors import UserError, missing_extra, nearest


@dataclass(frozen=True)
class Table:
    """A file's columns, all of one length; places names each row for messages ("line 7")."""

    path: Path
    columns: Mapping[str, Sequence[Any]]
    places: Sequence[str]

    def __len__(self) -> int:
        return len(self.places)

    def column(self, name: str) -> Sequence[Any]:
        """The values of a column, or a UserError that offers the nearest name."""
        if name in self.columns:
            return self.columns[name]
        hint = nearest(name, self.columns)
        raise UserError(f"{self.path}: no column called {name!r}. {hint}Columns: {', '.join(self.columns)}.")

    def complaint(self, row: int, what: str) -> UserError:
        """An error about one row, by file and place."""
        return UserError(f"{self.path}, {self.places[row]}: {what}")


def read_table(path: Path) -> Table:
    """A .csv, .tsv, .jsonl or .parquet file; UserError names file, place and remedy."""
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise UserError(f"{path}: unknown kind of file. Use one of {', '.join(READERS)}.")
    return reader(path)


def read_text(path: Path) -> str:
    """A UTF-8 file's text without its byte-order mark; UserError if missing, empty or not UTF-8."""
    if not path.is_file():
        raise UserError(f"{path}: no such file.")
    data = path.read_bytes().removeprefix(codecs.BOM_UTF8)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UserError(f"{path}, line {line}: not UTF-8 (byte 0x{data[error.start]:02x}). Save it as UTF-8.") from None
    if not text.strip():
        raise UserError(f"{path}: the file is empty.")
    return text


def read_csv(path: Path, *, header: Sequence[str] | None = None) -> Table:
    """Comma-separated cells in double quotes where they need them; the first record names the columns.

    header: the columns' names, for a file that has no header line.
    """
    text = read_text(path)
    records = []
    with large_cells():
        reader = csv.reader(io.StringIO(text, newline=""), strict=True)
        line = 1
        try:
            for cells in reader:
                if cells:
                    records.append((line, cells))
                line = reader.line_num + 1
        except csv.Error as error:
            raise UserError(
                f"{path}, line {line}: broken quotes ({error}). A cell with commas, quotes or line breaks "
                'stands in double quotes, and a quote inside it is doubled: "say ""yes"", please".'
            ) from None
    return table_of(path, records.pop(0)[1] if header is None else header, records)


@contextmanager
def large_cells() -> Iterator[None]:
    """Lift the csv module's limit on a cell's length, and put it back."""
    before = csv.field_size_limit(2**31 - 1)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def read_tsv(path: Path, *, header: Sequence[str] | None = None, skip_short: bool = False) -> Table:
    """Cells between tabs, quotes being ordinary letters.

    header: the columns' names, for a file that has no header line.
    skip_short: leave out rows with too few cells instead of raising UserError.
    """
    lines = enumerate(read_text(path).split("\n"), start=1)
    records = [(number, line.removesuffix("\r").split("\t")) for number, line in lines if line.strip("\r")]
    names = records.pop(0)[1] if header is None else header
    if skip_short:
        records = [(number, cells) for number, cells in records if len(cells) >= len(names)]
    return table_of(path, names, records)


def table_of(path: Path, names: Sequence[str], records: Sequence[tuple[int, Sequence[str]]]) -> Table:
    """Records, each with its line, as columns; UserError if there are none or one is ragged."""
    names = distinct(path, [name.strip() for name in names])
    if not records:
        raise UserError(f"{path}: there is a header but no row below it.")
    for line, cells in records:
        if len(cells) != len(names):
            raise UserError(f"{path}, line {line}: {len(cells)} cells, but the header names {len(names)} columns.")
    columns = zip(*(cells for _, cells in records), strict=True)
    return Table(path, dict(zip(names, columns, strict=True)), [f"line {line}" for line, _ in records])


def distinct(path: Path, names: Sequence[str]) -> Sequence[str]:
    """The names, or a UserError if two columns share one."""
    for position, name in enumerate(names):
        if name in names[:position]:
            raise UserError(f"{path}: two columns are called {name!r}. Rename one of them.")
    return names


def read_jsonl(path: Path) -> Table:
    """One JSON object per line; a key that a line lacks counts as null there."""
    records, places = [], []
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            pairs = json.loads(line, object_pairs_hook=tuple)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{path}, line {number}: not valid JSON ({error}).") from None
        if not line.lstrip().startswith("{"):
            raise UserError(f'{path}, line {number}: not a JSON object. Each line must be one, as {{"text": ...}}.')
        distinct(path, [key for key, _ in pairs])
        records.append(dict(pairs))
        places.append(f"line {number}")
    names = dict.fromkeys(key for record in records for key in record)
    return Table(path, {name: [record.get(name) for record in records] for name in names}, places)


def read_parquet(path: Path) -> Table:
    """All columns of a Parquet file as Python values."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise missing_extra("pyarrow", "train") from None
    if not path.is_file():
        raise UserError(f"{path}: no such file.")
    try:
        table = parquet.ParquetFile(path).read()
    except (pyarrow.ArrowException, OSError) as error:
        raise UserError(f"{path}: not a readable Parquet file ({error}).") from None
    names = distinct(path, table.column_names)
    if not table.num_rows:
        raise UserError(f"{path}: the file has no rows.")
    columns = {name: table.column(index).to_pylist() for index, name in enumerate(names)}
    return Table(path, columns, [f"row {index + 1}" for index in range(table.num_rows)])


def read_aspects(path: Path) -> Table:
    """Aspect terms in their sentences, from SemEval-14's .xml or from .seg: see `data.aspects`."""
    from featherlight.data import aspects  # which needs Table

    return aspects.read_aspects(path)


READERS: Mapping[str, Callable[[Path], Table]] = {
    ".csv": read_csv,
    ".tsv": read_tsv,
    ".jsonl": read_jsonl,
    ".parquet": read_parquet,
    ".xml": read_aspects,
    ".seg": read_aspects,
}
