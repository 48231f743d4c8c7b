import numpy as np
import pandas as pd
import pytest

from featherlight.analysis.study import (
    balanced,
    correlations,
    describe,
    descriptives,
    doubts,
    extremes,
    pair_descriptives,
    restrict,
    study_of,
)
from featherlight.errors import UserError
from helpers.timings import made_up, made_up_study


def factor(study, name):
    return next(one for one in study.factors if one.name == name)


def test_numbers_worked_out_by_hand():
    found = describe(pd.Series([1.0, 2.0, 6.0]))
    assert found == {"count": 3, "mean": 3.0, "std": pytest.approx(7**0.5), "min": 1.0, "median": 2.0, "max": 6.0}


def test_one_row_has_no_standard_deviation():
    assert describe(pd.Series([4.0]))["std"] is None


def test_words_are_levels_and_numbers_are_numbers_that_still_group():
    study = made_up_study()
    assert factor(study, "model").levels == ("fast", "middle", "slow")  # by their median times
    assert not factor(study, "model").numeric and factor(study, "model").reference == "middle"
    assert factor(study, "length").numeric and factor(study, "length").levels == ("128", "256", "512")


def test_a_reference_makes_a_number_a_set_of_levels():
    study = made_up_study(references={"batch": "8"})
    assert not factor(study, "batch").numeric and factor(study, "batch").reference == "8"
    assert not factor(made_up_study(categorical=["batch"]), "batch").numeric


def test_without_a_name_the_most_frequent_level_is_the_reference():
    frame = made_up()
    frame = frame[(frame.model != "middle") | (frame.batch == 8)]
    assert factor(made_up_study(frame[frame.model != "slow"], references={}), "model").reference == "fast"


def test_many_numbers_do_not_group():
    frame = made_up(20).assign(size=lambda one: np.arange(len(one)) % 70)
    study = made_up_study(frame, factors=["model", "size"])
    assert factor(study, "size").numeric and not factor(study, "size").levels
    assert "size" not in descriptives(study)


def test_groups_are_those_of_the_rows():
    frame = made_up()
    found = descriptives(made_up_study(frame))
    slow = frame.seconds[frame.model == "slow"]
    assert found["model"]["slow"]["mean"] == pytest.approx(slow.mean())
    assert found["length"]["512"]["count"] == (frame.length == 512).sum()


def test_pairs_of_factors_have_a_cell_per_combination_that_occurs():
    frame = made_up()
    frame = frame[~((frame.model == "slow") & (frame.length == 512))]
    pairs = {tuple(pair["factors"]): pair["cells"] for pair in pair_descriptives(made_up_study(frame))}
    assert set(pairs) == {("model", "length"), ("model", "batch"), ("length", "batch")}
    assert len(pairs["model", "length"]) == 8
    cell = next(cell for cell in pairs["model", "length"] if cell["levels"] == ["fast", "128"])
    assert cell["count"] == 8


def test_the_balanced_subset_undoes_what_a_hole_in_the_design_does_to_means():
    frame = made_up(noise=0)
    holed = frame[~((frame.model == "slow") & (frame.length == 512))]  # the slow model was not run on long texts
    plain = descriptives(made_up_study(holed))["model"]
    found = balanced(made_up_study(holed))["model"]
    assert plain["slow"]["mean"] / plain["middle"]["mean"] == pytest.approx(3 * 1.5 / (7 / 3))  # and looks faster
    levels = found["levels"]
    assert levels["slow"]["mean"] / levels["middle"]["mean"] == pytest.approx(3)
    assert found["combinations"] == 4 and found["left_out"] == []


def test_a_level_that_shares_nothing_is_left_out_of_the_balanced_subset():
    frame = made_up()
    apart = ((frame.model == "slow") & (frame.length == 512) & (frame.repeat == 0)) | (
        (frame.model != "slow") & (frame.length != 512)
    )
    found = balanced(made_up_study(frame[apart]))["model"]
    assert found["left_out"] == ["slow"] and found["combinations"] == 4


def test_the_correlation_of_a_column_with_its_double_is_1():
    frame = made_up().assign(double=lambda one: 2 * one.seconds, constant=1.0)
    found = correlations(made_up_study(frame))
    assert found["seconds"]["double"] == pytest.approx(1)
    assert "constant" not in found and "model" not in found


def test_extremes_are_sorted_from_both_ends():
    frame = made_up()
    found = extremes(made_up_study(frame))
    ordered = sorted(frame.seconds)
    assert [row["seconds"] for row in found["lowest"]] == ordered[:10]
    assert [row["seconds"] for row in found["highest"]] == ordered[:-11:-1]
    assert found["highest"][0]["model"] == "slow"


def test_repeated_places_do_not_mix_up_the_extremes():
    frame = made_up()
    frame.index = ["same"] * len(frame)
    assert extremes(made_up_study(frame))["lowest"][0]["seconds"] == frame.seconds.min()


def test_rows_are_chosen_by_level():
    frame = made_up()
    assert set(restrict(frame, "length", ["128", "512"]).length) == {128, 512}
    assert set(restrict(frame, "model", ["slow"], keep=False).model) == {"fast", "middle"}


def test_doubts_name_what_is_rare_and_what_is_missing():
    frame = made_up(1)
    frame.loc["line 2", "model"] = "lone"
    said = " ".join(doubts(made_up_study(frame)))
    assert "Only 18 rows" in said and "occur once: lone" in said and "unbalanced: 18 of 24" in said
    assert doubts(made_up_study(made_up(8))) == []


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({"model": "one"}, {}, "factor model has only one level"),
        ({"seconds": 3.0}, {}, "seconds is 3 in all 72 rows"),
        ({"seconds": -1.0}, {}, r"line 2: seconds is -1 \(72 such rows\)"),
        ({"seconds": np.inf}, {}, "line 2: seconds is inf"),
        ({"seconds": 1e300}, {}, r"line 2: seconds is 1e\+300"),
        ({"length": -np.inf}, {}, "line 2: length is -inf"),
        ({"score": np.inf}, {"accuracy": "score"}, "line 2: score is inf"),
        ({"seconds": np.nan}, {}, "line 2: seconds is missing"),
        ({"seconds": "fast"}, {}, "line 2: seconds is 'fast'"),
        ({"model": None}, {}, "line 2: model is missing"),
        ({}, {"references": {"model": "slwo"}}, "no level of model called 'slwo'. Did you mean 'slow'"),
        ({}, {"references": {"mdoel": "slow"}}, "no factor called 'mdoel'. Did you mean 'model'"),
        ({}, {"factors": ["modle"], "references": {}}, "no column called 'modle'. Did you mean 'model'"),
        ({}, {"factors": ["seconds"], "references": {}}, "not the response"),
        ({}, {"factors": [], "references": {}}, "name one or more columns"),
        ({}, {"numeric": ["model"], "references": {}}, "line 2: model is 'slow'. The column must hold numbers"),
        ({}, {"numeric": ["batch"], "references": {"batch": "8"}}, "Choose one"),
        ({}, {"accuracy": "score"}, "no column called 'score'"),
    ],
)
def test_what_cannot_be_studied_is_refused_in_a_sentence(change, options, message):
    with pytest.raises(UserError, match=message):
        made_up_study(made_up().assign(**change), **options)


def test_a_column_of_names_is_no_factor():
    frame = made_up(10).assign(name=lambda one: [f"run {number}" for number in range(len(one))])
    with pytest.raises(UserError, match="factor name has 180 levels"):
        study_of(frame, response="seconds", factors=["name"])


def test_choosing_rows_by_what_is_not_there_is_refused():
    with pytest.raises(UserError, match="no level of model called 'quick'"):
        restrict(made_up(), "model", ["quick"])
    with pytest.raises(UserError, match="no column called 'modle'"):
        restrict(made_up(), "modle", ["slow"])
    with pytest.raises(UserError, match="no row is left"):
        restrict(made_up(), "batch", ["8", "32"], keep=False)
