import json

import numpy as np
import pytest

from featherlight.analysis.study import study_of
from featherlight.reports.timing import analyse, sections_of
from helpers.timings import made_up, made_up_study


@pytest.fixture(scope="module")
def analysis():
    frame = made_up(4).assign(accuracy=lambda one: -np.log(one.seconds))
    return analyse(made_up_study(frame, accuracy="accuracy"), forest=False)


def test_the_numbers_are_those_that_programs_are_promised(analysis):
    numbers = json.loads(json.dumps(analysis.numbers, allow_nan=False))
    assert numbers["n"] == 72
    assert set(numbers["descriptives"]["model"]["slow"]) == {"count", "mean", "std", "min", "median", "max"}
    promised = {"F", "p", "ss_between", "ss_within", "df_between", "df_within", "shapiro_p", "levene_p"}
    assert promised <= set(numbers["anova"]["length"])
    assert {"r_squared", "condition_number", "durbin_watson", "breusch_pagan_p"} <= set(numbers["loglinear"])
    assert set(numbers["loglinear"]["coefficients"]) == {"Intercept", "model[slow]", "model[fast]", "length", "batch"}
    assert {"value", "se", "p"} <= set(numbers["loglinear"]["coefficients"]["batch"])
    assert numbers["importance"] is None


def test_accuracy_that_falls_with_time_correlates_negatively(analysis):
    found = analysis.numbers["accuracy"]
    assert found["spearman"] == pytest.approx(-1) and found["n"] == 72


def test_every_computed_part_has_its_section(analysis):
    headings = [section.heading for section in sections_of(analysis)]
    assert headings == [
        "Findings", "What was studied", "Times", "By factor", "By pair of factors", "By factor, on balanced subsets",
        "Correlations", "Analysis of variance", "Pairs of levels", "Log-linear model", "Time and accuracy",
    ]  # fmt: skip


def test_every_table_is_rectangular_and_every_figure_can_be_drawn(analysis):
    for section in sections_of(analysis):
        for table in section.tables.values():
            assert {len(row) for row in table.rows} == {len(table.columns)}
        for make in section.figures.values():
            assert make().axes


def test_figures_name_a_timed_column_with_its_unit():
    frame = made_up(4).rename(columns={"seconds": "min"}).assign(unit="s/batch")
    study = study_of(frame, response="min", factors=["model", "length"])
    drawn = [make() for section in sections_of(analyse(study, forest=False)) for make in section.figures.values()]
    axes = [axes for figure in drawn for axes in figure.axes]
    assert "fastest sample, s/batch by model" in [one.get_title(loc="left") or one.get_title() for one in axes]
    assert not [one for one in axes if one.get_ylabel().startswith("min")]
    assert made_up_study().label == "seconds"


def test_one_factor_has_neither_pairs_nor_a_balanced_subset():
    headings = {one.heading for one in sections_of(analyse(made_up_study(factors=["model"]), forest=False))}
    assert not headings & {"By pair of factors", "By factor, on balanced subsets"}


def test_few_rows_are_said_to_have_no_importances():
    found = analyse(made_up_study(made_up(1)))
    assert found.numbers["importance"] is None
    assert any("Fewer than 30 rows" in doubt for doubt in sections_of(found)[1].doubts)
