"""Models on the same examples, pair by pair: the tests, and one honest sentence on what they say.

Predictions in, plain rows and sentences out. Knows no folder and no record. Scores and differences are fractions; a
difference is the second model's score minus the first's. House shapes: N examples, S runs (seeds) of a model.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations, product
from typing import Any

import numpy as np

from featherlight.analysis import statistics
from featherlight.analysis.statistics import COHEN_G, COHEN_Q, McNemar, Paired
from featherlight.data.task import Target
from featherlight.measurement.metrics import METRICS, metric_name, value

Json = dict[str, Any]

_MCNEMAR, _PERMUTATION = "McNemar's exact test", "permutation test"
_COHENS_G = "Cohen's g"
_MOST_NAMED = 5  # models in a sentence
_EXACT = ("accuracy", "micro_f1")  # means over examples of right and wrong, which McNemar's test is about


@dataclass(frozen=True, eq=False)
class Model:
    """A model's runs on one data set: its folders and seeds (None: not known), and predictions [S, N] per split."""

    name: str
    folders: tuple[str, ...]
    seeds: tuple[int | None, ...]
    predicted: Mapping[str, np.ndarray]

    def take(self, seeds: Sequence[int | None]) -> "Model":
        """The same model with these of its runs, in this order."""
        rows = [self.seeds.index(seed) for seed in seeds]
        predicted = {split: guesses[rows] for split, guesses in self.predicted.items()}
        return Model(self.name, tuple(self.folders[row] for row in rows), tuple(seeds), predicted)


@dataclass(frozen=True, eq=False)
class DataSet:
    """What several models predicted of the same splits.

    labels: [N] per split. metric: what is compared. classes: their names.
    """

    task: str
    metric: str
    labels: Mapping[str, np.ndarray]
    models: tuple[Model, ...]
    classes: tuple[str, ...] = ()

    @property
    def score_name(self) -> str:
        """What is compared, as a table calls it: "accuracy", "F1 of fraud"."""
        return metric_name(self.metric, self.classes)

    @property
    def where(self) -> str:
        """ "dev of sst2"."""
        return f"{' + '.join(self.labels)} of {self.task}"

    def scores(self, model: Model) -> list[float]:
        """One score per run: the mean over splits."""
        splits = [(self.labels[name], guesses) for name, guesses in model.predicted.items()]
        return [
            float(np.mean([value(self.metric, labels, guesses[run]) for labels, guesses in splits]))
            for run in range(len(model.folders))
        ]


@dataclass(frozen=True)
class Terms:
    """How to compare. alpha: level of tests. margin: differences below this fraction do not matter; None: not asked."""

    alpha: float = 0.05
    margin: float | None = 0.01
    seed: int = 0
    resamples: int = 10000


def compare_all(
    data: Sequence[DataSet], terms: Terms, wanted: Callable[[str, str], bool] = lambda first, second: True
) -> list[Json]:
    """Every pair of models of every data set; "p_holm" holds for all of them together. wanted: of two names."""
    pairs = [
        _compare_pair(data_set, first, second, terms)
        for data_set in data
        for first, second in combinations(data_set.models, 2)
        if wanted(first.name, second.name)
    ]
    for pair, adjusted in zip(pairs, statistics.holm([pair["p"] for pair in pairs]), strict=True):
        pair["p_holm"] = adjusted
    return pairs


def _compare_pair(data: DataSet, first: Model, second: Model, terms: Terms) -> Json:
    """One pair: what was compared on what, both scores, and the results of `_tests`. "seeds": the runs compared.

    Those are the runs with equal seeds, if there are at least two; else all runs. A step after training inherits its
    seed, and with it the luck of that training: with other seeds on one side, the difference would be the seeds'.
    """
    shared = [seed for seed in first.seeds if seed is not None and seed in second.seeds]
    if len(shared) > 1:
        first, second = first.take(shared), second.take(shared)
    pairs = run_pairs(first.seeds, second.seeds)
    parts = [
        Paired(labels, first.predicted[split], second.predicted[split], pairs) for split, labels in data.labels.items()
    ]
    runs = [data.scores(model) for model in (first, second)]
    scores = tuple(float(np.mean(values)) for values in runs)
    return {
        "task": data.task,
        "split": " + ".join(data.labels),
        "metric": data.metric,
        "n": sum(len(labels) for labels in data.labels.values()),
        "first": first.name,
        "second": second.name,
        "first_score": scores[0],
        "second_score": scores[1],
        **_tests(data.metric, parts, scores, terms),
        "seeds": {"first": list(first.seeds), "second": list(second.seeds)},
        "seed_margin": seed_margin(runs[0], runs[1], pairs, alpha=terms.alpha),
    }


def _tests(metric: str, parts: Sequence[Paired], scores: Sequence[float], terms: Terms) -> Json:
    """Difference with its interval, p-value, equivalence, flips, effect size, and the p-values of all tests.

    "low", "high": the middle 1 - alpha of the paired bootstrap. "p": McNemar's exact test for accuracies of single
    runs, else the permutation test; "p_holm": None until all pairs are known.
    """
    drawn = statistics.bootstrap(metric, parts, seed=terms.seed, resamples=terms.resamples)
    difference = statistics.observed(metric, parts)
    tossed = statistics.permuted(metric, parts, seed=terms.seed, resamples=terms.resamples)
    permutation = statistics.p_of_permutation(tossed, difference)
    counts, flips = _discordant(parts) if METRICS[metric].of is Target.CLASSES else (None, None)
    single = counts if len(parts[0].first) == len(parts[0].second) == 1 else None
    exact = single if metric in _EXACT else None
    low, high = np.quantile(drawn, [terms.alpha / 2, 1 - terms.alpha / 2])
    return {
        "difference": difference,
        "low": float(low),
        "high": float(high),
        "p": exact.p_value if exact else permutation,
        "p_holm": None,
        "test": _MCNEMAR if exact else _PERMUTATION,
        **_equivalence(drawn, exact, sum(len(part.labels) for part in parts) if counts else None, terms),
        "flips": flips,
        "effect": _effect(counts, *scores),
        "tests": {
            "bootstrap": statistics.p_of_bootstrap(drawn),
            "permutation": permutation,
            **({"mcnemar": asdict(single)} if single else {}),
        },
    }


def seed_margin(
    first: Sequence[float], second: Sequence[float], pairs: Sequence[tuple[int, int]], *, alpha: float = 0.05
) -> float | None:
    """Half of the 1 - alpha interval of the difference over seeds, by Student's t; None if one side is one run.

    Of paired differences where both sides have the same seeds, else Welch's.
    """
    if min(len(first), len(second)) == 1:
        return None
    from scipy.stats import t

    if len(pairs) == len(first):
        differences = [second[other] - first[one] for one, other in pairs]
        variances, degrees = [np.var(differences, ddof=1) / len(pairs)], float(len(pairs) - 1)
    else:
        variances = [np.var(runs, ddof=1) / len(runs) for runs in (first, second)]
        parts = sum(part**2 / (len(runs) - 1) for part, runs in zip(variances, (first, second), strict=True))
        degrees = float(sum(variances) ** 2 / parts) if parts else 1.0
    return float(t.ppf(1 - alpha / 2, degrees) * np.sqrt(sum(variances)))


def run_pairs(first: Sequence[int | None], second: Sequence[int | None]) -> tuple[tuple[int, int], ...]:
    """Which run belongs to which: equal seeds if both models have the same ones, else each run to each."""
    if None not in first and sorted(map(str, first)) == sorted(map(str, second)):
        return tuple((place, list(second).index(seed)) for place, seed in enumerate(first))
    return tuple(product(range(len(first)), range(len(second))))


def _discordant(parts: Sequence[Paired]) -> tuple[McNemar, float]:
    """McNemar's counts over all splits and pairs of runs, and flips: predictions that differ, per pair of runs."""
    pairs = [(part.labels, part.first[one], part.second[other]) for part in parts for one, other in part.pairs]
    labels, first, second = (np.concatenate(column) for column in zip(*pairs, strict=True))
    flips = int((first != second).sum()) / len(parts[0].pairs)
    return statistics.mcnemar(labels, first, second), int(flips) if flips.is_integer() else flips


def _equivalence(drawn: np.ndarray, exact: McNemar | None, examples: int | None, terms: Terms) -> Json:
    """ "equivalent", and under "equivalence" the interval of 1 - 2 alpha that decides, the margin and the method.

    Two one-sided tests at alpha (Schuirmann 1987): the interval lies within the margin; None without a margin. For
    accuracies of single runs it comes from the discordant examples, else from the bootstrap. examples: of classes;
    where hardly any prediction differs, as much stays open as so many examples without a single flip leave open.
    """
    confidence = 1 - 2 * terms.alpha
    if exact and examples:
        low, high = statistics.counts_interval(exact.only_first, exact.only_second, examples, confidence=confidence)
    else:
        low, high = (float(limit) for limit in np.quantile(drawn, [terms.alpha, 1 - terms.alpha]))
        least, most = statistics.counts_interval(0, 0, examples, confidence=confidence) if examples else (low, high)
        low, high = min(low, least), max(high, most)
    method = "adjusted Wald" if exact else "paired bootstrap"
    within = None if terms.margin is None else bool(-terms.margin < low and high < terms.margin)
    interval = {"low": low, "high": high, "confidence": confidence, "margin": terms.margin, "method": method}
    return {"equivalent": within, "equivalence": interval}


def _effect(counts: McNemar | None, first: float, second: float) -> Json:
    """The effect's size in Cohen's terms: g of classes (among examples that only one gets right), q of correlations."""
    if counts:
        size = statistics.cohens_g(counts.only_first, counts.only_second)
        return {"name": _COHENS_G, "value": size, "size": statistics.size_of(size, COHEN_G)}
    q = statistics.cohens_q(first, second)
    return {"name": "Cohen's q", "value": q, "size": None if q is None else statistics.size_of(q, COHEN_Q)}


def verdict(data: DataSet, pairs: Sequence[Json], terms: Terms) -> str:
    """One sentence on the pairs of a data set; on a single one with its interval and p-value."""
    if len(pairs) > 1:
        return _verdict_on_many(data, pairs, terms)
    pair = pairs[0]
    metric, p = data.score_name, p_text(pair["p_holm"])
    p += "" if pair["p_holm"] == pair["p"] else " after Holm's correction"
    first, second = pair["first"], pair["second"]
    if pair["p_holm"] < terms.alpha:
        rises = pair["difference"] > 0
        better, worse = (second, first) if rises else (first, second)
        low, high = (pair["low"], pair["high"]) if rises else (-pair["high"], -pair["low"])
        but = f", though by less than the margin of {margin_text(terms)}" if pair["equivalent"] else ""
        return (
            f"{better} is better than {worse} on {data.where} by {points(abs(pair['difference']))} points of {metric} "
            f"({level(terms.alpha)} interval {points(low)} to {points(high)}, {p}){but}."
        )
    change = f"the second scores {points(pair['difference'], signed=True)} points of {metric}"
    if pair["equivalent"]:
        low, high = (pair["equivalence"][side] for side in ("low", "high"))
        return (
            f"{first} and {second} are equivalent within {margin_text(terms)} on {data.where}: {change} "
            f"({level(2 * terms.alpha)} interval {points(low)} to {points(high)})."
        )
    nor = "" if terms.margin is None else f", nor is equivalence within {margin_text(terms)} shown"
    return (
        f"No significant difference between {first} and {second} on {data.where}{nor}: {change} "
        f"({level(terms.alpha)} interval {points(pair['low'])} to {points(pair['high'])}, {p})."
    )


def _verdict_on_many(data: DataSet, pairs: Sequence[Json], terms: Terms) -> str:
    """Which model scores highest, which are significantly worse, and which do not differ significantly from it.

    Pairs are tested on the seeds that both have, where the one that scores highest over all may be the worse.
    """
    best = max(data.models, key=lambda model: np.mean(data.scores(model)))
    with_best = {
        pair["second"] if pair["first"] == best.name else pair["first"]: pair
        for pair in pairs
        if best.name in (pair["first"], pair["second"])
    }
    wins = {
        name: (pair["difference"] > 0) == (pair["second"] == best.name)
        for name, pair in with_best.items()
        if pair["p_holm"] < terms.alpha
    }
    worse, better = ([name for name, ahead in wins.items() if ahead == side] for side in (True, False))
    alike = [name for name, pair in with_best.items() if name not in wins and pair["equivalent"]]
    open_ = [name for name in with_best if name not in wins and name not in alike]
    score = points(float(np.mean(data.scores(best))))
    first = f"{best.name} scores highest on {data.where} ({data.score_name} {score})"
    claims = [f"it is better than {and_list(worse)}"] if worse else []
    claims += [f"worse than {and_list(better)} on the seeds that both have"] if better else []
    claims += [f"equivalent to {and_list(alike)} within {margin_text(terms)}"] if alike else []
    claims += [f"no significant difference from {and_list(open_)}"] if open_ else []
    method = f"differences Holm-adjusted, alpha = {terms.alpha:g}{', equivalence pair by pair' if alike else ''}"
    return f"{first}: {'; '.join(claims)} ({method})."


def doubts(data: Sequence[DataSet], pairs: Sequence[Json], terms: Terms) -> list[str]:
    """When not to believe the pairs: one run, seeds that scatter as far, few examples, few resamples."""
    sentences = []
    single = dict.fromkeys(model.name for data_set in data for model in data_set.models if len(model.folders) == 1)
    if single:
        sentences.append(
            f"Only one run of {and_list(list(single))}{' on some data sets' if len(data) > 1 else ''}: the tests hold "
            "for these trained models; the effect of another training seed is not covered."
        )
    for data_set in data:
        sentences += _doubts_on_data(data_set, [pair for pair in pairs if pair["task"] == data_set.task], terms)
    least = len(pairs) / (terms.resamples + 1)
    if least > terms.alpha / 2 and any(pair["test"] == _PERMUTATION for pair in pairs):
        sentences.append(
            f"With {len(pairs)} pairs, {terms.resamples:,} resamples give no p (Holm) below {least:.2g}: use more."
        )
    if any(pair["effect"]["name"] == _COHENS_G and pair["metric"] not in _EXACT for pair in pairs):
        sentences.append(f"{_COHENS_G} counts right answers, whatever the metric; its sign may be another.")
    return sentences


def _doubts_on_data(data: DataSet, pairs: Sequence[Json], terms: Terms) -> list[str]:
    """Why not to believe the pairs of one data set: above all a claim that may hold for these seeds alone."""
    sentences = []
    for pair in pairs:
        margin, names = pair["seed_margin"], f"{pair['first']} and {pair['second']}"
        claimed = pair["p_holm"] < terms.alpha or pair["equivalent"]
        if claimed and margin and abs(pair["difference"]) < margin:
            sentences.append(
                f"{data.task}: {names} are {points(abs(pair['difference']))} points apart, less than the "
                f"{points(margin)} that the choice of seeds can change: other seeds may reverse it."
            )
        runs = {side: len(pair["seeds"][side]) for side in ("first", "second")}
        if any(len(model.folders) > runs[side] for side in runs for model in data.models if model.name == pair[side]):
            shared = ", ".join(map(str, pair["seeds"]["first"]))
            sentences.append(f"{data.task}: {names} are compared on the seeds that both have: {shared}.")
    examples = sum(len(labels) for labels in data.labels.values())
    if examples < 200:
        sentences.append(f"{data.task}: {examples} examples are few; only large differences can be detected.")
    return sentences


def points(fraction: float, *, signed: bool = False) -> str:
    """A fraction times 100: "1.2", or "+1.2"; one digit of less than a tenth, and no sign before 0.0."""
    value = round(100 * fraction, 10) or 0.0
    form = ".1f" if abs(value) >= 0.095 or not value else ".1g"
    return f"{value:{'+' if signed and value else ''}{form}}"


def p_text(p: float) -> str:
    """ "p = 0.012", "p < 0.001"."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}"


def level(alpha: float) -> str:
    """ "95 %" for 0.05."""
    return f"{100 * (1 - alpha):g} %"


def margin_text(terms: Terms) -> str:
    """ "1 point", "0.5 points"."""
    assert terms.margin is not None
    number = f"{100 * terms.margin:g}"
    return f"{number} point{'' if number == '1' else 's'}"


def and_list(names: Sequence[str]) -> str:
    """ "a, b and c"; of many the first and how many others."""
    if len(names) > _MOST_NAMED:
        names = [*names[: _MOST_NAMED - 1], f"{len(names) - _MOST_NAMED + 1} others"]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
