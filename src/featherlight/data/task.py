"""What a task is, and what it looks like once it is loaded. Knows no file format, model or token.

`Task` describes; `TaskData` holds the rows. A split is `Examples`: parallel columns in memory.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

SELECT = "select"  # the split on which every choice is made; cut from train, never reported


POSITIVE_OF = {"f1": 1, "f1_of_first": 0}  # the F1s of one class of two: the name of the metric, and the class's id


class Target(StrEnum):
    """What a model has to say of an example; how that is scored and told stands in `measurement.metrics`."""

    CLASSES = "classes"
    NUMBER = "number"

    @classmethod
    def of(cls, labels: Sequence[str]) -> "Target":
        """What a model, or a record, with these names of classes says."""
        return cls.CLASSES if labels else cls.NUMBER


@dataclass(frozen=True)
class Task:
    """One text task: how many texts an example has, what its labels are, how it is scored.

    labels: class names in the order of their ids; none where the target is a number.
    metrics: names from `measurement.metrics.METRICS`; the first is the headline score.
    reported: split names that make up the reported score; several (MNLI) are averaged.
    """

    name: str
    texts: tuple[str, ...]
    labels: tuple[str, ...]
    metrics: tuple[str, ...]
    reported: tuple[str, ...] = ("dev",)
    kind: Target = Target.CLASSES

    def __post_init__(self) -> None:
        assert bool(self.labels) == (self.kind is Target.CLASSES), "classes have names, and nothing else has"

    @property
    def positive(self) -> str | None:
        """The class that the F1 among its metrics is of; None without one."""
        return next((self.labels[index] for name, index in POSITIVE_OF.items() if name in self.metrics), None)

    def with_positive(self, name: str) -> "Task":
        """The same with another class's F1 among its metrics, if it has one of two classes."""
        if self.positive in (None, name):
            return self
        own = next(metric for metric, index in POSITIVE_OF.items() if self.labels[index] == name)
        return replace(self, metrics=tuple(own if metric in POSITIVE_OF else metric for metric in self.metrics))

    @property
    def is_pair(self) -> bool:
        """Whether an example is two texts."""
        return len(self.texts) == 2


@dataclass(frozen=True)
class Examples:
    """The rows of one split.

    first: N texts. second: N texts, or None for a single-text task.
    labels: int64 [N] class ids, float32 [N] scores, or None where the split has no labels.
    rows: int64 [N], each row's number in the file (or table) it came from, counted from 0.
    origins: int64 [N]: rows of equal number come from one place (a source file) and stay on one side
    of every cut; None where nothing is known but the texts.
    """

    first: Sequence[str]
    second: Sequence[str] | None
    labels: np.ndarray | None
    rows: np.ndarray
    origins: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.first)

    def take(self, indices: np.ndarray) -> "Examples":
        """The examples at these positions, in this order."""
        return Examples(
            first=[self.first[i] for i in indices],
            second=None if self.second is None else [self.second[i] for i in indices],
            labels=None if self.labels is None else self.labels[indices],
            rows=self.rows[indices],
            origins=None if self.origins is None else self.origins[indices],
        )


@dataclass(frozen=True, eq=False)
class TaskData:
    """A loaded task; equal to itself alone, so that what is computed from it can be kept.

    splits: "train", "select", and the task's further splits ("dev", "test", "dev_matched" ...).
    fingerprint: SHA-256 of all that was read; equal data has equal fingerprints on every machine.
    source: where the rows came from, in words ("hub nyu-mll/glue sst2", "files under glue/SST-2").
    notes: what a reader of the scores should know (partial files, a dev split cut from train ...).
    """

    task: Task
    splits: Mapping[str, Examples]
    fingerprint: str
    source: str
    notes: tuple[str, ...] = ()
