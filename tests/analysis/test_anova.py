import numpy as np
import pandas as pd
import pytest
import scipy.stats
import statsmodels.formula.api as formulas
from statsmodels.stats.anova import anova_lm
from statsmodels.stats.oneway import anova_oneway

from featherlight.analysis.anova import doubts, one_way


def samples(sizes, spreads, shifts, seed=0):
    generator = np.random.default_rng(seed)
    parts = [
        generator.normal(10 + shift, spread, size) for size, spread, shift in zip(sizes, spreads, shifts, strict=True)
    ]
    times = pd.Series(np.concatenate(parts))
    return times, pd.Series(np.repeat(list("abcdef")[: len(parts)], sizes)), parts


EQUAL = samples((12, 15, 20), (1, 1, 1), (0, 1, 3))
UNEQUAL = samples((12, 15, 40), (0.1, 3, 1), (0, 1, 1))


def test_sums_of_squares_worked_out_by_hand():
    found = one_way(pd.Series([1.0, 3.0, 5.0, 7.0]), pd.Series(list("aabb")))  # means 2, 6, of all 4
    assert (found["ss_between"], found["ss_within"]) == pytest.approx((16.0, 4.0))
    assert (found["df_between"], found["df_within"], found["F"]) == (1, 2, pytest.approx(8.0))
    assert found["eta_squared"] == pytest.approx(0.8)


@pytest.mark.parametrize("case", [EQUAL, UNEQUAL])
def test_the_table_is_that_of_statsmodels(case):
    times, groups, _ = case
    theirs = anova_lm(formulas.ols("times ~ groups", pd.DataFrame({"times": times, "groups": groups})).fit())
    found = one_way(times, groups)
    assert found["F"] == pytest.approx(theirs.loc["groups", "F"])
    assert found["p"] == pytest.approx(theirs.loc["groups", "PR(>F)"])
    assert found["ss_within"] == pytest.approx(theirs.loc["Residual", "sum_sq"])


def test_welchs_test_is_that_of_statsmodels():
    times, groups, parts = UNEQUAL
    theirs = anova_oneway(parts, use_var="unequal", welch_correction=True)
    assert one_way(times, groups)["welch"] == pytest.approx({"F": theirs.statistic, "p": theirs.pvalue})


def test_tukeys_comparisons_are_those_of_scipy():
    times, groups, parts = EQUAL
    theirs = scipy.stats.tukey_hsd(*parts)
    interval = theirs.confidence_interval(0.95)
    found = one_way(times, groups)["post_hoc"]
    assert found["test"] == "Tukey"
    assert [pair["first"] + pair["second"] for pair in found["pairs"]] == ["ab", "ac", "bc"]
    for pair, (i, j) in zip(found["pairs"], [(0, 1), (0, 2), (1, 2)], strict=True):
        assert pair["difference"] == pytest.approx(theirs.statistic[j, i])
        assert pair["p"] == pytest.approx(theirs.pvalue[j, i], abs=1e-6)
        assert (pair["low"], pair["high"]) == pytest.approx((interval.low[j, i], interval.high[j, i]), abs=1e-4)


def test_games_howells_p_values_are_those_of_scipy():
    times, groups, parts = UNEQUAL
    found = one_way(times, groups)["post_hoc"]
    assert found["test"] == "Games-Howell"
    theirs = scipy.stats.tukey_hsd(*parts, equal_var=False).pvalue
    assert [pair["p"] for pair in found["pairs"]] == pytest.approx([theirs[0, 1], theirs[0, 2], theirs[1, 2]], abs=1e-6)


def test_games_howell_of_two_levels_is_welchs_t_test():
    times, groups, (first, second) = samples((12, 30), (0.2, 3), (0, 1))
    theirs = scipy.stats.ttest_ind(second, first, equal_var=False)
    (pair,) = one_way(times, groups)["post_hoc"]["pairs"]
    assert pair["p"] == pytest.approx(theirs.pvalue)
    assert (pair["low"], pair["high"]) == pytest.approx(tuple(theirs.confidence_interval(0.95)), rel=1e-3)


def test_where_assumptions_hold_nothing_is_doubted_and_where_they_fail_the_right_test_is_named():
    assert doubts("x", one_way(*EQUAL[:2])) == []
    said = " ".join(doubts("x", one_way(*UNEQUAL[:2])))
    assert "variances are unequal" in said and "Read Welch's test" in said and "Games-Howell" in said
    times, groups, _ = samples((30, 30), (1, 1), (0, 0))
    assert "Kruskal-Wallis" in doubts("x", one_way(np.exp(times), groups))[0]


def test_groups_without_spread_have_no_test_and_no_warning():
    found = one_way(pd.Series([1.0, 1.0, 2.0, 2.0, 2.0]), pd.Series(list("aabbb")))
    assert found["F"] is None and found["p"] is None and found["shapiro_p"] is None
    assert "no test is possible" in doubts("x", found)[0]


def test_a_level_with_one_row_is_in_f_but_not_in_tests_of_spread():
    times, groups, parts = EQUAL
    longer = pd.concat([times, pd.Series([11.0])], ignore_index=True)
    found = one_way(longer, pd.concat([groups, pd.Series(["z"])], ignore_index=True))
    assert found["df_between"] == 3
    assert found["levene_p"] == pytest.approx(scipy.stats.levene(*parts).pvalue)
    assert all("z" not in (pair["first"], pair["second"]) for pair in found["post_hoc"]["pairs"])


def test_more_than_5000_rows_are_sampled_for_normality():
    generator = np.random.default_rng(0)
    found = one_way(pd.Series(generator.normal(9, 1, 6000)), pd.Series(np.arange(6000) % 3))
    assert found["shapiro_n"] == 5000 and found["shapiro_p"] > 0.001
