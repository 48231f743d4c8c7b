"""Files with rows and columns in, `Table` out: CSV, TSV, JSONL, Parquet, aspect terms. Knows no task.

CSV is read with double quotes, TSV without any quoting, both with a header line, all as UTF-8.
"""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from featherlight.errors import UserError, listed, missing_extra, nearest, shortened
from featherlight.files import read_bytes

_MOST_COLUMNS = 5000  # more are data in the place of names: one key per value would fill the memory


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
        raise UserError(f"{self.path}: no column called {name!r}. {hint}Columns: {listed(self.columns)}.")

    def complaint(self, row: int, what: str) -> UserError:
        """An error about one row, by file and place."""
        return UserError(f"{self.path}, {self.places[row]}: {what}")


def read_text(path: Path) -> str:
    """A UTF-8 file's text without its byte-order mark; UserError if missing, empty or not UTF-8."""
    data = read_bytes(path)
    text = decoded(data, path).lstrip("\ufeff")
    if not text.strip():
        raise UserError(f"{path}: the file is empty.")
    return text


def decoded(data: bytes, source: object, *, line: int = 1) -> str:
    """UTF-8 without NUL bytes as text, or a UserError. source, line: where the data begins, for the message."""
    try:
        text, wrong = data.decode("utf-8"), data.find(b"\0")
    except UnicodeDecodeError as error:
        text, wrong = "", error.start
    if wrong < 0:
        return text
    line += data.count(b"\n", 0, wrong)
    what = "; UTF-16, or a damaged file" if data[wrong] in (0x00, 0xFE, 0xFF) else ""
    raise UserError(f"{source}, line {line}: not UTF-8 (byte 0x{data[wrong]:02x}{what}). Save it as UTF-8.")


def _lines_of(text: str) -> list[str]:
    """Lines that end with "\n" or "\r\n", or all with "\r" as on old Macintoshes."""
    return [line.removesuffix("\r") for line in text.split("\n" if "\n" in text else "\r")]


def read_csv(path: Path, *, header: Sequence[str] | None = None) -> Table:
    """Comma-separated cells in double quotes where they need them; the first record names the columns.

    header: the columns' names, for a file that has no header line.
    """
    text = read_text(path)
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    records, line = [], 1
    longest = csv.field_size_limit(2**31 - 1)
    try:
        for cells in reader:
            if cells:
                records.append((line, cells))
            line = reader.line_num + 1
    except csv.Error as error:
        raise UserError(
            f"{path}, line {line}: broken quotes ({error}). Put a cell with commas, quotes or line breaks "
            'in double quotes, and double each quote inside it: "say ""yes"", please".'
        ) from None
    finally:
        csv.field_size_limit(longest)
    remedy = "Put a cell that holds a comma in double quotes."
    return _table_of(path, records.pop(0)[1] if header is None else header, records, remedy=remedy)


def read_tsv(path: Path, *, header: Sequence[str] | None = None, skip_short: bool = False) -> Table:
    """Cells between tabs, quotes being ordinary letters.

    header: the columns' names, for a file that has no header line.
    skip_short: leave out rows with too few cells instead of raising UserError.
    """
    lines = enumerate(_lines_of(read_text(path)), start=1)
    records = [(number, line.split("\t")) for number, line in lines if line]
    names = records.pop(0)[1] if header is None else header
    if skip_short:
        records = [(number, cells) for number, cells in records if len(cells) >= len(names)]
    return _table_of(path, names, records, remedy="Put one tab between two cells and none inside a cell.")


def _table_of(path: Path, names: Sequence[str], records: Sequence[tuple[int, Sequence[str]]], *, remedy: str) -> Table:
    """Records, each with its line, as columns; UserError if there are none or one is ragged (the remedy is said)."""
    names = _distinct(path, [name.strip() for name in names])
    if not records:
        raise UserError(f"{path}: there is a header but no row below it. Add rows.")
    for line, cells in records:
        if len(cells) != len(names):
            counts = f"{len(cells)} cells, but the header names {len(names)} columns"
            raise UserError(f"{path}, line {line}: {counts}. {remedy}")
    columns = zip(*(cells for _, cells in records), strict=True)
    return Table(path, dict(zip(names, columns, strict=True)), [f"line {line}" for line, _ in records])


def _distinct(where: object, names: Sequence[str]) -> Sequence[str]:
    """The names, or a UserError if two columns share one or there are too many."""
    if len(names) > _MOST_COLUMNS:
        raise UserError(f"{where}: {len(names):,} columns, at most {_MOST_COLUMNS:,} are read. Keep texts and labels.")
    if len(set(names)) < len(names):
        name = next(name for position, name in enumerate(names) if name in names[:position])
        raise UserError(f"{where}: two columns are called {shortened(repr(name))}. Rename one of them.")
    return names


def is_torn(text: str) -> bool:
    """Whether a text holds half of a surrogate pair, which is no character: JSON can spell one."""
    return not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text)


def read_jsonl(path: Path) -> Table:
    """One JSON object per line; a key that a line lacks counts as null there."""
    records, places = [], []
    for number, line in enumerate(_lines_of(read_text(path)), start=1):
        if not line.strip():
            continue
        try:
            pairs = json.loads(line, object_pairs_hook=tuple)
        except (ValueError, RecursionError) as error:
            what = f"not valid JSON ({shortened(str(error))})"
            raise UserError(f'{path}, line {number}: {what}. Each line is one object, as {{"text": ...}}.') from None
        if not line.lstrip().startswith("{"):
            raise UserError(f'{path}, line {number}: not a JSON object. Each line must be one, as {{"text": ...}}.')
        _distinct(f"{path}, line {number}", [key for key, _ in pairs])
        records.append(dict(pairs))
        places.append(f"line {number}")
    names = _distinct(path, list(dict.fromkeys(key for record in records for key in record)))
    if any(map(is_torn, names)):
        raise UserError(f"{path}: a key holds half of a surrogate pair, which is no character. Rename it.")
    return Table(path, {name: [record.get(name) for record in records] for name in names}, places)


def read_parquet(path: Path) -> Table:
    """All columns of a Parquet file as Python values."""
    try:
        import pyarrow
        from pyarrow import parquet, types
    except ImportError:
        raise missing_extra("pyarrow", "train") from None
    if not path.is_file():
        raise UserError(f"{path}: no such file.")
    try:
        table = parquet.ParquetFile(path).read()
        names = _distinct(path, table.column_names)
        # Of lists and the like, which are refused anyhow, the first stands for all: embeddings would fill the memory.
        columns = {
            name: column[:1].to_pylist() * len(column) if types.is_nested(column.type) else column.to_pylist()
            for name, column in zip(names, table.columns, strict=True)
        }
    except (pyarrow.ArrowException, OSError, ValueError, OverflowError) as error:
        raise UserError(f"{path}: not a readable Parquet file ({shortened(str(error))}). Write it again.") from None
    if not table.num_rows:
        raise UserError(f"{path}: the file has no rows. Add some.")
    return Table(path, columns, [f"row {index + 1}" for index in range(table.num_rows)])
