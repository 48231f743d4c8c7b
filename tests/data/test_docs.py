"""The task from docstrings, on small package trees written here: every expected text is written out by hand."""

from pathlib import Path

import numpy as np
import pytest

from featherlight.data import docs
from featherlight.errors import UserError

WIDGETS = docs.Package("widgets", "widgets", names=("widgets",), words=("wd",))
GADGETS = docs.Package("gadgets", "gadgets", words=("gadgets", "gd"))


def write_package(root: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    return root


def function(number: int, docstring: str) -> str:
    return f'def function_{number}():\n    """{docstring}"""\n\n'


def sources(tmp_path: Path, widgets: dict[str, str], gadgets: dict[str, str]) -> list[docs.Source]:
    return [
        docs.Source(WIDGETS, write_package(tmp_path / "widgets", widgets), "1.0"),
        docs.Source(GADGETS, write_package(tmp_path / "gadgets", gadgets), "2.0"),
    ]


def many_files(subject: str) -> dict[str, str]:
    return {
        f"part_{i}.py": "".join(
            function(k, f"Turn the {subject} of part number {chr(97 + i)} by step {chr(97 + k)}.") for k in range(3)
        )
        for i in range(26)
    }


FILLER = {"filler.py": function(0, "Nothing but a filler for the other class.")}


def texts_of(tmp_path: Path, content: str) -> list[str]:
    rows = docs.build_rows(sources(tmp_path, {"module.py": content}, FILLER))
    return [row.text for row in rows if row.label == "widgets"]


def test_docstrings_of_modules_classes_methods_and_functions_are_all_read(tmp_path):
    content = '''"""Module that does something quite useful."""
class Box:
    """Box that holds all of the things."""
    def open(self):
        """Lift the lid off the wooden box."""
async def close():
    """Put the lid back on the box."""
'''
    assert sorted(texts_of(tmp_path, content)) == [
        "Box that holds all of the things.",
        "Lift the lid off the wooden box.",
        "Module that does something quite useful.",
        "Put the lid back on the box.",
    ]


def test_only_the_first_paragraph_is_kept_on_one_line(tmp_path):
    docstring = "Turn the handle of the\n    old   machine slowly.\n\n    Then wait for the bell to ring."
    assert texts_of(tmp_path, function(0, docstring)) == ["Turn the handle of the old machine slowly."]


@pytest.mark.parametrize(
    "docstring",
    [
        "Too short a text.",
        "Word after word after word " * 13,
        "Compute f(x) = a * x_i + b_j with c >= 0 and d.",
        "x_1 (int), y_2 (int), z_3 (int), w_4, v_5 are q_6.",
        ">>> turn the handle of the old machine slowly",
        "Copyright of the people who wrote this file.",
        "Turn the handle of the machine as follows:",
    ],
)
def test_what_is_no_sentence_for_people_is_left_out(tmp_path, docstring):
    content = function(0, docstring) + function(1, "This one sentence should be read here.")
    assert texts_of(tmp_path, content) == ["This one sentence should be read here."]


def test_a_section_of_parameters_without_blank_line_before_it_is_cut_off(tmp_path):
    docstring = "Turn the handle of the old machine.\n    Parameters\n    ----------\n    handle: what to turn"
    assert texts_of(tmp_path, function(0, docstring)) == ["Turn the handle of the old machine."]


def test_markup_leaves_only_its_words(tmp_path):
    docstring = "Return a :class:`~Box` with ``lid`` and *one* [`Key`] for everyone."
    assert texts_of(tmp_path, function(0, docstring)) == ["Return a Box with lid and one Key for everyone."]


@pytest.mark.parametrize(
    ("written", "masked"),
    [
        ("Sort all of the Widgets by their size.", "Sort all of the package by their size."),
        ("Call widgets.sort with the list of sizes.", "Call package.sort with the list of sizes."),
        ("Use MyWidgetsBox for all of the things.", "Use MypackageBox for all of the things."),
        ("Call wd.sort with the list of sizes.", "Call package.sort with the list of sizes."),
        ("Use GadgetsBox or the gadgets in it.", "Use packageBox or the package in it."),
        ("Read the word crowd as it is written.", "Read the word crowd as it is written."),
    ],
)
def test_names_of_every_label_are_masked_and_other_words_are_not(tmp_path, written, masked):
    assert texts_of(tmp_path, function(0, written)) == [masked]


def test_the_names_of_real_packages_are_masked_however_they_are_written():
    names = docs.names_pattern(docs.PACKAGES)
    written = (
        "NumPy np.array PyTorch torch.nn scikit-learn sklearn.svm pd.Series nx.Graph Hugging Face HfApi RichHandler"
    )
    masked = (
        "package package.array package package.nn package package.svm package.Series package.Graph "
        "package packageApi packageHandler"
    )
    assert names.sub(docs.MASK, written) == masked
    assert names.sub(docs.MASK, "enriched GitHub dataset transformer input") == (
        "enriched GitHub dataset transformer input"
    )


def test_of_equal_texts_one_is_kept(tmp_path):
    content = function(0, "Turn the handle of the machine.") + function(1, "turn the Handle of the machine")
    assert len(texts_of(tmp_path, content)) == 1


def test_what_two_labels_say_after_masking_is_in_neither(tmp_path):
    rows = docs.build_rows(
        sources(
            tmp_path,
            {
                "a.py": function(0, "Sort the widgets by size and weight.")
                + function(1, "Only the first one says this.")
            },
            {"b.py": function(0, "Sort the gadgets by size and weight.") + function(1, "Only the second one says so.")},
        )
    )
    assert [(row.text, row.label, row.file) for row in rows] == [
        ("Only the first one says this.", "widgets", "widgets/a.py"),
        ("Only the second one says so.", "gadgets", "gadgets/b.py"),
    ]


def test_unparseable_files_tests_and_vendored_copies_are_skipped(tmp_path):
    good = function(0, "This one sentence should be read here.")
    bad = {
        "broken.py": function(0, "This file does not parse at all.") + "def (:\n",
        "zero.py": function(0, "This file has a zero byte inside.") + "\0",
        "latin.py": '# coding: nothing-known\n"""This file says it is odd."""\n',
        "tests/a.py": function(0, "This is only found in a test."),
        "_vendor/a.py": function(0, "This is a copy of another package."),
        "test_a.py": function(0, "This is only found in another test."),
        "notes.txt": function(0, "This is not a Python file at all."),
    }
    rows = docs.build_rows(sources(tmp_path, {"good.py": good, **bad}, FILLER))
    assert [row.file for row in rows if row.label == "widgets"] == ["widgets/good.py"]


def test_doubtful_escapes_in_foreign_code_warn_nobody(tmp_path):
    content = function(0, "Turn the handle of the machine.") + "PATTERN = '\\d' is 'x'\n"
    assert texts_of(tmp_path, content) == ["Turn the handle of the machine."]


def test_a_package_without_sources_is_named(tmp_path):
    with pytest.raises(UserError, match="widgets"):
        docs.build_rows(sources(tmp_path, {"readme.txt": "nothing"}, FILLER))


def test_a_label_gets_no_more_texts_than_the_limit(tmp_path):
    rows = docs.build_rows(sources(tmp_path, many_files("handle"), many_files("wheel")), limit=10)
    assert [row.label for row in rows] == ["widgets"] * 10 + ["gadgets"] * 10


def test_the_table_depends_neither_on_the_place_nor_on_the_order_of_the_files(tmp_path, monkeypatch):
    first = docs.build_rows(sources(tmp_path / "here", many_files("handle"), many_files("wheel")), limit=30)
    walk = docs.os.walk
    monkeypatch.setattr(docs.os, "walk", lambda root: ((a, b, files[::-1]) for a, b, files in walk(root)))
    second = docs.build_rows(sources(tmp_path / "there", many_files("handle"), many_files("wheel")), limit=30)
    assert first == second


def test_no_file_is_on_both_sides_and_every_row_on_one(tmp_path):
    rows = docs.build_rows(sources(tmp_path, many_files("handle"), many_files("wheel")))
    train, dev = (docs.examples(rows, ("widgets", "gadgets"), split) for split in ("train", "dev"))
    assert 0 < len(dev) < len(train)
    assert sorted([*train.rows, *dev.rows]) == list(range(2 * 26 * 3))
    assert not {rows[i].file for i in train.rows} & {rows[i].file for i in dev.rows}


def test_examples_keep_text_label_and_number_together(tmp_path):
    rows = docs.build_rows(sources(tmp_path, many_files("handle"), many_files("wheel")))
    dev = docs.examples(rows, ("widgets", "gadgets"), "dev")
    assert dev.labels is not None and dev.labels.dtype == np.int64 and dev.rows.dtype == np.int64
    for text, label, number in zip(dev.first, dev.labels, dev.rows, strict=True):
        assert text == rows[number].text
        assert ("wheel" in text) == (label == 1)


def test_about_fifteen_of_a_hundred_files_go_to_dev():
    dev = sum(docs.split_of(f"numpy/file_{number}.py") == "dev" for number in range(2000))
    assert 250 < dev < 350  # 300 expected, three standard deviations are 48


def test_a_second_call_reads_the_cache_and_not_the_packages(tmp_path):
    found = sources(tmp_path, many_files("handle"), many_files("wheel"))
    first = docs.cached_rows(found, tmp_path / "cache")
    (found[0].root / "part_0.py").write_text("")
    assert docs.cached_rows(found, tmp_path / "cache") == first


def test_another_version_of_a_package_is_read_anew(tmp_path):
    found = sources(tmp_path, many_files("handle"), many_files("wheel"))
    docs.cached_rows(found, tmp_path / "cache")
    newer = docs.Source(
        WIDGETS, write_package(tmp_path / "newer", {"a.py": function(0, "One new text in a file.")}), "1.1"
    )
    assert docs.cached_rows([newer, found[1]], tmp_path / "cache")[0].text == "One new text in a file."


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[: len(content) // 2],
        lambda content: content.replace(b"handle", b"candle", 1),
        lambda content: b'["one", "two"]\n' + content,
        lambda content: b"[1, 2, 3]\n" + content,
        lambda content: b"null\n" + content,
        lambda content: b"\xff" + content,
    ],
    ids=["empty", "cut", "changed", "short row", "numbers", "no row", "not UTF-8"],
)
def test_a_damaged_cache_is_built_again(tmp_path, damage):
    found = sources(tmp_path, many_files("handle"), many_files("wheel"))
    rows = docs.cached_rows(found, tmp_path / "cache")
    (path,) = (tmp_path / "cache").iterdir()
    content = path.read_bytes()
    path.write_bytes(damage(content))
    assert docs.cached_rows(found, tmp_path / "cache") == rows
    assert path.read_bytes() == content


def test_a_missing_package_names_the_command_that_brings_it(tmp_path, monkeypatch):
    missing = docs.Package("no-such-package", "no_such_package")
    with pytest.raises(UserError, match=r"'no-such-package'.*pip install 'featherlight\[train\]'"):
        docs.find_source(missing)
    (tmp_path / "no_such_package").mkdir()  # a folder of that name in the working folder is no package
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match="pip install"):
        docs.find_source(missing)


def test_every_package_of_the_table_is_found_with_its_files():
    for package in docs.PACKAGES:
        source = docs.find_source(package)
        assert (source.root / "__init__.py").is_file() or (source.root / "ast.py").is_file()
        assert source.version[0].isdigit()


def test_load_docs_gives_both_splits_of_installed_packages(tmp_path, monkeypatch):
    small = tuple(package for package in docs.PACKAGES if package.label in ("pydantic", "rich"))
    monkeypatch.setattr(docs, "PACKAGES", small)
    monkeypatch.setenv("FEATHERLIGHT_CACHE", str(tmp_path))
    data = docs.load_docs()
    assert data.task.labels == ("pydantic", "rich")
    assert set(data.splits) == {"train", "dev"}
    texts = [*data.splits["train"].first, *data.splits["dev"].first]
    assert "A console renderable to draw a table." in texts  # rich/table.py, class Table
    assert not any("pydantic" in text.casefold() for text in texts)
    assert docs.load_docs().fingerprint == data.fingerprint
