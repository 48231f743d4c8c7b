import os
import sys
from pathlib import Path

import datasets
import numpy as np
import pytest

from featherlight import hub
from featherlight.data.classification import TASKS, load_published
from featherlight.errors import UserError

ROOT = Path(__file__).parents[2]
REAL = Path(os.environ.get("FEATHERLIGHT_DATA") or ROOT.parent / "shared" / "data")


def write(folder, **files):
    """Files name_suffix=content under a folder: train_tsv="..." is train.tsv."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        path = folder / ".".join(name.rsplit("_", 1))
        path.write_bytes(content if isinstance(content, bytes) else content.encode())


def test_quotes_are_letters_and_both_places_of_the_folder_are_found(tmp_path):
    train = 'sentence\tlabel\n"open quote\t0\na "b" c\t1\n'
    write(tmp_path / "a" / "glue" / "SST-2", train_tsv=train)
    write(tmp_path / "b" / "SST-2", train_tsv=train)
    for root in (tmp_path / "a", tmp_path / "b"):
        split = load_published(TASKS["sst2"], root).splits["train"]
        assert split.first == ['"open quote', 'a "b" c']
        assert split.labels.tolist() == [0, 1]


def test_cola_has_a_header_in_test_alone(tmp_path):
    row = "gj04\t0\t*\tThe no.\ngj04\t1\t\tThe yes."  # the last line has no end
    write(tmp_path / "CoLA", train_tsv=row, dev_tsv=row, test_tsv="index\tsentence\n0\tWhat?\n")
    splits = load_published(TASKS["cola"], tmp_path).splits
    assert splits["train"].first == ["The no.", "The yes."]
    assert splits["dev"].labels.tolist() == [0, 1]
    assert splits["test"].first == ["What?"]
    assert splits["test"].labels is None


def test_mrpcs_byte_order_mark_is_not_part_of_its_first_column(tmp_path):
    header = "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String"
    write(tmp_path / "MRPC", dev_tsv=b"\xef\xbb\xbf" + f"{header}\r\n1\t7\t8\tone\ttwo\r\n".encode())
    dev = load_published(TASKS["mrpc"], tmp_path).splits["dev"]
    assert (dev.first, dev.second, dev.labels.tolist()) == (["one"], ["two"], [1])


def test_stsb_is_a_regression_in_float32(tmp_path):
    write(tmp_path / "STS-B", dev_tsv="index\tsentence1\tsentence2\tscore\n0\ta\tb\t3.800\n")
    labels = load_published(TASKS["stsb"], tmp_path).splits["dev"].labels
    assert labels.dtype == np.float32
    assert labels[0] == np.float32(3.8)


def test_mnli_is_scored_on_both_dev_splits_and_leaves_out_rows_without_a_majority(tmp_path):
    lines = "index\tsentence1\tsentence2\tlabel1\tgold_label\n0\ta\tb\tneutral\t-\n1\tc\td\tneutral\tcontradiction\n"
    write(tmp_path / "MNLI", dev_matched_tsv=lines, dev_mismatched_tsv=lines)
    loaded = load_published(TASKS["mnli"], tmp_path)
    assert loaded.task.reported == ("dev_matched", "dev_mismatched")
    matched = loaded.splits["dev_matched"]
    assert (matched.first, matched.labels.tolist(), matched.rows.tolist()) == (["c"], [2], [1])


def test_mnli_with_one_dev_split_reports_that_one_and_says_so(tmp_path):
    line = '{"premise": "a", "hypothesis": "b", "label": "neutral"}\n'
    write(tmp_path / "MNLI", dev_matched_jsonl=line)
    loaded = load_published(TASKS["mnli"], tmp_path)
    assert loaded.task.reported == ("dev_matched",)
    assert any("dev_matched alone" in note for note in loaded.notes)
    assert any(str(tmp_path / "MNLI" / "train.tsv") in note for note in loaded.notes)


def test_qqps_partial_file_is_read_with_a_note_and_its_broken_rows_are_left_out(tmp_path):
    text = "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n1\t2\t3\ta\tb\t1\n4\t5\t6\tcut\n"
    write(tmp_path / "QQP", train_subset_tsv=text)
    loaded = load_published(TASKS["qqp"], tmp_path)
    assert loaded.splits["train"].labels.tolist() == [1]
    assert any("partial" in note and "train_subset.tsv" in note for note in loaded.notes)
    write(tmp_path / "QQP", train_tsv=text + "7\t8\t9\tc\td\t0\n")
    assert len(load_published(TASKS["qqp"], tmp_path).splits["train"]) == 2


def test_a_missing_folder_is_named_in_both_places(tmp_path):
    with pytest.raises(UserError) as caught:
        load_published(TASKS["rte"], tmp_path)
    assert str(tmp_path / "glue" / "RTE") in str(caught.value)
    assert str(tmp_path / "RTE") in str(caught.value)


def test_an_empty_folder_names_the_files_that_were_looked_for(tmp_path):
    (tmp_path / "RTE").mkdir()
    with pytest.raises(UserError, match=r"RTE/train\.tsv.*RTE/dev\.tsv"):
        load_published(TASKS["rte"], tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("index\tsentence1\tsentence2\tlabel\n0\ta\tb\tmaybe\n", "line 2: label is 'maybe', not one of entailment"),
        ("index\tsentence1\tsentence2\tlabel\n0\ta\tb\n", "line 2: 3 cells, but the header names 4 columns"),
        ("index\tsentence1\tlabel\n0\ta\tentailment\n", "no column called 'sentence2'. Did you mean 'sentence1'"),
    ],
)
def test_damage_is_named_by_file_and_line(tmp_path, text, message):
    write(tmp_path / "RTE", dev_tsv=text)
    with pytest.raises(UserError) as caught:
        load_published(TASKS["rte"], tmp_path)
    assert message in str(caught.value)
    assert str(tmp_path / "RTE" / "dev.tsv") in str(caught.value)


def test_the_fingerprint_follows_the_content_and_not_the_folder(tmp_path):
    text = "sentence\tlabel\na\t0\n"
    write(tmp_path / "a" / "SST-2", dev_tsv=text)
    write(tmp_path / "b" / "glue" / "SST-2", dev_tsv=text)
    write(tmp_path / "c" / "SST-2", dev_tsv=text.replace("0", "1"))
    first, second, third = (load_published(TASKS["sst2"], tmp_path / name).fingerprint for name in "abc")
    assert first == second != third


@pytest.fixture
def stored(monkeypatch):
    """Stands in for the hub: what it holds is set by the test, what was asked for is kept."""
    asked = []

    def load_dataset(*args, **options):
        asked.append((args, options))
        return load_dataset.tables

    monkeypatch.setattr(hub, "reachable", lambda: True)
    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    load_dataset.asked = asked
    return load_dataset


def table(labels, names=None, **columns):
    features = {name: datasets.Value("string") for name in columns}
    features["label"] = datasets.ClassLabel(names=names) if names else datasets.Value("float32")
    return datasets.Dataset.from_dict({**columns, "label": labels}, features=datasets.Features(features))


def test_the_hubs_labels_are_mapped_by_name_and_validation_is_dev(stored):
    swapped = ["not_entailment", "entailment"]
    stored.tables = datasets.DatasetDict(
        train=table([0, 1], swapped, sentence1=["a", "b"], sentence2=["c", "d"]),
        validation=table([1], swapped, sentence1=["e"], sentence2=["f"]),
        test=table([-1], swapped, sentence1=["g"], sentence2=["h"]),
    )
    loaded = load_published(TASKS["rte"], None)
    assert stored.asked == [(("nyu-mll/glue", "rte"), {"revision": TASKS["rte"].hub.revision})]
    assert set(loaded.splits) == {"train", "dev", "test"}
    assert [loaded.task.labels[label] for label in loaded.splits["train"].labels] == swapped
    assert loaded.splits["dev"].second == ["f"]
    assert loaded.splits["test"].labels is None


def test_the_hubs_mnli_has_two_dev_splits(stored):
    names = ["entailment", "neutral", "contradiction"]
    one = table([2], names, premise=["a"], hypothesis=["b"])
    stored.tables = datasets.DatasetDict(train=one, validation_matched=one, validation_mismatched=one)
    loaded = load_published(TASKS["mnli"], None)
    assert loaded.task.reported == ("dev_matched", "dev_mismatched")
    assert set(loaded.splits) == {"train", "dev_matched", "dev_mismatched"}


def test_the_hubs_scores_stay_numbers_and_its_fingerprint_is_of_the_rows(stored):
    stored.tables = datasets.DatasetDict(validation=table([3.8], sentence1=["a"], sentence2=["b"]))
    first = load_published(TASKS["stsb"], None)
    assert first.splits["dev"].labels.tolist() == [np.float32(3.8)]
    stored.tables = datasets.DatasetDict(validation=table([3.9], sentence1=["a"], sentence2=["b"]))
    assert load_published(TASKS["stsb"], None).fingerprint != first.fingerprint


def test_a_hub_without_an_answer_is_said_with_the_local_alternative(stored, monkeypatch):
    def refuse(*args, **options):
        raise ConnectionError("Couldn't reach the Hub")

    monkeypatch.setattr(datasets, "load_dataset", refuse)
    with pytest.raises(UserError, match=r"Couldn't reach.*--data DIR with DIR/glue/SST-2/train\.tsv"):
        load_published(TASKS["sst2"], None)


def test_a_hub_that_cannot_be_reached_is_said_at_once_with_the_local_alternative(monkeypatch):
    monkeypatch.setattr(hub, "reachable", lambda: False)
    monkeypatch.setattr(hub, "switched_off", lambda: False)
    monkeypatch.setattr(datasets, "load_dataset", lambda *args, **options: pytest.fail("asked the hub again"))
    with pytest.raises(UserError, match=r"cannot be reached.*--data DIR with DIR/glue/SST-2/train\.tsv"):
        load_published(TASKS["sst2"], None)


def test_a_missing_datasets_package_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UserError, match=r"featherlight\[train\]"):
        load_published(TASKS["sst2"], None)


def test_ag_news_joins_title_and_description_and_reads_its_backslashes_as_spaces(tmp_path):
    line = '"4","A ""title""","two\\lines, one text"\n"1","b","c"\n'
    write(tmp_path / "agnews", train_csv=line, test_csv=line)
    loaded = load_published(TASKS["ag_news"], tmp_path)
    for split in loaded.splits.values():
        assert split.first == ['A "title" two lines, one text', "b c"]
        assert [loaded.task.labels[label] for label in split.labels] == ["Sci/Tech", "World"]
    assert loaded.task.reported == ("test",) and loaded.notes == ()


def test_ag_news_partial_file_gives_the_same_texts_and_a_note(tmp_path):
    write(tmp_path / "agnews", test_csv='"2","a","b\\c"\n', train_union_csv='"2","a b\\c","source"\n')
    loaded = load_published(TASKS["ag_news"], tmp_path)
    assert loaded.splits["train"].first == loaded.splits["test"].first == ["a b c"]
    assert any("train is partial" in note and "train_union.csv" in note for note in loaded.notes)


def test_acl_arc_reports_test_or_else_dev_with_a_note(tmp_path):
    line = '{"text": "as in ( X , 1999 )", "label": "Uses", "metadata": {}}\n'
    write(tmp_path / "acl_arc", train_jsonl=line, dev_jsonl=line)
    loaded = load_published(TASKS["acl_arc"], tmp_path)
    assert loaded.task.reported == ("dev",)
    assert any("score is that of dev alone: test is missing" in note for note in loaded.notes)
    write(tmp_path / "acl_arc", test_jsonl=line)
    assert load_published(TASKS["acl_arc"], tmp_path).task.reported == ("test",)


@pytest.mark.parametrize(
    ("line", "message"),
    [('{"text": "a", "label": "Use"}', "line 1: label is 'Use'"), ('{"text": 3, "label": "Uses"}', "text is 3, which"),
     ('{"text": "a", "label": ["Uses"]}', "line 1: label is ['Uses']"), ('{"text": "a"}', "no column called 'label'")],
)  # fmt: skip
def test_damaged_json_lines_are_named(tmp_path, line, message):
    write(tmp_path / "acl_arc", train_jsonl=line)
    with pytest.raises(UserError) as caught:
        load_published(TASKS["acl_arc"], tmp_path)
    assert message in str(caught.value)


def test_restaurants_are_read_from_xml_or_else_seg(tmp_path):
    write(tmp_path / "semeval14", **{"Restaurants_Train.xml_seg": "The $T$ !\nsoup\n-1\n"})
    write(tmp_path / "semeval14", **{"Restaurants_Test_Gold_seg": "A $T$ .\ncup\n0\n"})
    loaded = load_published(TASKS["restaurants"], tmp_path)
    train, test = loaded.splits["train"], loaded.splits["test"]
    assert (train.first, train.second, train.labels.tolist()) == (["The soup !"], ["soup"], [0])
    assert test.labels.tolist() == [1] and loaded.task.reported == ("test",)
    assert loaded.notes == ("aspect terms of polarity 'conflict' are left out",)


def test_the_hubs_restaurants_are_texts_with_labels_and_lose_their_conflicts(stored):
    columns = {"text": ["x", "x", "y"], "span": ["a", "b", "c"], "label": ["positive", "conflict", "negative"]}
    stored.tables = datasets.DatasetDict(test=datasets.Dataset.from_dict(columns))
    loaded = load_published(TASKS["restaurants"], None)
    test = loaded.splits["test"]
    assert stored.asked[0][0] == ("tomaarsen/setfit-absa-semeval-restaurants", None)
    assert (test.second, test.labels.tolist(), test.rows.tolist()) == (["a", "c"], [2, 0], [0, 2])


def test_the_hubs_ag_news_reads_backslashes_as_the_files_do(stored):
    names = ["World", "Sports", "Business", "Sci/Tech"]
    stored.tables = datasets.DatasetDict(test=table([3], names, text=["a b\\c"]))
    test = load_published(TASKS["ag_news"], None).splits["test"]
    assert test.first == ["a b c"] and test.labels.tolist() == [3]


def test_a_label_on_the_hub_that_the_task_lacks_is_named(stored):
    stored.tables = datasets.DatasetDict(train=datasets.Dataset.from_dict({"text": ["a"], "label": ["Praise"]}))
    with pytest.raises(UserError, match="does not know: Praise"):
        load_published(TASKS["acl_arc"], None)


@pytest.mark.skipif(not (REAL / "glue").is_dir(), reason="no real data here")
@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("cola", {"train": 8551, "dev": 1043, "test": 1063}),
        ("mrpc", {"train": 3668, "dev": 408, "test": 1725}),
        ("stsb", {"train": 5749, "dev": 1500, "test": 1379}),
        ("rte", {"train": 2490, "dev": 277, "test": 3000}),
        ("wnli", {"train": 635, "dev": 71, "test": 146}),
        ("sst2", {"train": 67349, "dev": 872, "test": 1821}),
        ("qnli", {"dev": 5463, "test": 5463}),
        ("qqp", {"train": 23497}),
        ("mnli", {"dev_matched": 9815}),
        ("ag_news", {"train": 31574, "test": 7600}),
        ("acl_arc", {"train": 1688, "dev": 114, "test": 139}),
        ("restaurants", {"train": 3608, "test": 1120}),
    ],
)
def test_the_published_files_have_the_published_numbers_of_rows(name, rows):
    assert {split: len(part) for split, part in load_published(TASKS[name], REAL).splits.items()} == rows
