"""Models over several data sets: average ranks, whether they differ at all, and which of them.

A table of scores in, ranks and tests out (Demsar 2006, JMLR 7, sections 3.2.2 and 3.2.3). Knows no examples: each data
set is one observation, however many examples or seeds are behind its score. House shapes: D data sets, M models.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from featherlight.analysis.comparison import DataSet, and_list, p_text
from featherlight.analysis.figures import GREY, INK, draw

LEAST_MODELS, LEAST_DATA_SETS = 3, 2
AXIS_INCHES, INCHES_PER_LETTER = 4.5, 0.08
FEW_DATA_SETS = 10  # below that the chi-squared distribution is a rough guide (Demsar 2006, section 3.2.2)


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
    found: list[tuple[int, int]] = []
    for start in range(len(ranks)):
        stop = start + int((ranks[start:] <= ranks[start] + distance).sum())
        if stop - start > 1 and (not found or stop > found[-1][1]):
            found.append((start, stop))
    return found


def ranking_of(data: Sequence[DataSet], *, alpha: float) -> tuple[Ranking | None, list[str]]:
    """The ranking of those models that every data set has, by name, and what to know of it.

    None with a reason where there are too few; a model's score is the mean over its runs.
    """
    shared = [model.name for model in data[0].models
              if all(model.name in [other.name for other in one.models] for one in data)]  # fmt: skip
    absent = sorted({model.name for one in data for model in one.models} - set(shared))
    said = [f"Not ranked, for not every data set has it: {and_list(absent)}."] if absent else []
    if len(data) < LEAST_DATA_SETS or len(shared) < LEAST_MODELS:
        return None, [
            f"No ranks over data sets: {len(shared)} models on all of {len(data)} data sets; it takes at least "
            f"{LEAST_MODELS} and {LEAST_DATA_SETS}.",
            *said,
        ]
    scores = np.array([[np.mean(one.scores(model)) for name in shared for model in one.models if model.name == name]
                       for one in data])  # fmt: skip
    if len(data) < FEW_DATA_SETS:
        said.append(
            f"{len(data)} data sets are few (Demsar asks for {FEW_DATA_SETS}): p is rough and the critical difference "
            "large; that models are not told apart says little."
        )
    said.append("Over data sets, models of one name are one model; the mean over seeds counts once per data set.")
    return rank(shared, [one.task for one in data], scores, alpha=alpha), said


def verdict_on_ranks(ranking: Ranking) -> str:
    """One sentence on who is first, and whether that can be told."""
    best, count = ranking.models[0], len(ranking.tasks)
    said = f"Over {count} data sets {best} has the best average rank ({ranking.ranks[0]:.2f})"
    test = f"Friedman's test: {p_text(ranking.p)}"
    if ranking.p >= ranking.alpha:
        return f"{said}, but that the models differ at all cannot be told ({test})."
    first = next((group for group in ranking.groups if best in group), (best,))
    behind = [name for name in ranking.models if name not in first]
    alike = [name for name in first if name != best]
    parts = [f"better than {and_list(behind)}"] if behind else []
    parts += [f"not told apart from {and_list(alike)}"] if alike else []
    return f"{said}: {'; '.join(parts)} ({test}; Nemenyi's critical difference {ranking.critical_difference:.2f})."


def rank_figure(ranking: Ranking) -> Any:
    """The critical-difference diagram: models at their average ranks, bars join those that are not told apart."""
    count, bars = len(ranking.models), len(ranking.groups)
    left = (count + 1) // 2  # the better half is named on the left
    deepest = 0.5 + 0.3 * bars
    longest = [max(map(len, names)) for names in (ranking.models[:left], ranking.models[left:])]
    width = AXIS_INCHES + INCHES_PER_LETTER * (sum(longest) + 16)  # the names stand on both sides of the axis
    figure, (axes,) = draw(width, 1.2 + 0.25 * left + 0.16 * bars)
    axes.set_axis_off()
    margin = 0.08 * (count - 1)
    axes.set_xlim(1 - margin, count + margin)
    axes.set_ylim(-(deepest + 0.7 * left + 0.3), 2.1)
    axes.hlines(0, 1, count, color=INK, linewidth=1)
    for tick in range(1, count + 1):
        axes.vlines(tick, 0, 0.2, color=INK, linewidth=1)
        axes.text(tick, 0.35, str(tick), ha="center", va="bottom", color=INK)
    reach = min(ranking.critical_difference, count - 1)
    axes.plot([1, 1 + reach], [1.4, 1.4], color=GREY, linewidth=1, marker="|", markersize=6)
    more = " (more than the axis is long)" if ranking.critical_difference > count - 1 else ""
    text = f"critical difference {ranking.critical_difference:.2f}{more}, {len(ranking.tasks)} data sets"
    axes.text(1, 1.6, text, ha="left", va="bottom", color=INK)
    for place, (name, mean) in enumerate(zip(ranking.models, ranking.ranks, strict=True)):
        first = place < left
        depth = deepest + 0.7 * (place if first else count - 1 - place) + 0.4
        side = 1 - margin / 2 if first else count + margin / 2
        axes.plot([mean, mean, side], [0, -depth, -depth], color=GREY, linewidth=0.8)
        label = f"{name}  {mean:.2f}" if first else f"{mean:.2f}  {name}"
        axes.text(side, -depth, f" {label} ", ha="right" if first else "left", va="center", color=INK, parse_math=False)
    for place, group in enumerate(ranking.groups):
        ends = [ranking.ranks[ranking.models.index(name)] for name in (group[0], group[-1])]
        axes.plot([ends[0] - 0.02, ends[1] + 0.02], [-0.3 - 0.3 * place] * 2, color=INK, linewidth=3)
    return figure
