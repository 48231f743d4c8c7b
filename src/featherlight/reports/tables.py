"""Records in, tables of ready-made words and numbers out. Knows no Markdown, HTML or terminal.

A record is the JSON object of a `record.json`; `label` records and others without scores get no row.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from statistics import mean, median

from featherlight.analysis.runs import Row, collect_rows, group_seeds, metrics_of, reported, seed_of, task_of
from featherlight.data.task import POSITIVE_OF
from featherlight.measurement.metrics import Score, metric_name, summary
from featherlight.reports.sections import NOTHING, Cell, Table
from featherlight.store.records import Record

COUNTS = ((1e9, "G"), (1e6, "M"), (1e3, "k"), (1, ""))
BYTES = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1, "B"))
SECONDS = ((1, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))
_MOST_DOUBTS = 10  # under one table
_Column = tuple[str, Callable[[Row], str]]


def table(records: Sequence[Record]) -> Table:
    """Every record with scores as one row: its model, its scores, what it costs."""
    rows = collect_rows(records)
    headlines = {row.headline for row in rows}
    columns: list[_Column] = [
        ("model", lambda row: row.name),
        ("task", lambda row: task_of(row.record)),
        ("split", lambda row: row.split),
        ("seed", lambda row: NOTHING if seed_of(row) < 0 else str(seed_of(row))),
        *_SIZE,
        *(_score_column(name, rows, interval=name in headlines) for name in metrics_of(rows)),
        *(_ERRORS if any(map(_details, rows)) else ()),
        *_COST,
        ("folder", lambda row: str(row.record["address"])),
    ]
    stages = Counter(record["stage"] for record in records if reported(record) is None)
    counts = ", ".join(f"{number} {stage}" for stage, number in sorted(stages.items()))
    left_out = [f"Left out, because they hold no scores: {counts}."] if stages else []
    return _build(columns, rows, notes=[*_explain(rows), *left_out])


def headline_table(records: Sequence[Record]) -> Table:
    """The table of the quickstart: teacher against students on one task."""
    rows = collect_rows(records)
    scores = [_score_column("accuracy", rows, interval=True), _score_column("macro_f1", rows, interval=False)]
    return _build([("model", lambda row: row.name), *_SIZE, *scores, *_COST], rows, notes=_explain(rows))


def seeds_table(records: Sequence[Record]) -> Table | None:
    """Mean, standard deviation and number of the runs that differ in their seed alone; None without two such runs."""
    groups = [rows for rows in group_seeds(collect_rows(records)) if len(rows) > 1]
    if not groups:
        return None
    metrics = metrics_of([row for rows in groups for row in rows])
    scored = [row for rows in groups for row in rows]
    scores = [f"{common_name(metric, scored)} {part}" for metric in metrics for part in ("mean", "sd")]
    lines: list[list[Cell]] = []
    for rows in groups:
        cells: list[Cell] = [rows[0].name, task_of(rows[0].record), rows[0].split]
        for metric in metrics:
            values = [row.scores[metric]["value"] for row in rows if metric in row.scores]
            deviation = summary(values)["sd"] if values else None
            cells.append(percent(mean(values)) if values else NOTHING)
            cells.append(NOTHING if deviation is None else f"{100 * deviation:.2f}")
        lines.append([*cells, len(rows)])
    notes = ["n runs with different seeds; sd divides by n - 1. Scores are times 100."]
    return Table(("model", "task", "split", *scores, "n"), lines, notes)


def _build(columns: Sequence[_Column], rows: Sequence[Row], *, notes: Sequence[str]) -> Table:
    return Table([name for name, _ in columns], [[cell(row) for _, cell in columns] for row in rows], notes)


def common_name(metric: str, rows: Sequence[Row]) -> str:
    """How a column with the scores of these rows is called; a class is named where it is the same for all."""
    tasks = [row.record.get("task", {}) for row in rows if metric in row.scores]
    names = {metric_name(metric, task.get("labels") or ()) for task in tasks}
    return names.pop() if len(names) == 1 else metric_name(metric)


def _score_column(name: str, rows: Sequence[Row], *, interval: bool) -> _Column:
    def cell(row: Row) -> str:
        score = row.scores.get(name)
        return score_text(score, interval=interval and name == row.headline) if score else NOTHING

    return common_name(name, rows) + (" (95 % interval)" if interval else ""), cell


def score_text(score: Score, *, interval: bool) -> str:
    """A score times 100: "89.9 [87.8, 91.7]", or "89.9" without its interval."""
    limits = f" [{percent(score['low'])}, {percent(score['high'])}]" if interval else ""
    return percent(score["value"]) + limits


def _details(row: Row) -> dict[str, float]:
    """The errors of a regression, in the unit of its labels; none for classes, nor for a mean of splits."""
    details = row.record.get("metrics", {}).get(row.split, {}).get("details", {})
    return {name: details[name] for name in ("mean_absolute_error", "root_mean_squared_error") if name in details}


def _error_text(row: Row, name: str) -> str:
    return plain(_details(row)[name]) if name in _details(row) else NOTHING


def plain(value: float) -> str:
    """Four digits without a power of ten: "14,780", "0.3012"."""
    return f"{float(f'{value:.4g}'):,.10g}"


def _faster(row: Row) -> str:
    """How many times less time per text than the reference, if both were timed in the same way."""
    if row.reference is None or _conditions(row.record) != _conditions(row.reference):
        return NOTHING
    return times(_time_of(row.reference), _time_of(row.record))


_SIZE: tuple[_Column, ...] = (
    ("parameters", lambda row: with_unit(row.record.get("parameters"), COUNTS)),
    ("bytes on disk", lambda row: with_unit(row.record.get("bytes"), BYTES)),
)
_ERRORS: tuple[_Column, ...] = (
    ("MAE", lambda row: _error_text(row, "mean_absolute_error")),
    ("RMSE", lambda row: _error_text(row, "root_mean_squared_error")),
)
_COST: tuple[_Column, ...] = (
    ("time per text", lambda row: with_unit(_time_of(row.record), SECONDS)),
    ("times smaller", lambda row: times((row.reference or {}).get("bytes"), row.record.get("bytes"))),
    ("times faster", _faster),
)


def _time_of(record: Record) -> float | None:
    """The median of a record's latencies, in seconds; None if it has none."""
    values = record.get("latency", {}).get("values")
    return median(values) if values else None


def _conditions(record: Record) -> tuple[object, ...]:
    """What must be equal for two times to be comparable. Precision is a model's own choice."""
    latency = record.get("latency", {})
    return (record.get("environment", {}).get("machine"), *(latency.get(key) for key in ("device", "threads", "batch")))


def _explain(rows: Sequence[Row]) -> list[str]:
    if not rows:
        return []
    notes = [
        "Scores are times 100; intervals are 95 % bootstraps over the examples of the split. 1 MB is 10^6 bytes.",
        "Times smaller: bytes on disk, times faster: median time per text, both against the model's teacher.",
    ]
    doubts = [
        f"{row.name}, {task_of(row.record)}: {doubt}."
        for row in rows
        for doubt in row.record.get("metrics", {}).get(row.split, {}).get("doubts", ())
    ]
    notes += list(dict.fromkeys(doubts))[:_MOST_DOUBTS]
    if len(doubts) > _MOST_DOUBTS:
        notes.append(f"{len(doubts) - _MOST_DOUBTS:,} more such remarks are in the records (`doubts`).")
    notes += [note for metric in POSITIVE_OF if (note := _classes_note(metric, rows))]
    if any(map(_details, rows)):
        notes.append("MAE and RMSE: mean absolute and root mean squared error, in the unit of the labels.")
    timed = [row.record for row in rows if _time_of(row.record) is not None]
    if timed and len({_conditions(record) for record in timed}) == 1:
        _, device, threads, batch = _conditions(timed[0])
        notes.append(f"Time per text: median of single calls; device {device}, threads {threads}, batch {batch}.")
    elif timed:
        notes.append(f"Times come from different machines, devices or threads; {NOTHING} where not comparable.")
    return notes


def _classes_note(metric: str, rows: Sequence[Row]) -> str | None:
    """Which class an F1 is of, task by task, where a column holds several."""
    scored = [row.record["task"] for row in rows if metric in row.scores]
    classes = {task["name"]: task["labels"][POSITIVE_OF[metric]] for task in scored if len(task.get("labels", ())) == 2}
    if len(set(classes.values())) < 2:
        return None
    return "F1 is that of " + ", ".join(f"{label} ({task})" for task, label in classes.items()) + "."


def percent(value: float) -> str:
    """A fraction times 100, with one decimal."""
    return f"{100 * value:.1f}"


def with_unit(value: float | None, units: Sequence[tuple[float, str]]) -> str:
    """A number with three digits and the largest unit that leaves it at 1 or more."""
    if value is None:
        return NOTHING
    rounded = float(f"{value:.3g}")  # first, lest 999,999 become 1e+03 k
    factor, unit = next((unit for unit in units if rounded >= unit[0]), units[-1])
    whole = isinstance(value, int) and factor == 1
    return f"{value if whole else f'{rounded / factor:#.3g}'.rstrip('.')} {unit}".rstrip()


def times(reference: float | None, own: float | None) -> str:
    """How often own goes into reference: "1.0", "8.3", "412"."""
    if not reference or not own:
        return NOTHING
    ratio = reference / own
    if ratio < 1:
        return f"{ratio:.2g}"
    return f"{ratio:.1f}" if ratio < 9.95 else f"{ratio:,.0f}"
