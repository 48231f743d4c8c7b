"""Tables, figures and records in, one HTML page out: no script, no request, nothing but itself.

Everything that came from data is escaped. Wide tables scroll by themselves on a narrow screen;
figures turn dark with the reader's screen.
"""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from featherlight.analysis.runs import Row, seed_of, task_of
from featherlight.measurement.metrics import NAMES
from featherlight.reports.figures import learning_curves, to_svg
from featherlight.reports.tables import BYTES, COUNTS, SECONDS, Table, percent, show_score, with_unit
from featherlight.store.records import Record

_MOST_CLASSES = 20  # beyond, a confusion matrix is too large to read and its largest errors are listed

_STYLE = """
:root { color-scheme: light dark; --ink: #1d2127; --soft: #667080; --line: #dfe3e8; --paper: #fff; --tint: #0072b2 }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e4e7eb; --soft: #98a2b0; --line: #353b44; --paper: #15181c; --tint: #56b4e9 }
  figure svg { filter: invert(.915) hue-rotate(180deg) }
}
* { box-sizing: border-box }
body { margin: 0 auto; max-width: 66rem; padding: 1.5rem 1rem 4rem; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, sans-serif }
h1 { font-size: 1.7rem; margin: 0 0 .2rem } h2 { font-size: 1.15rem; margin: 2.4rem 0 .6rem }
h3 { font-size: 1rem; margin: 1.4rem 0 .4rem }
p.note { color: var(--soft); font-size: .85rem; margin: .4rem 0 }
.scroll { overflow-x: auto }
table { border-collapse: collapse; font-size: .92rem; font-variant-numeric: tabular-nums }
th, td { padding: .4rem .9rem .4rem 0; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--line) }
th { font-weight: 600; color: var(--soft); font-size: .8rem; vertical-align: bottom }
.word { text-align: left }
td.wide { white-space: normal; overflow-wrap: anywhere; min-width: 10rem }
.matrix td, .matrix th { padding: .35rem .6rem }
figure { margin: 1rem 0; overflow-x: auto }
figure svg { display: block; width: 100%; height: auto; min-width: 36rem; max-width: 54rem }
details { border-top: 1px solid var(--line); padding: .6rem 0 }
details:last-of-type { border-bottom: 1px solid var(--line) }
summary { cursor: pointer; font-weight: 600 } summary span { color: var(--soft); font-weight: 400 }
.columns { display: flex; flex-wrap: wrap; gap: .8rem 3rem } .columns > * { min-width: 0; max-width: 100% }
"""


def begun(title: str) -> list[str]:
    """How every page begins, up to its heading."""
    return [
        "<!DOCTYPE html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>",
        f"<h1>{escape(title)}</h1>",
    ]


def page(
    title: str,
    tables: Mapping[str, Table],
    figures: Mapping[str, str],
    rows: Sequence[Row],
) -> str:
    """The page: tables under their headings, <svg> figures by what they show, and each run in full."""
    parts = begun(title)
    for heading, shown in tables.items():
        parts += [f"<h2>{escape(heading)}</h2>", draw_table(shown)]
    parts += [draw_figure(svg, says) for says, svg in figures.items()]
    parts += ["<h2>Runs</h2>", *(_draw_run(row, number) for number, row in enumerate(rows)), "</body></html>"]
    return "\n".join(parts) + "\n"


def draw_table(shown: Table) -> str:
    """A table and its notes."""
    kinds = [' class="word"' if place < shown.words else "" for place in range(len(shown.columns))]
    head = "".join(f"<th{kind}>{escape(cell)}</th>" for kind, cell in zip(kinds, shown.columns, strict=True))
    body = "\n".join(
        "<tr>" + "".join(f"<td{kind}>{escape(cell)}</td>" for kind, cell in zip(kinds, line, strict=True)) + "</tr>"
        for line in shown.rows
    )
    notes = "".join(f'<p class="note">{escape(note)}</p>' for note in shown.notes)
    table = f"<table><thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table>"
    return f'<div class="scroll">{table}</div>{notes}'


def draw_figure(svg: str, says: str) -> str:
    """A figure with the sentence that stands for it where it cannot be seen."""
    return f'<figure role="img" aria-label="{escape(says)}">{svg}</figure>'


def _draw_run(row: Row, number: int) -> str:
    """One run, folded away: its scores by class, curves, settings and surroundings."""
    record = row.record
    facts = [task_of(record), row.split, show_score(row.scores[row.headline], interval=True)]
    if seed_of(row) >= 0:
        facts.insert(1, f"seed {seed_of(row)}")
    parts = [f"<details><summary>{escape(row.name)} <span>· {escape(' · '.join(facts))}</span></summary>"]
    curves = record.get("curves") or {}
    if curves.get("loss") or curves.get("epochs"):
        parts.append(_draw_curves(record, row.headline, name=f"run{number}"))
    for split, part in record["metrics"].items():
        parts.append(_draw_split(split, part))
    blocks = {
        "Settings": record["settings"],
        "Inputs": record.get("inputs", {}),
        "Task": _about_task(record["task"]),
        "Cost": _about_cost(record),
        "Environment": record.get("environment", {}),
    }
    parts += ['<div class="columns">', *(_draw_facts(name, block) for name, block in blocks.items() if block), "</div>"]
    return "\n".join([*parts, f'<p class="note">{escape(record["address"])}</p></details>'])


def _draw_curves(record: Record, headline: str, *, name: str) -> str:
    """The learning curves of a run."""
    best = record.get("best") or {}
    figure = learning_curves(record["curves"], metric=best.get("metric", headline), best_epoch=best.get("epoch"))
    return draw_figure(to_svg(figure, name=name), f"Learning curves of {record['name']}")


def _draw_split(split: str, part: Mapping[str, Any]) -> str:
    """All scores of one split, and what lies behind them."""
    lines = [
        (NAMES.get(name, name), percent(score["value"]), percent(score["low"]), percent(score["high"]))
        for name, score in part.get("scores", {}).items()
    ]
    table = draw_table(Table(("score", "value", "from", "to"), tuple(lines), words=1))
    parts = [f"<h3>{escape(split)}, {part['n']:,} examples</h3>", '<div class="columns"><div>', table]
    details = part.get("details") or {}
    for name in ("calibration_error", "mean_absolute_error", "root_mean_squared_error"):
        if name in details:
            parts.append(f'<p class="note">{name.replace("_", " ")}: {details[name]:.3g}</p>')
    parts.append("</div>")
    if details.get("per_class"):
        parts.append(draw_table(_class_table(details["per_class"])))
        parts.append(_draw_confusion(list(details["per_class"]), details["confusion"]))
    return "\n".join([*parts, "</div>"])


def _class_table(classes: Mapping[str, Mapping[str, float]]) -> Table:
    """Precision, recall and F1 of each class, times 100."""
    lines = tuple(
        (name, *(percent(one[key]) for key in ("precision", "recall", "f1")), f"{one['support']:,}")
        for name, one in classes.items()
    )
    return Table(("class", "precision", "recall", "F1", "examples"), lines, words=1)


def _draw_confusion(classes: Sequence[str], matrix: Sequence[Sequence[int]]) -> str:
    """A confusion matrix, tinted by the share of its row; with many classes the most frequent mistakes instead."""
    if len(classes) > _MOST_CLASSES:
        return draw_table(_frequent_mistakes(classes, matrix))
    head = "".join(f"<th>{escape(name)}</th>" for name in classes)
    lines = [
        f'<tr><th class="word">{escape(name)}</th>' + "".join(_tinted(count, sum(row)) for count in row) + "</tr>"
        for name, row in zip(classes, matrix, strict=True)
    ]
    table = f'<table class="matrix"><tr><th class="word">truth ↓ predicted →</th>{head}</tr>{"".join(lines)}</table>'
    return f'<div class="scroll">{table}</div>'


def _tinted(count: int, total: int) -> str:
    """A cell whose background grows stronger with its share of the row."""
    share = 70 * count / total if total else 0.0
    return f'<td style="background:color-mix(in srgb, var(--tint) {share:.0f}%, transparent)">{count:,}</td>'


def _frequent_mistakes(classes: Sequence[str], matrix: Sequence[Sequence[int]]) -> Table:
    """The largest numbers beside the diagonal."""
    mistakes = [
        (count, truth, guess)
        for truth, row in zip(classes, matrix, strict=True)
        for guess, count in zip(classes, row, strict=True)
        if truth != guess and count
    ]
    largest = sorted(mistakes, key=lambda mistake: -mistake[0])[:_MOST_CLASSES]
    lines = tuple((truth, guess, f"{count:,}") for count, truth, guess in largest)
    return Table(("truth", "predicted", "examples"), lines, words=2, notes=("The most frequent mistakes.",))


def _about_task(task: Mapping[str, Any]) -> dict[str, Any]:
    """Where the examples came from."""
    rows = {f"{split} rows": f"{count:,}" for split, count in task.get("rows", {}).items()}
    return {"name": task["name"], "source": task.get("source", ""), **rows, "notes": "; ".join(task.get("notes", []))}


def _about_cost(record: Record) -> dict[str, str]:
    """What a run took and what its model takes."""
    seconds = {f"seconds to {phase}": f"{value:,.1f}" for phase, value in record.get("seconds", {}).items()}
    found = {
        "parameters": with_unit(record.get("parameters"), COUNTS),
        "bytes on disk": with_unit(record.get("bytes"), BYTES),
        "peak memory": with_unit(record.get("peak_memory_bytes"), BYTES),
    }
    return seconds | found | _about_latency(record.get("latency") or {})


def _about_latency(latency: Mapping[str, Any]) -> dict[str, str]:
    """The spread of the time for one text, and how it was taken."""
    values = sorted(latency.get("values", []))
    if not values:
        return {}
    places = {"fastest": 0.0, "median": 0.5, "90 of 100 within": 0.9, "slowest": 1.0}
    spread = {name: with_unit(values[round(place * (len(values) - 1))], SECONDS) for name, place in places.items()}
    how = {key: str(value) for key, value in latency.items() if key not in ("values", "unit")}
    return {f"time per text, {name}": value for name, value in (spread | how).items()}


def _draw_facts(heading: str, facts: Mapping[str, Any]) -> str:
    """Names and values, side by side."""
    lines: Iterable[str] = (
        f'<tr><td class="word">{escape(str(key))}</td><td class="word wide">{escape(str(value))}</td></tr>'
        for key, value in facts.items()
        if value not in (None, "")
    )
    return f"<div><h3>{escape(heading)}</h3><table>{''.join(lines)}</table></div>"
