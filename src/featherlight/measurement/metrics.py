"""Labels and logits in, scores with 95 % intervals out. Knows no model, batch or file; of a
task its kind of target: the table at the end says how each is scored and told.

One numpy formula per score serves the sample and its resamples (the tests hold it against scikit-learn and scipy), so
that scoring needs neither of them. Intervals are percentile bootstraps over examples (Efron 1979): thousands of
resamples at once, each a draw of counts and never a copy of the rows.
House shapes: N examples, C classes, R resamples. Scores are fractions, not percent.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featherlight.data.task import POSITIVE_OF, Target
from featherlight.errors import UserError, pick
from featherlight.runtime.model import class_answers, number_answers

NAMES = {"macro_f1": "macro-F1", "micro_f1": "micro-F1", "f1": "F1", "f1_of_first": "F1"}

Score = dict[str, float]  # {"value", "low", "high"}
Floats = NDArray[np.float64]

CONFIDENCE = 0.95
_NUMBERS_PER_CHUNK = 2**16  # of resampled counts at once, 512 KiB: what fits a processor's cache


@dataclass(frozen=True)
class Tally:
    """Of R confusion matrices, all that metrics of classes need [R, C]: the diagonal, row sums, column sums."""

    hits: Floats
    truths: Floats
    guesses: Floats


@dataclass(frozen=True)
class Counted:
    """R resamples of N pairs of numbers: how often each pair was drawn [R, N], and the pairs x, y [N]."""

    counts: Floats
    x: Floats
    y: Floats


@dataclass(frozen=True)
class Metric:
    """A score of one kind of target: its values [R] for R resamples, given as Tally or as Counted."""

    of: Target
    values: Callable[[Any], Floats]


def _accuracies(tally: Tally) -> Floats:
    """The share of examples whose class is right; with one label per example this is the micro-F1 too."""
    return np.asarray(tally.hits.sum(axis=1) / tally.truths.sum(axis=1))


def _class_f1s(tally: Tally) -> Floats:
    """F1 of each class in each resample [R, C]; 0.0 for a class that does not occur in it."""
    return 2 * tally.hits / np.maximum(tally.truths + tally.guesses, 1)


def _all_matthews(tally: Tally) -> Floats:
    """Matthews correlation for any number of classes (Gorodkin 2004, eq. 8); 0.0 where one side is one class only."""
    total = tally.truths.sum(axis=1)
    shared = total * tally.hits.sum(axis=1) - (tally.truths * tally.guesses).sum(axis=1)
    spread = (total**2 - (tally.truths**2).sum(axis=1)) * (total**2 - (tally.guesses**2).sum(axis=1))
    return np.where(spread > 0, shared / np.sqrt(np.maximum(spread, 1)), 0.0)


def _spearmans(drawn: Counted) -> Floats:
    """Spearman correlation, ties at their mean rank within the resample; 0.0 where either side is constant."""
    return _correlate(drawn.counts, _ranks(drawn.counts, drawn.x), _ranks(drawn.counts, drawn.y))


def _ranks(counts: Floats, values: Floats) -> Floats:
    """The mean rank [R, N] that each of N values has in each resample, found without sorting R times.

    Equal values share the mean of the ranks that they take up: those after `below` and up to `upto`.
    """
    distinct, place = np.unique(values, return_inverse=True)
    group_counts = sum_groups(counts, place, len(distinct))
    upto = np.cumsum(group_counts, axis=1)
    below = upto - group_counts
    return ((below + upto + 1) / 2)[:, place]


def _correlate(counts: Floats, x: Floats, y: Floats) -> Floats:
    """Pearson correlation under counts [R, N] of x and y, each [N] or [R, N]; 0.0 where one is constant."""
    # Rounding leaves a constant a spread of about 1e-32 of its square: less than this is no spread.
    x_least, y_least = (1e-26 * (side * side).max() for side in (x, y))
    x, y = (side - _weigh(counts, side)[:, None] for side in (x, y))
    shared, x_spread, y_spread = _weigh(counts, x * y), _weigh(counts, x * x), _weigh(counts, y * y)
    defined = (x_spread > x_least) & (y_spread > y_least)
    correlation = np.where(defined, shared / np.sqrt(np.where(defined, x_spread * y_spread, 1.0)), 0.0)
    return correlation.clip(-1.0, 1.0)


def _weigh(counts: Floats, values: Floats) -> Floats:
    """The mean [R] of values, [N] or [R, N], under counts [R, N]."""
    sums = counts @ values if values.ndim == 1 else np.einsum("rn,rn->r", counts, values)
    return np.asarray(sums / counts.sum(axis=1))


def sum_groups(counts: Floats, groups: NDArray[np.intp], number: int) -> Floats:
    """Columns of counts [R, N] added up by their group, 0 up to number -> [R, number]."""
    order = np.argsort(groups, kind="stable")
    present, starts = np.unique(groups[order], return_index=True)
    sums = np.zeros((len(counts), number))
    sums[:, present] = np.add.reduceat(counts[:, order], starts, axis=1)
    return sums


def tally(counts: Floats, labels: NDArray[np.intp], guesses: NDArray[np.intp], classes: int) -> Tally:
    """The tally of N pairs of class ids that were drawn so often: counts [R, N]."""
    hits = sum_groups(counts * (labels == guesses), labels, classes)
    return Tally(hits, truths=sum_groups(counts, labels, classes), guesses=sum_groups(counts, guesses, classes))


METRICS: Mapping[str, Metric] = {
    "accuracy": Metric(Target.CLASSES, _accuracies),
    "micro_f1": Metric(Target.CLASSES, _accuracies),
    "macro_f1": Metric(  # over the classes that occur among labels or predictions
        Target.CLASSES, lambda tally: _class_f1s(tally).sum(axis=1) / (tally.truths + tally.guesses > 0).sum(axis=1)
    ),
    **{
        name: Metric(Target.CLASSES, lambda tally, index=index: _class_f1s(tally)[:, index])  # type: ignore[misc]
        for name, index in POSITIVE_OF.items()
    },
    "matthews": Metric(Target.CLASSES, _all_matthews),
    "pearson": Metric(Target.NUMBER, lambda drawn: _correlate(drawn.counts, drawn.x, drawn.y)),
    "spearman": Metric(Target.NUMBER, _spearmans),
}


def metric_name(metric: str, labels: Sequence[str] = ()) -> str:
    """How tables call a metric: "macro-F1", "F1 of fraud". labels: the classes, where they are known."""
    name = NAMES.get(metric, metric)
    return f"{name} of {labels[POSITIVE_OF[metric]]}" if metric in POSITIVE_OF and len(labels) == 2 else name


def predictions(logits: np.ndarray, kind: Target) -> np.ndarray:
    """Class ids [N] for logits [N, C]; the values themselves for numbers, [N] or [N, 1].

    Numbers that are not finite are refused: they come from a model that has diverged.
    """
    finite = np.isfinite(logits)
    if not finite.all():
        row = int(np.argwhere(~finite)[0, 0])
        raise UserError(f"the model's output for row {row} is not finite. Train again with a lower learning rate.")
    return SCORING[kind].read(logits)


def value(name: str, labels: np.ndarray, predicted: np.ndarray) -> float:
    """One metric of labels and predictions [N], without an interval."""
    metric = METRICS[name]
    return float(metric.values(SCORING[metric.of].whole(labels, predicted))[0])


def _whole_tally(labels: np.ndarray, predicted: np.ndarray) -> Tally:
    classes = class_count(labels, predicted)
    return Tally(*(np.bincount(ids, minlength=classes)[None].astype(np.float64)
                   for ids in (labels[labels == predicted], labels, predicted)))  # fmt: skip


def class_count(labels: np.ndarray, predicted: np.ndarray) -> int:
    """Classes up to the highest that occurs; at least two, so that there is a class 1."""
    return max(2, int(max(labels.max(), predicted.max())) + 1)


def score(
    names: Sequence[str], labels: np.ndarray, logits: np.ndarray, *, kind: Target, seed: int = 0, resamples: int = 2000
) -> dict[str, Score]:
    """Value and 95 % interval {"value", "low", "high"} of each named metric.

    labels: class ids or numbers [N]. logits: [N, C], or [N] for a regression.
    Equal seeds give equal intervals. A score that is undefined (a correlation with a constant) is 0.0.
    """
    metrics = {name: pick("metric", name, METRICS) for name in names}
    check(metrics, kind, classes=logits.shape[-1], rows=len(labels))
    predicted = predictions(logits, kind)
    labels = labels.astype(predicted.dtype)
    chunks = SCORING[kind].resample(labels, predicted, seed=seed, resamples=resamples)
    resampled = [[metric.values(chunk) for metric in metrics.values()] for chunk in chunks]
    scores = {}
    for name, values in zip(metrics, zip(*resampled, strict=True), strict=True):
        low, high = np.quantile(np.concatenate(values), [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
        scores[name] = {"value": value(name, labels, predicted), "low": float(low), "high": float(high)}
    return scores


def check(metrics: Mapping[str, Metric], kind: Target, *, classes: int, rows: int) -> None:
    """Refuse metrics that do not fit what is predicted, and a split without rows."""
    if rows == 0:
        raise UserError("there are no rows to score: the split is empty.")
    for name, metric in metrics.items():
        if metric.of is not kind:
            raise UserError(f"{name} scores {SCORING[metric.of].words}, but the model predicts {SCORING[kind].words}. "
                            f"Choose from: {', '.join(metrics_of(kind))}.")  # fmt: skip
        if name in POSITIVE_OF and classes != 2:
            raise UserError(f"{name} is the F1 of one class of two, but there are {classes} classes. Use macro_f1.")


def tallies(labels: np.ndarray, predicted: np.ndarray, *, seed: int, resamples: int) -> Iterator[Tally]:
    """Resampled confusion matrices in chunks.

    Drawing N examples with replacement and counting cells is one draw from a multinomial over the cells that occur.
    """
    classes = class_count(labels, predicted)
    cells, counts = np.unique(labels * classes + predicted, return_counts=True)
    truth, guess = np.divmod(cells, classes)
    generator = np.random.default_rng(seed)
    for size in _chunks(resamples, width=max(len(cells), classes)):
        drawn = generator.multinomial(len(labels), counts / len(labels), size=size).astype(np.float64)
        yield tally(drawn, truth, guess, classes)


def _counted(labels: np.ndarray, predicted: np.ndarray, *, seed: int, resamples: int) -> Iterator[Counted]:
    """Resamples of pairs of numbers in chunks."""
    rows = len(labels)
    generator = np.random.default_rng(seed)
    for size in _chunks(resamples, width=rows):
        drawn = generator.integers(rows, size=(size, rows)) + rows * np.arange(size)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=size * rows).reshape(size, rows)
        yield Counted(counts.astype(np.float64), labels, predicted)


def _chunks(resamples: int, *, width: int) -> Iterator[int]:
    """How many resamples of this width to draw at a time, so that memory stays bounded."""
    size = max(1, _NUMBERS_PER_CHUNK // width)
    for start in range(0, resamples, size):
        yield min(size, resamples - start)


def mean_scores(scores: Sequence[Mapping[str, Score]]) -> dict[str, Score]:
    """The mean of each metric over independent splits (MNLI: matched and mismatched).

    The distances from value to limit are added as squares, each side by itself, and divided by the
    number of splits. That is exact for normal scores and keeps a lopsided interval lopsided
    (Zou and Donner 2008, doi:10.1002/sim.3095); no resample needs to be stored.
    """
    averaged = {}
    for name in scores[0]:
        value, low, high = (np.array([split[name][key] for split in scores]) for key in ("value", "low", "high"))
        below, above = (float(np.linalg.norm(value - limit)) / len(scores) for limit in (low, high))
        mean = float(value.mean())
        averaged[name] = {"value": mean, "low": mean - below, "high": mean + above}
    return averaged


def summary(values: Sequence[float]) -> dict[str, float | None]:
    """{"mean", "sd", "n"} over seeds; sd divides by n - 1 and is None for a single value."""
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return {"mean": float(np.mean(values)), "sd": deviation, "n": len(values)}


def details(labels: np.ndarray, logits: np.ndarray, classes: Sequence[str], *, kind: Target) -> dict[str, Any]:
    """What lies behind the scores, ready for JSON.

    Classes: names in the order of their ids -> "per_class" {name: precision, recall, f1, support}, "confusion" [C][C]
    with a row per truth, "calibration_error". Numbers -> "mean_absolute_error" and "root_mean_squared_error" in the
    unit of the labels.
    """
    return SCORING[kind].details(labels, logits, classes)


def _class_details(labels: np.ndarray, logits: np.ndarray, classes: Sequence[str]) -> dict[str, Any]:
    predicted = predictions(logits, Target.CLASSES)
    confusion = np.bincount(labels * len(classes) + predicted, minlength=len(classes) ** 2).reshape(len(classes), -1)
    hits, truths, guesses = confusion.diagonal(), confusion.sum(axis=1), confusion.sum(axis=0)
    columns = {
        "precision": hits / np.maximum(guesses, 1),
        "recall": hits / np.maximum(truths, 1),
        "f1": 2 * hits / np.maximum(truths + guesses, 1),
        "support": truths,
    }
    return {
        "per_class": {
            name: {key: column[place].item() for key, column in columns.items()} for place, name in enumerate(classes)
        },
        "confusion": confusion.tolist(),
        "calibration_error": _calibration_error(labels, logits),
    }


def _number_details(labels: np.ndarray, logits: np.ndarray, classes: Sequence[str]) -> dict[str, Any]:
    error = predictions(logits, Target.NUMBER) - labels
    return {
        "mean_absolute_error": float(np.abs(error).mean()),
        "root_mean_squared_error": float(np.sqrt((error**2).mean())),
    }


def _calibration_error(labels: np.ndarray, logits: np.ndarray) -> float:
    """Expected calibration error: the mean gap between confidence and accuracy, over bins of confidence.

    logits [N, C] go through a softmax; 15 bins of equal width, each open to the left and weighted by
    its examples (Guo et al. 2017, arXiv:1706.04599, section 2). Between 0 and 1; 0 is best.
    """
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    confidence = 1 / np.exp(shifted).sum(axis=1)  # of the likeliest class, whose shifted logit is 0
    right = (logits.argmax(axis=1) == labels).astype(float)
    bins = np.ceil(confidence * 15).astype(int)
    return float(np.abs(np.bincount(bins, weights=confidence - right)).sum() / len(labels))


@dataclass(frozen=True)
class Scoring:
    """How what a model says of one kind of target is read, scored and told.

    words: for messages. read: logits -> predictions [N]. whole, resample: labels and predictions -> what the metrics
    of this kind need, of the sample and of resamples. details: labels, logits, names of classes -> JSON. answers:
    logits, names of classes -> what `predict` says of each text.
    """

    words: str
    read: Callable[[np.ndarray], np.ndarray]
    whole: Callable[[np.ndarray, np.ndarray], Any]
    resample: Callable[..., Iterator[Any]]
    details: Callable[[np.ndarray, np.ndarray, Sequence[str]], dict[str, Any]]
    answers: Callable[[np.ndarray, Sequence[str]], list[dict[str, Any]]]


SCORING: Mapping[Target, Scoring] = {
    Target.CLASSES: Scoring(
        "classes", lambda logits: logits.argmax(axis=1), _whole_tally, tallies, _class_details, class_answers
    ),
    Target.NUMBER: Scoring(
        "numbers",
        lambda logits: logits.reshape(-1).astype(np.float64),
        lambda labels, predicted: Counted(np.ones((1, len(labels))), labels.astype(np.float64), predicted),
        _counted,
        _number_details,
        number_answers,
    ),
}


def metrics_of(kind: Target) -> list[str]:
    """The metrics that score this kind of target."""
    return [name for name, metric in METRICS.items() if metric.of is kind]
