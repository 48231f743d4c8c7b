"""GLUE's nine tasks as rows of data, read from the published files or from the hub.

A task's name in, `TaskData` without a select split out. Cuts nothing, knows no model.
A further task is a further row of ROWS.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from featherlight import hub
from featherlight.data.tables import Table, read_table, read_tsv
from featherlight.data.task import Examples, Task, TaskData
from featherlight.errors import UserError, missing_extra
from featherlight.files import hash_files, hash_text

HUB = "nyu-mll/glue"
# Read in ZenML's huggingface_datasets_materializer.py, docstring of extract_repo_name (zenml-io/zenml).
REVISION = "bcdcba79d07bc864c1c254ccfcedcce55bcc9a8c"


FILES = {"train": ("train.tsv",), "dev": ("dev.tsv",), "test": ("test.tsv",)}
MNLI_FILES = {
    "train": ("train.tsv",),
    "dev_matched": ("dev_matched.tsv", "dev_matched.jsonl"),
    "dev_mismatched": ("dev_mismatched.tsv", "dev_mismatched.jsonl"),
    "test_matched": ("test_matched.tsv",),
    "test_mismatched": ("test_mismatched.tsv",),
}
PAIR = ("sentence1", "sentence2")
ENTAILS = ("entailment", "not_entailment")
BITS = ("0", "1")


@dataclass(frozen=True)
class Row:
    """A task and the layout of its published files.

    columns, target: names in the files; on the hub they are task.texts and "label".
    codes: how the files write the labels, in the order of their ids; none for a regression.
    files: split to file names, the published one first.
    header: names for the files of train and dev where those have no header line.
    nested_phrases: texts stand inside other texts, so they are cut together (see data.splits).
    skip_short: the published file has a few rows with too few cells, which everyone leaves out.
    """

    task: Task
    folder: str
    columns: tuple[str, ...]
    target: str
    codes: tuple[str, ...]
    files: Mapping[str, tuple[str, ...]]
    header: tuple[str, ...] | None = None
    nested_phrases: bool = False
    skip_short: bool = False


ROWS = (  # task (name, text columns on the hub, labels, metrics), folder, columns, target, codes, files
    Row(
        Task("cola", ("sentence",), ("unacceptable", "acceptable"), ("matthews", "accuracy")),
        "CoLA", ("sentence",), "label", BITS, FILES, header=("source", "label", "mark", "sentence"),
    ),
    Row(
        Task("sst2", ("sentence",), ("negative", "positive"), ("accuracy", "macro_f1")),
        "SST-2", ("sentence",), "label", BITS, FILES, nested_phrases=True,
    ),
    Row(
        Task("mrpc", PAIR, ("not_equivalent", "equivalent"), ("accuracy", "f1")),
        "MRPC", ("#1 String", "#2 String"), "Quality", BITS, FILES,
    ),
    Row(
        Task("stsb", PAIR, (), ("pearson", "spearman")),
        "STS-B", PAIR, "score", (), FILES,
    ),
    Row(
        Task("qqp", ("question1", "question2"), ("not_duplicate", "duplicate"), ("accuracy", "f1")),
        "QQP", ("question1", "question2"), "is_duplicate", BITS,
        FILES | {"train": ("train.tsv", "train_subset.tsv")}, skip_short=True,
    ),
    Row(
        Task(
            "mnli", ("premise", "hypothesis"), ("entailment", "neutral", "contradiction"), ("accuracy", "macro_f1"),
            reported=("dev_matched", "dev_mismatched"),
        ),
        "MNLI", PAIR, "gold_label", ("entailment", "neutral", "contradiction"), MNLI_FILES,
    ),
    Row(
        Task("qnli", ("question", "sentence"), ENTAILS, ("accuracy", "macro_f1")),
        "QNLI", ("question", "sentence"), "label", ENTAILS, FILES,
    ),
    Row(
        Task("rte", PAIR, ENTAILS, ("accuracy", "macro_f1")),
        "RTE", PAIR, "label", ENTAILS, FILES,
    ),
    Row(
        Task("wnli", PAIR, ("not_entailment", "entailment"), ("accuracy", "macro_f1")),
        "WNLI", PAIR, "label", BITS, FILES,
    ),
)  # fmt: skip
GLUE: Mapping[str, Row] = {row.task.name: row for row in ROWS}


def load_glue(row: Row, data: Path | None) -> TaskData:
    """The task from files under the folder data, or from the hub if data is None."""
    loaded = load_hub(row) if data is None else load_files(row, data)
    present = tuple(split for split in row.task.reported if split in loaded.splits)
    if present in ((), row.task.reported):
        return loaded
    note = f"the score is that of {', '.join(present)} alone: the other dev split is not there"
    return replace(loaded, task=replace(row.task, reported=present), notes=(*loaded.notes, note))


def load_files(row: Row, data: Path) -> TaskData:
    """The task from its published files in data/glue/FOLDER or data/FOLDER; UserError if there are none."""
    folder = find_folder(row, data)
    found: dict[str, Path] = {}
    notes = []
    for split, names in row.files.items():
        paths = [folder / name for name in names if (folder / name).is_file()]
        if paths:
            found[split] = paths[0]
        elif not split.startswith("test"):
            notes.append(f"no {split} split: {folder / names[0]} is not there")
        if paths and paths[0].name != names[0] and "subset" in paths[0].name:
            notes.append(f"{split} is partial: read from {paths[0]}, as {names[0]} is not there")
    if not set(found) - {"test", "test_matched", "test_mismatched"}:
        raise UserError(f"task {row.task.name!r}: nothing to train or score on. " + "; ".join(notes) + ".")
    splits = {split: read_split(row, split, path) for split, path in found.items()}
    fingerprint = hash_text(row.task.name, hash_files(found.values()))
    return TaskData(row.task, splits, fingerprint, f"files under {folder}", tuple(notes))


def find_folder(row: Row, data: Path) -> Path:
    """The task's folder under data, or a UserError with the paths that were looked for."""
    places = (data / "glue" / row.folder, data / row.folder)
    for place in places:
        if place.is_dir():
            return place
    raise UserError(
        f"task {row.task.name!r}: no such folder as {places[0]} or {places[1]}. Put the published files there "
        f"({', '.join(names[0] for names in row.files.values())}), or leave out --data to read the hub."
    )


def read_split(row: Row, split: str, path: Path) -> Examples:
    """One published file as examples; a label "-" (no majority among the annotators) leaves its row out."""
    if path.suffix == ".jsonl":
        table = read_table(path)
    else:
        table = read_tsv(path, header=None if split == "test" else row.header, skip_short=row.skip_short)
    names, target = row.columns, row.target
    if not set(names) <= set(table.columns):
        names, target = row.task.texts, "label"
    texts = [table.column(name) for name in names]
    labels = None if split.startswith("test") and target not in table.columns else table.column(target)
    rows = [row for row in range(len(table.places)) if labels is None or labels[row] != "-"]
    return Examples(
        first=[texts[0][index] for index in rows],
        second=[texts[1][index] for index in rows] if len(texts) == 2 else None,
        labels=None if labels is None else file_labels(row, table, labels, rows),
        rows=np.array(rows, dtype=np.int64),
    )


def file_labels(row: Row, table: Table, labels: Sequence[str], rows: Sequence[int]) -> np.ndarray:
    """int64 or float32 [N]: the labels of these rows, or a UserError that names the line."""
    values: list[float] = []
    ids = {code: index for index, code in enumerate(row.codes)}
    for index in rows:
        try:
            values.append(ids[labels[index]] if ids else float(labels[index]))
        except (KeyError, ValueError):
            known = f"one of {', '.join(ids)}" if ids else "a number"
            raise table.complaint(index, f"{row.target} is {labels[index]!r}, not {known}.") from None
    return np.array(values, dtype=np.int64 if ids else np.float32)


def load_hub(row: Row) -> TaskData:
    """The task from the hub through `datasets`; UserError at once if the hub does not answer."""
    try:
        import datasets
    except ImportError:
        raise missing_extra("datasets", "train") from None
    if not hub.reachable() and not hub.switched_off():
        raise unreachable(row, hub.why_unreachable())  # `datasets` would retry for half a minute
    try:
        tables = datasets.load_dataset(HUB, row.task.name, revision=REVISION)
    except (OSError, ValueError, RuntimeError) as error:  # no network, no cached copy, cut off ...
        raise unreachable(row, str(error)) from error
    splits = {name.replace("validation", "dev"): hub_examples(row.task, tables[name]) for name in tables}
    notes = tuple(f"no {split} split on the hub" for split in row.task.reported if split not in splits)
    return TaskData(row.task, splits, hash_splits(row.task, splits), f"hub {HUB} {row.task.name} at {REVISION}", notes)


def unreachable(row: Row, reason: str) -> UserError:
    """The error for a hub that cannot be read, with the local alternative."""
    return UserError(
        f"cannot read {HUB} {row.task.name} from the Hugging Face hub: {reason}. Without it: --data DIR with "
        f"DIR/glue/{row.folder}/{row.files['train'][0]} in it, or HF_HUB_OFFLINE=1 if the hub's cache has a copy."
    )


def hub_examples(task: Task, table: Any) -> Examples:
    """One split of a `datasets.DatasetDict` as examples; labels that are all -1 count as none."""
    texts = [list(table[name]) for name in task.texts]
    values = np.array(table["label"], dtype=np.float32 if task.is_regression else np.int64)
    labels: np.ndarray | None = values
    if (values == -1).all():
        labels = None
    elif not task.is_regression:
        ids = [task.labels.index(name) for name in table.features["label"].names]
        labels = np.array(ids, dtype=np.int64)[values]
    return Examples(texts[0], texts[1] if task.is_pair else None, labels, np.arange(len(texts[0])))


def hash_splits(task: Task, splits: Mapping[str, Examples]) -> str:
    """SHA-256 of a task's rows, for data that did not come from files of known content."""
    parts = [task.name]
    for name, split in splits.items():
        labels = [] if split.labels is None else [str(label) for label in split.labels.tolist()]
        parts.append(hash_text(name, *split.first, *(split.second or ()), *labels))
    return hash_text(*parts)
