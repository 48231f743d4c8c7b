"""What is odd about a task's rows: a loaded task in, counts and row numbers out, never a text.

Equal means equal but for case and white space (`splits.normalise`); near means also but for punctuation, digits and
a few words (`data.near`). For pairs both texts count. Train is all of train, the select rows cut from it included.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from typing import Any

import numpy as np

from featherlight.data.near import near_twins
from featherlight.data.splits import row_keys
from featherlight.data.task import SELECT, Examples, TaskData

MOST_ROWS = 1000  # row numbers kept of each finding; its count counts them all
LONG = 512  # words; a longer text is over-long: few encoders read more pieces than that


@dataclass(frozen=True)
class Finding:
    """How many, and the numbers of the first 1,000 rows concerned, as their file counts them from 0."""

    count: int = 0
    rows: tuple[int, ...] = ()


@dataclass(frozen=True)
class SplitAudit:
    """One split. empty, long: rows with a blank text, with a text of more than 512 words.

    duplicates: rows whose texts an earlier row of the split has. conflicts: texts with more than one label.
    classes: label to rows; empty for a regression and where there are no labels.
    """

    empty: Finding
    long: Finding
    duplicates: Finding
    conflicts: Finding
    classes: Mapping[str, int]


@dataclass(frozen=True)
class Audit:
    """What was found. Without a train split there are no leaks, duplicates and conflicts to find.

    splits: train (with select) and the others, each by itself.
    duplicates: rows of train whose texts an earlier row of train has.
    near_duplicates: further rows that are near an earlier row of train.
    conflicts: texts of train with more than one label; its rows are all that carry such texts.
    leaks: split to its rows whose texts stand in train too. near_leaks: further rows near a row of train.
    shared: "dev and test" to the rows of test whose texts stand in dev too, and so on.
    """

    splits: Mapping[str, SplitAudit]
    duplicates: Finding
    near_duplicates: Finding
    conflicts: Finding
    leaks: Mapping[str, Finding]
    near_leaks: Mapping[str, Finding]
    shared: Mapping[str, Finding]

    def counts(self) -> dict[str, Any]:
        """Every finding as a number."""
        return {
            "leaks": {split: finding.count for split, finding in self.leaks.items()},
            "near_leaks": {split: finding.count for split, finding in self.near_leaks.items()},
            "shared": {pair: finding.count for pair, finding in self.shared.items()},
            "duplicates": self.duplicates.count,
            "near_duplicates": self.near_duplicates.count,
            "conflicts": self.conflicts.count,
            "empty": sum(split.empty.count for split in self.splits.values()),
            "long": sum(split.long.count for split in self.splits.values()),
            "splits": {
                name: {key: getattr(split, key).count for key in ("empty", "long", "duplicates", "conflicts")}
                | {"classes": dict(split.classes)}
                for name, split in self.splits.items()
            },
        }

    def rows(self) -> dict[str, Any]:
        """The row numbers of every finding, at most 1,000 each; nothing found is left out."""
        single = {"duplicates": self.duplicates, "near_duplicates": self.near_duplicates, "conflicts": self.conflicts}
        per_split = {
            "leaks": self.leaks,
            "near_leaks": self.near_leaks,
            "shared": self.shared,
            "empty": {name: split.empty for name, split in self.splits.items()},
            "long": {name: split.long for name, split in self.splits.items()},
        }
        rows: dict[str, Any] = {name: list(finding.rows) for name, finding in single.items() if finding.count}
        for name, findings in per_split.items():
            if by_split := {split: list(finding.rows) for split, finding in findings.items() if finding.count}:
                rows[name] = by_split
        return rows


@lru_cache(maxsize=2)
def audit(data: TaskData) -> Audit:
    """Look at all rows of a loaded task; at most a few seconds for 100,000 texts, and once per task."""
    parts = {name: split for name, split in data.splits.items() if name not in ("train", SELECT)}
    train = _whole_train(data)
    splits = {**({} if train is None else {"train": train}), **parts}
    audits = {name: _audit_split(split, data.task.labels) for name, split in splits.items()}
    # For every two splits besides train, the later one's rows that stand in the earlier one too.
    shared = {
        f"{one} and {two}": _finding(parts[two], _contained(row_keys(parts[two]), set(row_keys(parts[one]))))
        for one, two in combinations(parts, 2)
    }
    if train is None:
        return Audit(audits, Finding(), Finding(), Finding(), {}, {}, shared)
    keys = row_keys(train)
    near = _near_rows(train, parts)
    repeated = _copies(keys)
    leaked = {name: _contained(row_keys(split), set(keys)) for name, split in parts.items()}
    return Audit(
        splits=audits,
        duplicates=_finding(train, repeated),
        near_duplicates=_finding(train, near["train"] & ~repeated),
        conflicts=_conflicts(train, keys),
        leaks={name: _finding(split, leaked[name]) for name, split in parts.items()},
        near_leaks={name: _finding(split, near[name] & ~leaked[name]) for name, split in parts.items()},
        shared=shared,
    )


def _whole_train(data: TaskData) -> Examples | None:
    """Train with the select rows cut from it, in the order of the file; None without a train split."""
    train, select = data.splits.get("train"), data.splits.get(SELECT)
    if train is None or select is None:
        return train
    second = None if train.second is None or select.second is None else [*train.second, *select.second]
    labels = None if train.labels is None or select.labels is None else np.concatenate([train.labels, select.labels])
    rows = np.concatenate([train.rows, select.rows])
    return Examples([*train.first, *select.first], second, labels, rows).take(np.argsort(rows, kind="stable"))


def _audit_split(examples: Examples, labels: tuple[str, ...]) -> SplitAudit:
    """Empty and over-long texts, and the rows of each class."""
    sides = [examples.first, *([] if examples.second is None else [examples.second])]
    blank = np.any([[not text.strip() for text in side] for side in sides], axis=0)
    long = np.any([[len(text) > LONG and len(text.split()) > LONG for text in side] for side in sides], axis=0)
    classes = {}
    if labels and examples.labels is not None:
        counts = np.bincount(examples.labels, minlength=len(labels)).tolist()
        classes = dict(zip(labels, counts, strict=True))
    keys = row_keys(examples)
    repeated, conflicts = _finding(examples, _copies(keys)), _conflicts(examples, keys)
    return SplitAudit(_finding(examples, blank), _finding(examples, long), repeated, conflicts, classes)


def _finding(examples: Examples, mask: np.ndarray, count: int | None = None) -> Finding:
    """The rows where mask [N] holds; count: if it is not their number."""
    rows = examples.rows[mask]
    return Finding(len(rows) if count is None else count, tuple(rows[:MOST_ROWS].tolist()))


def _copies(keys: Iterable[str]) -> np.ndarray:
    """bool [N]: whether an earlier key is equal."""
    first: dict[str, int] = {}
    return np.array([first.setdefault(key, row) < row for row, key in enumerate(keys)], dtype=bool)


def _contained(keys: Iterable[str], known: set[str]) -> np.ndarray:
    return np.array([key in known for key in keys], dtype=bool)


def _conflicts(train: Examples, keys: list[str]) -> Finding:
    """Texts that carry more than one label (a regression: score); rows: all that have them."""
    if train.labels is None:
        return Finding()
    labels: dict[str, set[float]] = {}
    for key, label in zip(keys, train.labels.tolist(), strict=True):
        labels.setdefault(key, set()).add(label)
    ambiguous = {key for key, values in labels.items() if len(values) > 1}
    return _finding(train, _contained(keys, ambiguous), count=len(ambiguous))


def _near_rows(train: Examples, parts: Mapping[str, Examples]) -> dict[str, np.ndarray]:
    """Split to bool [N]: whether a row is near an earlier row of train."""
    splits = {"train": train, **parts}
    first = [text for split in splits.values() for text in split.first]
    second = None if train.second is None else [text for split in splits.values() for text in split.second or ()]
    near = near_twins(first, second, known=len(train)) >= 0
    ends = np.cumsum([len(split) for split in splits.values()])
    return dict(zip(splits, np.split(near, ends[:-1]), strict=True))
