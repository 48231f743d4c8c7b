"""A store in, a report out: records to tables to the terminal, Markdown and HTML, with figures."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean
from textwrap import shorten
from typing import TYPE_CHECKING

from featherlight.analysis.runs import Row, collect_rows, group_seeds, task_of
from featherlight.files import write_atomically
from featherlight.measurement.metrics import NAMES
from featherlight.reports.figures import Point, learning_curves, score_against_size, to_svg
from featherlight.reports.html import page
from featherlight.reports.tables import Table, headline_table, seeds_table, table
from featherlight.store.records import Record

if TYPE_CHECKING:
    from matplotlib.figure import Figure
from featherlight.reports.markdown import quote, to_markdown

_MOST_LETTERS = 30  # of a name inside a figure


def tables_of(records: Sequence[Record], *, reference: str | None = None, headline: bool = False) -> dict[str, Table]:
    """The tables of a report under their headings; of several tasks each has its own, for its scores are its own."""
    make = headline_table if headline else table
    heading = "Teacher and students" if headline else "All runs"
    seeds = seeds_table(records)
    tasks = sorted({task_of(record) for record in records if "metrics" in record})
    of_tasks = {f"{heading}: {task}": [one for one in records if task_of(one) == task] for task in tasks}
    parts = of_tasks if len(tasks) > 1 else {heading: records}
    made = {says: make(some, reference=reference) for says, some in parts.items()}
    return _each_note_once({**made, **({"Over seeds": seeds} if seeds else {})})


def _each_note_once(tables: dict[str, Table]) -> dict[str, Table]:
    """The tables, each note below the last of those that have it."""
    last = {note: heading for heading, shown in tables.items() for note in shown.notes}
    return {
        heading: replace(shown, notes=tuple(note for note in shown.notes if last[note] == heading))
        for heading, shown in tables.items()
    }


def size_figures(rows: Sequence[Row]) -> dict[str, "Figure"]:
    """Score against size for each task with models of known size, by a sentence that says so."""
    figures = {}
    for task in dict.fromkeys(task_of(row.record) for row in rows):
        # An evaluation scores a model that stands in the figure already.
        of_task = [row for row in rows if task_of(row.record) == task and row.record["stage"] != "evaluate"]
        sized = [row for row in of_task if row.record.get("bytes")]
        # One figure has one axis: rows that were scored otherwise, or elsewhere, are not drawn.
        alike = [row for row in sized if (row.headline, row.split) == (sized[0].headline, sized[0].split)]
        if alike:
            name = NAMES.get(alike[0].headline, alike[0].headline)
            where = f"{task}, {alike[0].split}, n = {alike[0].count:,}"
            points = [point_of(group) for group in group_seeds(alike)]
            figures[f"{name} against size: {where}"] = score_against_size(points, metric=alike[0].headline, where=where)
    return figures


def point_of(rows: Sequence[Row]) -> Point:
    """A configuration as a point: the means over its seeds.

    So is its interval: the seeds share their examples, and more of them do not narrow it.
    """
    score = {key: mean(row.scores[row.headline][key] for row in rows) for key in ("value", "low", "high")}
    size = round(mean(row.record["bytes"] for row in rows))
    name = shorten(rows[0].name, _MOST_LETTERS, placeholder=" …")
    name = name if len(rows) == 1 else f"{name} ({len(rows)} seeds)"
    return Point(name, size, distilled=rows[0].record["stage"] == "distill", **score)


def write_report(
    records: Sequence[Record],
    *,
    html: Path | None,
    markdown: Path | None,
    title: str,
    headline: bool = False,
) -> None:
    """Write the report as one HTML file, as Markdown with its figures beside it, or as both.

    None writes no such file. headline: the short table of the quickstart in place of the one of all runs.
    """
    rows = collect_rows(records)
    tables = tables_of(records, headline=headline)
    figures = size_figures(rows) if html or markdown else {}
    if html is not None:
        drawn = {says: to_svg(figure, name=f"size{number}") for number, (says, figure) in enumerate(figures.items())}
        write_atomically(html, page(title, tables, drawn, rows).encode())
    if markdown is not None:
        _write_markdown(markdown, title, tables, {**figures, **_curve_figures(rows)})


def _curve_figures(rows: Sequence[Row]) -> dict[str, "Figure"]:
    """The learning curves of each run that has some, by a sentence that says so."""
    figures = {}
    for row in rows:
        curves, best = row.record.get("curves") or {}, row.record.get("best") or {}
        if curves.get("loss") or curves.get("epochs"):
            says = f"Learning curves: {row.name}, {task_of(row.record)}, {row.record['address']}"
            metric = best.get("metric", row.headline)
            figures[says] = learning_curves(curves, metric=metric, best_epoch=best.get("epoch"))
    return figures


def _write_markdown(path: Path, title: str, tables: dict[str, Table], figures: dict[str, "Figure"]) -> None:
    """The Markdown file; its figures are SVG files in the folder `NAME-figures` beside it."""
    folder = path.with_name(f"{path.stem}-figures")
    parts = [f"# {quote(title)}", *(f"## {quote(heading)}\n\n{to_markdown(one)}" for heading, one in tables.items())]
    for number, (says, figure) in enumerate(figures.items()):
        drawing = folder / f"{number:03}.svg"
        write_atomically(drawing, to_svg(figure, name=f"figure{number}", alone=True).encode())
        parts.append(f"![{quote(says)}]({folder.name.replace(' ', '%20')}/{drawing.name})")
    write_atomically(path, ("\n\n".join(parts) + "\n").encode())
