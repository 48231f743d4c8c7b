"""Models over several data sets: average ranks, whether they differ at all, and which of them.

A table of scores in, ranks and tests out (Demsar 2006, JMLR 7, sections 3.2.2 and 3.2.3). Knows no examples: each data
set is one observation, however many examples or seeds are behind its score. House shapes: D data sets, M models.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from featherlight.analysis.comparison import DataSet, and_list, p_text

_LEAST_MODELS, _LEAST_DATA_SETS = 3, 2
_FEW_DATA_SETS = 10  # below that the chi-squared distribution is a rough guide (Demsar 2006, section 3.2.2)


@dataclass(frozen=True)
class Ranking:
    """Average ranks (1 is best), best first, and what may be concluded from them.

    scores: [D][M] in the order of tasks and models. critical_difference: ranks further apart than this differ at alpha
    (Nemenyi). groups: models next to each other that cannot be told apart, none inside another; only of two or more.
    chi_squared, p: Friedman's test. f, f_p: Iman and Davenport's version of it, less conservative; None where all data
    sets rank alike, which leaves it undefined.
    """

    models: tuple[str, ...]
    tasks: tuple[str, ...]
    scores: tuple[tuple[float, ...], ...]
    ranks: tuple[float, ...]
    chi_squared: float
    p: float
    f: float | None
    f_p: float | None
    critical_difference: float
    groups: tuple[tuple[str, ...], ...]
    alpha: float


def rank(models: Sequence[str], tasks: Sequence[str], scores: np.ndarray, *, alpha: float) -> Ranking:
    """Ranks of scores [D, M], higher is better; ties share their mean rank. At least 3 models and 2 data sets."""
    from scipy.stats import f, friedmanchisquare, rankdata

    sets, count = scores.shape
    ranked = rankdata(-scores.round(12), axis=1)
    means = ranked.mean(axis=0)
    differ = bool((ranked != ranked[:, :1]).any())  # with nothing but ties, Friedman's test is undefined
    chi_squared, p = map(float, friedmanchisquare(*ranked.T)) if differ else (0.0, 1.0)
    rest = sets * (count - 1) - chi_squared
    davenport = (sets - 1) * chi_squared / rest if rest > 1e-9 else None
    distance = critical_difference(count, sets, alpha=alpha)
    order = np.argsort(means, kind="stable")
    names = [models[place] for place in order]
    return Ranking(
        models=tuple(names),
        tasks=tuple(tasks),
        scores=tuple(tuple(float(score) for score in row) for row in scores[:, order]),
        ranks=tuple(float(mean) for mean in means[order]),
        chi_squared=chi_squared,
        p=p,
        f=davenport,
        f_p=None if davenport is None else float(f.sf(davenport, count - 1, (count - 1) * (sets - 1))),
        critical_difference=distance,
        groups=tuple(tuple(names[start:stop]) for start, stop in cliques(means[order], distance)),
        alpha=alpha,
    )


def critical_difference(models: int, data_sets: int, *, alpha: float) -> float:
    """How far two of M average ranks must be apart to differ at alpha (Nemenyi 1963; Demsar 2006, section 3.2.2)."""
    from scipy.stats import studentized_range

    quantile = float(studentized_range.ppf(1 - alpha, models, np.inf)) / math.sqrt(2)
    return quantile * math.sqrt(models * (models + 1) / (6 * data_sets))


def cliques(ranks: np.ndarray, distance: float) -> list[tuple[int, int]]:
    """Longest stretches [start, stop) of sorted ranks whose ends are at most `distance` apart; two models or more."""
    stretches: list[tuple[int, int]] = []
    for start in range(len(ranks)):
        stop = start + int((ranks[start:] <= ranks[start] + distance).sum())
        if stop - start > 1 and (not stretches or stop > stretches[-1][1]):
            stretches.append((start, stop))
    return stretches


def ranking_of(data: Sequence[DataSet], *, alpha: float) -> tuple[Ranking | None, list[str]]:
    """The ranking of those models that every data set has, by name, and what to know of it.

    None with a reason where there are too few; a model's score is the mean over its runs.
    """
    shared = [model.name for model in data[0].models
              if all(model.name in [other.name for other in data_set.models] for data_set in data)]  # fmt: skip
    absent = sorted({model.name for data_set in data for model in data_set.models} - set(shared))
    sentences = [f"Not ranked, because a data set lacks it: {and_list(absent)}."] if absent else []
    if len(data) < _LEAST_DATA_SETS or len(shared) < _LEAST_MODELS:
        return None, [
            f"No ranks over data sets: {len(shared)} models on all of {len(data)} data sets; ranks need at least "
            f"{_LEAST_MODELS} models and {_LEAST_DATA_SETS} data sets.",
            *sentences,
        ]
    scores = np.array([[np.mean(data_set.scores(model))
                        for name in shared for model in data_set.models if model.name == name]
                       for data_set in data])  # fmt: skip
    if len(data) < _FEW_DATA_SETS:
        sentences.append(
            f"{len(data)} data sets are few (Demsar asks for {_FEW_DATA_SETS}): p is rough and the critical difference "
            "large; a difference that is not significant says little."
        )
    sentences.append("Over data sets, models of one name are one model; the mean over seeds counts once per data set.")
    return rank(shared, [data_set.task for data_set in data], scores, alpha=alpha), sentences


def verdict_on_ranks(ranking: Ranking) -> str:
    """One sentence on which model is first, and from which it differs significantly."""
    best, count = ranking.models[0], len(ranking.tasks)
    start = f"Over {count} data sets {best} has the best average rank ({ranking.ranks[0]:.2f})"
    test = f"Friedman's test: {p_text(ranking.p)}"
    if ranking.p >= ranking.alpha:
        return f"{start}, but the models do not differ significantly ({test})."
    first = next((group for group in ranking.groups if best in group), (best,))
    behind = [name for name in ranking.models if name not in first]
    alike = [name for name in first if name != best]
    claims = [f"better than {and_list(behind)}"] if behind else []
    claims += [f"not significantly different from {and_list(alike)}"] if alike else []
    return f"{start}: {'; '.join(claims)} ({test}; Nemenyi's critical difference {ranking.critical_difference:.2f})."
