"""A task's name, or the path of a user's file, in; `TaskData` with train, select and the rest out.

The one door to all data. Imports no reader's heavy libraries before it needs them.
"""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from featherlight.data.classification import GLUE, load_glue
from featherlight.data.own import load_own
from featherlight.data.splits import cut_dev, cut_select
from featherlight.data.tables import READERS
from featherlight.data.task import SELECT, TaskData
from featherlight.errors import UserError, nearest

DOCS = "docs"


def task_names() -> tuple[str, ...]:
    """The tasks that have a name of their own."""
    return (DOCS, *GLUE)


def load_task(
    name: str,
    *,
    data: Path | None = None,
    text: str | None = None,
    text_pair: str | None = None,
    label: str | None = None,
    kind: str = "auto",
    dev: Path | None = None,
    select_on: str = SELECT,
) -> TaskData:
    """Load a task by name, or a user's file or folder by path.

    data: root of local data sets; None reads the hub. `docs` needs neither.
    text, text_pair, label, kind, dev: how to read a user's file, see `own.load_own`; None means find out.
    select_on: "select" cuts that split from train; "dev" leaves train whole, and choices are made on dev.
    Raises UserError for an unknown name, a missing file, or rows that cannot be read.
    """
    if select_on not in (SELECT, "dev"):
        raise UserError(f"select_on is {select_on!r}; choose 'select' or 'dev'.")
    options = {"text": text, "text_pair": text_pair, "label": label, "dev": dev}
    if name in task_names():
        refuse_options(name, {**options, "kind": None if kind == "auto" else kind})
        loaded = load_named(name, data)
    elif is_path(name):
        loaded = load_own(Path(name), text=text, text_pair=text_pair, label=label, kind=kind, dev=dev)
    else:
        known = dict.fromkeys(task_names())
        raise UserError(
            f"no task called {name!r}. {nearest(name, known)}Known: {', '.join(known)}. "
            f"A file of your own ({', '.join(READERS)}) must exist under the path given."
        )
    nested = name in GLUE and GLUE[name].nested_phrases
    try:
        return with_select(with_dev(loaded, nested), nested, select_on)
    except UserError as error:  # a cut that is not possible
        raise UserError(f"{name}: {error}") from None


def load_named(name: str, data: Path | None) -> TaskData:
    """A named task as its loader gives it; docs is built here and ignores data."""
    if name == DOCS:
        from featherlight.data.docs import load_docs

        return load_docs()
    return load_glue(GLUE[name], data)


def is_path(name: str) -> bool:
    """Whether a task that has no known name is meant as a path."""
    return os.sep in name or "/" in name or Path(name).suffix.lower() in READERS or Path(name).exists()


def refuse_options(name: str, options: Mapping[str, object]) -> None:
    """UserError if an option for users' files is given with a named task."""
    given = [f"--{option.replace('_', '-')}" for option, value in options.items() if value is not None]
    if given:
        raise UserError(f"{', '.join(given)}: only for a file of your own. Leave it out: {name!r} knows its columns.")


def with_dev(loaded: TaskData, nested: bool) -> TaskData:
    """The same, with dev cut off train if there is train and none of the splits that are reported."""
    if "train" not in loaded.splits or any(split in loaded.splits for split in loaded.task.reported):
        return loaded
    train, dev = cut_dev(loaded.splits["train"], nested_phrases=nested)
    note = f"dev is cut off train ({len(dev):,} of {len(train) + len(dev):,} rows): the data has no dev split"
    return replace(
        loaded,
        task=replace(loaded.task, reported=("dev",)),
        splits={**loaded.splits, "train": train, "dev": dev},
        notes=(*loaded.notes, note),
    )


def with_select(loaded: TaskData, nested: bool, select_on: str) -> TaskData:
    """The same, with select cut off train; or, for select_on "dev", with a note that it was not."""
    if select_on == "dev":
        note = "choices are made on dev (--select-on dev): its score is too good by the best of several tries"
        return replace(loaded, notes=(*loaded.notes, note))
    if "train" not in loaded.splits:
        return loaded
    train, select = cut_select(loaded.splits["train"], nested_phrases=nested)
    return replace(loaded, splits={**loaded.splits, "train": train, SELECT: select})
