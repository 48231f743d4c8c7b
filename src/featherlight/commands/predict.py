"""Texts from a file, a pipe or a person in; one line of JSON per text out."""

import contextlib
import json
import sys
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from featherlight.data.readers import READERS, read_table
from featherlight.data.tables import decoded, is_torn
from featherlight.errors import UserError, listed
from featherlight.files import read_json
from featherlight.inference.open import open_predictor
from featherlight.inference.predictor import Predictor
from featherlight.stages.settings import RunSettings
from featherlight.store.layout import RECORD

_CHUNK = 1024  # texts per call; bounds memory on endless input
Row = tuple[str, str | None]


def predict_source(folder: Path, source: str, settings: RunSettings) -> None:
    """Predict each text of a file, of standard input ("-"), or of a person at a terminal."""
    if source != "-" and (Path(source).is_dir() or not Path(source).exists()):
        raise UserError(f"{source}: no such file. Give a text file, .jsonl or .csv, or - for standard input.")
    predictor = open_predictor(
        folder, device=settings.device, precision=settings.precision, batch_tokens=settings.batch_tokens,
        compiled=settings.compile,
    )  # fmt: skip
    if source == "-" and sys.stdin.isatty():
        return _ask(predictor)
    rows = iter(table_rows(Path(source), folder) if Path(source).suffix.lower() in READERS else _text_rows(source))
    while chunk := list(islice(rows, _CHUNK)):
        for prediction in _predictions(predictor, chunk):
            print(json.dumps(prediction, ensure_ascii=False), flush=False)
    sys.stdout.flush()


def _ask(predictor: Predictor) -> None:
    print("Type a text and press Enter; Ctrl-D ends.", file=sys.stderr)
    while True:
        try:
            row = (_prompt("text> "), _prompt("second text> ") if predictor.pair else None)
        except EOFError:
            print(file=sys.stderr)
            return
        print(json.dumps(_predictions(predictor, [row])[0], ensure_ascii=False), flush=True)


def _prompt(question: str) -> str:
    """Ask on standard error, so that standard output holds answers only."""
    print(question, end="", file=sys.stderr, flush=True)
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    return line.rstrip("\n")


def _text_rows(source: str) -> Iterator[Row]:
    with contextlib.nullcontext(sys.stdin.buffer) if source == "-" else Path(source).open("rb") as file:
        for number, line in enumerate(file, start=1):
            text = decoded(line, "standard input" if source == "-" else source, line=number).rstrip("\r\n")
            yield text.lstrip("\ufeff") if number == 1 else text, None


def table_rows(path: Path, folder: Path) -> Iterator[Row]:
    """Columns `text` and `text_pair`, or those that the model of this folder was trained on."""
    table = read_table(path)
    task_columns = read_json(folder / RECORD)["task"].get("texts", []) if (folder / RECORD).exists() else []
    names = ["text", "text_pair"] if "text" in table.columns else task_columns
    if not names or names[0] not in table.columns:
        expected = " or ".join(f"`{name}`" for name in dict.fromkeys(["text", *task_columns[:1]]))
        raise UserError(f"{path}: no column {expected}. It has: {listed(table.columns)}. Rename one.")
    paired = len(names) == 2 and names[1] in table.columns
    pairs: Sequence[Any] = table.column(names[1]) if paired else [None] * len(table)
    for number, (text, pair) in enumerate(zip(table.column(names[0]), pairs, strict=True)):
        if not isinstance(text, str) or not (pair is None or isinstance(pair, str)):
            raise table.complaint(number, "a text must be a string. Correct it, or leave the row out.")
        if is_torn(text + (pair or "")):
            raise table.complaint(number, "a text holds half of a surrogate pair, which is no character. Remove it.")
        if (pair is None) != (pairs[0] is None):
            raise table.complaint(
                number, "some rows have a second text and some have none. Give it to all, or to none."
            )
        yield text, pair


def _predictions(predictor: Predictor, rows: Sequence[Row]) -> list[dict[str, Any]]:
    """{"label", "probability", "probabilities"} per text, or {"value"} for a regression."""
    seconds = [second for _, second in rows if second is not None]
    return predictor.predict([first for first, _ in rows], seconds or None)
