"""The records of finished folders: read, collected, named."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from featherlight.errors import UserError
from featherlight.files import read_json, read_json_object
from featherlight.store.layout import RECORD

_NEEDED = ("stage", "address", "name", "task", "settings")  # what every record has
Record = Mapping[str, Any]


def collect(store: Path) -> list[Record]:
    """The records of all finished folders directly in a store, by folder name; drafts are passed over."""
    if not store.is_dir():
        raise UserError(f"{store}: no such store. Give the folder that --store named when the runs were made.")
    files = sorted(path for path in store.glob("*/record.json") if not path.parent.name.startswith("."))
    if not files:
        raise UserError(f"{store}: no record in it. Run `featherlight finetune` or `distill` with --store {store}.")
    return [read_record(path) for path in files]


def read_record(path: Path) -> Record:
    """One record, or a UserError that names the file and what it lacks."""
    record: Record = read_json(path)
    absent = [key for key in _NEEDED if not isinstance(record, dict) or key not in record]
    if absent:
        raise UserError(f"{path}: not a record of featherlight: it lacks {', '.join(absent)}. Make it again.")
    return record


def name_of(folder: Path) -> str:
    """The model's name in its record, or else the folder's."""
    record = folder / RECORD
    return str(read_json_object(record).get("name", folder.name)) if record.exists() else folder.name


def read_records(folders: Sequence[Path]) -> list[dict[str, Any]]:
    """record.json of each folder."""
    return [read_json(folder / RECORD) for folder in folders]


def reported_scores(record: Mapping[str, Any]) -> Mapping[str, Mapping[str, float]]:
    """The scores of a record's first reported split."""
    scores: Mapping[str, Mapping[str, float]] = next(iter(record["metrics"].values()))["scores"]
    return scores
