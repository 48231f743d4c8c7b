import pytest

from featherlight.analysis.importance import doubts, importance
from helpers.timings import made_up, made_up_study


@pytest.fixture(scope="module")
def found():
    return importance(made_up_study(made_up(3)), seed=1)


def test_what_does_nothing_has_no_importance_and_shares_add_up_to_1(found):
    assert sum(found["impurity"].values()) == pytest.approx(1)
    assert found["impurity"]["batch"] < 0.05 < found["impurity"]["length"] < found["impurity"]["model"]
    assert found["permutation"]["batch"]["low"] < 0.01 < found["permutation"]["model"]["low"]
    assert "batch" in " ".join(doubts(found))


def test_an_interval_holds_its_mean(found):
    assert all(one["low"] <= one["value"] <= one["high"] for one in found["permutation"].values())
    assert found["r_squared_unseen"] > 0.9


def test_few_rows_have_no_importance():
    assert importance(made_up_study(made_up(1))) is None


def test_a_forest_that_explains_little_is_doubted(found):
    assert "explains little" in " ".join(doubts({**found, "r_squared_unseen": 0.1}))
