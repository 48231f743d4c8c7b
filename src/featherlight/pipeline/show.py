"""What the commands print: tables for people, one JSON object for programs. Standard output only."""

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from featherlight.data.audit import LONG, Audit, audit
from featherlight.data.classification import TASKS
from featherlight.data.registry import DOCS, load_task, task_names
from featherlight.data.task import SELECT, TaskData
from featherlight.errors import UserError, listed, shortened
from featherlight.files import read_json
from featherlight.kinds import MODEL
from featherlight.reports.tables import WIDTH_OF_PLAIN_OUTPUT
from featherlight.runtime.packed import LIGHT
from featherlight.store.entries import entries
from featherlight.store.layout import RECORD
from featherlight.store.records import read_records, reported_scores

EXAMPLES_SHOWN, CLASSES_SHOWN = 5, 10
FEW_ROWS = 100  # of a split that scores or choices come from


def print_json(value: Any) -> None:
    """One JSON object on one line."""
    print(json.dumps(value, ensure_ascii=False, allow_nan=False))


def print_rows(rows: Sequence[Mapping[str, object]]) -> None:
    """Aligned columns, numbers to the right; one row per mapping, all with equal keys."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD)
    for name in rows[0] if rows else ():
        numeric = all(isinstance(row[name], int | float) for row in rows)
        table.add_column(str(name), justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        # Text: a name in brackets would be read as a style.
        table.add_row(*(Text(f"{value:,}" if isinstance(value, int) else str(value)) for value in row.values()))
    Console(width=None if Console().is_terminal else WIDTH_OF_PLAIN_OUTPUT).print(table)


def task_list(*, as_json: bool) -> None:
    """The named tasks."""
    rows: list[dict[str, object]] = [
        {"task": DOCS, "texts": 1, "labels": "packages", "scores": "accuracy, macro_f1", "from": "installed packages"}
    ]
    for name, row in TASKS.items():
        task = row.task
        rows.append(
            {
                "task": name,
                "texts": len(task.texts),
                "labels": ", ".join(task.labels) or "a number",
                "scores": ", ".join(task.metrics),
                "from": "--data DIR, or the hub",
            }
        )
    if as_json:
        return print_json({"tasks": list(task_names())})
    print_rows(rows)
    print("A file of your own (CSV, TSV, JSONL, Parquet, aspect terms in XML) is a task too: featherlight tasks FILE")


def task(name: str, *, as_json: bool, **options: Any) -> None:
    """One task: splits, rows, labels, examples."""
    loaded = load_task(name, **options)
    notes = [*loaded.notes, *few_rows(loaded)]
    splits: dict[str, dict[str, object]] = {split: {"rows": len(part)} for split, part in loaded.splits.items()}
    if SELECT in splits:
        fitted = len(loaded.splits["train"])
        splits["train"] = {"rows": fitted + len(loaded.splits[SELECT]), "fitted": fitted}
        splits[SELECT]["cut_from"] = "train"
    if as_json:
        return print_json(
            {
                "name": loaded.task.name,
                "splits": splits,
                "labels": list(loaded.task.labels),
                "metrics": list(loaded.task.metrics),
                "reported": list(loaded.task.reported),
                "source": loaded.source,
                "fingerprint": loaded.fingerprint,
                "notes": notes,
                "audit": audit(loaded).counts(),
            }
        )
    print(f"{loaded.task.name}: {loaded.source}")
    print(f"labels: {listed(loaded.task.labels) or 'a number (regression)'}")
    print(f"scores: {', '.join(loaded.task.metrics)}; reported on {', '.join(loaded.task.reported)}")
    for note in notes:
        print(f"note: {note}")
    print_rows([{"split": split, "rows": shown["rows"], "": about(split, shown)} for split, shown in splits.items()])
    print_audit(audit(loaded))
    first_split = next(iter(loaded.splits))
    examples = loaded.splits[first_split]
    step = max(len(examples) // EXAMPLES_SHOWN, 1)  # spread over the split: files are often sorted by label
    for i in range(0, min(step * EXAMPLES_SHOWN, len(examples)), step):
        label = "" if examples.labels is None else said_label(loaded.task.labels, examples.labels[i])
        texts = [examples.first[i], *([] if examples.second is None else [examples.second[i]])]
        print(f"[{label}] " + " | ".join(shortened(text) for text in texts))


def few_rows(data: TaskData) -> list[str]:
    """How little the splits can say that scores and choices come from, where they are small."""
    counts = {split: len(data.splits[split]) for split in (SELECT, *data.task.reported) if split in data.splits}
    few = {split: count for split, count in counts.items() if count < FEW_ROWS}
    if data.task.is_regression:
        return [f"{split} is small ({count}): its scores are rough" for split, count in few.items()]
    return [
        f"{split} is small ({count}): an accuracy of 50 % there is known to {98 / count**0.5:.0f} points either way"
        for split, count in few.items()
    ]


def print_audit(found: Audit) -> None:
    """What the audit found, a line each; nothing where there is nothing to say."""
    counts = found.counts()
    for split, part in found.splits.items():
        if part.classes:
            total = max(sum(part.classes.values()), 1)
            shares = (f"{name} {count / total:.0%}" for name, count in list(part.classes.items())[:CLASSES_SHOWN])
            print(f"{split}: {', '.join(shares)}{', ...' if len(part.classes) > CLASSES_SHOWN else ''}")
    lines = {
        "rows of train repeat an earlier one": counts["duplicates"],
        "further rows of train nearly repeat an earlier one": counts["near_duplicates"],
        "texts of train have more than one label": counts["conflicts"],
        **{f"rows of {split} stand in train too (--drop-leaks)": count for split, count in counts["leaks"].items()},
        **{
            f"rows of {split} repeat an earlier one of {split}": part.duplicates.count
            for split, part in found.splits.items()
            if split != "train"
        },
        **{
            f"texts of {split} have more than one label": part.conflicts.count
            for split, part in found.splits.items()
            if split != "train"
        },
        **{f"texts stand in {pair}": count for pair, count in counts["shared"].items()},
        **{f"further rows of {split} nearly stand in train": count for split, count in counts["near_leaks"].items()},
        "rows have an empty text": counts["empty"],
        f"rows have a text of more than {LONG} words": counts["long"],
    }
    for line, count in lines.items():
        if count:
            print(f"audit: {count:,} {line}")
    if not any(lines.values()):
        print("audit: no duplicates, leaks, conflicting labels, empty or over-long texts")


def about(split: str, shown: Mapping[str, object]) -> str:
    """What a split's rows are for."""
    if split == SELECT:
        return "cut from train; every choice is made on it"
    return f"{shown['fitted']:,} to fit on, the rest is select" if "fitted" in shown else ""


def said_label(labels: Sequence[str], value: Any) -> str:
    """A label as people write it."""
    return labels[int(value)] if labels else f"{float(value):g}"


def trained(folders: Sequence[Path], *, as_json: bool, teacher: Path | None = None) -> None:
    """What a training command made: folders, records, a summary over seeds; people see the teacher beside it."""
    from featherlight.measurement.metrics import summary

    records = read_records(folders)
    names = list(reported_scores(records[0]))
    summaries = {name: summary([reported_scores(record)[name]["value"] for record in records]) for name in names}
    if as_json:
        return print_json({"folders": [str(path) for path in folders], "records": records, "summary": summaries})
    beside = [teacher.resolve()] if teacher and (teacher / RECORD).exists() else []
    show_records([*read_records(beside), *records])
    for folder in folders:
        print(folder)


def show_records(records: Sequence[Mapping[str, Any]]) -> None:
    """The table of records, and the summary over seeds where there are several."""
    from featherlight.reports.terminal import print_tables

    print_tables(records)


def stepped(folders: Sequence[Path], *, as_json: bool) -> None:
    """What a step did to a model: before and after, zeros, flips, and whether that may be luck."""
    records = read_records(folders)
    shown = [
        {"folder": str(folder), **{name: record[name] for name in ("before", "after", "zeros", "flips", "p_value")}}
        for folder, record in zip(folders, records, strict=True)
    ]
    if as_json:
        return print_json(shown[0] if len(shown) == 1 else {"steps": shown})
    for folder, record in zip(folders, records, strict=True):
        metric = record["tests"]["bootstrap"]["metric"]
        print_rows([about_side(name, record[name], metric) for name in ("before", "after")])
        difference = record["tests"]["bootstrap"]
        asked = record.get("zeros_asked")
        zeros = "" if record["zeros"] is None else f"zeros {record['zeros']:.1%}"
        zeros += "" if asked is None else f" of {asked:.0%} asked"
        print(f"{record['name']}: {zeros}{', ' if zeros else ''}{len(record['parts_changed'])} tensors changed")
        print(
            f"{metric} {100 * difference['value']:+.2f} points ({100 * difference['low']:+.2f} to "
            f"{100 * difference['high']:+.2f}), p = {record['p_value']:.3g}"
            + ("" if record["flips"] is None else f"; {record['flips']} predictions flipped")
        )
        print(folder)


def about_side(name: str, side: Mapping[str, Any], metric: str) -> dict[str, object]:
    """A model before or after a step as a row."""
    packed = side["packed_bytes"]
    return {
        "": name,
        metric: f"{100 * side['metrics'][metric]['value']:.2f}",
        "bytes": side["bytes"],
        "packed": "-" if packed is None else f"{packed:,}",
    }


def packed(folder: Path, file: Path | None, *, as_json: bool) -> None:
    """A packed file and its bytes by part; file: where it was copied to."""
    record = read_json(folder / RECORD)
    path = file or folder / LIGHT
    if as_json:
        return print_json({"file": str(path), "bytes": record["bytes"], "parts": record["parts"]})
    show_records([record])
    print_rows([{"part": name, "bytes": size} for name, size in record["parts"].items()])
    print(f"{path}: {record['bytes']:,} bytes")


def exported(folder: Path, *, as_json: bool) -> None:
    """An exported folder: its file, how far its logits are from the model's, what it is worth."""
    record = read_json(folder / RECORD)
    file, worst = folder / MODEL, record["worst_difference"]
    if as_json:
        shown = {"file": str(file), "bytes": record["bytes"], "worst_difference": worst}
        return print_json({**shown, "metrics": reported_scores(record)})
    show_records([record])
    if "flips" in record:
        found = record["tests"]["bootstrap"]
        flips = "" if record["flips"] is None else f"; {record['flips']} predictions flipped"
        print(f"int8: {-100 * found['value']:.2f} points of {found['metric']} lost, p = {record['p_value']:.3g}{flips}")
    print(f"worst difference between its logits and the model's: {worst:.2g}")
    print(file)


def evaluated(folder: Path, *, as_json: bool) -> None:
    """The scores of one evaluation."""
    record = read_json(folder / RECORD)
    split, found = next(iter(record["metrics"].items()))
    if as_json:
        shown = {"task": record["task"]["name"], "split": split, "n": found["n"], "metrics": found["scores"]}
        parts = {name: part["scores"] for name, part in record["metrics"].items() if name != split}
        return print_json({**shown, **({"parts": parts} if parts else {}), "folder": str(folder)})
    print(f"{record['name']} on {record['task']['name']}, {split}, {found['n']:,} rows; 95 % bootstrap intervals")
    rows = [
        {"score": name, "value": f"{s['value']:.4f}", "low": f"{s['low']:.4f}", "high": f"{s['high']:.4f}"}
        for name, s in found["scores"].items()
    ]
    print_rows(rows)


def finished(folders: Sequence[Path], *, as_json: bool) -> None:
    """The results of a recipe."""
    records = read_records(folders)
    if as_json:
        return print_json({"folders": [str(folder) for folder in folders], "records": records})
    show_records(records)


def report(store: Path, *, html: Path | None, markdown: Path | None, as_json: bool) -> None:
    """Every record under a store; as a page and as Markdown where they are asked for."""
    from featherlight.reports.results import write_report
    from featherlight.store.records import collect

    records = collect(store)
    pages = {kind: str(path) for kind, path in (("html", html), ("markdown", markdown)) if path is not None}
    try:
        if pages:
            write_report(records, html=html, markdown=markdown, title=f"Results in {store.name}")
    except OSError as error:
        raise UserError(f"{' or '.join(pages.values())}: cannot be written ({error.strerror}). Name a file.") from None
    if as_json:
        return print_json({"records": records, **pages})
    show_records(records)
    for path in pages.values():
        print(path)


def store_entries(store: Path, *, as_json: bool) -> None:
    """What a store holds."""
    found = entries(store)
    if as_json:
        return print_json({"entries": found})
    if not found:
        return print(f"{store} is empty")
    print_rows(found)


def removed(names: Sequence[str], *, as_json: bool) -> None:
    """What was deleted."""
    if as_json:
        return print_json({"removed": list(names)})
    print("removed: " + (shlex.join(names) or "nothing"))
