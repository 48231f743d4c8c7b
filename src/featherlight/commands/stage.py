"""What the commands print: tables for people, one JSON object for programs. Standard output only."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from featherlight.commands.console import print_json
from featherlight.files import read_json
from featherlight.kinds import MODEL
from featherlight.reports.terminal import print_rows
from featherlight.runtime.packed import LIGHT
from featherlight.store.layout import RECORD
from featherlight.store.records import read_records, reported_scores


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
    from featherlight.reports.results import print_tables

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
        print_rows([_about_side(name, record[name], metric) for name in ("before", "after")])
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


def _about_side(name: str, side: Mapping[str, Any], metric: str) -> dict[str, object]:
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
