"""A task's name, or the path of a user's file, in; `TaskData` with train, select and the rest out.

The one door to all data. Imports no reader's heavy libraries before it needs them.
"""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from featherlight.data.aspects import CONFLICT_NOTE
from featherlight.data.classification import TASKS, load_published
from featherlight.data.own import load_own
from featherlight.data.readers import READERS
from featherlight.data.splits import Cut, cut_dev, cut_select, row_keys
from featherlight.data.task import SELECT, TaskData
from featherlight.errors import UserError, listed, nearest
from featherlight.files import hash_text
from featherlight.progress import say

DOCS = "docs"
_MOST_HELD = 8  # tasks


def task_names() -> tuple[str, ...]:
    """The tasks that have a name of their own."""
    return (DOCS, *TASKS)


class LoadedTasks:
    """Tasks that were loaded, each once, for as long as somebody holds this: a command while it plans, or a worker."""

    def __init__(self) -> None:
        self._tasks: dict[tuple[Any, ...], TaskData] = {}

    def load(self, name: str, **options: Any) -> TaskData:
        """`load_task`. Of more than a few tasks the one that was loaded first is let go."""
        key = (name, *options.items())
        if key not in self._tasks:
            if len(self._tasks) >= _MOST_HELD:
                del self._tasks[next(iter(self._tasks))]
            self._tasks[key] = load_task(name, **options)
        return self._tasks[key]


def load_task(
    name: str,
    *,
    data: Path | None = None,
    text: str | None = None,
    text_pair: str | None = None,
    label: str | None = None,
    kind: str = "auto",
    dev: Path | None = None,
    positive: str | None = None,
    select_on: str = SELECT,
    drop_leaks: bool = False,
) -> TaskData:
    """Load a task by name, or a user's file or folder by path.

    data: root of local data sets; None reads the hub. `docs` needs neither.
    text, text_pair, label, kind, dev, positive: how to read a user's file, see `own.load_own`; None means find out.
    select_on: "select" cuts that split from train; "dev" leaves train whole, and choices are made on dev.
    drop_leaks: take the rows out of train whose texts another split has too, before select is cut.
    Raises UserError for an unknown name, a missing file, or rows that cannot be read.
    """
    if select_on not in (SELECT, "dev"):
        raise UserError(f"--select-on is {select_on!r}. Choose 'select' or 'dev'.")
    options: dict[str, object] = {
        "text": text,
        "text_pair": text_pair,
        "label": label,
        "dev": dev,
        "positive": positive,
    }
    if name in task_names():
        options["kind"] = None if kind == "auto" else kind
        given = [f"--{option.replace('_', '-')}" for option, value in options.items() if value is not None]
        if given:
            raise UserError(f"{', '.join(given)}: only for a file of your own. Leave it out for {name!r}.")
        if name == DOCS:
            from featherlight.data.docs import load_docs

            loaded = load_docs()
        else:
            loaded = load_published(TASKS[name], data)
    elif os.sep in name or "/" in name or Path(name).suffix.lower() in READERS or Path(name).exists():
        loaded = load_own(
            Path(name), text=text, text_pair=text_pair, label=label, kind=kind, dev=dev, positive=positive
        )
        if Path(name).suffix.lower() == ".xml" or any(Path(name).glob("*.xml")):
            loaded = replace(loaded, notes=(*loaded.notes, CONFLICT_NOTE))
    else:
        known = dict.fromkeys(task_names())
        raise UserError(
            f"no task called {name!r}. {nearest(name, known)}Known: {', '.join(known)}. "
            f"A file of your own ({', '.join(READERS)}) must exist under the path given."
        )
    nested = name in TASKS and TASKS[name].nested_phrases
    try:
        loaded = _with_dev(loaded, nested)
        loaded = _with_select(without_leaks(loaded) if drop_leaks else loaded, nested, select_on)
    except UserError as error:  # a cut that is not possible
        raise UserError(f"{name}: {error}") from None
    doubts = class_doubts(loaded)
    for doubt in doubts:
        say(f"{name}: {doubt}")
    return replace(loaded, notes=(*loaded.notes, *doubts))


def class_doubts(loaded: TaskData) -> list[str]:
    """A sentence for each split that lacks classes, or holds a single one; none for numbers."""
    doubts = []
    for split, examples in loaded.splits.items():
        if examples.labels is None or examples.labels.dtype.kind != "i":
            continue
        counts = np.bincount(examples.labels, minlength=len(loaded.task.labels))
        missing = [label for label, count in zip(loaded.task.labels, counts, strict=True) if not count]
        consequence = "it cannot be learned" if split == "train" else "no score there says anything of it"
        if len(missing) == len(counts) - 1:
            only = loaded.task.labels[int(counts.argmax())]
            doubts.append(f"{split} has rows of {only!r} alone ({len(examples):,}): of the other classes {consequence}")
        elif missing:
            doubts.append(f"{split} has no row of {listed([repr(label) for label in missing])}: {consequence}")
    return doubts


def _with_dev(loaded: TaskData, nested: bool) -> TaskData:
    """The same, with dev cut off train if there is train and none of the splits that are reported."""
    if "train" not in loaded.splits or any(split in loaded.splits for split in loaded.task.reported):
        return loaded
    cut = cut_dev(loaded.splits["train"], nested_phrases=nested)
    rows = len(cut.rest) + len(cut.part)
    note = f"dev is cut from train ({len(cut.part):,} of {rows:,} rows): the data has no dev split"
    return replace(
        loaded,
        task=replace(loaded.task, reported=("dev",)),
        splits={**loaded.splits, "train": cut.rest, "dev": cut.part},
        fingerprint=_cut_fingerprint(loaded, cut),
        notes=(*loaded.notes, note),
    )


def without_leaks(loaded: TaskData) -> TaskData:
    """The same without the rows of train whose texts (of pairs both) are in another split; UserError if none stay."""
    if "train" not in loaded.splits:
        return loaded
    train = loaded.splits["train"]
    others = {key for name, split in loaded.splits.items() if name != "train" for key in row_keys(split)}
    kept = np.array([index for index, key in enumerate(row_keys(train)) if key not in others], dtype=np.int64)
    if not len(kept):
        raise UserError("--drop-leaks: no row of train is left to train on. Give other files, or leave the option out.")
    dropped = len(train) - len(kept)
    note = f"{dropped:,} rows of train are left out: their texts are in another split too (--drop-leaks)"
    return replace(loaded, splits={**loaded.splits, "train": train.take(kept)}, notes=(*loaded.notes, note))


def _with_select(loaded: TaskData, nested: bool, select_on: str) -> TaskData:
    """The same with select cut from train; train stays whole for select_on "dev", which must be there (UserError)."""
    if "train" not in loaded.splits:
        return loaded
    if select_on == "dev":
        if any(split.startswith("dev") for split in loaded.task.reported):
            note = "choices are made on dev (--select-on dev): its score is optimistic, as the best of several tries"
            return replace(loaded, notes=(*loaded.notes, note))
        if "dev" in loaded.splits:
            return loaded
        raise UserError("no dev split to choose on. Leave out --select-on: select is then cut from train.")
    cut = cut_select(loaded.splits["train"], nested_phrases=nested)
    splits = {**loaded.splits, "train": cut.rest, SELECT: cut.part}
    return replace(loaded, splits=splits, fingerprint=_cut_fingerprint(loaded, cut))


def _cut_fingerprint(loaded: TaskData, cut: Cut) -> str:
    """Another one where classes moved rows, which they did not always do: results of the earlier cut are other ones."""
    return hash_text(loaded.fingerprint, "every class on both sides") if cut.moved else loaded.fingerprint
