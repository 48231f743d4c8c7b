"""The built-in task `docs`: which package does a docstring come from?

In: the Python files of installed packages, read as text and never imported. Out: a `TaskData` with
the splits "train" and "dev", the same for the same versions on every machine. No network, no data
folder. Knows nothing of models, tokens or other tasks.
"""

import ast
import importlib.metadata
import importlib.util
import itertools
import json
import os
import platform
import re
import sysconfig
import warnings
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from featherlight.data.task import Examples, Task, TaskData
from featherlight.errors import UserError, missing_extra
from featherlight.files import cache_folder, hash_text, write_atomically

_TASK_NAME = "docs"
_BUILDER_VERSION = "1"  # bump when the same files give other rows: it names the cached table
_STANDARD_LIBRARY = "python"
MASK = "package"

_TEXTS_PER_LABEL = 2000  # the large packages have many times more; equal classes make a fairer score
_TEXTS_PER_FILE = 40  # many files say more about a package than a few long ones, which have one subject each
_WORDS = range(6, 61)
_PLAIN_SHARE = 0.75  # of the words; below, a text is mostly names and formulas
_DEV_SHARE = 0.15  # of the files

_SKIPPED_FOLDER = re.compile(  # tests, copies of other packages, and what pip puts inside the standard library
    r"(\w+_)?tests?|_?vendor(ed)?|_?extern(als?)?|_?third_party|array_api_\w+|site-packages|dist-packages"
)


@dataclass(frozen=True)
class Package:
    """One class of the task: an installed package.

    label: class name, and the package's name for pip.
    module: the folder that it installs.
    names: masked wherever these letters occur ("torch" in "TorchScript").
    words: masked only as whole words or parts of a compound ("rich" in "RichHandler", not in "enriched").
    """

    label: str
    module: str
    names: tuple[str, ...] = ()
    words: tuple[str, ...] = ()


# Only what `pip install featherlight[train]` brings for certain: the classes must not depend on the machine.
PACKAGES = (
    Package(_STANDARD_LIBRARY, "", names=("python",), words=("stdlib",)),
    Package("numpy", "numpy", names=("numpy",), words=("np",)),
    Package("scipy", "scipy", names=("scipy",)),
    Package("pandas", "pandas", names=("pandas",), words=("pd",)),
    Package("torch", "torch", names=("pytorch", "torch")),
    Package("scikit-learn", "sklearn", names=("scikit-learn", "scikit_learn", "scikits", "scikit", "sklearn")),
    Package("transformers", "transformers", words=("transformers",)),
    Package("datasets", "datasets", words=("datasets",)),
    Package("huggingface_hub", "huggingface_hub", names=("huggingface", "hugging face"), words=("hf", "hub")),
    Package("sympy", "sympy", names=("sympy",)),
    Package("networkx", "networkx", names=("networkx",), words=("nx",)),
    Package("pydantic", "pydantic", names=("pydantic",)),
    Package("rich", "rich", words=("rich",)),
)


@dataclass(frozen=True)
class Source:
    """A package as found on this machine: its folder of Python files and its version."""

    package: Package
    root: Path
    version: str


class Row(NamedTuple):
    """One example: masked text, label, and the file it came from ("numpy/linalg/_linalg.py")."""

    text: str
    label: str
    file: str


def load_docs() -> TaskData:
    """The task, built at the first call, then read from the cache folder; UserError if a package is missing."""
    sources = [find_source(package) for package in PACKAGES]
    rows = cached_rows(sources, cache_folder() / _TASK_NAME)
    labels = tuple(source.package.label for source in sources)
    versions = ", ".join(f"{source.package.label} {source.version}" for source in sources)
    return TaskData(
        task=Task(_TASK_NAME, texts=("text",), labels=labels, metrics=("accuracy", "macro_f1"), reported=("dev",)),
        splits={split: examples(rows, labels, split) for split in ("train", "dev")},
        fingerprint=_fingerprint(rows),
        source=f"docstrings of the installed packages: {versions}",
        notes=("The rows follow the installed versions; compare scores of equal fingerprints only.",),
    )


def find_source(package: Package) -> Source:
    """Where the package lies on this machine, found without importing it."""
    if package.label == _STANDARD_LIBRARY:
        return Source(package, Path(sysconfig.get_path("stdlib")), platform.python_version())
    spec = importlib.util.find_spec(package.module)
    if spec is None or spec.origin is None:  # no origin: a mere folder of that name, such as the user's own "datasets"
        raise missing_extra(package.label, "train")
    try:
        version = importlib.metadata.version(package.label)
    except importlib.metadata.PackageNotFoundError:
        raise missing_extra(package.label, "train") from None
    return Source(package, Path(spec.origin).parent, version)


def examples(rows: Sequence[Row], labels: Sequence[str], split: str) -> Examples:
    """The rows of one split; `rows` counts in the whole table, both splits together. An origin is a source file."""
    files = {place: number for number, place in enumerate(sorted({(row.label, row.file) for row in rows}))}
    numbers = [number for number, row in enumerate(rows) if split_of(row.file) == split]
    selected = [rows[number] for number in numbers]
    return Examples(
        first=[row.text for row in selected],
        second=None,
        labels=np.array([labels.index(row.label) for row in selected], dtype=np.int64),
        rows=np.array(numbers, dtype=np.int64),
        origins=np.array([files[row.label, row.file] for row in selected], dtype=np.int64),
    )


def split_of(file: str) -> str:
    """ "train" or "dev", by the file's name alone, so that no file is ever on both sides."""
    return "dev" if int(hash_text("split", file)[:8], 16) / 16**8 < _DEV_SHARE else "train"


def _fingerprint(rows: Sequence[Row]) -> str:
    return hash_text(*(field for row in rows for field in row))


def cached_rows(sources: Sequence[Source], folder: Path) -> list[Row]:
    """The table from the folder; built and written there if it is absent, damaged or of other versions.

    Its file has one JSON list per row, then the fingerprint, by which damage shows.
    """
    versions = [f"{source.package} {source.version}" for source in sources]
    path = folder / f"{hash_text(_BUILDER_VERSION, platform.python_version(), *versions)[:16]}.jsonl"
    with suppress(FileNotFoundError, ValueError, TypeError, AttributeError):  # what damaged lines can raise
        *lines, stored = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        rows = [Row(*line) for line in lines]
        if _fingerprint(rows) == stored:
            return rows
    rows = build_rows(sources)
    lines = [*rows, _fingerprint(rows)]
    write_atomically(path, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode())
    return rows


def build_rows(sources: Sequence[Source], *, limit: int = _TEXTS_PER_LABEL) -> list[Row]:
    """The table, in the order of sources and files; at most `limit` rows of each source.

    No two rows say the same, and what two labels both say is in neither.
    """
    names = names_pattern([source.package for source in sources])
    rows = [row for source in sources for row in _rows_of(source, names, limit)]
    labels_saying: dict[str, set[str]] = {}
    for row in rows:
        labels_saying.setdefault(_said(row.text), set()).add(row.label)
    return [row for row in rows if len(labels_saying[_said(row.text)]) == 1]


def _rows_of(source: Source, names: re.Pattern[str], limit: int) -> list[Row]:
    """Up to `limit` different texts of one source; files are read in an order of their names, up to the limit."""
    label = source.package.label
    rows: dict[str, Row] = {}
    for file in sorted(_python_files(source.root), key=lambda file: hash_text("order", file)):
        texts = [names.sub(MASK, text) for text in _first_paragraphs((source.root / file).read_bytes())]
        for text in texts[:_TEXTS_PER_FILE]:
            rows.setdefault(_said(text), Row(text, label, f"{label}/{file}"))
        if len(rows) >= limit:
            break
    if not rows:
        raise UserError(f"{source.root}: no docstrings of {label!r}. Install it with its Python source files.")
    return sorted(list(rows.values())[:limit], key=lambda row: row.file)


def _said(text: str) -> str:
    """What counts when two texts are compared: the words, not their case or punctuation."""
    return " ".join(re.findall(r"\w+", text.casefold()))


def names_pattern(packages: Sequence[Package]) -> re.Pattern[str]:
    """Matches every name of every package: were only a text's own masked, the others' names would exclude labels."""
    names = sorted((name for package in packages for name in package.names), key=len, reverse=True)
    words = [word for package in packages for word in package.words]
    forms = [f"(?i:{re.escape(name)})" for name in names]
    for word in words:
        forms.append(rf"(?<![^\W_])(?i:{word})(?![^\W_])")
        forms.append(rf"(?<![^\W_]){word.capitalize()}(?=[A-Z])")  # begins a name in camel case
    return re.compile("|".join(forms))


def _python_files(root: Path) -> Iterator[str]:
    """Paths below root, with forward slashes, of all Python files but tests and copies of other packages."""
    for folder, subfolders, files in os.walk(root):
        subfolders[:] = [name for name in subfolders if not _SKIPPED_FOLDER.fullmatch(name)]
        for name in files:
            if name.endswith(".py") and not name.startswith(("test_", "conftest")):
                yield (Path(folder) / name).relative_to(root).as_posix()


def _first_paragraphs(content: bytes) -> list[str]:
    """The readable first paragraphs of a file's docstrings; none if the file does not parse."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # foreign code, not ours to mend
            nodes = list(ast.walk(ast.parse(content)))
    except (SyntaxError, ValueError, RecursionError):
        return []
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings = [ast.get_docstring(node) or "" for node in nodes if isinstance(node, kinds)]
    return [text for text in map(_first_paragraph, docstrings) if _is_readable(text)]


# What ends a first paragraph besides a blank line: section heads, field lists, bullets, directives, rules.
_NOT_PROSE_LINE = re.compile(
    r"\s*(?:(?:args?|arguments|param(?:eter)?s?|returns?|raises|yields|examples?|notes?|attributes|usage|inputs?"
    r"|outputs?|references|see also)\s*:{0,2}\s*$|:\w+[^`]*:\s|@\w+|[-*+•]\s|\(?\d+[.)]\s|\.\.\s|>>>|```|[-=~^#*]{3,}"
    r"|\w+ \(.*\):)",
    re.IGNORECASE,
)
_MARKUP = (  # reStructuredText and Markdown tell the package's tools, not its subject
    (re.compile(r":[a-zA-Z][\w:.+-]*:(?=`)"), ""),  # :class:`Name`
    (re.compile(r"(?<=\w)\s+<[^<>`]*>(?=`)"), ""),  # `words <target>`
    (re.compile(r"\[?`+[~!.]*([^`]*)`+_{0,2}\]?"), r"\1"),
    (re.compile(r"(?<![\w*])\*{1,2}(\w[^*]*)\*{1,2}(?![\w*])"), r"\1"),
    (re.compile(r"\s+"), " "),
)
_NOT_PROSE = re.compile(r"[\\{}<>=|@#$~^`]|__|\.\.\.|\s[.,;:](?:\s|$)|https?:|copyright|licen[sc]e", re.IGNORECASE)
_PLAIN_WORD = re.compile(r"[\"'(]*[A-Za-z]?[a-z]+(?:['-][A-Za-z]?[a-z]+)*[\"')]*[.,;:!?]*")


def _first_paragraph(docstring: str) -> str:
    """The docstring's first paragraph as one line without markup; empty if it does not start as prose."""
    lines = re.split(r"\n\s*\n", docstring, maxsplit=1)[0].splitlines()
    text = " ".join(itertools.takewhile(lambda line: not _NOT_PROSE_LINE.match(line), lines))
    for pattern, replacement in _MARKUP:
        text = pattern.sub(replacement, text)
    return text.strip()


def _is_readable(text: str) -> bool:
    """Whether a text is a sentence for people: of fair length, mostly plain words, no code and no formula."""
    words = text.split()
    plain = sum(_PLAIN_WORD.fullmatch(word) is not None for word in words)
    return (
        len(words) in _WORDS
        and text[0].isalpha()
        and text[-1] != ":"  # what it announces is not there
        and text.isprintable()
        and not _NOT_PROSE.search(text)
        and plain >= _PLAIN_SHARE * len(words)
    )
