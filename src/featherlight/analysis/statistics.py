"""Two models on the same examples: is the second really better or worse, or is it luck?

Labels and predictions in, differences with intervals and p-values out. Knows no model, file or record.
House shapes: N examples, R resamples.
"""

import math
from dataclasses import dataclass

import numpy as np

from featherlight.measurement.metrics import CONFIDENCE, METRICS, Counted, Floats, Tally, class_count, sum_groups, value

COUNTS_PER_CHUNK = 2**22  # resampled counts at once, 32 MiB


@dataclass(frozen=True)
class McNemar:
    """How often only one of two models is right, and how surprising that would be if they were equally good."""

    only_first: int
    only_second: int
    p_value: float


@dataclass(frozen=True)
class Difference:
    """The second model's score minus the first's, with its 95 % interval and a two-sided p-value."""

    value: float
    low: float
    high: float
    p_value: float


def mcnemar(labels: np.ndarray, first: np.ndarray, second: np.ndarray) -> McNemar:
    """McNemar's exact test of two classifiers: labels and predicted classes [N] of both, on the same examples.

    Only examples that one of them gets right count; under the null hypothesis each is equally often the right one
    (McNemar 1947; the exact form is a two-sided binomial test with probability 1/2). No such example: p = 1.
    """
    right, other = first == labels, second == labels
    only_first, only_second = int((right & ~other).sum()), int((~right & other).sum())
    n, k = only_first + only_second, min(only_first, only_second)
    tail = math.fsum(math.exp(log_binomial(n, i) - n * math.log(2)) for i in range(k + 1))
    return McNemar(only_first, only_second, min(1.0, 2 * tail))


def log_binomial(n: int, k: int) -> float:
    """The logarithm of n over k."""
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def paired_bootstrap(
    metric: str, labels: np.ndarray, first: np.ndarray, second: np.ndarray, *, seed: int = 0, resamples: int = 2000
) -> Difference:
    """How far a metric differs between two models whose predictions [N] stand beside the same labels [N].

    Each resample draws examples with replacement, the same ones for both models (Berg-Kirkpatrick et al. 2012,
    doi 10.5555/2390948.2391058, without its centring): the interval is the middle 95 % of the differences. p-value:
    twice the smaller share of differences on one side of 0, with ties on both and one added to each count, so that
    it is never 0.
    """
    of = METRICS[metric].of
    labels = labels.astype(first.dtype)
    classes = max(class_count(labels, first), class_count(labels, second)) if of == "classes" else 0
    generator = np.random.default_rng(seed)
    size = max(1, COUNTS_PER_CHUNK // len(labels))
    differences = []
    for start in range(0, resamples, size):
        counts = drawn_counts(generator, min(size, resamples - start), len(labels))
        scores = [METRICS[metric].values(resampled(counts, labels, guess, classes)) for guess in (first, second)]
        differences.append(scores[1] - scores[0])
    found = np.concatenate(differences)
    low, high = np.quantile(found, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    side = min(int((found <= 0).sum()), int((found >= 0).sum()))
    p_value = min(1.0, 2 * (side + 1) / (resamples + 1))
    observed = value(metric, labels, second) - value(metric, labels, first)
    return Difference(observed, float(low), float(high), p_value)


def drawn_counts(generator: np.random.Generator, size: int, rows: int) -> Floats:
    """How often each of the rows was drawn in each resample: [size, rows]."""
    drawn = generator.integers(rows, size=(size, rows)) + rows * np.arange(size)[:, None]
    return np.bincount(drawn.ravel(), minlength=size * rows).reshape(size, rows).astype(np.float64)


def resampled(counts: Floats, labels: np.ndarray, guess: np.ndarray, classes: int) -> Tally | Counted:
    """What the metrics need of each resample. classes: 0 for numbers."""
    if not classes:
        return Counted(counts, labels, guess)
    hits = sum_groups(counts * (labels == guess), labels, classes)
    return Tally(hits, truths=sum_groups(counts, labels, classes), guesses=sum_groups(counts, guess, classes))
