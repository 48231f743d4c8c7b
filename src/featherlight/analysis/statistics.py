"""Two models on the same examples: is the second really better or worse, or is it luck?

Labels and predictions in, differences with intervals and p-values out. Knows no model, file or record.
A difference is the second model's score minus the first's, everywhere.
House shapes: N examples, K different ones, S and T runs (seeds) of the first and the second model, R resamples.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from featherlight.data.task import Target
from featherlight.measurement.metrics import CONFIDENCE, METRICS, Counted, Floats, Tally, class_count, tally, value

SMALLEST_P = 1e-300  # below, a double runs out of digits and then of numbers

_COUNTS_PER_CHUNK = 2**21  # resampled counts at once, 16 MiB
COHEN_G = (0.05, 0.15, 0.25)  # from where an effect is small, medium, large (Cohen 1988, sections 5.2 and 4.2)
COHEN_Q = (0.10, 0.30, 0.50)


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


@dataclass(frozen=True, eq=False)
class Paired:
    """What two models predicted of one split: labels [N], the first's runs [S, N] and the second's [T, N].

    pairs: which run of the first belongs to which of the second (equal seeds), as row numbers of both.
    """

    labels: np.ndarray
    first: np.ndarray
    second: np.ndarray
    pairs: tuple[tuple[int, int], ...] = ((0, 0),)


def mcnemar(labels: np.ndarray, first: np.ndarray, second: np.ndarray) -> McNemar:
    """McNemar's exact test of two classifiers: labels and predicted classes [N] of both, on the same examples.

    Only examples that one of them gets right count; under the null hypothesis each is equally often the right one
    (McNemar 1947; the exact form is a two-sided binomial test with probability 1/2). No such example: p = 1.
    """
    right, other = first == labels, second == labels
    only_first, only_second = int((right & ~other).sum()), int((~right & other).sum())
    n, k = only_first + only_second, min(only_first, only_second)
    log_ways = (math.lgamma(n + 1) - math.lgamma(i + 1) - math.lgamma(n - i + 1) for i in range(k + 1))
    tail = math.fsum(math.exp(log - n * math.log(2)) for log in log_ways)
    return McNemar(only_first, only_second, min(1.0, 2 * tail))


def paired_bootstrap(
    metric: str, labels: np.ndarray, first: np.ndarray, second: np.ndarray, *, seed: int = 0, resamples: int = 2000
) -> Difference:
    """How far a metric differs between two models whose predictions [N] stand beside the same labels [N].

    The interval is the middle 95 % of the differences of `bootstrap`. p-value: see `p_of_bootstrap`.
    """
    parts = [Paired(labels, first[None], second[None])]
    differences = bootstrap(metric, parts, seed=seed, resamples=resamples)
    low, high = np.quantile(differences, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Difference(observed(metric, parts), float(low), float(high), p_of_bootstrap(differences))


def p_of_bootstrap(differences: Floats) -> float:
    """Two-sided p-value of resampled differences [R].

    Twice the smaller share on one side of 0, with ties on both and one added to each count, so that it is never 0.
    """
    side = min(int((differences <= 0).sum()), int((differences >= 0).sum()))
    return min(1.0, 2 * (side + 1) / (len(differences) + 1))


def observed(metric: str, parts: Sequence[Paired]) -> float:
    """The difference itself: of means over runs, averaged over splits."""
    differences = [
        np.mean([value(metric, part.labels, guess) for guess in part.second])
        - np.mean([value(metric, part.labels, guess) for guess in part.first])
        for part in parts
    ]
    return float(np.mean(differences))


def bootstrap(metric: str, parts: Sequence[Paired], *, seed: int = 0, resamples: int = 2000) -> Floats:
    """Differences [R] that other examples would have given; several splits are drawn each by itself.

    Each resample draws examples with replacement, the same ones for all runs of both models (Berg-Kirkpatrick et al.
    2012, doi 10.5555/2390948.2391058, without its centring). Of equal examples (label and all predictions) only the
    number counts, and N draws of K kinds are one draw from a multinomial.
    """
    generator = np.random.default_rng(seed)

    def differ(cells: Paired, often: Floats, classes: int, size: int) -> Floats:
        counts = generator.multinomial(int(often.sum()), often / often.sum(), size=size).astype(np.float64)

        def mean_of(runs: np.ndarray) -> Floats:
            scores = [METRICS[metric].values(_resampled(counts, cells.labels, guess, classes)) for guess in runs]
            return np.asarray(np.mean(scores, axis=0))

        return mean_of(cells.second) - mean_of(cells.first)

    return _resample(metric, parts, differ, resamples)


def permuted(metric: str, parts: Sequence[Paired], *, seed: int = 0, resamples: int = 10000) -> Floats:
    """Differences [R] if each example's predictions had been given to either model by the toss of a coin.

    One coin per example for all pairs of runs, so that runs do not pass for further examples. For means over examples
    (accuracy) this is the sign-flip test of mean correctness (Fisher 1935; Noreen 1989).
    """
    generator = np.random.default_rng(seed)

    def differ(cells: Paired, often: Floats, classes: int, size: int) -> Floats:
        swapped = generator.binomial(often.astype(np.int64), 0.5, size=(size, len(often))).astype(np.float64)
        kept = often - swapped
        labels = np.concatenate([cells.labels, cells.labels])
        total = np.zeros(size)
        for first, second in cells.pairs:
            both = np.concatenate([cells.first[first], cells.second[second]])
            counts = (np.hstack([kept, swapped]), np.hstack([swapped, kept]))
            scores = [METRICS[metric].values(_resampled(own, labels, both, classes)) for own in counts]
            total += scores[1] - scores[0]
        return total / len(cells.pairs)

    return _resample(metric, parts, differ, resamples)


def p_of_permutation(differences: Floats, difference: float) -> float:
    """The share of permuted differences [R] at least as far from 0, the sample itself among them (never 0)."""
    as_far = np.abs(differences) >= abs(difference) - 1e-12  # closer ones differ by rounding alone
    return float((1 + as_far.sum()) / (1 + len(differences)))


def _resample(
    metric: str, parts: Sequence[Paired], differ: Callable[[Paired, Floats, int, int], Floats], resamples: int
) -> Floats:
    """The mean over splits [R] of what `differ` returns, in chunks of bounded memory.

    differ: gets the K different examples (label and all predictions), how many there are of each [K], the number of
    classes (0 for numbers) and how many resamples to draw.
    """
    total = np.zeros(resamples)
    for part in parts:
        table = np.vstack([part.labels.astype(part.first.dtype), part.first, part.second])
        distinct, counts = np.unique(table, axis=1, return_counts=True)
        runs, often = len(part.first), counts.astype(np.float64)
        cells = Paired(distinct[0], distinct[1 : 1 + runs], distinct[1 + runs :], part.pairs)
        guesses = [*cells.first, *cells.second]
        of_classes = METRICS[metric].of is Target.CLASSES
        classes = max(class_count(cells.labels, guess) for guess in guesses) if of_classes else 0
        size = max(1, _COUNTS_PER_CHUNK // max(len(often), classes))
        for start in range(0, resamples, size):
            stop = min(start + size, resamples)
            total[start:stop] += differ(cells, often, classes, stop - start)
    return total / len(parts)


def _resampled(counts: Floats, labels: np.ndarray, guess: np.ndarray, classes: int) -> Tally | Counted:
    """What the metrics need of each resample. classes: 0 for numbers."""
    return tally(counts, labels, guess, classes) if classes else Counted(counts, labels, guess)


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values that hold together: all of those below alpha may be believed at alpha (Holm 1979)."""
    adjusted, largest, count = [0.0] * len(p_values), 0.0, len(p_values)
    for place, index in enumerate(sorted(range(count), key=lambda index: p_values[index])):
        largest = max(largest, min(1.0, (count - place) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def counts_interval(only_first: int, only_second: int, examples: int, *, confidence: float) -> tuple[float, float]:
    """Interval of a difference of two accuracies on the same examples, from the discordant ones.

    The adjusted Wald interval of Bonett and Price 2012 (doi 10.3102/1076998611411915): one more example on each side
    keeps it open where hardly any prediction differs, which a bootstrap would take for certainty.
    """
    first, second, total = only_first + 1, only_second + 1, examples + 2
    difference = (second - first) / total
    spread = math.sqrt(((first + second) / total - difference**2) / total)
    reach = NormalDist().inv_cdf((1 + confidence) / 2) * spread
    return max(-1.0, difference - reach), min(1.0, difference + reach)


def cohens_g(only_first: int, only_second: int) -> float:
    """How one-sided the examples are that only one model gets right: -0.5 to 0.5, above 0 for the second."""
    total = only_first + only_second
    return only_second / total - 0.5 if total else 0.0


def cohens_q(first: float, second: float) -> float | None:
    """The difference of two correlations in Fisher's z; None where one of them is perfect."""
    return math.atanh(second) - math.atanh(first) if max(abs(first), abs(second)) < 1 else None


def size_of(effect: float, limits: Sequence[float]) -> str:
    """ "negligible", "small", "medium" or "large"."""
    return ("negligible", "small", "medium", "large")[sum(abs(effect) >= limit for limit in limits)]


def probability(p: float) -> str:
    """A p-value in a sentence, behind "p": "= 0.012"; one that is too small for a double: "< 1e-300"."""
    return f"< {SMALLEST_P:.0e}" if p < SMALLEST_P else f"= {p:.2g}"
