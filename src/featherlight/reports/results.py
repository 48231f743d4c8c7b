"""Records in, a report on them out: tables by task, figures, and each run in full; to the terminal and into files."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import mean
from textwrap import shorten
from typing import TYPE_CHECKING, Any

from featherlight.analysis.runs import Row, collect_rows, group_seeds, seed_of, task_of
from featherlight.measurement.metrics import metric_name
from featherlight.reports.figures import Point, learning_curves, score_against_size
from featherlight.reports.sections import Section, Table
from featherlight.reports.tables import (
    BYTES,
    COUNTS,
    SECONDS,
    common_name,
    headline_table,
    percent,
    score_text,
    seeds_table,
    table,
    with_unit,
)  # fmt: skip
from featherlight.reports.terminal import print_sections
from featherlight.reports.writer import write_pages
from featherlight.store.records import Record

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST_LETTERS = 30  # of a name inside a figure
_MOST_CLASSES = 20  # beyond, a confusion matrix is too large to read and its largest errors are listed


def print_tables(records: Sequence[Record], *, headline: bool = False) -> None:
    """All runs, and the summary over seeds where there are several, on standard output.

    headline: the short table of the quickstart in place of the one of all runs.
    """
    print_sections(sections_of(records, headline=headline))


def write_report(
    records: Sequence[Record], *, html: Path | None, markdown: Path | None, title: str, headline: bool = False
) -> None:
    """Write the report as one HTML file, as Markdown with its figures beside it, or as both; see `write_pages`."""
    runs = [_run_section(row) for row in collect_rows(records)]
    sections = [*sections_of(records, headline=headline), Section("Runs", brief=False), *runs]
    write_pages(sections, html=html, markdown=markdown, title=title)


def sections_of(records: Sequence[Record], *, headline: bool = False) -> list[Section]:
    """Each task with its table, for its scores are its own, and its figure; a summary over seeds if there are several.

    A note stands below the last of the tables that have it.
    """
    make, heading = (headline_table, "Teacher and students") if headline else (table, "All runs")
    tasks = sorted({task_of(record) for record in records if "metrics" in record})
    groups = {f"{heading}: {task}": [record for record in records if task_of(record) == task] for task in tasks}
    groups = groups if len(tasks) > 1 else {heading: list(records)}
    tables = {caption: make(group) for caption, group in groups.items()}
    last = {note: caption for caption, content in tables.items() for note in content.notes}
    sections = []
    for caption, content in tables.items():
        content = replace(content, notes=[note for note in content.notes if last[note] == caption])
        figures = _size_figure(collect_rows(groups[caption]))
        sections.append(Section(caption, tables={caption: content}, figures=figures))
    if seeds := seeds_table(records):
        sections.append(Section("Over seeds", tables={"Over seeds": seeds}))
    return sections


def _size_figure(rows: Sequence[Row]) -> dict[str, Callable[[], "Figure"]]:
    """Score against size of the models of one task, where it is known; of rows that were scored like the first."""
    sized = [row for row in rows if row.record["stage"] != "evaluate" and row.record.get("bytes")]
    alike = [row for row in sized if (row.headline, row.split) == (sized[0].headline, sized[0].split)]
    if not alike:
        return {}
    metric, where = alike[0].headline, f"{task_of(alike[0].record)}, {alike[0].split}, n = {alike[0].count:,}"
    points = [point_of(group) for group in group_seeds(alike)]
    caption = f"{common_name(metric, alike)} against size: {where}"
    return {caption: partial(score_against_size, points, metric=metric, where=where)}


def point_of(rows: Sequence[Row]) -> Point:
    """A configuration as a point: the means over its seeds, of both ends of the interval too: examples are shared."""
    score = {key: mean(row.scores[row.headline][key] for row in rows) for key in ("value", "low", "high")}
    size = round(mean(row.record["bytes"] for row in rows))
    name = shorten(rows[0].name, _MOST_LETTERS, placeholder=" …")
    name = name if len(rows) == 1 else f"{name} ({len(rows)} seeds)"
    return Point(name, size, distilled=rows[0].teacher is not None, **score)


def _run_section(row: Row) -> Section:
    record, task = row.record, row.record["task"]
    facts = [task_of(record), row.split, score_text(row.scores[row.headline], interval=True)]
    if seed_of(row) >= 0:
        facts.insert(1, f"seed {seed_of(row)}")
    labels, parts = task.get("labels") or (), record["metrics"].items()
    tables = dict(item for split, part in parts for item in _split_tables(split, part, labels))
    counts = {f"{split} rows": f"{count:,}" for split, count in task.get("rows", {}).items()}
    notes = "; ".join(task.get("notes", []))
    blocks = {
        "Settings": record["settings"],
        "Inputs": record.get("inputs", {}),
        "Task": {"name": task["name"], "source": task.get("source"), **counts, "notes": notes},
        "Cost": _cost_facts(record),
        "Environment": record.get("environment", {}),
    }
    for name, block in blocks.items():
        lines = [(str(key), str(value)) for key, value in block.items() if value not in (None, "")]
        if lines:
            tables[name] = Table(("", ""), lines)
    curves, best, figures = record.get("curves") or {}, record.get("best") or {}, {}
    if curves.get("loss") or curves.get("epochs"):
        caption = f"Learning curves: {record['address']}, {row.name}, {task_of(record)}"
        figures[caption] = partial(learning_curves, curves, metric=best.get("metric", row.headline),
                                   best_epoch=best.get("epoch"))  # fmt: skip
    text = " · ".join([*facts, str(record["address"])])
    return Section(row.name, text, tables=tables, figures=figures, brief=False, folded=True)


def _split_tables(split: str, part: Mapping[str, Any], labels: Sequence[str]) -> Iterator[tuple[str, Table]]:
    details = part.get("details") or {}
    notes = [f"{name.replace('_', ' ')}: {details[name]:.3g}" for name in
             ("calibration_error", "mean_absolute_error", "root_mean_squared_error") if name in details]  # fmt: skip
    rows = [
        (metric_name(name, labels), *(percent(score[key]) for key in ("value", "low", "high")))
        for name, score in part.get("scores", {}).items()
    ]
    yield f"{split}, {part['n']:,} examples", Table(("score", "value", "from", "to"), rows, notes)
    classes = details.get("per_class")
    if not classes:
        return
    lines = [
        (name, *(percent(scores[key]) for key in ("precision", "recall", "f1")), scores["support"])
        for name, scores in classes.items()
    ]
    yield f"{split}, by class", Table(("class", "precision", "recall", "F1", "examples"), lines)
    confusion = [(name, *counts) for name, counts in zip(classes, details["confusion"], strict=True)]
    if len(classes) <= _MOST_CLASSES:
        yield f"{split}, confusion", Table(("truth ↓ predicted →", *classes), confusion, tinted=True)
        return
    mistakes = [
        (truth, guess, count)
        for truth, *counts in confusion
        for guess, count in zip(classes, counts, strict=True)
        if truth != guess and count
    ]
    largest = sorted(mistakes, key=lambda mistake: -mistake[2])[:_MOST_CLASSES]
    yield f"{split}, the most frequent mistakes", Table(("truth", "predicted", "examples"), largest)


def _cost_facts(record: Record) -> dict[str, str]:
    """What a run took and what its model takes; the spread of the time for one text, and how it was measured."""
    facts = {f"seconds to {phase}": f"{value:,.1f}" for phase, value in record.get("seconds", {}).items()}
    facts["parameters"] = with_unit(record.get("parameters"), COUNTS)
    facts["bytes on disk"] = with_unit(record.get("bytes"), BYTES)
    facts["peak memory"] = with_unit(record.get("peak_memory_bytes"), BYTES)
    latency = record.get("latency") or {}
    values = sorted(latency.get("values", []))
    if values:
        for name, place in {"fastest": 0.0, "median": 0.5, "90 of 100 within": 0.9, "slowest": 1.0}.items():
            facts[f"time per text, {name}"] = with_unit(values[round(place * (len(values) - 1))], SECONDS)
        conditions = {key: str(value) for key, value in latency.items() if key not in ("values", "unit")}
        facts |= {f"time per text, {key}": value for key, value in conditions.items()}
    return facts
