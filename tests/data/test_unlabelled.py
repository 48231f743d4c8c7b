import json

import pytest

from featherlight.data.task import Task
from featherlight.data.unlabelled import load_unlabelled
from featherlight.errors import UserError

SINGLE = Task("mood", ("review",), ("bad", "good"), ("accuracy",))
PAIR = Task("same", ("question1", "question2"), ("no", "yes"), ("accuracy",))


def test_a_text_file_holds_a_text_per_line(tmp_path):
    path = tmp_path / "more.txt"
    path.write_text("one\r\n\n two  \n")
    rows = load_unlabelled(path, SINGLE)
    assert rows.first == ["one", " two  "] and rows.labels is None and rows.rows.tolist() == [0, 2]


@pytest.mark.parametrize("names", [("question1", "question2"), ("text", "text_pair")])
def test_a_table_has_the_tasks_columns_or_the_usual_ones(tmp_path, names):
    path = tmp_path / "more.jsonl"
    path.write_text(json.dumps(dict(zip(names, ("a", "b"), strict=True))) + "\n")
    rows = load_unlabelled(path, PAIR)
    assert (rows.first, rows.second) == (["a"], ["b"])


def test_what_cannot_be_read_gets_a_message(tmp_path):
    table, text, empty = tmp_path / "t.csv", tmp_path / "t.txt", tmp_path / "e.txt"
    table.write_text("words\nhello\n")
    text.write_text("hello\n")
    empty.write_text("\n")
    with pytest.raises(UserError, match=r"no column.*`review`.*It has: words"):
        load_unlabelled(table, SINGLE)
    with pytest.raises(UserError, match="reads two texts"):
        load_unlabelled(text, PAIR)
    with pytest.raises(UserError, match="is empty"):
        load_unlabelled(empty, SINGLE)
    with pytest.raises(UserError, match="no such file"):
        load_unlabelled(tmp_path / "absent.txt", SINGLE)


def test_a_file_of_blanks_or_of_another_kind_is_refused_and_half_a_pair_left_out(tmp_path):
    blank, other, half = tmp_path / "b.csv", tmp_path / "t.json", tmp_path / "h.csv"
    blank.write_text('review,x\n" ",1\n')
    other.write_text('[{"review": "hello"}]')
    half.write_text('question1,question2\na,b\na," "\n')
    with pytest.raises(UserError, match="every text is blank"):
        load_unlabelled(blank, SINGLE)
    with pytest.raises(UserError, match="unknown kind of file"):
        load_unlabelled(other, SINGLE)
    assert load_unlabelled(half, PAIR).rows.tolist() == [0]
