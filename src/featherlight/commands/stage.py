"""Printing of the commands that run stages: tables for people, one JSON object for programs. Standard output only."""

from collections.abc import Sequence
from pathlib import Path

from featherlight.commands.console import print_json
from featherlight.files import read_json
from featherlight.kinds import MODEL
from featherlight.measurement.metrics import metric_name
from featherlight.reports.results import print_tables
from featherlight.reports.tables import plain
from featherlight.reports.terminal import print_rows
from featherlight.runtime.packed import LIGHT
from featherlight.store.layout import RECORD
from featherlight.store.records import read_records, reported_scores


def trained(folders: Sequence[Path], *, as_json: bool, teacher: Path | None = None) -> None:
    """The results of a training command: folders, records, a summary over seeds; in the table also the teacher."""
    from featherlight.measurement.metrics import summary

    records = read_records(folders)
    names = list(reported_scores(records[0]))
    summaries = {name: summary([reported_scores(record)[name]["value"] for record in records]) for name in names}
    if as_json:
        return print_json({"folders": [str(path) for path in folders], "records": records, "summary": summaries})
    teachers = [teacher.resolve()] if teacher and (teacher / RECORD).exists() else []
    print_tables([*read_records(teachers), *records])
    for folder in folders:
        print(folder)


def stepped(folders: Sequence[Path], *, as_json: bool) -> None:
    """A compressed model before and after: scores, bytes, zeros, flipped predictions and a test of the difference."""
    records = read_records(folders)
    steps = [
        {"folder": str(folder), **{name: record[name] for name in ("before", "after", "zeros", "flips", "p_value")}}
        for folder, record in zip(folders, records, strict=True)
    ]
    if as_json:
        return print_json(steps[0] if len(steps) == 1 else {"steps": steps})
    for folder, record in zip(folders, records, strict=True):
        difference = record["tests"]["bootstrap"]
        metric, labels = difference["metric"], record["task"]["labels"]
        print_rows([
            {"": name, metric_name(metric, labels): f"{100 * record[name]['metrics'][metric]['value']:.2f}",
             "bytes": record[name]["bytes"],
             "packed": "-" if record[name]["packed_bytes"] is None else f"{record[name]['packed_bytes']:,}"}
            for name in ("before", "after")
        ])  # fmt: skip
        asked = record.get("zeros_asked")
        zeros = "" if record["zeros"] is None else f"zeros {record['zeros']:.1%}"
        zeros += "" if asked is None else f" of {asked:.0%} asked"
        print(f"{record['name']}: {zeros}{', ' if zeros else ''}{len(record['parts_changed'])} tensors changed")
        print(
            f"{metric_name(metric, labels)} {100 * difference['value']:+.2f} points ({100 * difference['low']:+.2f} to "
            f"{100 * difference['high']:+.2f}), p = {record['p_value']:.3g}"
            + ("" if record["flips"] is None else f"; {record['flips']} predictions flipped")
        )
        print(folder)


def packed(folder: Path, file: Path | None, *, as_json: bool) -> None:
    """A packed file and its bytes by part. file: the copy of it that was asked for."""
    record = read_json(folder / RECORD)
    path = file or folder / LIGHT
    if as_json:
        return print_json({"file": str(path), "bytes": record["bytes"], "parts": record["parts"]})
    print_tables([record])
    print_rows([{"part": name, "bytes": size} for name, size in record["parts"].items()])
    print(f"{path}: {record['bytes']:,} bytes")


def exported(folder: Path, *, as_json: bool) -> None:
    """An exported folder: its file, how far its logits are from the model's, and its scores."""
    record = read_json(folder / RECORD)
    file, worst = folder / MODEL, record["worst_difference"]
    if as_json:
        return print_json({"file": str(file), "bytes": record["bytes"], "worst_difference": worst,
                           "metrics": reported_scores(record)})  # fmt: skip
    print_tables([record])
    if "flips" in record:
        loss = record["tests"]["bootstrap"]
        flips = "" if record["flips"] is None else f"; {record['flips']} predictions flipped"
        print(f"int8: {-100 * loss['value']:.2f} points of {loss['metric']} lost, p = {record['p_value']:.3g}{flips}")
    print(f"worst difference between its logits and the model's: {worst:.2g}")
    print(file)


def evaluated(folder: Path, *, as_json: bool) -> None:
    """The scores of one evaluation."""
    record = read_json(folder / RECORD)
    task, (split, results) = record["task"]["name"], next(iter(record["metrics"].items()))
    if as_json:
        parts = {name: part["scores"] for name, part in record["metrics"].items() if name != split}
        positive = {"positive": results["positive"]} if "positive" in results else {}
        return print_json({"task": task, "split": split, "n": results["n"], "metrics": results["scores"], **positive,
                           **({"doubts": results["doubts"]} if "doubts" in results else {}),
                           **({"parts": parts} if parts else {}), "folder": str(folder)})  # fmt: skip
    print(f"{record['name']} on {task}, {split}, {results['n']:,} rows; 95 % bootstrap intervals")
    print_rows([
        {"score": metric_name(name, record["task"]["labels"]),
         **{end: f"{score[end]:.4f}" for end in ("value", "low", "high")}}
        for name, score in results["scores"].items()
    ])  # fmt: skip
    for doubt in results.get("doubts", ()):
        print(f"note: {doubt}")
    for name in ("mean_absolute_error", "root_mean_squared_error"):
        if name in results.get("details", {}):
            print(f"{name.replace('_', ' ')}: {plain(results['details'][name])}, in the unit of the labels")


def finished(folders: Sequence[Path], *, as_json: bool) -> None:
    """The results of a recipe."""
    records = read_records(folders)
    if as_json:
        return print_json({"folders": [str(folder) for folder in folders], "records": records})
    print_tables(records)
