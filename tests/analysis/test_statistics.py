import numpy as np
import pytest
import scipy.stats

from featherlight.analysis.statistics import mcnemar, paired_bootstrap
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
