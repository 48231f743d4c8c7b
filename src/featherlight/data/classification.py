"""The named tasks as rows of data, read from the published files or from the hub.

A task's name in, `TaskData` without a select split out. Cuts nothing, knows no model.
A further task is a further row of ROWS.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from featherlight import hub
from featherlight.data.aspects import CONFLICT_NOTE, LEFT_OUT, POLARITIES
from featherlight.data.readers import read_table
from featherlight.data.tables import Table, read_csv, read_tsv
from featherlight.data.task import Examples, Target, Task, TaskData
from featherlight.errors import UserError, missing_extra
from featherlight.files import hash_files, hash_text


@dataclass(frozen=True)
class Hub:
    """Where the hub keeps a task.

    revision: the commit; None takes the newest, where no commit is known to hold the published rows.
    columns: the text columns; none: they are called as the task's texts.
    note: how the rows differ from the published ones.
    """

    name: str
    subset: str | None = None
    revision: str | None = None
    columns: tuple[str, ...] = ()
    note: str = ""

    def __str__(self) -> str:
        return " ".join(part for part in (self.name, self.subset) if part)


@dataclass(frozen=True)
class Row:
    """A task and the layout of its published files.

    folder: below the root of local data sets; its last part alone will do as well.
    columns, target: names in the files. Several columns for a single text are joined by a space.
    codes: how the files write the labels, in the order of their ids; none for a regression.
    files: split to file names, the published one first.
    hub: where the hub has it.
    headers: file name to column names, for files that have no header line.
    line_break: how the texts, also those on the hub, write a line break; it is read as a space.
    nested_phrases: texts stand inside other texts, so they are cut together (see data.splits).
    skip_short: the published file has a few rows with too few cells, which everyone leaves out.
    notes: what is said with every score.
    """

    task: Task
    folder: str
    columns: tuple[str, ...]
    target: str
    codes: tuple[str, ...]
    files: Mapping[str, tuple[str, ...]]
    hub: Hub
    headers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    line_break: str = ""
    nested_phrases: bool = False
    skip_short: bool = False
    notes: tuple[str, ...] = ()


def _glue(name: str) -> Hub:
    # Read in ZenML's huggingface_datasets_materializer.py, docstring of extract_repo_name (zenml-io/zenml).
    return Hub("nyu-mll/glue", name, "bcdcba79d07bc864c1c254ccfcedcce55bcc9a8c")


_FILES = {"train": ("train.tsv",), "dev": ("dev.tsv",), "test": ("test.tsv",)}
_MNLI_FILES = {
    "train": ("train.tsv",),
    **{split: (f"{split}.tsv", f"{split}.jsonl") for split in ("dev_matched", "dev_mismatched")},
    **{split: (f"{split}.tsv",) for split in ("test_matched", "test_mismatched")},
}
_JSONL_FILES = {"train": ("train.jsonl",), "dev": ("dev.jsonl",), "test": ("test.jsonl",)}
_RESTAURANT_FILES = {
    "train": ("Restaurants_Train.xml", "Restaurants_Train.xml.seg", "Restaurants_Train.seg"),
    "test": ("Restaurants_Test_Gold.xml", "Restaurants_Test_Gold.xml.seg", "Restaurants_Test_Gold.seg"),
}
_PARTIAL = ("train_subset.tsv", "train_union.csv")  # files that hold a part of the published rows
_COLA = ("source", "label", "mark", "sentence")
_AG = ("class", "title", "description")
_PAIR = ("sentence1", "sentence2")
_ENTAILS = ("entailment", "not_entailment")
_BITS = ("0", "1")
_INTENTS = ("Background", "CompareOrContrast", "Extends", "Future", "Motivation", "Uses")


_ROWS = (  # task (name, texts, labels, metrics), folder, columns, target, codes, files, hub
    Row(
        Task("cola", ("sentence",), ("unacceptable", "acceptable"), ("matthews", "accuracy")),
        "glue/CoLA", ("sentence",), "label", _BITS, _FILES, _glue("cola"),
        headers={"train.tsv": _COLA, "dev.tsv": _COLA},
    ),
    Row(
        Task("sst2", ("sentence",), ("negative", "positive"), ("accuracy", "macro_f1")),
        "glue/SST-2", ("sentence",), "label", _BITS, _FILES, _glue("sst2"), nested_phrases=True,
    ),
    Row(
        Task("mrpc", _PAIR, ("not_equivalent", "equivalent"), ("accuracy", "f1")),
        "glue/MRPC", ("#1 String", "#2 String"), "Quality", _BITS, _FILES, _glue("mrpc"),
    ),
    Row(
        Task("stsb", _PAIR, (), ("pearson", "spearman"), kind=Target.NUMBER),
        "glue/STS-B", _PAIR, "score", (), _FILES, _glue("stsb"),
    ),
    Row(
        Task("qqp", ("question1", "question2"), ("not_duplicate", "duplicate"), ("accuracy", "f1")),
        "glue/QQP", ("question1", "question2"), "is_duplicate", _BITS,
        _FILES | {"train": ("train.tsv", "train_subset.tsv")}, _glue("qqp"), skip_short=True,
    ),
    Row(
        Task(
            "mnli", ("premise", "hypothesis"), ("entailment", "neutral", "contradiction"), ("accuracy", "macro_f1"),
            reported=("dev_matched", "dev_mismatched"),
        ),
        "glue/MNLI", _PAIR, "gold_label", ("entailment", "neutral", "contradiction"), _MNLI_FILES, _glue("mnli"),
    ),
    Row(
        Task("qnli", ("question", "sentence"), _ENTAILS, ("accuracy", "macro_f1")),
        "glue/QNLI", ("question", "sentence"), "label", _ENTAILS, _FILES, _glue("qnli"),
    ),
    Row(
        Task("rte", _PAIR, _ENTAILS, ("accuracy", "macro_f1")),
        "glue/RTE", _PAIR, "label", _ENTAILS, _FILES, _glue("rte"),
    ),
    Row(
        Task("wnli", _PAIR, ("not_entailment", "entailment"), ("accuracy", "macro_f1")),
        "glue/WNLI", _PAIR, "label", _BITS, _FILES, _glue("wnli"),
    ),
    Row(
        Task(
            "ag_news", ("text",), ("World", "Sports", "Business", "Sci/Tech"), ("accuracy", "macro_f1"),
            reported=("test",),
        ),
        "agnews", ("title", "description"), "class", ("1", "2", "3", "4"),
        {"train": ("train.csv", "train_union.csv"), "test": ("test.csv",)},
        Hub("fancyzhx/ag_news", revision="eb185aade064a813bc0b7f42de02595523103ca4"),
        headers={"train.csv": _AG, "test.csv": _AG, "train_union.csv": ("class", "text", "source")}, line_break="\\",
    ),
    Row(
        Task("acl_arc", ("text",), _INTENTS, ("macro_f1", "accuracy"), reported=("test",)),
        "acl_arc", ("text",), "label", _INTENTS, _JSONL_FILES, Hub("zapsdcn/citation_intent"),
    ),
    Row(
        Task("restaurants", ("text", "text_pair"), POLARITIES, ("macro_f1", "accuracy"), reported=("test",)),
        "semeval14", ("text", "text_pair"), "label", POLARITIES, _RESTAURANT_FILES,
        Hub(
            "tomaarsen/setfit-absa-semeval-restaurants", None, "8885372fe73256f96bb60f65b550538ac5c26047",
            ("text", "span"), note="the hub has 3,693 terms in train, conflicts included, where the XML has 3,699",
        ),
        notes=(CONFLICT_NOTE,),
    ),
)  # fmt: skip
TASKS: Mapping[str, Row] = {row.task.name: row for row in _ROWS}


def load_published(row: Row, data: Path | None) -> TaskData:
    """The task from files under the folder data, or from the hub if data is None."""
    loaded = _load_hub(row) if data is None else _load_files(row, data)
    loaded = replace(loaded, notes=(*row.notes, *loaded.notes))
    reported = row.task.reported
    present = tuple(split for split in reported if split in loaded.splits)
    if not present and "dev" in loaded.splits:
        present = ("dev",)
    if present in ((), reported):
        return loaded
    missing = ", ".join(split for split in reported if split not in present)
    note = f"the score is that of {', '.join(present)} alone: {missing} is missing"
    return replace(loaded, task=replace(row.task, reported=present), notes=(*loaded.notes, note))


def _load_files(row: Row, data: Path) -> TaskData:
    """The task from its published files under the folder data; UserError if there are none."""
    folders = dict.fromkeys((data / row.folder, data / Path(row.folder).name))
    folder = next((folder for folder in folders if folder.is_dir()), None)
    if folder is None:
        raise UserError(
            f"task {row.task.name!r}: no such folder: {' or '.join(map(str, folders))}. Put the published files "
            f"there ({', '.join(names[0] for names in row.files.values())}), or leave out --data to read the hub."
        )
    files: dict[str, Path] = {}
    notes = []
    for split, names in row.files.items():
        paths = [folder / name for name in names if (folder / name).is_file()]
        if paths:
            files[split] = paths[0]
            if paths[0].name in _PARTIAL:
                notes.append(f"{split} is partial: it was read from {paths[0]}, because {names[0]} is missing")
        elif split in row.task.reported or not split.startswith("test"):
            notes.append(f"no {split} split: {folder / names[0]} is missing")
    if not set(files) & {"train", "dev", *row.task.reported}:
        raise UserError(f"task {row.task.name!r}: nothing to train or score on. " + "; ".join(notes) + ".")
    splits = {split: _read_split(row, split, path) for split, path in files.items()}
    fingerprint = hash_text(row.task.name, hash_files(files.values()))
    return TaskData(row.task, splits, fingerprint, f"files under {folder}", tuple(notes))


def _read_split(row: Row, split: str, path: Path) -> Examples:
    """One published file as examples; a label "-" (no majority among the annotators) leaves its row out."""
    header = row.headers.get(path.name)
    if path.suffix == ".tsv":
        table = read_tsv(path, header=header, skip_short=row.skip_short)
    else:
        table = read_csv(path, header=header) if header else read_table(path)
    target = row.target if row.target in table.columns else "label"
    texts = _text_columns(row, table)
    labels = None if split.startswith("test") and target not in table.columns else table.column(target)
    rows = [index for index in range(len(table)) if labels is None or labels[index] != "-"]
    return Examples(
        first=[texts[0][index] for index in rows],
        second=[texts[1][index] for index in rows] if len(texts) == 2 else None,
        labels=None if labels is None else _file_labels(row, table, labels, rows),
        rows=np.array(rows, dtype=np.int64),
    )


def _text_columns(row: Row, table: Table) -> Sequence[Sequence[str]]:
    """The columns that hold the task's texts, one for each; UserError for a value that is no text."""
    names = row.columns if set(row.columns) <= set(table.columns) else row.task.texts
    columns = [table.column(name) for name in names]
    for name, column in zip(names, columns, strict=True):
        for index, value in enumerate(column):
            if not isinstance(value, str):
                raise table.complaint(index, f"{name} is {value!r}, which is not a text. Give the row a text.")
    if len(columns) > len(row.task.texts):
        columns = [[" ".join(cells) for cells in zip(*columns, strict=True)]]
    return [_unbroken(row, column) for column in columns]


def _unbroken(row: Row, texts: Sequence[str]) -> Sequence[str]:
    """The texts with a space for each line break that the data set writes in its own way."""
    return [text.replace(row.line_break, " ") for text in texts] if row.line_break else texts


def _file_labels(row: Row, table: Table, labels: Sequence[str], rows: Sequence[int]) -> np.ndarray:
    """int64 or float32 [N]: the labels of these rows, or a UserError that names the line."""
    values: list[float] = []
    ids = {code: index for index, code in enumerate(row.codes)}
    for index in rows:
        try:
            values.append(ids[labels[index]] if ids else float(labels[index]))
        except (KeyError, TypeError, ValueError):  # TypeError: JSON may hold a list
            known = f"one of {', '.join(ids)}" if ids else "a number"
            raise table.complaint(index, f"{row.target} is {labels[index]!r}, not {known}.") from None
    return np.array(values, dtype=np.int64 if ids else np.float32)


def _load_hub(row: Row) -> TaskData:
    """The task from the hub through `datasets`; UserError at once if the hub does not answer."""
    try:
        import datasets
    except ImportError:
        raise missing_extra("datasets", "train") from None
    if not hub.reachable() and not hub.switched_off():
        raise _unreachable(row, hub.why_unreachable())  # `datasets` would retry for half a minute
    try:
        tables = datasets.load_dataset(row.hub.name, row.hub.subset, revision=row.hub.revision)
    except (OSError, ValueError, RuntimeError) as error:  # no network, no cached copy, cut off ...
        raise _unreachable(row, str(error)) from error
    splits = {name.replace("validation", "dev"): _hub_examples(row, tables[name]) for name in tables}
    notes = [f"no {split} split on the hub" for split in row.task.reported if split not in splits]
    notes += [row.hub.note] if row.hub.note else []
    source = f"hub {row.hub} at {row.hub.revision or 'its newest commit'}"
    return TaskData(row.task, splits, _hash_splits(row.task, splits), source, tuple(notes))


def _unreachable(row: Row, reason: str) -> UserError:
    """The error for a hub that cannot be read, with the local alternative."""
    return UserError(
        f"cannot read {row.hub} from the Hugging Face hub: {reason}. Give a local copy (--data DIR with "
        f"DIR/{row.folder}/{row.files['train'][0]} in it), or set HF_HUB_OFFLINE=1 if the hub's cache has a copy."
    )


def _hub_examples(row: Row, table: Any) -> Examples:
    """One split of a `datasets.DatasetDict` as examples; labels that are all -1 count as none."""
    texts = [_unbroken(row, list(table[name])) for name in row.hub.columns or row.task.texts]
    values = table["label"]
    kept = np.array([index for index, label in enumerate(values) if label != LEFT_OUT], dtype=np.int64)
    labels = _hub_labels(row, table.features["label"], values)
    return Examples(texts[0], texts[1] if row.task.is_pair else None, labels, np.arange(len(values))).take(kept)


def _hub_labels(row: Row, feature: Any, values: Sequence[Any]) -> np.ndarray | None:
    """int64 or float32 [N], or None if all are -1; a name that is no label of the task (a conflict) is -1."""
    names = getattr(feature, "names", None)
    number = row.task.kind is Target.NUMBER
    if number or names:
        numbers = np.array(values, dtype=np.float32 if number else np.int64)
        if number or (numbers == -1).all():
            return None if (numbers == -1).all() else numbers
    ids = {LEFT_OUT: -1, **{name: index for index, name in enumerate(row.task.labels)}}
    unknown = sorted({str(name) for name in names or values} - set(ids))
    if unknown:
        raise UserError(f"{row.hub} has labels that task {row.task.name} does not know: {', '.join(unknown[:5])}.")
    return np.array([ids[name] for name in names])[numbers] if names else np.array([ids[name] for name in values])


def _hash_splits(task: Task, splits: Mapping[str, Examples]) -> str:
    """SHA-256 of a task's rows, for data that did not come from files of known content."""
    hashes = []
    for name, split in splits.items():
        labels = [] if split.labels is None else map(str, split.labels.tolist())
        hashes.append(hash_text(name, *split.first, *(split.second or ()), *labels))
    return hash_text(task.name, *hashes)
