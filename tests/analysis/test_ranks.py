import numpy as np
import pytest
import scipy.stats

from featherlight.analysis.comparison import DataSet, Model
from featherlight.analysis.ranks import cliques, critical_difference, rank, ranking_of, verdict_on_ranks
from featherlight.reports.comparison import rank_figure
from helpers.results import guesses

NAMES = ("worst", "middle", "best")
LABELS = np.random.default_rng(0).integers(2, size=300)


def ranked(scores, *, alpha=0.05, models=NAMES):
    scores = np.array(scores)
    return rank(models[: scores.shape[1]], [f"task{number}" for number in range(len(scores))], scores, alpha=alpha)


@pytest.mark.parametrize(
    ("models", "quantile"),  # Demsar 2006, table 5 (a): the Nemenyi test at 0.05
    [(2, 1.960), (3, 2.343), (4, 2.569), (5, 2.728), (6, 2.850), (7, 2.949), (8, 3.031), (9, 3.102), (10, 3.164)],
)
def test_the_critical_difference_is_that_of_the_published_table(models, quantile):
    expected = quantile * np.sqrt(models * (models + 1) / (6 * 14))
    assert critical_difference(models, 14, alpha=0.05) == pytest.approx(expected, abs=0.0008)


def test_ranks_are_means_over_data_sets_with_ties_shared():
    found = ranked([[0.1, 0.5, 0.9], [0.3, 0.3, 0.8], [0.2, 0.7, 0.6]])
    assert found.models == ("best", "middle", "worst")
    assert found.ranks == pytest.approx((4 / 3, (2 + 2.5 + 1) / 3, (3 + 2.5 + 3) / 3))
    assert found.scores[0] == (0.9, 0.5, 0.1)


def test_friedmans_test_is_scipys_and_davenports_follows_from_it():
    scores = np.random.default_rng(1).normal([0, 0.5, 1.5], size=(12, 3))
    found = ranked(scores)
    chi_squared, p = scipy.stats.friedmanchisquare(*scores.T)
    assert (found.chi_squared, found.p) == pytest.approx((chi_squared, p))
    f = 11 * chi_squared / (12 * 2 - chi_squared)  # Iman and Davenport 1980
    assert (found.f, found.f_p) == pytest.approx((f, scipy.stats.f.sf(f, 2, 22)))


def test_models_that_always_tie_do_not_differ_and_those_that_never_do_have_no_f():
    tied = ranked([[0.5, 0.5, 0.5]] * 4)
    assert (tied.chi_squared, tied.p, tied.groups) == (0, 1, (("worst", "middle", "best"),))
    assert "do not differ significantly" in verdict_on_ranks(tied)
    clear = ranked([[0.1, 0.2, 0.3]] * 9)
    assert clear.f is None and clear.chi_squared == pytest.approx(18)


def test_groups_are_the_longest_stretches_within_the_distance():
    assert cliques(np.array([1.0, 2.1, 3.1, 3.8]), 1.48) == [(0, 2), (1, 3), (2, 4)]
    assert cliques(np.array([1.0, 1.5, 2.0, 5.0]), 1.0) == [(0, 3)]
    assert cliques(np.array([1.0, 3.0]), 1.0) == []


def test_the_verdict_names_the_best_and_what_it_is_told_apart_from():
    said = verdict_on_ranks(ranked([*[[0.1, 0.2, 0.3]] * 9, [0.1, 0.4, 0.3]]))
    assert said.startswith("Over 10 data sets best has the best average rank (1.10): better than worst; not "
                           "significantly different from middle (Friedman's test: p < 0.001; ")  # fmt: skip
    assert said.endswith("Nemenyi's critical difference 1.05).")


def data(task, *names):
    models = tuple(Model(name, (name,), (1,), {"dev": guesses(LABELS, 0.6 + 0.1 * place, seed=place)[None]})
                   for place, name in enumerate(names))  # fmt: skip
    return DataSet(task, "accuracy", {"dev": LABELS}, models)


def test_only_models_that_all_data_sets_have_are_ranked():
    found, said = ranking_of([data("x", "a", "b", "c", "d"), data("y", "a", "b", "c")], alpha=0.05)
    assert found is not None and set(found.models) == {"a", "b", "c"} and found.tasks == ("x", "y")
    assert said[0] == "Not ranked, because a data set lacks it: d." and "2 data sets are few" in said[1]


def test_too_few_models_or_data_sets_are_not_ranked():
    for sets in ([data("x", "a", "b"), data("y", "a", "b")], [data("x", "a", "b", "c")]):
        found, said = ranking_of(sets, alpha=0.05)
        assert found is None and said[0].startswith("No ranks over data sets")


def test_the_diagram_shows_each_model_once_and_reads_no_formula_in_a_name():
    figure = rank_figure(ranked([[0.1, 0.2, 0.3]] * 5, models=("a$b$", "c_1", "d")))
    texts = [text.get_text().strip() for text in figure.axes[0].texts]
    assert {"d  1.00", "c_1  2.00", "3.00  a$b$"} <= set(texts)
