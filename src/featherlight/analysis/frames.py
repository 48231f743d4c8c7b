"""A table of times as pandas takes it: from a file of the user's, or from the records of a store."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from featherlight.data.readers import read_table

if TYPE_CHECKING:
    import pandas as pd

_RECORDED = ("stage", "name", "unit", "parameters", "bytes", "peak_memory_bytes")
_MISSING = ("", "nan", "na", "n/a", "null", "none")


def frame_of(source: Path) -> "pd.DataFrame":
    """A table file (.csv, .tsv, .jsonl, .parquet) or a store as a data frame, each row under its place."""
    import pandas as pd

    columns: Mapping[str, Sequence[Any]]
    if source.is_dir():
        from featherlight.store.records import collect

        rows = [row_of(record) for record in collect(source)]
        names = list(dict.fromkeys(name for row in rows for name in row if name != "address"))
        columns = {name: [row.get(name) for row in rows] for name in names}
        places = [str(row["address"]) for row in rows]
    else:
        table = read_table(source)
        columns, places = table.columns, [f"{source.name}, {place}" for place in table.places]
    return pd.DataFrame({name: typed(cells) for name, cells in columns.items()}, index=pd.Index(places))


def typed(cells: Sequence[Any]) -> list[Any]:
    """Cells as floats if all of them are numbers or missing, else as words; missing ones as NaN or None."""
    plain = [None if word.lower() in _MISSING else word for word in [str(cell).strip() for cell in cells]]
    try:
        return [math.nan if word is None else float(word) for word in plain]  # "True" is none
    except ValueError:
        return plain


def row_of(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record as a flat row: its settings by their names, and its numbers.

    "stage", "name", "task"; "seconds_train" and so on: the phases; "latency": median seconds per text; of `time`:
    "min", "median" and so on, and their "unit"; "dev_accuracy" and so on: scores; "parameters", "bytes",
    "peak_memory_bytes".
    """
    row = {key: value for key, value in record["settings"].items() if isinstance(value, str | int | float)}
    row |= {key: record[key] for key in _RECORDED if key in record}
    task = record["task"]
    row["task"] = task["name"] if isinstance(task, Mapping) else task
    row |= {f"seconds_{phase.replace(' ', '_')}": value for phase, value in record.get("seconds", {}).items()}
    row |= record.get("summary", {})  # of `time`: min, median ... of the samples
    if values := (record.get("latency") or {}).get("values"):
        row["latency"] = median(values)
    for split, part in record.get("metrics", {}).items():
        row |= {f"{split}_{name}": score["value"] for name, score in part.get("scores", {}).items()}
    return {**row, "address": record["address"]}
