import numpy as np
import pytest
import scipy.stats

from featherlight.analysis.statistics import (
    Paired,
    bootstrap,
    cohens_g,
    cohens_q,
    counts_interval,
    holm,
    mcnemar,
    observed,
    p_of_permutation,
    paired_bootstrap,
    permuted,
    size_of,
)
from featherlight.measurement.metrics import value


def two_models(rows=400, *, first=0.8, second=0.8, seed=0):
    """Labels and two independent predictions, right with the given probabilities."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(2, size=rows)
    return labels, *(np.where(generator.random(rows) < right, labels, 1 - labels) for right in (first, second))


@pytest.mark.parametrize(("b", "c"), [(0, 0), (5, 5), (1, 9), (30, 12), (900, 1000)])
def test_mcnemars_p_value_is_that_of_the_binomial_test(b, c):
    labels = np.zeros(b + c + 3, dtype=int)
    first, second = labels.copy(), labels.copy()
    second[:b] = 1  # only the first is right
    first[b : b + c] = 1
    found = mcnemar(labels, first, second)
    expected = scipy.stats.binomtest(b, b + c).pvalue if b + c else 1.0
    assert (found.only_first, found.only_second) == (b, c)
    assert found.p_value == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1", "matthews"])
def test_the_interval_of_a_difference_is_that_of_resampling_rows(metric):
    labels, first, second = two_models(300, second=0.7)
    generator = np.random.default_rng(5)
    differences = []
    for _ in range(1000):
        rows = generator.integers(300, size=300)
        differences.append(value(metric, labels[rows], second[rows]) - value(metric, labels[rows], first[rows]))
    low, high = np.quantile(differences, [0.025, 0.975])
    found = paired_bootstrap(metric, labels, first, second, resamples=4000)
    assert found.value == pytest.approx(value(metric, labels, second) - value(metric, labels, first))
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.1 * (high - low))


def test_equal_predictions_do_not_differ():
    labels, first, _ = two_models()
    found = paired_bootstrap("accuracy", labels, first, first)
    assert (found.value, found.low, found.high, found.p_value) == (0, 0, 0, 1)


def test_a_correlation_has_a_paired_difference_too():
    generator = np.random.default_rng(0)
    labels = generator.normal(size=200)
    near, far = labels + generator.normal(size=200) * 0.3, labels + generator.normal(size=200) * 3
    found = paired_bootstrap("pearson", labels, near, far)
    assert found.value == pytest.approx(np.corrcoef(labels, far)[0, 1] - np.corrcoef(labels, near)[0, 1])
    assert found.high < 0 and found.p_value < 0.01


def test_equally_good_models_are_told_apart_in_about_5_of_100_samples():
    found = [paired_bootstrap("accuracy", *two_models(200, seed=seed), resamples=400).p_value for seed in range(300)]
    assert 0.02 <= np.mean(np.array(found) < 0.05) <= 0.09


def paired(*models, labels):
    return [Paired(labels, models[0][None], models[1][None])]


@pytest.mark.parametrize("p_values", [[0.01, 0.04, 0.03, 0.005], [0.2, 0.2, 0.9], [0.5], [0.04, 0.04, 0.0]])
def test_holms_p_values_are_those_of_statsmodels(p_values):
    from statsmodels.stats.multitest import multipletests

    assert holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1])


def test_the_permutation_test_of_accuracies_agrees_with_scipys():
    labels, first, second = two_models(120, first=0.85, second=0.72)
    parts = paired(first, second, labels=labels)
    right = [(guess == labels).astype(float) for guess in (first, second)]
    expected = scipy.stats.permutation_test(
        right, lambda one, other, axis: np.mean(other - one, axis=axis), permutation_type="samples",
        vectorized=True, n_resamples=20000, rng=np.random.default_rng(3),
    ).pvalue  # fmt: skip
    found = p_of_permutation(permuted("accuracy", parts, resamples=20000), observed("accuracy", parts))
    assert found == pytest.approx(expected, abs=0.008)
    assert found == pytest.approx(mcnemar(labels, first, second).p_value, abs=0.008)  # the same null hypothesis


@pytest.mark.parametrize("metric", ["macro_f1", "matthews", "pearson", "spearman"])
def test_the_permutation_test_of_any_metric_agrees_with_swapping_rows_by_hand(metric):
    generator = np.random.default_rng(0)
    labels, first, second = two_models(60, first=0.9, second=0.7)
    if metric in ("pearson", "spearman"):
        labels = generator.normal(size=60)
        first, second = labels + generator.normal(size=60), labels + generator.normal(size=60) * 1.7
    parts = paired(first, second, labels=labels)
    difference = observed(metric, parts)
    beyond = 0
    for _ in range(2000):
        coin = generator.random(60) < 0.5
        one, other = np.where(coin, second, first), np.where(coin, first, second)
        beyond += abs(value(metric, labels, other) - value(metric, labels, one)) >= abs(difference) - 1e-12
    found = p_of_permutation(permuted(metric, parts, resamples=4000), difference)
    assert found == pytest.approx(beyond / 2000, abs=0.035)


def test_runs_are_not_further_examples():
    labels, first, second = two_models(100, first=0.85, second=0.75)
    single = paired(first, second, labels=labels)
    thrice = [Paired(labels, np.tile(first, (3, 1)), np.tile(second, (3, 1)), ((0, 0), (1, 1), (2, 2)))]
    one, three = (p_of_permutation(permuted("accuracy", parts), observed("accuracy", parts))
                  for parts in (single, thrice))  # fmt: skip
    assert one == three
    assert np.std(bootstrap("accuracy", single)) == pytest.approx(np.std(bootstrap("accuracy", thrice)), rel=0.1)


def test_a_model_of_several_runs_has_their_mean_score():
    labels = np.array([0, 0, 1, 1])
    first = np.array([[0, 0, 1, 1], [1, 1, 0, 0], [0, 0, 0, 0]])  # 1, 0 and 1/2 right
    assert observed("accuracy", [Paired(labels, first, labels[None])]) == pytest.approx(0.5)


def test_two_splits_count_alike_whatever_their_sizes():
    long, short = np.zeros(90, dtype=int), np.zeros(10, dtype=int)
    parts = [*paired(long, 1 - long, labels=long), *paired(short, short, labels=short)]
    assert observed("accuracy", parts) == -0.5
    assert bootstrap("accuracy", parts, resamples=50) == pytest.approx(-0.5)


def test_permuted_models_that_are_equally_good_are_told_apart_in_about_5_of_100_samples():
    found = []
    for seed in range(300):
        labels, first, second = two_models(200, seed=seed)
        parts = paired(first, second, labels=labels)
        tossed = permuted("macro_f1", parts, resamples=400)
        found.append(p_of_permutation(tossed, observed("macro_f1", parts)))
    assert 0.02 <= np.mean(np.array(found) < 0.05) <= 0.08


def test_the_interval_from_counts_is_the_published_formula_and_stays_open_without_flips():
    low, high = counts_interval(4, 26, 48, confidence=0.95)  # the example of ci.prop.ps in the R package statpsych
    assert (low, high) == pytest.approx((0.2548067, 0.6251933), abs=1e-7)
    low, high = counts_interval(0, 0, 71, confidence=0.90)
    assert -low == high == pytest.approx(0.0319, abs=1e-4)


def test_effects_are_cohens():
    assert cohens_g(10, 30) == 0.25 and cohens_g(0, 0) == 0
    assert cohens_q(0.5, 0.8) == pytest.approx(1.0986 - 0.5493, abs=1e-4)  # Fisher's z of 0.8 and 0.5
    assert cohens_q(0.5, 1.0) is None
    assert [size_of(effect, (0.05, 0.15, 0.25)) for effect in (0.0, -0.05, 0.2, -0.4)] == [
        "negligible", "small", "medium", "large"]  # fmt: skip


def test_models_as_far_apart_as_the_margin_are_called_equivalent_in_at_most_5_of_100_samples():
    generator = np.random.default_rng(0)
    counts = generator.multinomial(400, [0.05, 0.10, 0.85], size=2000)  # the second is better by 0.05, the margin
    found = [counts_interval(b, c, 400, confidence=0.90) for b, c, _ in counts]
    assert 0.02 <= np.mean([max(-low, high) < 0.05 for low, high in found]) <= 0.06
