"""Result folders in, models with their stored predictions out, those of equal data together.

Nothing is predicted anew: what `predictions.safetensors` holds was written with the scores in `record.json`.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from featherlight.analysis.comparison import DataSet, Model
from featherlight.analysis.runs import TRAINING, VERSION, Row, collect_rows, group_seeds, seed_of, task_of
from featherlight.data.task import SELECT, Target
from featherlight.errors import UserError, listed, pick
from featherlight.measurement.metrics import METRICS, check, predictions
from featherlight.store.layout import PREDICTIONS, RECORD
from featherlight.store.records import Record, read_record

_LOGITS, _LABELS = ".logits", ".labels"
_MOST_RESULTS = 1000


@dataclass(frozen=True, eq=False)
class _Result:
    """A folder with its record and stored arrays: logits [N, C] or [N], and labels [N], per split."""

    folder: Path
    record: Record
    arrays: dict[str, np.ndarray]

    @property
    def splits(self) -> list[str]:
        """The splits that have logits."""
        return [name.removesuffix(_LOGITS) for name in sorted(self.arrays) if name.endswith(_LOGITS)]


@dataclass(frozen=True)
class Gathered:
    """Models by data set. rows: what tables know of each of their runs, by data set and model."""

    data: list[DataSet]
    rows: dict[str, dict[str, list[Row]]]


def gather(folders: Sequence[Path], *, metric: str | None, factors: Sequence[str] = ()) -> Gathered:
    """The models of these folders by data set; those that differ in nothing but their seed are one model.

    A store stands for the models that were trained in it. metric: None takes each task's headline. factors: settings
    that tell the models apart, and name them. UserError where folders cannot be compared, which says why.
    """
    paths = [folder for given in folders for folder in _results_in(given)]
    if len(paths) > _MOST_RESULTS:
        raise UserError(f"{len(paths)} results: compare takes at most {_MOST_RESULTS}. Name the results to compare.")
    results = [_read_result(folder) for folder in paths]
    if len(results) < 2:
        raise UserError(f"{folders[0]}: a single result. compare needs at least two: name more results, or a store.")
    for address, count in Counter(result.record["address"] for result in results).items():
        if count > 1:
            raise UserError(f"{address} is named {count} times. Name each result once.")
    tasks: dict[str, list[_Result]] = {}
    for result in results:
        tasks.setdefault(task_of(result.record), []).append(result)
    for task, members in tasks.items():
        if len(members) == 1:
            raise UserError(f"{members[0].folder}: the only result on task {task}. Name another result on this task.")
    rows = _rows_of(results)
    groups = {task: _groups_of(members, rows, factors) for task, members in tasks.items()}
    return Gathered([_data_set(task, members, groups[task], metric) for task, members in tasks.items()], groups)


def _results_in(folder: Path) -> list[Path]:
    """The folder itself; of a store the results of training in it that have predictions."""
    if (folder / RECORD).is_file() or not folder.is_dir():
        return [folder]
    inside = [path.parent for path in sorted(folder.glob(f"*/{RECORD}")) if not path.parent.name.startswith(".")]
    trained = [path for path in inside
               if read_record(path / RECORD)["stage"] in TRAINING and (path / PREDICTIONS).is_file()]  # fmt: skip
    if inside and len(trained) < 2:
        raise UserError(f"{folder}: a store with {len(trained)} trained models. compare needs two; name results.")
    return trained or [folder]


def _groups_of(results: Sequence[_Result], rows: dict[str, Row], factors: Sequence[str]) -> dict[str, list[Row]]:
    of_task = [rows[result.record["address"]] for result in results]
    if not factors:
        return _grouped(of_task)
    models: dict[str, list[Row]] = {}
    for group in group_seeds(of_task):
        name = " + ".join(levels_of(group[0], factors))
        if name in models:
            first, second = models[name][0], group[0]
            both = f"{first.record['address']} and {second.record['address']}"
            differing = sorted(key for key in {*first.settings, *second.settings}
                               if key != "seed" and first.settings.get(key) != second.settings.get(key))  # fmt: skip
            if any(key.endswith(VERSION) for key in differing):
                raise UserError(f"{both} were made by different versions of the program. Run the older one again.")
            raise UserError(
                f"--factors {','.join(factors)}: {both} have the same levels, but differ in {listed(differing)}. Name "
                "that factor too."
            )
        models[name] = sorted(group, key=seed_of)
    return dict(sorted(models.items(), key=lambda item: levels_of(item[1][0], factors)))  # alike on every data set


def levels_of(row: Row, factors: Sequence[str]) -> tuple[str, ...]:
    """What a run's record says of each factor: "lora"; of one that is on or off "drop_leaks" or "no drop_leaks"."""
    settings = row.record["settings"]
    for factor in factors:
        pick("setting", factor, settings)
    switches = {True: "", False: "no "}
    return tuple(
        switches[settings[factor]] + factor if isinstance(settings[factor], bool) else str(settings[factor])
        for factor in factors
    )


def _read_result(folder: Path) -> _Result:
    """A folder's record and predictions, or a UserError that says what is missing and how to get it."""
    if not folder.exists():
        raise UserError(f"{folder}: no such folder. Name the folder of a result, or a store.")
    if folder.is_file():
        raise UserError(f"{folder}: is a file. Name the folder of a result.")
    if not (folder / RECORD).is_file():
        raise UserError(
            f"{folder}: no {RECORD} in it. Name the folder of a result. For a model from elsewhere, make one with "
            f"`featherlight evaluate {folder} --task …`."
        )
    record = read_record(folder / RECORD)
    remedy = f"Run `featherlight evaluate {folder}` and name the folder that it makes."
    if not isinstance(record["task"], dict) or "fingerprint" not in record["task"]:
        raise UserError(f"{folder}: its record ({record['stage']}) does not say on which rows it was scored. {remedy}")
    if not (folder / PREDICTIONS).is_file():
        raise UserError(f"{folder}: no predictions in it ({record['stage']}). {remedy}")
    try:
        arrays = load_file(folder / PREDICTIONS)
    except (SafetensorError, ValueError) as error:
        raise UserError(f"{folder / PREDICTIONS}: cannot be read ({error}). {remedy}") from None
    result = _Result(folder, record, arrays)
    if not result.splits or any(split + _LABELS not in arrays for split in result.splits):
        raise UserError(f"{folder / PREDICTIONS}: holds no logits and labels of a split. {remedy}")
    return result


def _rows_of(results: Sequence[_Result]) -> dict[str, Row]:
    """What tables know of each result (name, seed, settings) by address; ancestors in the same store tell seeds."""
    records = {result.record["address"]: result.record for result in results}
    for result in results:
        record = result.record
        while (source := str(record.get("inputs", {}).get("model", ""))) and source not in records:
            path = result.folder.parent / source / RECORD
            if not path.is_file():
                break
            record = records[source] = read_record(path)
    by_address = {str(row.record["address"]): row for row in collect_rows(list(records.values()))}
    for result in results:
        if result.record["address"] not in by_address:
            raise UserError(f"{result.folder}: no scores in its record. Run `featherlight evaluate {result.folder}`.")
    return by_address


def _data_set(task: str, results: Sequence[_Result], groups: dict[str, list[Row]], metric: str | None) -> DataSet:
    """Models on one task, after checks that they were scored on the same rows; `select` only without another split."""
    first = results[0]
    shared = [split for split in first.splits if all(split in result.splits for result in results)]
    if not shared:
        splits_of = "; ".join(f"{result.folder}: {', '.join(result.splits)}" for result in results)
        raise UserError(
            f"no split has predictions in every folder ({splits_of}). Run `featherlight evaluate FOLDER --split …`."
        )
    splits = [split for split in shared if split != SELECT] or shared
    for result in results[1:]:
        _check_same_rows(first, result, task, splits)
    compared = metric or next(iter(groups.values()))[0].headline
    logits = first.arrays[splits[0] + _LOGITS]
    kind = Target.of(first.record["task"]["labels"])
    check({compared: pick("metric", compared, METRICS)}, kind, classes=logits.shape[-1], rows=len(logits))
    by_address = {result.record["address"]: result for result in results}
    models = []
    for name, group in groups.items():
        runs = [by_address[row.record["address"]] for row in group]
        seeds = tuple(None if seed_of(row) < 0 else seed_of(row) for row in group)
        predicted = {split: np.stack([_predictions_of(run, split) for run in runs]) for split in splits}
        models.append(Model(name, tuple(str(run.folder) for run in runs), seeds, predicted))
    return DataSet(task, compared, {split: first.arrays[split + _LABELS] for split in splits}, tuple(models),
                   tuple(first.record["task"].get("labels") or ()))  # fmt: skip


def _check_same_rows(first: _Result, other: _Result, task: str, splits: Sequence[str]) -> None:
    for key, kind in (("fingerprint", "data"), ("labels", "label names")):
        values = [result.record["task"].get(key) for result in (first, other)]
        if values[0] != values[1]:
            texts = [str(value)[:12] if key == "fingerprint" else listed(value or []) for value in values]
            raise UserError(
                f"{other.folder}: its {kind} of task {task} differ from those of {first.folder} ({key} {texts[1]}, "
                f"not {texts[0]}). Score both on the same files: `featherlight evaluate FOLDER --task …`."
            )
    for split in splits:
        if not np.array_equal(first.arrays[split + _LABELS], other.arrays[split + _LABELS]):
            raise UserError(
                f"{other.folder}: the labels of its {split} differ from those of {first.folder}: other rows, or "
                "another order. Run `featherlight evaluate` on both."
            )
        shapes = [list(result.arrays[split + _LOGITS].shape) for result in (first, other)]
        if shapes[0] != shapes[1]:
            raise UserError(f"{other.folder}: logits of shape {shapes[1]} on {split}, {first.folder} has {shapes[0]}.")


def _grouped(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Runs by model; models of equal names get an address added.

    Runs whose seeds are unknown or equal differ in something else and are models of their own. If there is only one
    model, each of its runs is one, named by its seed: then the question is what the seed does.
    """
    groups: list[list[Row]] = []
    for group in group_seeds(rows):
        seeds = [seed_of(row) for row in group]
        together = min(seeds) >= 0 and len(set(seeds)) == len(seeds)
        groups += [sorted(group, key=seed_of)] if together else [[row] for row in group]
    if len(groups) == 1:
        return {f"{row.name}, seed {seed_of(row)}": [row] for row in groups[0]}
    counts = Counter(group[0].name for group in groups)
    return {
        row.name if counts[row.name] == 1 else f"{row.name} ({row.record['address']})": [row, *others]
        for row, *others in groups
    }


def _predictions_of(result: _Result, split: str) -> np.ndarray:
    try:
        return predictions(result.arrays[split + _LOGITS], Target.of(result.record["task"]["labels"]))
    except UserError as error:
        raise UserError(f"{result.folder}: {error}") from None
