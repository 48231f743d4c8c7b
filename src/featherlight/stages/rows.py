"""Settings in; the rows, labels and weights of classes that a stage works on out."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from featherlight.data.audit import MOST_ROWS, audit
from featherlight.data.registry import LoadedTasks
from featherlight.data.splits import cut_stratified
from featherlight.data.task import SELECT, Examples, Target, Task, TaskData
from featherlight.errors import UserError
from featherlight.stages.settings import TaskSettings
from featherlight.store.stage import Work
from featherlight.training.finetune import balanced_weights


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


def describe_task(data: TaskData, examples: int | None = None) -> dict[str, Any]:
    """The task as a record states it: counts, hashes and row numbers, never texts. examples: what train was cut to."""
    rows = {name: len(split) for name, split in data.splits.items()}
    report = audit(data)
    if examples is not None:
        rows["train"] = examples
    return {
        "name": data.task.name,
        "fingerprint": data.fingerprint,
        "source": data.source,
        "texts": list(data.task.texts),
        "labels": list(data.task.labels),
        "rows": rows,
        "notes": list(data.notes),
        "audit": {**report.counts(), "rows": report.rows(), "most_rows": MOST_ROWS},
    }


def load_task_of(settings: TaskSettings, tasks: LoadedTasks) -> TaskData:
    """The task that settings name."""
    options = {name: getattr(settings, name) for name in TaskSettings.model_fields if name != "task"}
    return tasks.load(settings.task, **options)


def data_source(work: Work[Any]) -> Mapping[str, str]:
    """A hash of the rows and what their columns mean: where they lie and what the task is called do not matter."""
    return {"task": work.task_data.fingerprint}


def labelled(labels: np.ndarray | None) -> np.ndarray:
    """Labels that are known to be there."""
    if labels is None:
        raise UserError("the train split has no labels.")
    return labels


def label_targets(data: TaskData, rows: Examples) -> dict[str, dict[str, np.ndarray]]:
    """The labels of the rows that are fitted, and of select."""
    return {"train": {"labels": labelled(rows.labels)}, SELECT: {"labels": labelled(select_rows(data).labels)}}


def class_weights(choice: str, rows: Examples, task: Task) -> torch.Tensor | None:
    """[C] weights from the labels of these rows of train, if they are asked for; UserError for a regression."""
    if choice == "none":
        return None
    if task.kind is not Target.CLASSES:
        raise UserError("--class-weights balanced: this task is a regression and has no classes. Leave it out.")
    return torch.from_numpy(balanced_weights(labelled(rows.labels), len(task.labels)))
