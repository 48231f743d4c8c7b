import json
import subprocess
import sys
import types
from dataclasses import replace

import numpy as np
import pytest

from featherlight.data.own import load_own
from featherlight.data.registry import load_task, task_names
from featherlight.data.task import Examples, Task, TaskData
from featherlight.errors import UserError
from featherlight.stages.rows import select_split


def sst2(folder, count=40):
    """A small SST-2 in the published layout, half of it positive."""
    target = folder / "glue" / "SST-2"
    target.mkdir(parents=True)
    for split in ("train", "dev"):
        lines = [f"{split} text {number}\t{number % 2}" for number in range(count)]
        (target / f"{split}.tsv").write_text("\n".join(["sentence\tlabel", *lines]))
    return folder


def test_importing_the_registry_loads_no_heavy_library():
    code = "import sys, featherlight.data.registry; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "transformers", "pandas", "datasets", "pyarrow", "huggingface_hub"} & set(loaded)


def test_a_named_task_has_select_cut_from_train(tmp_path):
    splits = load_task("sst2", data=sst2(tmp_path)).splits
    assert {name: len(split) for name, split in splits.items()} == {"train": 36, "dev": 40, "select": 4}
    assert not set(splits["train"].first) & set(splits["select"].first)


def test_select_on_dev_leaves_train_whole_and_is_noted(tmp_path):
    loaded = load_task("sst2", data=sst2(tmp_path), select_on="dev")
    assert len(loaded.splits["train"]) == 40
    assert "select" not in loaded.splits
    assert any("--select-on dev" in note for note in loaded.notes)


def acl_arc(folder, splits=("train", "dev", "test"), count=40):
    """A small ACL-ARC; the first two rows of each split have texts that all splits share."""
    target = folder / "acl_arc"
    target.mkdir()
    for split in splits:
        rows = [{"text": f"{'all' if n < 2 else split} {n}", "label": ("Uses", "Future")[n % 2]} for n in range(count)]
        (target / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_a_task_that_reports_test_chooses_on_its_dev_split_without_a_warning(tmp_path):
    loaded = load_task("acl_arc", data=acl_arc(tmp_path), select_on="dev")
    assert {name: len(split) for name, split in loaded.splits.items()} == {"train": 40, "dev": 40, "test": 40}
    assert loaded.task.reported == ("test",) and not [note for note in loaded.notes if "optimistic" in note]
    assert loaded.notes[0].startswith("train has no row of 'Background'"), "what this toy lacks is said"
    assert select_split(loaded) == "dev"


def test_choosing_on_test_is_refused(tmp_path):
    (tmp_path / "agnews").mkdir()
    for split in ("train", "test"):
        (tmp_path / "agnews" / f"{split}.csv").write_text('"1","a","b"\n')
    with pytest.raises(UserError, match=r"ag_news: no dev split to choose on\. Leave out --select-on"):
        load_task("ag_news", data=tmp_path, select_on="dev")


def test_a_dev_split_that_is_there_is_not_cut_again(tmp_path):
    loaded = load_task("acl_arc", data=acl_arc(tmp_path, ("train", "dev")))
    assert loaded.task.reported == ("dev",) and len(loaded.splits["dev"]) == 40


def test_leaks_are_dropped_before_select_is_cut_and_rows_keep_their_numbers(tmp_path):
    loaded = load_task("acl_arc", data=acl_arc(tmp_path), drop_leaks=True)
    train, select = loaded.splits["train"], loaded.splits["select"]
    assert sorted([*train.rows, *select.rows]) == list(range(2, 40)) and len(select) == 3
    assert any("2 rows of train are left out" in note for note in loaded.notes)


def test_select_is_the_same_in_each_load(tmp_path):
    sst2(tmp_path)
    first, second = (load_task("sst2", data=tmp_path) for _ in range(2))
    assert first.splits["select"].first == second.splits["select"].first
    assert first.fingerprint == second.fingerprint


def test_an_unknown_task_offers_the_nearest_name_and_mentions_files():
    with pytest.raises(UserError, match=r"no task called 'sst3'. Did you mean 'sst2'\?.*must exist"):
        load_task("sst3")


def test_a_path_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UserError, match=r"nowhere\.csv: no such file"):
        load_task(str(tmp_path / "nowhere.csv"))
    with pytest.raises(UserError, match=r"nowhere\.csv: no such file"):
        load_task("nowhere.csv")


def test_a_missing_folder_under_data_is_an_error_and_never_the_hub(tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        load_task("sst2", data=tmp_path)


def test_column_options_are_refused_for_a_named_task(tmp_path):
    with pytest.raises(UserError, match="--text-pair, --kind"):
        load_task("sst2", data=sst2(tmp_path), text_pair="b", kind="regression")


def test_a_file_gets_dev_and_select_cut_off_and_says_so(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text("text,label\n" + "".join(f"text {number},{'ab'[number % 2]}\n" for number in range(100)))
    loaded = load_task(str(path))
    assert {name: len(split) for name, split in loaded.splits.items()} == {"train": 81, "dev": 10, "select": 9}
    assert any("dev is cut from train (10 of 100 rows)" in note for note in loaded.notes)
    texts = [text for split in loaded.splits.values() for text in split.first]
    assert len(set(texts)) == 100


def test_a_task_with_dev_alone_has_no_select(tmp_path):
    folder = tmp_path / "RTE"
    folder.mkdir()
    (folder / "dev.tsv").write_text("index\tsentence1\tsentence2\tlabel\n0\ta\tb\tentailment\n")
    loaded = load_task("rte", data=tmp_path)
    assert set(loaded.splits) == {"dev"}
    assert any(str(folder / "train.tsv") in note for note in loaded.notes)


def test_docs_ignores_data_and_gets_its_select(monkeypatch, tmp_path):
    train = Examples([f"text {number}" for number in range(50)], None, np.arange(50) % 2, np.arange(50))
    docs = TaskData(Task("docs", ("text",), ("a", "b"), ("accuracy",)), {"train": train, "dev": train}, "0", "here")
    module = types.ModuleType("featherlight.data.docs")
    module.load_docs = lambda: replace(docs)
    monkeypatch.setitem(sys.modules, "featherlight.data.docs", module)
    assert len(load_task("docs", data=tmp_path).splits["select"]) == 5


def test_select_on_takes_two_values():
    with pytest.raises(UserError, match="'select' or 'dev'"):
        load_task("sst2", select_on="test")


def test_the_names_are_docs_glues_nine_and_three_more():
    nine = ("cola", "sst2", "mrpc", "stsb", "qqp", "mnli", "qnli", "rte", "wnli")
    assert task_names() == ("docs", *nine, "ag_news", "acl_arc", "restaurants")


def test_a_class_that_a_split_lacks_is_named_and_so_is_a_split_of_one_class(tmp_path, caplog):
    caplog.set_level("INFO", "featherlight")
    path = tmp_path / "a.csv"
    path.write_text(
        "text,label\n" + "".join(f"text {number},{'fraud' if number == 7 else 'ok'}\n" for number in range(90))
    )
    loaded = load_task(str(path))
    said = "dev has rows of 'ok' alone (9): of the other classes no score there says anything of it"
    assert said in loaded.notes and said in caplog.text
    assert loaded.splits["train"].labels.tolist().count(0) == 1, "the one row of fraud is fitted"


def test_moved_rows_are_another_task_and_others_are_the_same(tmp_path):
    prints = []
    for name, rare in (("even", 45), ("rare", 2)):
        path = tmp_path / f"{name}.csv"
        path.write_text("text,label\n" + "".join(f"text {n},{'a' if n < rare else 'b'}\n" for n in range(90)))
        whole = load_own(path, text=None, text_pair=None, label=None, kind="auto", dev=None)
        prints.append(load_task(str(path)).fingerprint == whole.fingerprint)
    assert prints == [True, False]
