"""`tasks`: the list of them, or one with its splits, labels, audit and examples."""

from typing import Any

from featherlight.commands.console import print_json
from featherlight.data.audit import LONG, Audit, audit
from featherlight.data.classification import TASKS
from featherlight.data.registry import DOCS, load_task, task_names
from featherlight.data.task import SELECT, Target, TaskData
from featherlight.errors import listed, shortened
from featherlight.measurement.metrics import metric_name
from featherlight.reports.terminal import print_rows

_EXAMPLES_SHOWN, _CLASSES_SHOWN = 5, 10
_FEW_ROWS = 100  # of a split that scores or choices come from


def task_list(*, as_json: bool) -> None:
    """The named tasks."""
    rows: list[dict[str, object]] = [
        {"task": DOCS, "texts": 1, "labels": "packages", "scores": "accuracy, macro_f1", "from": "installed packages"}
    ]
    rows += [
        {"task": name, "texts": len(row.task.texts), "labels": ", ".join(row.task.labels) or "a number",
         "scores": ", ".join(row.task.metrics), "from": "--data DIR, or the hub"}
        for name, row in TASKS.items()
    ]  # fmt: skip
    if as_json:
        return print_json({"tasks": list(task_names())})
    print_rows(rows)
    print("A file of your own (CSV, TSV, JSONL, Parquet, aspect terms in XML) is a task too: featherlight tasks FILE")


def task(name: str, *, as_json: bool, **options: Any) -> None:
    """One task: splits, rows, labels, examples."""
    loaded = load_task(name, **options)
    notes = [*loaded.notes, *_few_rows(loaded)]
    splits: dict[str, dict[str, object]] = {split: {"rows": len(part)} for split, part in loaded.splits.items()}
    if SELECT in splits:
        fitted = len(loaded.splits["train"])
        splits["train"] = {"rows": fitted + len(loaded.splits[SELECT]), "fitted": fitted}
        splits[SELECT]["cut_from"] = "train"
    if as_json:
        return print_json({
            "name": loaded.task.name, "splits": splits, "labels": list(loaded.task.labels),
            "metrics": list(loaded.task.metrics), "reported": list(loaded.task.reported), "source": loaded.source,
            "fingerprint": loaded.fingerprint, "notes": notes, "audit": audit(loaded).counts(),
        })  # fmt: skip
    print(f"{loaded.task.name}: {loaded.source}")
    print(f"labels: {listed(loaded.task.labels) or 'a number (regression)'}")
    scores = ", ".join(metric_name(name, loaded.task.labels) for name in loaded.task.metrics)
    print(f"scores: {scores}; reported on {', '.join(loaded.task.reported)}")
    for note in notes:
        print(f"note: {note}")
    fitted_on = f"{splits['train']['fitted']:,} to fit on, the rest is select" if SELECT in splits else ""
    purposes = {"train": fitted_on, SELECT: "cut from train; every choice is made on it"}
    print_rows([{"split": name, "rows": split["rows"], "": purposes.get(name, "")} for name, split in splits.items()])
    _print_audit(audit(loaded))
    examples = next(iter(loaded.splits.values()))
    step = max(len(examples) // _EXAMPLES_SHOWN, 1)  # spread over the split: files are often sorted by label
    names = loaded.task.labels
    for i in range(0, min(step * _EXAMPLES_SHOWN, len(examples)), step):
        label = ""
        if examples.labels is not None:
            label = names[int(examples.labels[i])] if names else f"{float(examples.labels[i]):g}"
        texts = [examples.first[i], *([] if examples.second is None else [examples.second[i]])]
        print(f"[{label}] " + " | ".join(shortened(text) for text in texts))


def _few_rows(data: TaskData) -> list[str]:
    counts = {split: len(data.splits[split]) for split in (SELECT, *data.task.reported) if split in data.splits}
    few = {split: count for split, count in counts.items() if count < _FEW_ROWS}
    if data.task.kind is Target.NUMBER:
        return [f"{split} is small ({count}): its scores are rough" for split, count in few.items()]
    return [
        f"{split} is small ({count}): an accuracy of 50 % there is known to {98 / count**0.5:.0f} points either way"
        for split, count in few.items()
    ]


def _print_audit(result: Audit) -> None:
    counts = result.counts()
    others = {split: part for split, part in result.splits.items() if split != "train"}
    for split, part in result.splits.items():
        if part.classes:
            shares = (f"{name} {count:,}" for name, count in list(part.classes.items())[:_CLASSES_SHOWN])
            print(f"{split}: {', '.join(shares)}{', ...' if len(part.classes) > _CLASSES_SHOWN else ''}")
    findings = {
        "rows of train repeat an earlier one": counts["duplicates"],
        "further rows of train nearly repeat an earlier one": counts["near_duplicates"],
        "texts of train have more than one label": counts["conflicts"],
        **{f"rows of {split} stand in train too (--drop-leaks)": count for split, count in counts["leaks"].items()},
        **{
            f"rows of {split} repeat an earlier one of {split}": part.duplicates.count for split, part in others.items()
        },
        **{f"texts of {split} have more than one label": part.conflicts.count for split, part in others.items()},
        **{f"texts stand in {pair}": count for pair, count in counts["shared"].items()},
        **{f"further rows of {split} nearly stand in train": count for split, count in counts["near_leaks"].items()},
        "rows have an empty text": counts["empty"],
        f"rows have a text of more than {LONG} words": counts["long"],
    }
    for finding, count in findings.items():
        if count:
            print(f"audit: {count:,} {finding}")
    if not any(findings.values()):
        print("audit: no duplicates, leaks, conflicting labels, empty or over-long texts")
