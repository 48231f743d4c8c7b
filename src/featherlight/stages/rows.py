"""Settings in; the rows, labels and weights of classes that a stage works on out."""

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from featherlight.data.audit import MOST_ROWS, audit
from featherlight.data.registry import load_task
from featherlight.data.splits import cut_stratified
from featherlight.data.task import SELECT, Examples, TaskData
from featherlight.errors import UserError
from featherlight.stages.settings import TaskSettings, TrainSettings
from featherlight.training.finetune import balanced_weights

_TASK_OPTIONS = tuple(name for name in TaskSettings.model_fields if name != "task")


def train_rows(data: TaskData, examples: int | None, seed: int) -> Examples:
    """The train split, cut down if asked for; a UserError where the task has none here."""
    if "train" not in data.splits:
        notes = "; ".join(data.notes)
        raise UserError(f"task {data.task.name} has no train split here ({data.source}). {notes}".rstrip())
    rows = data.splits["train"]
    return rows if examples is None else cut_stratified(rows, examples, seed)


def select_split(data: TaskData) -> str:
    """The split on which choices are made: select, or dev (MNLI: the first of two) where that was asked for."""
    return next(split for split in (SELECT, "dev", *data.task.reported) if split in data.splits)


def select_rows(data: TaskData) -> Examples:
    """The rows on which choices are made."""
    return data.splits[select_split(data)]


def joined(first: Examples, second: Examples) -> Examples:
    """Two splits as one."""
    assert first.labels is not None and second.labels is not None
    both = None if first.second is None or second.second is None else [*first.second, *second.second]
    return Examples(
        [*first.first, *second.first],
        both,
        np.concatenate([first.labels, second.labels]),
        np.concatenate([first.rows, second.rows]),
    )


def describe_task(data: TaskData, settings: Any) -> dict[str, Any]:
    """The task as a record states it: counts, hashes and row numbers, never texts."""
    rows = {name: len(examples) for name, examples in data.splits.items()}
    found = audit(data)
    if getattr(settings, "examples", None) is not None:
        rows["train"] = settings.examples
    return {
        "name": data.task.name,
        "fingerprint": data.fingerprint,
        "source": data.source,
        "texts": list(data.task.texts),
        "labels": list(data.task.labels),
        "rows": rows,
        "notes": list(data.notes),
        "audit": {**found.counts(), "rows": found.rows(), "most_rows": MOST_ROWS},
    }


def task_data(settings: TaskSettings) -> TaskData:
    """The task that the settings name, loaded once per process."""
    options = tuple((name, getattr(settings, name)) for name in _TASK_OPTIONS)
    return _cached_task(settings.task, options)


@functools.lru_cache(maxsize=8)
def _cached_task(name: str, options: tuple[tuple[str, Any], ...]) -> TaskData:
    """`load_task`; the address and the run of a stage see the same rows, read once."""
    return load_task(name, **dict(options))


def data_source(settings: TaskSettings) -> Mapping[str, str]:
    """A hash of the rows and what their columns mean: where they lie and what the task is called do not matter."""
    return {"task": task_data(settings).fingerprint}


def labelled(labels: np.ndarray | None) -> np.ndarray:
    """Labels that are known to be there."""
    if labels is None:
        raise UserError("the train split has no labels.")
    return labels


def label_targets(data: TaskData, rows: Examples) -> dict[str, dict[str, np.ndarray]]:
    """The labels of the rows that are fitted, and of select."""
    return {"train": {"labels": labelled(rows.labels)}, SELECT: {"labels": labelled(select_rows(data).labels)}}


def class_weights(data: TaskData, settings: TrainSettings) -> torch.Tensor | None:
    """[C] weights from the labels of train, if they are asked for; UserError for a regression."""
    if settings.class_weights == "none":
        return None
    if data.task.is_regression:
        raise UserError("--class-weights balanced: this task is a regression and has no classes. Leave it out.")
    labels = labelled(train_rows(data, settings.examples, settings.seed).labels)
    return torch.from_numpy(balanced_weights(labels, len(data.task.labels)))
