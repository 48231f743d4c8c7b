import csv
import json
import re

import numpy as np
import pytest
from pyarrow import parquet, table

from featherlight.data.own import load_own, load_whole
from featherlight.errors import UserError


def load(path, **options):
    return load_own(path, **{"text": None, "text_pair": None, "label": None, "kind": "auto", "dev": None, **options})


def write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


ROWS = [('He said "yes", twice', "good"), ("two\nlines", "bad"), ("naïve – ünïcode", "good")]


def as_csv(path):
    with path.open("w", newline="", encoding="utf-8-sig") as file:
        csv.writer(file).writerows([("text", "label"), *ROWS])


def as_jsonl(path):
    lines = [json.dumps({"text": text, "label": label}) for text, label in ROWS]
    path.write_text("\n\n".join(lines), encoding="utf-8")


def as_parquet(path):
    texts, labels = zip(*ROWS, strict=True)
    parquet.write_table(table({"text": texts, "label": labels}), path)


@pytest.mark.parametrize(("suffix", "writer"), [("csv", as_csv), ("jsonl", as_jsonl), ("parquet", as_parquet)])
def test_the_same_rows_come_out_of_each_format(tmp_path, suffix, writer):
    path = tmp_path / f"mine.{suffix}"
    writer(path)
    loaded = load(path)
    train = loaded.splits["train"]
    assert list(zip(train.first, [loaded.task.labels[label] for label in train.labels], strict=True)) == ROWS
    assert loaded.task.name == "mine"
    assert loaded.task.metrics == ("accuracy", "macro_f1", "f1_of_first")
    assert loaded.task.positive == min(loaded.task.labels, key=[label for _, label in ROWS].count)


def test_tsv_is_read_without_quoting(tmp_path):
    path = write(tmp_path / "a.tsv", 'Sentence\tLabel\r\n"open\tx\r\nb\ty\r\n')
    assert load(path).splits["train"].first == ['"open', "b"]


def test_a_cell_longer_than_the_csv_modules_limit_is_read_and_the_limit_is_put_back(tmp_path):
    before = csv.field_size_limit()
    path = write(tmp_path / "a.csv", f"text,label\n{'x' * (before + 1)},a\ny,b\n")
    assert len(load(path).splits["train"].first[0]) == before + 1
    assert csv.field_size_limit() == before


@pytest.mark.parametrize(
    ("header", "texts", "label"),
    [
        ("premise,hypothesis,label", ("premise", "hypothesis"), "label"),
        ("id,Sentence1,Sentence2,Score", ("Sentence1", "Sentence2"), "Score"),
        ("review,sentiment,id", ("review",), "sentiment"),
        ("sentence1,class,id", ("sentence1",), "class"),
    ],
)
def test_usual_columns_are_found_in_any_case(tmp_path, header, texts, label):
    width = header.count(",") + 1
    names = header.split(",")
    cells = [["a" if name != label else value for name in names] for value in ("u", "v")]
    path = write(tmp_path / "a.csv", "\n".join([header, *(",".join(line) for line in cells)]))
    assert width == len(cells[0])
    assert load(path).task.texts == texts


def test_named_columns_win(tmp_path):
    path = write(tmp_path / "a.csv", "text,label,a,b,c\nx,1,one,two,u\ny,2,three,four,v\n")
    loaded = load(path, text="a", text_pair="b", label="c")
    assert (loaded.splits["train"].first, loaded.splits["train"].second) == (["one", "three"], ["two", "four"])
    assert loaded.task.labels == ("u", "v")
    assert load(path, text="a").task.texts == ("a",)


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        (["10", "9", "9"], ("9", "10")),
        (["b", "a", "b"], ("a", "b")),
        (["10", "9", "x"], ("10", "9", "x")),
        ([True, False, True], ("false", "true")),
        ([1.0, 0.0, 1.0], ("0", "1")),
        ([2, -1, 2], ("-1", "2")),
        (list(range(30)), tuple(str(number) for number in range(30))),
        (list(range(0, 60, 2)), ()),
        ([0.5, 1.0, 1.5], ()),
        (["0.5", "3", "1e0"], ()),
    ],
)
def test_kind_and_names_follow_from_the_values(tmp_path, values, labels):
    lines = [json.dumps({"text": "t", "label": value}) for value in values]
    loaded = load(write(tmp_path / "a.jsonl", "\n".join(lines)))
    assert loaded.task.labels == labels
    assert loaded.task.metrics[0] == ("accuracy" if labels else "pearson")
    assert loaded.notes[0].startswith("classification" if labels else "regression")


def test_kind_can_be_given(tmp_path):
    path = write(tmp_path / "a.csv", "text,label\na,1\nb,2\nc,4\n")
    assert load(path).task.labels == ("1", "2", "4")
    labels = load(path, kind="regression").splits["train"].labels
    assert (labels.dtype, labels.tolist()) == (np.float32, [1, 2, 4])
    assert load(path).fingerprint != load(path, kind="regression").fingerprint


def test_a_folder_gives_its_splits_and_dev_can_be_named_elsewhere(tmp_path):
    for name, rows in {"train": "a,x\nb,y", "validation": "c,x", "other": "d,y"}.items():
        write(tmp_path / f"{name}.csv", f"text,label\n{rows}\n")
    write(tmp_path / "test.jsonl", '{"text": "e"}\n')
    loaded = load(tmp_path)
    assert {name: split.first for name, split in loaded.splits.items()} == {
        "train": ["a", "b"],
        "dev": ["c"],
        "test": ["e"],
    }
    assert loaded.splits["test"].labels is None
    assert loaded.task.name == tmp_path.name
    assert load(tmp_path, dev=tmp_path / "other.csv").splits["dev"].first == ["d"]


def test_empty_texts_are_kept_and_counted(tmp_path):
    loaded = load(write(tmp_path / "a.csv", "text,label\n,x\nb,y\n  ,y\n"))
    assert loaded.splits["train"].first == ["", "b", "  "]
    assert "2 empty texts in train" in loaded.notes


BAD = {  # file name, content, what the message says
    "empty": ("a.csv", "", "a.csv: the file is empty"),
    "header only": ("a.csv", "text,label\n", "a header but no row"),
    "no rows": ("a.jsonl", "\n \n", "the file is empty"),
    "one class": ("a.csv", "text,label\na,x\nb,x\n", "label is 'x' in every row"),
    "one score": ("a.csv", "text,label\na,0.5\nb,0.5\n", "label is '0.5' in every row"),
    "ragged": ("a.csv", 'text,label\n"a\nb",x\nc,d,e\n', "a.csv, line 4: 3 cells, but the header names 2"),
    "ragged tsv": ("a.tsv", "text\tlabel\na\tx\nb\n", "a.tsv, line 3: 1 cells, but the header names 2"),
    "open quote": ("a.csv", 'text,label\na,x\n"b,y\nc,x\n', "a.csv, line 3: broken quotes"),
    "bytes": ("a.csv", b"text,label\na,x\ncaf\xe9,y\n", "a.csv, line 3: not UTF-8 (byte 0xe9)"),
    "two columns": ("a.csv", "text,label,text\na,x,b\n", "two columns are called 'text'"),
    "two keys": ("a.jsonl", '{"text": "a", "text": "b", "label": "x"}', "two columns are called 'text'"),
    "no label": ("a.csv", "text,label\na,x\nb,\n", "a.csv, line 3: the label is empty"),
    "null label": ("a.jsonl", '{"text": "a", "label": 1}\n{"text": "b"}', "a.jsonl, line 2: the label is empty"),
    "no text": ("a.jsonl", '{"text": "a", "label": 1}\n{"label": 2}', "a.jsonl, line 2: text is missing"),
    "number": ("a.jsonl", '{"text": 7, "label": 1}', "line 1: text is 7, which is not a text"),
    "surrogate": ("a.jsonl", '{"text": "\\ud800", "label": 1}', "half of a surrogate pair"),
    "json": ("a.jsonl", '{"text": "a", "label": 1}\n{"text": ', "a.jsonl, line 2: not valid JSON"),
    "array": ("a.jsonl", '["a", 1]', "line 1: not a JSON object"),
    "nan": ("a.csv", "text,label\na,0.5\nb,nan\n", "line 3: the score 'nan' is not a finite number"),
    "gap": ("a.jsonl", '{"text": "a", "label": 1}\n{"text": "b", "label": NaN}', "line 2: the label is empty"),
    "infinite": ("a.jsonl", '{"text": "a", "label": 0.5}\n{"text": "b", "label": 1e300}', "not a finite number"),
    "suffix": ("a.txt", "hello", "unknown kind of file. Use one of .csv, .tsv, .jsonl, .parquet"),
    "unknown text": ("a.csv", "words,label\na,x\n", "no text column found. Name it with --text COLUMN"),
    "unknown label": ("a.csv", "text,topic\na,x\n", "no label column found. Name it with --label COLUMN"),
    "multi-label": ("a.jsonl", '{"text": "a", "label": ["x", "y"]}', "line 1: label is a list. Multi-label"),
    "multi-label csv": ("a.csv", "text,label\na,\"['x', 'y']\"\n", "Multi-label"),
    "tokens": ("a.jsonl", '{"tokens": ["a"], "ner_tags": [1]}', "sequence labelling"),
    "tokens as text": ("a.jsonl", '{"text": ["a"], "label": ["x"]}', "sequence labelling are not supported"),
    "parquet": ("a.parquet", b"PAR1 no", "not a readable Parquet file"),
    "ids": ("a.csv", "text,label\n" + "".join(f"t{i},id{i}\n" for i in range(300)), "300 different values in 300 rows"),
    "whole ids": ("a.csv", "text,label\n" + "".join(f"t{i},{i}\n" for i in range(300)), "If it is a column of ids"),
    "a text as label": ("a.csv", f"text,label\na,x\nb,{'y' * 10**7}\n", "line 3: the label has over 200 characters"),
    "decimal comma": (
        "a.csv",
        'text,label\na,1\nb,"3,5"\n',
        "line 3: the label '3,5' has a comma. Write numbers as 3.5",
    ),
    "a text among scores": (
        "a.csv",
        "text,label\na,1.5\nb,2.5\nc,0\nd,x\n",
        "line 5: the label 'x' is no number, as 3 of 4 are. Correct it",
    ),
    "half a label": ("a.jsonl", '{"text": "a", "label": "\\udc00"}', "line 1: label holds half of a surrogate pair"),
    "half a key": ("a.jsonl", '{"text": "a", "label": 1, "\\udc00": 1}', "a key holds half of a surrogate pair"),
    "object": ("a.jsonl", '{"text": "a", "label": {"x": 1}}', "line 1: label is a list"),
    "large number": (
        "a.jsonl",
        f'{{"text": "a", "label": 1}}\n{{"text": "b", "label": {10**150}5e999}}',
        "not a finite",
    ),
    "endless number": ("a.csv", f"text,label\na,1\nb,{'9' * 5000}\n", "line 3: the label has over 200 characters"),
    "NUL": ("a.csv", "text,label\na,x\nb\0,y\n", "a.csv, line 3: not UTF-8 (byte 0x00; UTF-16, or a damaged file)"),
    "UTF-16": ("a.csv", "text,label\na,x\n".encode("utf-16"), "line 1: not UTF-8 (byte 0xff; UTF-16, or"),
    "two cases": ("a.csv", "text,label,Text\na,x,b\n", "columns text, Text differ by case only. Name one"),
    "many columns": ("a.csv", ",".join(map(str, range(5001))) + "\n", "5,001 columns, at most 5,000 are read"),
    "many keys": ("a.jsonl", "\n".join(f'{{"text": "a", "k{i}": 1}}' for i in range(5000)), "5,001 columns, at most"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_clear_message(tmp_path, case):
    name, content, message = BAD[case]
    with pytest.raises(UserError) as caught:
        load(write(tmp_path / name, content))
    assert message in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_errors_about_many_or_long_names_stay_short(tmp_path):
    wide = write(tmp_path / "a.csv", ",".join(f"column {i}" for i in range(4000)) + "," + "x" * 10**6 + "\n")
    wide.write_text(wide.read_text() + "1," * 4000 + "1\n")
    labels = write(tmp_path / "b.csv", "text,label\n" + "".join(f"t{i},{i % 150}\n" for i in range(300)))
    dev = write(tmp_path / "dev.csv", "text,label\na,150\n")
    for path, options in ((wide, {}), (wide, {"text": "y"}), (labels, {"dev": dev})):
        with pytest.raises(UserError) as caught:
            load(path, **options)
        assert len(str(caught.value)) < 1000
        assert "in all)" in str(caught.value)


def test_many_classes_are_fine_where_the_rows_are_many(tmp_path):
    path = write(tmp_path / "a.csv", "text,label\n" + "".join(f"t{i},c{i % 150}\n" for i in range(300)))
    assert len(load(path).task.labels) == 150


def test_labels_that_differ_by_case_stay_apart_and_by_white_space_around_do_not_and_both_are_said(tmp_path, caplog):
    values = ["Good", "good", "good ", "bad", "so  so", "so so"]
    path = write(tmp_path / "a.csv", "text,label\n" + "".join(f"t{i},{value}\n" for i, value in enumerate(values)))
    with caplog.at_level("INFO", logger="featherlight"):
        loaded = load(path)
    assert loaded.task.labels == ("Good", "bad", "good", "so  so", "so so")
    spaces, case = loaded.notes[1:]
    assert "one class: good" in spaces
    assert "different classes: Good / good, so so / so so" in case
    assert [record.message for record in caplog.records] == [f"{path}: {spaces}", f"{path}: {case}"]


def test_commas_and_underscores_make_names_of_classes(tmp_path):
    commas = write(tmp_path / "a.csv", 'text,label\na,"1,2"\nb,"3,5"\n')
    assert load(commas, kind="classification").task.labels == ("1,2", "3,5")
    rows = "".join(f"t{i},{i}_1\n" for i in range(1, 31))  # Python reads 1_1 as 11, and 30 whole numbers as scores
    assert len(load(write(tmp_path / "b.csv", "text,label\n" + rows)).task.labels) == 30


def test_embeddings_beside_the_texts_are_not_made_python_objects(tmp_path, monkeypatch):
    from featherlight.data.readers import read_table

    path = tmp_path / "a.parquet"
    parquet.write_table(table({"text": ["a", "b"], "label": ["x", "y"], "vector": [[0.5] * 1000] * 2}), path)
    assert load(path).splits["train"].first == ["a", "b"]
    assert len({id(row) for row in read_table(path).columns["vector"]}) == 1


@pytest.mark.parametrize("mark", [".tsv", ".jsonl", ".csv"])
def test_lines_may_end_as_on_old_macintoshes(tmp_path, mark):
    lines = {
        ".tsv": ["text\tlabel", "a\tx", "b\ty"],
        ".csv": ["text,label", "a,x", "b,y"],
        ".jsonl": ['{"text": "a", "label": "x"}', '{"text": "b", "label": "y"}'],
    }
    path = write(tmp_path / f"a{mark}", "\r".join(lines[mark]) + "\r")
    assert load(path).splits["train"].first == ["a", "b"]


def test_a_file_whose_name_is_no_text_is_refused(tmp_path):
    with pytest.raises(UserError, match="this name is not UTF-8"):
        load(write(tmp_path / "caf\udce9.csv", "text,label\na,x\nb,y\n"))


def test_one_column_for_two_purposes_is_refused(tmp_path):
    path = write(tmp_path / "a.csv", "text,label\na,x\nb,y\n")
    with pytest.raises(UserError, match="one column is named for two purposes: text, text"):
        load(path, text="text", label="text")
    with pytest.raises(UserError, match="no kind of task called 'classify'"):
        load(path, kind="classify")


def test_an_unknown_column_offers_the_nearest(tmp_path):
    path = write(tmp_path / "a.csv", "text,label\na,x\n")
    with pytest.raises(UserError, match=r"no column called 'txet'. Did you mean 'text'\?"):
        load(path, text="txet")


def test_a_label_in_dev_that_train_lacks_is_named_with_its_line(tmp_path):
    train = write(tmp_path / "a.csv", "text,label\na,good\nb,bad\n")
    dev = write(tmp_path / "dev.csv", "text,label\nc,good\nd,goood\n")
    with pytest.raises(UserError, match=r"dev\.csv, line 3: no label 'goood' in .*a\.csv. Did you mean 'good'"):
        load(train, dev=dev)


def test_scores_that_are_texts_are_refused_where_a_regression_is_asked_for(tmp_path):
    path = write(tmp_path / "a.csv", "text,label\na,1\nb,x\n")
    with pytest.raises(UserError, match="line 3: the score 'x' is not a finite number"):
        load(path, kind="regression")


def test_missing_and_doubled_files_are_named(tmp_path):
    with pytest.raises(UserError, match=r"no train file. Looked for train\.csv, train\.tsv"):
        load(tmp_path)
    write(tmp_path / "train.csv", "text,label\na,x\n")
    with pytest.raises(UserError, match=r"gone\.csv: no such file"):
        load(tmp_path, dev=tmp_path / "gone.csv")
    write(tmp_path / "train.tsv", "text\tlabel\na\tx\n")
    with pytest.raises(UserError, match=r"several files for train: train\.csv, train\.tsv"):
        load(tmp_path)


@pytest.mark.parametrize(("labels", "given", "positive"), [
    (("fraud", "ok", "ok"), None, "fraud"),  # the rarer one, though it is the first by alphabet
    (("ham", "ham", "spam"), None, "spam"),
    (("a", "b"), None, "b"),  # a tie
    (("fraud", "ok", "ok"), "ok", "ok"),
    (("a", "b", "c"), None, None),
])  # fmt: skip
def test_the_positive_class_is_the_rarer_one_or_the_one_that_is_named(tmp_path, labels, given, positive):
    rows = "".join(f"text {number},{label}\n" for number, label in enumerate(labels))
    loaded = load(write(tmp_path / "a.csv", "text,label\n" + rows), positive=given)
    assert loaded.task.positive == positive
    assert any("F1 is that of" in note for note in loaded.notes) == (positive is not None)


def test_another_positive_class_is_another_task_and_the_usual_one_is_the_same(tmp_path):
    path = write(tmp_path / "a.csv", "text,label\na,ham\nb,ham\nc,spam\n")
    usual, same, other = (load(path, positive=name) for name in (None, "spam", "ham"))
    assert usual.fingerprint == same.fingerprint != other.fingerprint
    whole = load_whole(path, text=None, text_pair=None, label=None, names=("ham", "spam"), positive="ham")
    assert whole.task.positive == "ham"


@pytest.mark.parametrize(("rows", "said"), [
    ("a,ham\nb,spam\n", "Did you mean 'spam'?"),
    ("a,1.5\nb,2.5\n", "there are no classes"), ("a,x\nb,y\nc,z\n", "3 classes"),
])  # fmt: skip
def test_a_positive_class_that_is_none_is_refused(tmp_path, rows, said):
    with pytest.raises(UserError, match=re.escape(said)):
        load(write(tmp_path / "a.csv", "text,label\n" + rows), positive="span")
