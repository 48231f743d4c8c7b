import json
from dataclasses import replace

import numpy as np
import pytest

from featherlight.data.audit import MOST_ROWS, audit
from featherlight.data.registry import load_task, without_leaks
from featherlight.data.task import Examples, Target, Task, TaskData
from featherlight.errors import UserError


def examples(texts, labels=None, second=None, rows=None):
    labels = None if labels is None else np.array(labels)
    return Examples(texts, second, labels, np.arange(len(texts)) if rows is None else np.array(rows))


def task(pair=False, labels=("a", "b"), **splits):
    described = Task("toy", ("text", "text_pair") if pair else ("text",), labels, ("accuracy",), kind=Target.of(labels))
    return TaskData(described, splits, "0", "here")


def test_a_copy_differs_in_case_and_space_and_select_is_part_of_train():
    found = audit(
        task(
            train=examples(["One text", "another", "ONE  text "], [0, 1, 0], rows=[0, 2, 4]),
            select=examples(["another"], [1], rows=[3]),
            dev=examples(["Another", "new", "one text"], [1, 0, 0]),
        )
    )
    assert found.duplicates.rows == (3, 4) and found.duplicates.count == 2
    assert found.leaks["dev"].rows == (0, 2) and set(found.leaks) == {"dev"}
    assert found.counts()["splits"]["train"]["classes"] == {"a": 2, "b": 2}


def test_a_conflict_is_counted_by_text_and_named_by_rows():
    found = audit(task(train=examples(["x", "y", "X", "y", "x"], [0, 1, 1, 1, 0])))
    assert found.conflicts.count == 1 and found.conflicts.rows == (0, 2, 4)


def test_pairs_are_equal_only_if_both_texts_are():
    train = examples(["s", "s", "s"], [0, 1, 1], second=["food", "wine", "Food"])
    found = audit(task(pair=True, train=train, dev=examples(["s", "s"], [0, 0], second=["soup", "WINE"])))
    assert found.duplicates.rows == (2,) and found.conflicts.count == 1 and found.leaks["dev"].rows == (1,)


def test_empty_and_over_long_texts_are_found_on_either_side():
    long = "word " * 513
    train = examples(["a", " ", "c", long, "word " * 512], [0, 1, 0, 1, 0], second=["b", "b", "\n", "b", "b"])
    found = audit(task(pair=True, train=train)).splits["train"]
    assert found.empty.rows == (1, 2) and found.long.rows == (3,)


def test_scores_conflict_if_they_differ_and_have_no_classes():
    train = examples(["a", "a", "b"], np.array([1.0, 1.5, 2.0], dtype=np.float32))
    found = audit(task(labels=(), train=train))
    assert found.conflicts.count == 1 and found.splits["train"].classes == {}


def test_without_train_there_is_nothing_to_leak_from():
    found = audit(task(dev=examples(["a", "a"], [0, 1])))
    assert found.counts()["leaks"] == {} and found.duplicates.count == found.conflicts.count == 0


def test_near_texts_are_counted_beside_the_exact_ones():
    train = examples(["The film, 1999.", "the film", "the film", "other words"], [0, 0, 0, 1])
    found = audit(task(train=train, dev=examples(["THE FILM!", "the film"], [0, 0])))
    assert found.duplicates.rows == (2,) and found.near_duplicates.rows == (1,)
    assert found.leaks["dev"].rows == (1,) and found.near_leaks["dev"].rows == (0,)


def test_a_finding_keeps_a_thousand_rows_and_no_text():
    found = audit(task(train=examples(["secret"] * 1500, [0, 1] * 750)))
    assert found.duplicates.count == 1499 and found.duplicates.rows == tuple(range(1, 1001))
    assert len(found.rows()["conflicts"]) == MOST_ROWS
    assert "secret" not in json.dumps({**found.counts(), "rows": found.rows()})


def test_a_task_is_audited_once(monkeypatch):
    loaded = task(train=examples(["a", "b"], [0, 1]))
    first = audit(loaded)
    assert audit(loaded) is first and audit(replace(loaded)) is not first


def test_dropping_leaks_takes_them_out_of_train_and_says_how_many():
    train = examples(["one", "two", "three", "TWO"], [0, 1, 0, 1])
    kept = without_leaks(task(train=train, dev=examples(["two"], [1]), test=examples([" three"])))
    assert kept.splits["train"].rows.tolist() == [0]
    assert audit(kept).counts()["leaks"] == {"dev": 0, "test": 0}
    assert any("3 rows of train are left out" in note for note in kept.notes)


def test_a_train_split_that_is_all_leaks_is_an_error():
    with pytest.raises(UserError, match="no row of train is left to train on"):
        without_leaks(task(train=examples(["one"], [0]), dev=examples(["one"], [0])))


def test_acl_arc_has_the_known_leaks_and_conflicts(real_data):
    found = audit(load_task("acl_arc", data=real_data)).counts()
    assert found["leaks"] == {"dev": 43, "test": 52} and found["conflicts"] == 20
    clean = load_task("acl_arc", data=real_data, drop_leaks=True)
    assert audit(clean).counts()["leaks"] == {"dev": 0, "test": 0}
    assert len(clean.splits["train"]) + len(clean.splits["select"]) == 1520


def test_duplicates_of_sixty_seven_thousand_texts_are_those_that_a_set_leaves_out(real_data):
    loaded = load_task("sst2", data=real_data)
    found = audit(loaded)
    texts = [*loaded.splits["train"].first, *loaded.splits["select"].first]
    assert found.duplicates.count == len(texts) - len({" ".join(text.casefold().split()) for text in texts})


def test_each_split_is_looked_at_by_itself_and_beside_the_others():
    dev, test = examples(["x", "X ", "y"], [0, 1, 0]), examples(["y", "z", "y"], [1, 0, 1])
    found = audit(task(dev=dev, test=test))
    assert found.splits["dev"].duplicates.rows == (1,) and found.splits["dev"].conflicts.count == 1
    assert found.splits["test"].duplicates.rows == (2,) and found.splits["test"].conflicts.count == 0
    assert found.shared["dev and test"].rows == (0, 2)
    assert found.counts()["shared"] == {"dev and test": 2}
