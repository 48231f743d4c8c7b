"""What `featherlight analyze` does: a file or a store to a table of rows, its statistics to a terminal and a folder."""

import importlib.util
import math
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from featherlight.config import Settings, setting
from featherlight.data.readers import read_table
from featherlight.errors import UserError, missing_extra

if TYPE_CHECKING:
    import pandas as pd

    from featherlight.analysis.timing import Study

RECORDED = ("stage", "name", "unit", "parameters", "bytes", "peak_memory_bytes")
TIMED = ("min", "median", "p90", "p99", "low", "high")  # columns of `time`, in the unit beside them
MISSING = ("", "nan", "na", "n/a", "null", "none")


class AnalyzeSettings(Settings):
    """Which columns and rows to study, and how."""

    response: str = setting(..., "Column of times to explain.")
    factors: str = setting(..., "Columns that may explain them: model,task,batch_size.")
    reference: tuple[str, ...] = setting(
        (), "FACTOR=LEVEL that its others are compared with, once per factor; else the most frequent level."
    )
    where: tuple[str, ...] = setting(
        (), "FACTOR=LEVEL,LEVEL: only such rows; FACTOR!=LEVEL,LEVEL: all others. Several times: all must hold."
    )
    numeric: str | None = setting(None, "Factors that are numbers, where the guess is wrong.")
    categorical: str | None = setting(None, "Factors that are levels though they look like numbers.")
    accuracy: str | None = setting(None, "Column to set beside the times; it may have gaps.")
    drop_missing: bool = setting(False, "Leave out rows without a time or a factor's level.")
    forest: bool = setting(True, "Importance by random forest, which takes longest.")
    forest_seed: int = setting(0, "Seed of the random forest.", ge=0, lt=2**31)


def analyze(source: Path, settings: AnalyzeSettings, *, out: Path | None, as_json: bool) -> None:
    """Read, choose rows, compute; write a report if a folder is named; print."""
    for package in ("pandas", "scipy", "statsmodels", "sklearn", "matplotlib"):
        if importlib.util.find_spec(package) is None:  # before pandas is found missing and another extra is named
            raise missing_extra(package, "analyze")
    from featherlight.analysis.section_report import NUMBERS, PAGE, REPORT, print_report, write_report
    from featherlight.analysis.timing_sections import analyse, sections_of
    from featherlight.pipeline.show import print_json

    if out is not None and out.is_file():
        raise UserError(f"--out {out}: is a file. Name a folder.")
    analysis = analyse(chosen_study(source, settings), forest=settings.forest, seed=settings.forest_seed)
    sections, title = sections_of(analysis), f"{settings.response} in {source.name}"
    if out is not None:
        write_report(sections, analysis.numbers, out, title=title, how=command_of(source, settings, out))
    if as_json:
        return print_json(analysis.numbers)
    print_report(sections)
    if out is not None:
        print("\n".join(str(out / name) for name in (REPORT, PAGE, NUMBERS)))


def chosen_study(source: Path, settings: AnalyzeSettings) -> "Study":
    """The rows and columns to study."""
    from featherlight.analysis.timing import study_of

    names = listed_in(settings.factors)
    frame = chosen(frame_of(source), settings.where)
    check_units(frame, settings.response)
    if settings.drop_missing:
        frame = without_gaps(frame, [settings.response, *names])
    return study_of(
        frame,
        response=settings.response,
        factors=names,
        references=pairs_in(settings.reference, "--reference"),
        numeric=listed_in(settings.numeric or ""),
        categorical=listed_in(settings.categorical or ""),
        accuracy=settings.accuracy,
    )


def check_units(frame: "pd.DataFrame", response: str) -> None:
    """UserError for cells of `time` whose seconds are of different things: a batch and an epoch."""
    if response not in TIMED or "unit" not in frame.columns or response not in frame.columns:
        return
    units = frame.loc[frame[response].notna(), "unit"].dropna().unique()
    if len(units) > 1:
        kinds = "what=inference or --where what=finetune" if "what" in frame.columns else f"unit={units[0]}"
        raise UserError(
            f"{response} is in {' and in '.join(sorted(units))}: times of different things are not compared. "
            f"Choose one kind: --where {kinds}."
        )


def command_of(source: Path, settings: AnalyzeSettings, out: Path) -> str:
    """The command that gives this report, without the folders around source and out."""
    words = ["featherlight", "analyze", source.name]
    for name, value in settings.model_dump(exclude_defaults=True).items():
        option = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{option}" if value else f"--no-{option}")
        else:
            several = value if isinstance(value, tuple) else (value,)
            words += [word for one in several for word in (f"--{option}", str(one))]
    return shlex.join([*words, "--out", out.name])


def listed_in(text: str) -> list[str]:
    """ "model,task" -> ["model", "task"]."""
    return [part.strip() for part in text.split(",") if part.strip()]


def pairs_in(texts: Sequence[str], option: str) -> dict[str, str]:
    """["model=bert"] -> {"model": "bert"}; UserError for anything else."""
    found: dict[str, str] = {}
    for text in texts:
        name, equals, level = text.partition("=")
        if not (equals and name and level):
            raise UserError(f"{option} {text!r}: write FACTOR=LEVEL, for example {option} task=RTE.")
        if name in found:
            raise UserError(f"{option} {text}: {name} has {found[name]!r} already. Name it once.")
        found[name] = level
    return found


def chosen(frame: "pd.DataFrame", where: Sequence[str]) -> "pd.DataFrame":
    """The rows that all conditions allow: "task=RTE,CoLA" keeps these levels, "task!=SST-2" all others."""
    from featherlight.analysis.timing import restrict

    for text in where:
        name, equals, levels = text.partition("=")
        keep = not name.endswith("!")
        if not (equals and name.rstrip("!") and listed_in(levels)):
            raise UserError(
                f"--where {text!r}: write FACTOR=LEVEL,LEVEL to keep rows, or FACTOR!=LEVEL to leave some out."
            )
        frame = restrict(frame, name.removesuffix("!"), listed_in(levels), keep=keep)
    return frame


def without_gaps(frame: "pd.DataFrame", names: Sequence[str]) -> "pd.DataFrame":
    """The rows that have all of these columns; says on standard error how many were left out."""
    from featherlight import progress

    present = [name for name in names if name in frame.columns]
    kept = frame.dropna(subset=present)
    if kept.empty:
        raise UserError(f"--drop-missing: no row has all of {', '.join(present)}.")
    if len(kept) < len(frame):
        progress.say(f"{len(frame) - len(kept):,} of {len(frame):,} rows left out: something is missing in them")
    return kept


def frame_of(source: Path) -> "pd.DataFrame":
    """A table file (.csv, .tsv, .jsonl, .parquet) or a store as a data frame, each row under its place."""
    return frame_of_store(source) if source.is_dir() else frame_of_file(source)


def frame_of_file(path: Path) -> "pd.DataFrame":
    """A file's rows; a column is numeric if all of its cells are numbers or missing."""
    import pandas as pd

    table = read_table(path)
    columns = {name: typed(cells) for name, cells in table.columns.items()}
    return pd.DataFrame(columns, index=pd.Index([f"{path.name}, {place}" for place in table.places]))


def typed(cells: Sequence[Any]) -> list[Any]:
    """Cells as floats if all of them are numbers or missing, else as words; missing ones as NaN or None."""
    plain = [None if is_missing(cell) else cell for cell in cells]
    try:
        return [math.nan if cell is None else number(cell) for cell in plain]
    except (TypeError, ValueError):
        return [None if cell is None else str(cell).strip() for cell in plain]


def is_missing(cell: Any) -> bool:
    """Whether a cell says that there is nothing."""
    return cell is None or (isinstance(cell, str) and cell.strip().lower() in MISSING) or cell != cell


def number(cell: Any) -> float:
    """A cell as a number; truth values are words."""
    if isinstance(cell, bool):
        raise TypeError
    return float(cell)


def frame_of_store(store: Path) -> "pd.DataFrame":
    """The records of a store, a row per record, or per cell of a record that has cells (`time`)."""
    import pandas as pd

    from featherlight.store.records import collect

    rows = [row for record in collect(store) for row in rows_of(record)]
    names = list(dict.fromkeys(name for row in rows for name in row if name != "address"))
    columns = {name: typed([row.get(name) for row in rows]) for name in names}
    return pd.DataFrame(columns, index=pd.Index([str(row["address"]) for row in rows]))


def rows_of(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A record as flat rows: its settings by their names, its numbers, and those of its cells, which come first.

    "stage", "name", "task"; "seconds_train" and so on: the phases; "latency": median seconds per text; of `time`:
    "min", "median" and so on, and their "unit"; "dev_accuracy" and so on: scores; "parameters", "bytes",
    "peak_memory_bytes".
    """
    scalars = (str, int, float, bool)
    row = {key: value for key, value in record["settings"].items() if isinstance(value, scalars)}
    row |= {key: record[key] for key in RECORDED if key in record}
    task = record["task"]
    row["task"] = task["name"] if isinstance(task, Mapping) else task
    row |= {f"seconds_{phase.replace(' ', '_')}": value for phase, value in record.get("seconds", {}).items()}
    row |= record.get("summary", {})  # of `time`: min, median ... of the samples
    if values := (record.get("latency") or {}).get("values"):
        row["latency"] = median(values)
    for split, part in record.get("metrics", {}).items():
        row |= {f"{split}_{name}": score["value"] for name, score in part.get("scores", {}).items()}
    cells = record.get("cells") or [{}]
    several = len(cells) > 1
    return [
        {**row, **{key: value for key, value in cell.items() if isinstance(value, scalars)},
         "address": f"{record['address']}, cell {place + 1}" if several else record["address"]}
        for place, cell in enumerate(cells)
    ]  # fmt: skip
