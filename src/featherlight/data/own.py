"""A user's CSV, TSV, JSONL or Parquet as a task: tables in, rows and label names out.

Interprets columns; `tables` reads the files. Cuts no splits.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from featherlight.data.tables import READERS, Table, read_table
from featherlight.data.task import Examples, Task, TaskData
from featherlight.errors import UserError, nearest
from featherlight.files import hash_file, hash_text

TEXT_NAMES = ("text", "sentence", "sentence1", "content", "review", "document", "body", "comment", "message", "tweet")
PAIR_NAMES = (  # tried before single texts
    ("text", "text_pair"),
    ("sentence1", "sentence2"),
    ("text1", "text2"),
    ("premise", "hypothesis"),
    ("question1", "question2"),
    ("question", "sentence"),
)
LABEL_NAMES = ("label", "labels", "class", "target", "score", "category", "sentiment", "rating", "similarity")
SPLIT_NAMES = {"train": ("train",), "dev": ("dev", "validation", "valid", "val"), "test": ("test",)}
MOST_COUNTED_CLASSES = 20  # whole numbers with more distinct values are scores, unless they are 0..C-1


def load_own(
    path: Path, *, text: str | None, text_pair: str | None, label: str | None, kind: str, dev: Path | None
) -> TaskData:
    """A user's file (all train) or folder with train.*, dev.* and test.*; no split is cut here.

    text, text_pair, label: columns; None means that the usual names are tried.
    kind: "classification", "regression", or "auto": see `decide_kind`.
    dev: the file of the dev split, instead of the folder's own; None means that.
    Raises UserError for whatever is wrong with the files, by file and line.
    """
    files = find_files(path, dev)
    tables = {split: read_table(file) for split, file in files.items()}
    train = tables["train"]
    texts, target = find_columns(train, text, text_pair, label)
    kind, reason = decide_kind(train, target) if kind == "auto" else (kind, "as given")
    names = class_names(train, target) if kind == "classification" else ()
    splits = {split: examples_of(split, table, texts, target, names, train) for split, table in tables.items()}
    scores = np.unique(splits["train"].labels)  # type: ignore[arg-type]
    if len(scores) < 2:
        raise UserError(f"{train.path}: {target} is {train.columns[target][0]!r} in every row; nothing can be learned.")
    name = path.resolve().name if path.is_dir() else path.stem
    task = Task(name, texts, names, metrics_for(names))
    notes = [f"{kind}: {reason}"]
    for split, rows in splits.items():
        empty = sum(not one.strip() for one in rows.first)
        notes += [f"{empty:,} empty texts in {split}"] if empty else []
    contents = [f"{split} {hash_file(file)}" for split, file in files.items()]
    fingerprint = hash_text(*contents, *texts, target, kind, *names)
    return TaskData(task, splits, fingerprint, f"files {', '.join(map(str, files.values()))}", tuple(notes))


def load_whole(
    path: Path, *, text: str | None, text_pair: str | None, label: str | None, names: Sequence[str]
) -> TaskData:
    """A user's file as one labelled split "all", for a model that was trained elsewhere.

    names: the model's classes in the order of their ids; empty: a regression. Nothing is cut off, and
    the file need not hold every class. Raises UserError as `load_own` does.
    """
    table = read_table(path)
    texts, target = find_columns(table, text, text_pair, label)
    first, *second = (texts_of(table, name) for name in texts)
    values = labels_of(table, target)
    labels = class_ids(table, values, names, source="the model") if names else scores_of(table, values)
    rows = Examples(first, second[0] if second else None, labels, np.arange(len(first)))
    fingerprint = hash_text(hash_file(path), *texts, target, *names)
    task = Task(path.stem, texts, tuple(names), metrics_for(names), reported=("all",))
    return TaskData(task, {"all": rows}, fingerprint, f"file {path}", (f"all {len(rows):,} rows of the file",))


def metrics_for(names: Sequence[str]) -> tuple[str, ...]:
    """The scores of a task with these classes; none means regression."""
    by_count = {0: ("pearson", "spearman"), 2: ("accuracy", "macro_f1", "f1")}
    return by_count.get(len(names), ("accuracy", "macro_f1"))


def find_files(path: Path, dev: Path | None) -> dict[str, Path]:
    """The file of each split that there is, train first; UserError if there is no train file or more than one."""
    if path.is_file():
        found = {"train": path}
    elif path.is_dir():
        found = {}
        for split, stems in SPLIT_NAMES.items():
            files = [path / f"{stem}{suffix}" for stem in stems for suffix in READERS]
            present = [file for file in files if file.is_file()]
            if len(present) > 1:
                files_there = ", ".join(file.name for file in present)
                raise UserError(f"{path}: several files for {split}: {files_there}. Keep one.")
            if present:
                found[split] = present[0]
        if "train" not in found:
            raise UserError(f"{path}: no train file. Looked for train{', train'.join(READERS)} in this folder.")
    else:
        raise UserError(f"{path}: no such file or folder.")
    if dev is not None:
        found["dev"] = dev
    return {split: found[split] for split in SPLIT_NAMES if split in found}


def find_columns(
    table: Table, text: str | None, text_pair: str | None, label: str | None
) -> tuple[tuple[str, ...], str]:
    """(text columns, label column) as named, else by the usual names in any case; UserError if not found."""
    for name in (text, text_pair, label):
        if name is not None:
            table.column(name)
    known = {name.casefold(): name for name in table.columns if name not in (text, text_pair, label)}
    pairs = [pair for pair in PAIR_NAMES if known.keys() >= set(pair)]
    if text is None and text_pair is None and pairs:
        text, text_pair = (known[name] for name in pairs[0])
    text = text or usual_column(table, known, TEXT_NAMES, "text")
    label = label or usual_column(table, known, LABEL_NAMES, "label")
    return (text,) if text_pair is None else (text, text_pair), label


def usual_column(table: Table, known: Mapping[str, str], names: Sequence[str], option: str) -> str:
    """The first of these names that is known, as the table spells it; UserError if none is."""
    for name in names:
        if name in known:
            return known[name]
    refuse_lists(table)
    columns = ", ".join(table.columns)
    if len(table.columns) == 1 and any(mark in columns for mark in ";\t|"):
        raise UserError(
            f"{table.path}: the header is one column, {columns!r}. Separate the cells by commas in a .csv "
            "and by tabs in a .tsv."
        )
    raise UserError(f"{table.path}: no {option} column found. Name it with --{option} COLUMN. Columns: {columns}.")


def refuse_lists(table: Table) -> None:
    """UserError if a column holds lists: tokens with a tag each are not a task for this program."""
    for name, values in table.columns.items():
        if as_list(values[0]) is not None:
            raise UserError(
                f"{table.path}: column {name!r} holds lists. Sequence labelling (tokens with tags) and multi-label "
                "tasks are not supported; give each row one text and one label."
            )


def as_list(value: object) -> Sequence[object] | None:
    """The value if it is a list, or a text that spells one ("[1, 2]"); else None."""
    if isinstance(value, str) and value.strip()[:1] == "[":
        try:
            value = json.loads(value.replace("'", '"'))
        except (ValueError, RecursionError):
            return None
    return value if isinstance(value, list | tuple) else None


def texts_of(table: Table, name: str) -> list[str]:
    """A text column, or a UserError that names the row whose value is no text."""
    texts = []
    for row, value in enumerate(table.column(name)):
        if isinstance(value, list | tuple):
            refuse_lists(table)
        if not isinstance(value, str):
            what = "missing" if value is None else f"{value!r}, which is not a text"
            raise table.complaint(row, f"{name} is {what}.")
        if not value.isascii() and any("\ud800" <= letter <= "\udfff" for letter in value):
            raise table.complaint(row, f"{name} holds half of a surrogate pair, which is no character.")
        texts.append(value)
    return texts


def labels_of(table: Table, name: str) -> Sequence[object]:
    """A label column, or a UserError that names the row that has no label or several."""
    values = table.column(name)
    for row, value in enumerate(values):
        if value is None or value != value or (isinstance(value, str) and not value.strip()):  # NaN: a gap in a table
            raise table.complaint(row, f"the {name} is empty. Fill it in, or leave the row out.")
        if as_list(value) is not None:
            raise table.complaint(
                row, f"{name} is a list. Multi-label tasks and sequence labelling are not supported; one label a row."
            )
    return values


def as_number(value: object) -> float | None:
    """The value as a number, read from text if need be; None for other texts and for true and false."""
    if isinstance(value, bool):
        return None
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return None


def decide_kind(table: Table, name: str) -> tuple[str, str]:
    """("classification" or "regression", why), from the label column of train.

    Texts, true and false are classes. Numbers with fractions are scores. Whole numbers are classes if
    at most 20 of them differ, or if they are just 0..C-1 (ids); else scores.
    """
    numbers = [as_number(value) for value in labels_of(table, name)]
    known = {number for number in numbers if number is not None}
    if None in numbers:
        return "classification", f"{name} holds texts"
    if not all(number.is_integer() for number in known):
        return "regression", f"{name} holds fractions (else give --kind classification)"
    if len(known) <= MOST_COUNTED_CLASSES or known == set(range(len(known))):
        return "classification", f"{name} holds {len(known)} whole numbers (else give --kind regression)"
    return "regression", f"{name} holds {len(known)} whole numbers (else give --kind classification)"


def class_name(value: object) -> str:
    """How a label is called: 1, 1.0 (a number) and " 1 " are all "1"; true is "true"."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()


def class_names(table: Table, name: str) -> tuple[str, ...]:
    """The distinct labels, whole numbers by size, others by alphabet."""
    names = {class_name(value) for value in labels_of(table, name)}
    if all(name.removeprefix("-").isdecimal() for name in names):
        return tuple(sorted(names, key=lambda name: (int(name), name)))
    return tuple(sorted(names))


def examples_of(
    split: str, table: Table, texts: Sequence[str], target: str, names: Sequence[str], train: Table
) -> Examples:
    """A table's rows; class ids by names, scores if there are no names. Only test may lack the labels."""
    first, *second = (texts_of(table, name) for name in texts)
    labels = None
    if split != "test" or target in table.columns:
        values = labels_of(table, target)
        labels = class_ids(table, values, names, source=str(train.path)) if names else scores_of(table, values)
    return Examples(first, second[0] if second else None, labels, np.arange(len(first)))


def class_ids(table: Table, values: Sequence[object], names: Sequence[str], *, source: str) -> np.ndarray:
    """int64 [N]; UserError for a label that is none of the names, which come from source."""
    ids = {name: index for index, name in enumerate(names)}
    for row, value in enumerate(values):
        if class_name(value) not in ids:
            hint = nearest(class_name(value), ids)
            known = ", ".join(names)
            raise table.complaint(row, f"no label {class_name(value)!r} in {source}. {hint}Labels there: {known}.")
    return np.array([ids[class_name(value)] for value in values], dtype=np.int64)


def scores_of(table: Table, values: Sequence[object]) -> np.ndarray:
    """float32 [N]; UserError for a value that is no finite number."""
    scores, largest = np.empty(len(values), dtype=np.float32), float(np.finfo(np.float32).max)
    for row, value in enumerate(values):
        number = as_number(value)
        if number is None or not abs(number) <= largest:  # NaN is not either
            raise table.complaint(row, f"the score {value!r} is not a finite number. Correct it, or leave the row out.")
        scores[row] = number
    return scores
