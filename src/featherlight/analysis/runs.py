"""Records in; one row for each run, and runs that differ by their seed alone put together, out."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from featherlight.data.task import SELECT
from featherlight.errors import pick
from featherlight.measurement.metrics import METRICS, Score, mean_scores
from featherlight.store.records import Record


@dataclass(frozen=True)
class Row:
    """A record with what its line of the table needs.

    name: the model's name, with the settings in which it differs from others of that name.
    split, count: where the scores come from, and on how many examples.
    reference: the record that size and time are compared with; None if it is not known.
    settings: what decided the result, see `_deciding`. teacher: its address; None for a model that had none.
    """

    record: Record
    name: str
    split: str
    count: int
    headline: str
    scores: Mapping[str, Score]
    reference: Record | None
    settings: Mapping[str, Any]
    teacher: str | None


TRAINING = ("finetune", "distill")
VERSION = "version"  # of a stage: results of two versions are not runs of one model


def collect_rows(records: Sequence[Record], *, reference: str | None = None) -> list[Row]:
    """A row for each record with scores; by task, then from large to small.

    reference: the address to compare all with; None compares each with its own teacher.
    """
    by_address = {record["address"]: record for record in records}
    names = _tell_apart(records)
    rows = []
    for record in records:
        if (scored := reported(record)) is None:
            continue
        split, parts = scored
        scores = parts[0]["scores"] if len(parts) == 1 else mean_scores([part["scores"] for part in parts])
        origin = _origin_of(record, by_address)
        teacher = origin.get("inputs", {}).get("teacher")
        trained = origin["stage"] in TRAINING  # without a teacher it is compared with itself
        own = (by_address.get(teacher) if teacher else origin) if trained else None
        rows.append(
            Row(
                record=record,
                name=names[record["address"]],
                split=split,
                count=sum(part["n"] for part in parts),
                headline=parts[0]["headline"],
                scores=scores,
                reference=pick("record", reference, by_address) if reference else own,
                settings=_deciding(record, by_address),
                teacher=teacher,
            )
        )
    return sorted(rows, key=lambda row: (task_of(row.record), -(row.record.get("bytes") or 0), row.name, seed_of(row)))


def reported(record: Record) -> tuple[str, list[Mapping[str, Any]]] | None:
    """The split that stands for a record, with its parts: MNLI's two dev splits are averaged.

    `select` stands for it only if there is nothing else; None if there are no scores at all.
    """
    splits = {name: part for name, part in record.get("metrics", {}).items() if part.get("scores")}
    if not splits:
        return None
    dev_splits = [name for name in splits if name.startswith("dev_")]
    if "dev" not in splits and len(dev_splits) > 1:
        return " + ".join(dev_splits), [splits[name] for name in dev_splits]
    first = min(splits, key=lambda name: (name == SELECT, name != "dev"))  # the first of equals
    return first, [splits[first]]


def _origin_of(record: Record, by_address: Mapping[str, Record]) -> Record:
    """The record of the training behind steps that change a model (prune, quantize, pack), as far as it is at hand."""
    before = by_address.get(record.get("inputs", {}).get("model", ""))
    return record if before is None or record["stage"] == "evaluate" else _origin_of(before, by_address)


def _tell_apart(records: Sequence[Record]) -> dict[str, str]:
    """A name for each address; models of one name get those settings added in which they differ.

    A setting that only some trainings have (a rank) tells them apart, too; one that a step leaves open does not.
    """
    by_address = {record["address"]: record for record in records}
    decided = {record["address"]: _deciding(record, by_address) for record in records}
    counts = Counter(map(_kind_of, records))
    values: dict[tuple[str, ...], dict[str, Counter[str]]] = {}
    for record in records:
        for key, value in decided[record["address"]].items():
            values.setdefault(_kind_of(record), {}).setdefault(key, Counter())[repr(value)] += 1
    names = {}
    for record in records:
        kind = _kind_of(record)
        least = counts[kind] if record["stage"] in TRAINING else 0
        differing = [
            f"{key} {value}"
            for key, value in decided[record["address"]].items()
            if key != "seed" and (len(values[kind][key]) > 1 or values[kind][key].total() < least)
        ]
        names[record["address"]] = ", ".join([record["name"], *differing])
    return names


def _deciding(record: Record, by_address: Mapping[str, Record]) -> Mapping[str, Any]:
    """The settings that decided a result: its identity, without paths, device and the like, and the stage's version.

    Of a step that changes a model, those of the model's training too, whose seed it is; the step's own count where
    it gives any.
    """
    own = {**record.get("identity", record["settings"]), VERSION: record.get("version")}
    origin = _origin_of(record, by_address)
    if origin is record:
        return own
    first = {**origin.get("identity", origin["settings"]), f"{origin['stage']}'s {VERSION}": origin.get("version")}
    given = {key: value for key, value in own.items() if value is not None}
    return {**first, **given, "seed": first.get("seed")}


def _kind_of(record: Record) -> tuple[str, str, str]:
    return record["stage"], record["name"], task_of(record)


def task_of(record: Record) -> str:
    """The name of a record's task."""
    return str(record["task"]["name"])


def seed_of(row: Row) -> int:
    """The seed of a row's record; -1 where it has none."""
    seed = row.settings.get("seed")
    return -1 if seed is None else int(seed)


def group_seeds(rows: Iterable[Row]) -> list[list[Row]]:
    """Rows that differ in nothing but their seed, together; their order is kept."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        settings = {key: value for key, value in row.settings.items() if key != "seed"}
        same = [row.record["stage"], row.name, task_of(row.record), row.split, settings, row.record.get("sources")]
        groups.setdefault(json.dumps([*same, row.teacher], sort_keys=True), []).append(row)
    return list(groups.values())


def metrics_of(rows: Iterable[Row]) -> list[str]:
    """The metrics that any row has a score of, in their usual order."""
    scored = {name for row in rows for name in row.scores}
    return [name for name in METRICS if name in scored]
