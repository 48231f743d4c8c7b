"""A user's CSV, TSV, JSONL or Parquet as a task: tables in, rows and label names out.

Interprets columns; `tables` reads the files. Cuts no splits.
"""

import json
import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np

from featherlight.data.readers import READERS, read_table
from featherlight.data.splits import normalise
from featherlight.data.tables import Table, is_torn
from featherlight.data.task import Examples, Target, Task, TaskData
from featherlight.errors import UserError, listed, nearest, pick, shortened
from featherlight.files import hash_file, hash_text
from featherlight.progress import say

_TEXT_NAMES = ("text", "sentence", "sentence1", "content", "review", "document", "body", "comment", "message", "tweet")
_PAIR_NAMES = (  # tried before single texts
    ("text", "text_pair"),
    ("sentence1", "sentence2"),
    ("text1", "text2"),
    ("premise", "hypothesis"),
    ("question1", "question2"),
    ("question", "sentence"),
)
_LABEL_NAMES = ("label", "labels", "class", "target", "score", "category", "sentiment", "rating", "similarity")
_SPLIT_NAMES = {"train": ("train",), "dev": ("dev", "validation", "valid", "val"), "test": ("test",)}
_MOST_COUNTED_CLASSES = 20  # whole numbers with more distinct values are scores, unless they are 0..C-1
_MOST_CLASSES = 2000  # a record's confusion matrix grows with their square
_FEW_CLASSES = 100  # up to here a class may have a single row
_LONGEST_LABEL = 200  # characters
_ONE_LABEL = "Multi-label tasks and sequence labelling are not supported; give each row one text and one label."


def load_own(
    path: Path,
    *,
    text: str | None,
    text_pair: str | None,
    label: str | None,
    kind: str,
    dev: Path | None,
    positive: str | None = None,
) -> TaskData:
    """A user's file (all train) or folder with train.*, dev.* and test.*; no split is cut here.

    text, text_pair, label: columns; None means that the usual names are tried.
    kind: "classification", "regression", or "auto": see `_decide_kind`.
    positive: the class of two whose F1 is scored; None: the rarer one in train, of equals the second.
    dev: the file of the dev split, instead of the folder's own; None means that.
    Raises UserError for whatever is wrong with the files, by file and line.
    """
    pick("kind of task", kind, dict.fromkeys(("auto", "classification", "regression")))
    if is_torn(str(path)):
        raise UserError(f"{path}: this name is not UTF-8, and results could not be kept under it. Rename it.")
    files = _find_files(path, dev)
    tables = {split: read_table(file) for split, file in files.items()}
    train = tables["train"]
    texts, target = _find_columns(train, text, text_pair, label)
    kind, reason = _decide_kind(train, target) if kind == "auto" else (kind, "as given")
    names = _class_names(train, target) if kind == "classification" else ()
    splits = {
        split: _examples_of(table, texts, target, names, source=str(train.path), unlabelled=split == "test")
        for split, table in tables.items()
    }
    if len(np.unique(splits["train"].labels)) < 2:  # type: ignore[arg-type]
        label = shortened(repr(train.columns[target][0]))
        raise UserError(f"{train.path}: {target} is {label} in every row. Give rows with other labels too.")
    name = path.resolve().name if path.is_dir() else path.stem
    usual = _positive_of(None, names, train.columns[target])
    positive = usual if positive is None else _positive_of(positive, names, ())
    task = Task(name, texts, names, _metrics_for(names, positive), kind=Target.of(names))
    warnings = _spelling_warnings(train.columns[target]) if names else []
    for warning in warnings:
        say(f"{train.path}: {warning}")
    notes = [f"{kind}: {reason}", *warnings]
    for split, rows in splits.items():
        empty = sum(not text.strip() for text in rows.first)
        notes += [f"{empty:,} empty texts in {split}"] if empty else []
    contents = [f"{split} {hash_file(file)}" for split, file in files.items()]
    if task.positive:
        notes.append(f"F1 is that of {task.positive!r} (--positive)")
    other = [] if positive == usual else [f"positive {positive}"]
    fingerprint = hash_text(*contents, *texts, target, kind, *names, *other)
    return TaskData(task, splits, fingerprint, f"files {', '.join(map(str, files.values()))}", tuple(notes))


def load_whole(
    path: Path,
    *,
    text: str | None,
    text_pair: str | None,
    label: str | None,
    names: Sequence[str],
    positive: str | None = None,
) -> TaskData:
    """A user's file as one labelled split "all", for a model that was trained elsewhere.

    names: the model's classes in the order of their ids; empty: a regression. Nothing is cut off, and
    the file need not hold every class. Raises UserError as `load_own` does.
    """
    table = read_table(path)
    texts, target = _find_columns(table, text, text_pair, label)
    rows = _examples_of(table, texts, target, names, source="the model")
    if positive is not None:
        positive = _positive_of(positive, names, ())
    fingerprint = hash_text(hash_file(path), *texts, target, *names)
    task = Task(path.stem, texts, tuple(names), _metrics_for(names, positive), reported=("all",), kind=Target.of(names))
    return TaskData(task, {"all": rows}, fingerprint, f"file {path}", (f"all {len(rows):,} rows of the file",))


def _positive_of(given: str | None, names: Sequence[str], values: Sequence[object]) -> str | None:
    """The class of two whose F1 is scored: the one given, else the rarer among the labels; None without two classes.

    UserError for a name that is none of them.
    """
    if len(names) != 2:
        if given is not None:
            count = len(names) or "no"
            raise UserError(f"--positive {given}: there are {count} classes, and such an F1 is of one of two.")
        return None
    if given is not None:
        return pick("class", given, {name: name for name in names})
    counts = Counter(map(_class_name, values))
    return names[0] if counts[names[0]] < counts[names[1]] else names[1]


def _metrics_for(names: Sequence[str], positive: str | None = None) -> tuple[str, ...]:
    """The scores of a task with these classes; none means regression."""
    if not names:
        return ("pearson", "spearman")
    usual = ("accuracy", "macro_f1")
    return usual if len(names) != 2 else (*usual, "f1_of_first" if positive == names[0] else "f1")


def _find_files(path: Path, dev: Path | None) -> dict[str, Path]:
    """The file of each split that there is, train first; UserError if there is no train file or more than one."""
    if path.is_file():
        present = {"train": path}
    elif path.is_dir():
        present = {}
        for split, stems in _SPLIT_NAMES.items():
            names = [f"{stem}{suffix}" for stem in stems for suffix in READERS if (path / f"{stem}{suffix}").is_file()]
            if len(names) > 1:
                raise UserError(f"{path}: several files for {split}: {', '.join(names)}. Keep one.")
            if names:
                present[split] = path / names[0]
        if "train" not in present:
            raise UserError(f"{path}: no train file. Looked for train{', train'.join(READERS)} in this folder.")
    else:
        raise UserError(f"{path}: no such file or folder.")
    if dev is not None:
        present["dev"] = dev
    return {split: present[split] for split in _SPLIT_NAMES if split in present}


def _find_columns(
    table: Table, text: str | None, text_pair: str | None, label: str | None
) -> tuple[tuple[str, ...], str]:
    """(text columns, label column) as named, else by the usual names in any case; UserError if not found."""
    given = [name for name in (text, text_pair, label) if name is not None]
    for name in given:
        table.column(name)
    if len(set(given)) < len(given):
        raise UserError(f"{table.path}: one column is named for two purposes: {listed(given)}. Name different ones.")
    known = {name.casefold(): name for name in table.columns if name not in given}
    pairs = [pair for pair in _PAIR_NAMES if known.keys() >= set(pair)]
    if text is None and text_pair is None and pairs:
        text, text_pair = (known[name] for name in pairs[0])
    text = text or _usual_column(table, known, _TEXT_NAMES, "text")
    label = label or _usual_column(table, known, _LABEL_NAMES, "label")
    texts = (text,) if text_pair is None else (text, text_pair)
    for name in (*texts, label):
        twins = [other for other in table.columns if other.casefold() == name.casefold()]
        if name not in given and len(twins) > 1:
            raise UserError(f"{table.path}: columns {listed(twins)} differ by case only. Name one: --text, --label.")
    return texts, label


def _usual_column(table: Table, known: Mapping[str, str], names: Sequence[str], option: str) -> str:
    """The first of these names that is known, as the table spells it; UserError if none is."""
    if name := next((name for name in names if name in known), None):
        return known[name]
    _refuse_lists(table)
    columns = listed(table.columns)
    if len(table.columns) == 1 and any(mark in columns for mark in ";\t|"):
        raise UserError(f"{table.path}: the header is one column, {columns!r}. Use commas (.csv) or tabs (.tsv).")
    raise UserError(
        f"{table.path}: no {option} column found. Name it with --{option} COLUMN, or call it one of {listed(names)}. "
        f"Columns, by the first line of a .csv or .tsv: {columns}."
    )


def _refuse_lists(table: Table) -> None:
    """UserError if a column holds lists: tokens with a tag each are not a task for this program."""
    for name, values in table.columns.items():
        if _as_list(values[0]) is not None:
            raise UserError(f"{table.path}: column {shortened(repr(name))} holds lists. {_ONE_LABEL}")


def _as_list(value: object) -> Collection[object] | None:
    """The value if it is a list or an object, or a text that spells a list ("[1, 2]"); else None."""
    if isinstance(value, str) and value.strip()[:1] == "[":
        try:
            value = json.loads(value.replace("'", '"'))
        except (ValueError, RecursionError):
            return None
    return value if isinstance(value, list | tuple | dict) else None


def texts_of(table: Table, name: str) -> list[str]:
    """A text column, or a UserError that names the row whose value is no text."""
    texts = []
    for row, value in enumerate(table.column(name)):
        if isinstance(value, list | tuple | dict):
            _refuse_lists(table)
        if not isinstance(value, str):
            what = "missing" if value is None else f"{shortened(repr(value))}, which is not a text"
            raise table.complaint(row, f"{name} is {what}. Give each row a text, or leave the row out.")
        _refuse_torn(table, row, name, value)
        texts.append(value)
    return texts


def _refuse_torn(table: Table, row: int, name: str, value: str) -> None:
    """UserError if a text or label holds half of a character."""
    if is_torn(value):
        raise table.complaint(row, f"{name} holds half of a surrogate pair, which is no character. Remove it.")


def _labels_of(table: Table, name: str) -> Sequence[object]:
    """A label column, or a UserError that names the row that has no label or several."""
    values = table.column(name)
    for row, value in enumerate(values):
        if value is None or value != value or (isinstance(value, str) and not value.strip()):  # NaN: a gap in a table
            raise table.complaint(row, f"the {name} is empty. Fill it in, or leave the row out.")
        if _as_list(value) is not None:
            raise table.complaint(row, f"{name} is a list. {_ONE_LABEL}")
        if isinstance(value, str):
            _refuse_torn(table, row, name, value)
        if len(str(value)) > _LONGEST_LABEL:
            raise table.complaint(row, f"the {name} has over {_LONGEST_LABEL} characters. Name another with --label.")
    return values


def _as_number(value: object) -> float | None:
    """The value as a number, read from text if need be; None for other texts and for true and false."""
    if isinstance(value, bool) or (isinstance(value, str) and "_" in value):  # Python would read 1_2 as 12
        return None
    try:
        return float(value)  # type: ignore[arg-type]
    except OverflowError:
        return math.inf
    except (TypeError, ValueError):
        return None


def _decide_kind(table: Table, name: str) -> tuple[str, str]:
    """("classification" or "regression", why), from the label column of train.

    Texts, true and false are classes. Numbers with fractions are scores. Whole numbers are classes if
    at most 20 of them differ, or if they are just 0..C-1 (ids); else scores.
    """
    values = _labels_of(table, name)
    numbers = [_as_number(value) for value in values]
    known = {number for number in numbers if number is not None}
    if None in numbers:
        _refuse_damaged_scores(table, name, values, numbers)
        return "classification", f"{name} holds texts"
    if not all(number.is_integer() for number in known):
        return "regression", f"{name} holds fractions (else give --kind classification)"
    if len(known) <= _MOST_COUNTED_CLASSES or known == set(range(len(known))):
        return "classification", f"{name} holds {len(known)} whole numbers (else give --kind regression)"
    return "regression", f"{name} holds {len(known)} whole numbers (else give --kind classification)"


def _refuse_damaged_scores(table: Table, name: str, values: Sequence[object], numbers: Sequence[float | None]) -> None:
    """UserError where every score would become a class: for commas (3,5 or 1,000), or a few texts among scores."""
    known = [number for number in numbers if number is not None]
    texts = {row: str(value) for row, value in enumerate(values) if numbers[row] is None}
    row, text = next(iter(texts.items()))
    if all("," in text and _as_number(text.replace(",", "")) is not None for text in texts.values()):
        remedy = "Write numbers as 3.5 and 1000; give --kind classification if they are names of classes."
        raise table.complaint(row, f"the {name} {text!r} has a comma. {remedy}")
    scores = len(set(known)) > _MOST_COUNTED_CLASSES or not all(number.is_integer() for number in known)
    if scores and len(known) > len(numbers) / 2:
        remedy = "Correct it, or give --kind classification if every value is a class."
        raise table.complaint(
            row, f"the {name} {text!r} is no number, as {len(known):,} of {len(numbers):,} are. {remedy}"
        )


def _class_name(value: object) -> str:
    """How a label is called: 1, 1.0 (a number) and " 1 " are all "1"; true is "true"."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()


def _class_names(table: Table, name: str) -> tuple[str, ...]:
    """The distinct labels, whole numbers by size, others by alphabet; UserError if they are too many."""
    names = {_class_name(value) for value in _labels_of(table, name)}
    most = min(_MOST_CLASSES, max(_FEW_CLASSES, len(table) // 2))
    if len(names) > most:
        raise UserError(
            f"{table.path}: {name} has {len(names):,} different values in {len(table):,} rows, and at most {most:,} "
            "classes are allowed then. If it is a column of ids or texts, name the label column with --label; for "
            "numbers, give --kind regression."
        )
    if all(name.removeprefix("-").isdecimal() for name in names):
        return tuple(sorted(names, key=lambda name: (int(name), name)))
    return tuple(sorted(names))


def _spelling_warnings(values: Sequence[object]) -> list[str]:
    """A sentence each on labels that differ by white space only, and by case only."""
    spaced: dict[str, set[str]] = {}
    cased: dict[str, set[str]] = {}
    for value in {value for value in values if isinstance(value, str)}:
        name = _class_name(value)
        spaced.setdefault(name, set()).add(value)
        cased.setdefault(normalise(name), set()).add(name)
    merged = sorted(name for name, forms in spaced.items() if len(forms) > 1)
    apart = [" / ".join(sorted(names)) for _, names in sorted(cased.items()) if len(names) > 1]
    warnings = []
    if merged:
        warnings.append(f"white space around labels does not count; each of these is one class: {listed(merged)}")
    if apart:
        warnings.append(
            f"labels that differ by case or inner white space only stay different classes: {listed(apart)}. "
            "Spell them alike in the file if they mean the same"
        )
    return warnings


def _examples_of(
    table: Table, texts: Sequence[str], target: str, names: Sequence[str], *, source: str, unlabelled: bool = False
) -> Examples:
    """A table's rows; class ids by names, which come from source, or scores. unlabelled: labels may be missing."""
    first, *second = (texts_of(table, name) for name in texts)
    labels = None
    if target in table.columns or not unlabelled:
        values = _labels_of(table, target)
        labels = _class_ids(table, values, names, source) if names else _scores_of(table, values)
    return Examples(first, second[0] if second else None, labels, np.arange(len(first)))


def _class_ids(table: Table, values: Sequence[object], names: Sequence[str], source: str) -> np.ndarray:
    """int64 [N]; UserError for a label that is none of the names, which come from source."""
    ids = {name: index for index, name in enumerate(names)}
    labels = [_class_name(value) for value in values]
    for row, label in enumerate(labels):
        if label not in ids:
            hint = f"{nearest(label, ids)}Labels there: {listed(names)}."
            raise table.complaint(row, f"no label {label!r} in {source}. {hint}")
    return np.array([ids[label] for label in labels], dtype=np.int64)


def _scores_of(table: Table, values: Sequence[object]) -> np.ndarray:
    """float32 [N]; UserError for a value that is no finite number."""
    scores, largest = np.empty(len(values), dtype=np.float32), float(np.finfo(np.float32).max)
    for row, value in enumerate(values):
        number = _as_number(value)
        if number is None or not abs(number) <= largest:  # NaN is not either
            score = shortened(repr(value))
            raise table.complaint(row, f"the score {score} is not a finite number. Correct it, or leave the row out.")
        scores[row] = number
    return scores
