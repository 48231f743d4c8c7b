import math
from functools import partial

import numpy as np
import pytest
import scipy.stats
import sklearn.metrics

from featherlight.data.task import POSITIVE_OF, Target
from featherlight.errors import UserError
from featherlight.measurement.metrics import (
    METRICS,
    details,
    mean_scores,
    metric_name,
    metrics_of,
    predictions,
    score,
    summary,
    tallies,
)


def one_hot(predicted, classes):
    return np.eye(classes)[np.array(predicted)]


def noisy_classes(rows=300, classes=5, *, seed=0):
    generator = np.random.default_rng(seed)
    labels = generator.integers(classes, size=rows)
    return labels, generator.normal(size=(rows, classes)) + 1.5 * np.eye(classes)[labels]


def noisy_numbers(rows=200, *, seed=0):
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 6, size=rows).astype(np.float32)  # many ties, as in STS-B
    return labels, (labels + generator.normal(size=rows)).astype(np.float32)


def bootstrap_by_hand(metric, labels, predicted, *, resamples=400):
    generator = np.random.default_rng(7)
    draws = (generator.integers(len(labels), size=len(labels)) for _ in range(resamples))
    return np.quantile([metric(labels[rows], predicted[rows]) for rows in draws], [0.025, 0.975])


REFERENCES = {
    "accuracy": sklearn.metrics.accuracy_score,
    "micro_f1": lambda y, p: sklearn.metrics.f1_score(y, p, average="micro"),
    "macro_f1": lambda y, p: sklearn.metrics.f1_score(y, p, average="macro"),
    "f1": sklearn.metrics.f1_score,
    "f1_of_first": partial(sklearn.metrics.f1_score, pos_label=0),
    "matthews": sklearn.metrics.matthews_corrcoef,
    "pearson": lambda y, p: scipy.stats.pearsonr(y, p).statistic,
    "spearman": lambda y, p: scipy.stats.spearmanr(y, p).statistic,
}


def test_every_metric_has_a_reference_here():
    assert set(METRICS) == set(REFERENCES)


@pytest.mark.parametrize("name", REFERENCES)
def test_a_score_and_its_interval_are_those_of_resampling_row_by_row(name):
    if METRICS[name].of is Target.NUMBER:
        labels, logits = noisy_numbers()
    else:
        labels, logits = noisy_classes(rows=200, classes=2 if name in POSITIVE_OF else 5)
    predicted = predictions(logits, kind=METRICS[name].of)
    found = score([name], labels, logits, resamples=4000, kind=METRICS[name].of)[name]
    low, high = bootstrap_by_hand(REFERENCES[name], labels, predicted)
    assert found["value"] == pytest.approx(REFERENCES[name](labels, predicted), abs=1e-6)
    # 400 draws place a 2.5 % limit to about a twentieth of the width of the interval
    assert (found["low"], found["high"]) == pytest.approx((low, high), abs=0.15 * (high - low))


@pytest.mark.parametrize("name", [name for name in metrics_of(Target.CLASSES) if name not in POSITIVE_OF])
def test_each_resampled_score_is_scikit_learns_for_the_same_confusion_matrix(name, monkeypatch):
    labels, logits = noisy_classes(rows=12, classes=4)  # so few that resamples lack whole classes
    predicted = predictions(logits, kind=METRICS[name].of)
    cells, counts = np.unique(np.stack([labels, predicted]), axis=1, return_counts=True)
    drawn = np.random.default_rng(3).multinomial(12, counts / 12, size=50)
    (tally,) = tallies(labels, predicted, seed=3, resamples=50)
    for row, found in zip(drawn, METRICS[name].values(tally), strict=True):
        truth, guess = np.repeat(cells, row, axis=1)
        expected = 0.0 if len(set(truth)) == 1 or (len(set(guess)) == 1 and name == "matthews") else None
        expected = REFERENCES[name](truth, guess) if expected is None else expected
        assert found == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("name", ["pearson", "spearman"])
def test_each_resampled_correlation_is_scipys_for_the_same_rows(name):
    labels, values = noisy_numbers(rows=15)
    drawn = np.random.default_rng(0).integers(15, size=(20, 15))
    expected = [REFERENCES[name](labels[rows], values[rows]) for rows in drawn]
    low, high = np.quantile(expected, [0.025, 0.975])
    found = score([name], labels, values, resamples=20, kind=Target.NUMBER)[name]
    assert (found["low"], found["high"]) == pytest.approx((low, high), abs=1e-6)


def test_scores_worked_out_by_hand():
    labels = np.array([1, 1, 1, 0, 0])
    found = score(["accuracy", "f1", "macro_f1", "matthews"], labels, one_hot([1, 1, 0, 1, 0], 2), kind=Target.CLASSES)
    assert found["accuracy"]["value"] == pytest.approx(3 / 5)
    assert found["f1"]["value"] == pytest.approx(2 / 3)  # precision and recall 2/3
    assert found["macro_f1"]["value"] == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert found["matthews"]["value"] == pytest.approx((2 * 1 - 1 * 1) / 6)  # sqrt(3 * 3 * 2 * 2) = 6


def test_perfect_predictions_score_one_and_nothing_else_is_in_the_interval():
    labels = np.arange(90) % 3
    found = score(["accuracy", "micro_f1", "macro_f1", "matthews"], labels, one_hot(labels, 3), kind=Target.CLASSES)
    numbers = score(["pearson", "spearman"], labels.astype(float), labels * 2.0 + 7, kind=Target.NUMBER)
    for one in (found | numbers).values():
        assert (one["value"], one["low"], one["high"]) == pytest.approx((1, 1, 1))


def test_opposite_numbers_correlate_with_minus_one():
    labels = np.arange(40.0)
    found = score(["pearson", "spearman"], labels, -labels, kind=Target.NUMBER)
    assert {round(number, 9) for one in found.values() for number in one.values()} == {-1.0}


@pytest.mark.parametrize("constant", [0.0, 0.1, 1e9])
def test_a_correlation_with_a_constant_is_zero_and_warns_nobody(constant):
    found = score(["pearson", "spearman"], np.arange(10.0), np.full(10, constant), kind=Target.NUMBER)
    assert {number for one in found.values() for number in one.values()} == {0.0}


def test_the_majority_class_has_no_matthews_correlation():
    found = score(["matthews"], np.array([0, 1, 1, 1]), one_hot([1, 1, 1, 1], 2), kind=Target.CLASSES)
    assert found["matthews"] == {"value": 0.0, "low": 0.0, "high": 0.0}


def test_a_split_of_one_class_can_still_be_scored():
    found = score(
        ["accuracy", "macro_f1", "f1", "matthews"],
        np.zeros(4, dtype=int),
        one_hot([0, 0, 0, 0], 2),
        kind=Target.CLASSES,
    )
    assert [one["value"] for one in found.values()] == [1.0, 1.0, 0.0, 0.0]


def test_the_interval_of_an_accuracy_is_the_binomial_one():
    labels = np.zeros(1000, dtype=int)
    predicted = (np.arange(1000) >= 800).astype(int)  # 800 of 1,000 right
    found = score(["accuracy"], labels, one_hot(predicted, 2), resamples=20_000, kind=Target.CLASSES)["accuracy"]
    low, high = scipy.stats.binom.ppf([0.025, 0.975], 1000, 0.8) / 1000
    assert (found["low"], found["high"]) == pytest.approx((low, high), abs=0.0015)


def test_intervals_hold_the_true_accuracy_in_about_95_of_100_samples():
    generator = np.random.default_rng(0)
    held = 0
    for seed in range(300):
        predicted = (generator.random(400) < 0.3).astype(int)  # right with probability 0.7
        found = score(
            ["accuracy"], np.zeros(400, dtype=int), one_hot(predicted, 2), seed=seed, resamples=500, kind=Target.CLASSES
        )
        held += found["accuracy"]["low"] <= 0.7 <= found["accuracy"]["high"]
    assert 0.91 <= held / 300 <= 0.98


def test_equal_seeds_give_equal_intervals_and_others_do_not():
    labels, logits = noisy_classes()
    first, again, other = (score(["macro_f1"], labels, logits, seed=seed, kind=Target.CLASSES) for seed in (1, 1, 2))
    assert first == again
    assert first != other


@pytest.mark.parametrize("rows", [1, 2])
def test_a_handful_of_rows_gives_finite_scores(rows):
    names = [name for name in METRICS if METRICS[name].of is Target.CLASSES]
    classes = score(names, np.arange(rows), one_hot(np.zeros(rows, dtype=int), 2), kind=Target.CLASSES)
    numbers = score(
        ["pearson", "spearman"], np.arange(rows, dtype=np.float32), np.ones(rows, dtype=np.float32), kind=Target.NUMBER
    )
    assert all(math.isfinite(number) for one in (classes | numbers).values() for number in one.values())


def test_one_output_column_is_a_regression():
    assert predictions(np.array([[0.5], [-1.0]]), kind=Target.NUMBER).tolist() == [0.5, -1.0]
    assert predictions(np.array([[0.5, 0.7, 0.1]]), kind=Target.CLASSES).tolist() == [1]


@pytest.mark.parametrize(
    ("names", "labels", "logits", "message"),
    [
        (["acuracy"], [0], [[1.0, 0.0]], "Did you mean 'accuracy'"),
        (["pearson"], [0], [[1.0, 0.0]], "the model predicts classes. Choose from: accuracy"),
        (["accuracy"], [0.5], [1.0], "the model predicts numbers. Choose from: pearson, spearman"),
        (["f1"], [0], [[1.0, 0.0, 0.0]], "Use macro_f1"),
        (["accuracy"], [], np.zeros((0, 2)), "the split is empty"),
        (["accuracy"], [0, 1], [[1.0, 0.0], [math.nan, 0.0]], "row 1 is not finite"),
    ],
)
def test_what_cannot_be_scored_is_refused_with_the_reason(names, labels, logits, message):
    with pytest.raises(UserError, match=message):
        score(names, np.array(labels), np.array(logits), kind=Target.NUMBER if np.ndim(logits) == 1 else Target.CLASSES)


def test_details_hold_what_scikit_learn_would_say_per_class():
    labels, logits = noisy_classes(classes=3)
    found = details(labels, logits, ["a", "b", "c"], kind=Target.CLASSES)
    report = sklearn.metrics.classification_report(
        labels, predictions(logits, kind=Target.CLASSES), target_names=["a", "b", "c"], output_dict=True
    )
    for name, row in found["per_class"].items():
        assert row["f1"] == pytest.approx(report[name]["f1-score"])
        assert (row["precision"], row["recall"], row["support"]) == tuple(
            report[name][key] for key in ("precision", "recall", "support")
        )
    assert np.sum(found["confusion"]) == len(labels)


def test_a_confusion_matrix_has_a_row_per_truth_and_room_for_classes_that_never_occur():
    found = details(np.array([0, 0, 1]), one_hot([0, 1, 1], 3), ["a", "b", "c"], kind=Target.CLASSES)
    assert found["confusion"] == [[1, 1, 0], [0, 1, 0], [0, 0, 0]]
    assert found["per_class"]["c"] == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 0}


def test_calibration_error_is_the_gap_between_confidence_and_accuracy():
    confident = np.log([[0.9, 0.1]] * 10 + [[0.6, 0.4]] * 10)
    labels = np.array([0] * 6 + [1] * 4 + [0] * 6 + [1] * 4)  # right in 6 of 10, both times
    assert details(labels, confident, ["a", "b"], kind=Target.CLASSES)["calibration_error"] == pytest.approx(
        0.5 * 0.3 + 0.5 * 0.0
    )


def test_certain_and_right_is_calibrated_and_certain_and_wrong_is_not():
    sure = np.array([[1e4, 0.0], [0.0, 1e4]])
    assert details(np.array([0, 1]), sure, ["a", "b"], kind=Target.CLASSES)["calibration_error"] == 0.0
    assert details(np.array([1, 0]), sure, ["a", "b"], kind=Target.CLASSES)["calibration_error"] == 1.0


def test_a_regression_is_explained_by_its_errors():
    found = details(np.array([1.0, 2.0]), np.array([2.0, 5.0]), (), kind=Target.NUMBER)
    assert found == {"mean_absolute_error": 2.0, "root_mean_squared_error": pytest.approx(math.sqrt(5))}


def test_the_mean_of_two_equally_wide_splits_is_narrower_by_the_square_root_of_two():
    split = {"accuracy": {"value": 0.8, "low": 0.7, "high": 0.9}}
    found = mean_scores([split, split])["accuracy"]
    assert found == pytest.approx({"value": 0.8, "low": 0.8 - 0.1 / math.sqrt(2), "high": 0.8 + 0.1 / math.sqrt(2)})
    assert mean_scores([split])["accuracy"] == pytest.approx(split["accuracy"])


def test_the_mean_of_a_small_and_a_large_split_has_the_interval_of_resampling_both():
    parts = [noisy_classes(rows=100, seed=1), noisy_classes(rows=900, seed=2)]
    found = mean_scores([score(["accuracy"], *part, kind=Target.CLASSES) for part in parts])["accuracy"]
    generator = np.random.default_rng(0)
    right = [predictions(logits, kind=Target.CLASSES) == labels for labels, logits in parts]
    means = [np.mean([generator.choice(part, len(part)).mean() for part in right]) for _ in range(4000)]
    assert (found["low"], found["high"]) == pytest.approx(tuple(np.quantile(means, [0.025, 0.975])), abs=0.004)


def test_a_summary_divides_by_one_less_and_one_value_has_no_deviation():
    assert summary([1.0, 2.0, 6.0]) == {"mean": 3.0, "sd": pytest.approx(math.sqrt(7)), "n": 3}
    assert summary([0.5]) == {"mean": 0.5, "sd": None, "n": 1}


def test_a_class_is_named_where_a_score_is_of_one():
    assert metric_name("f1", ("no", "yes")) == "F1 of yes"
    assert metric_name("f1_of_first", ("fraud", "ok")) == "F1 of fraud"
    assert metric_name("macro_f1", ("fraud", "ok")) == "macro-F1"
    assert metric_name("f1") == metric_name("f1", ("a", "b", "c")) == "F1"
