"""Do the levels of a factor differ in their mean time? One-way analysis of variance, and what to read when it may not.

A column of times and the level of each row in, sums, tests and sentences out. Knows no other factor.
"""

import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from featherlight.analysis.statistics import probability
from featherlight.analysis.study import Json, finite

SIGNIFICANT = 0.05
_MOST_TESTED = 5000  # rows of a Shapiro-Wilk test, whose p-value is not known for more (Royston 1995)
Array = np.ndarray[Any, np.dtype[np.float64]]


@contextmanager
def degenerate() -> Iterator[None]:
    """Let groups without spread give NaN instead of a warning; `finite` makes None of it."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore", RuntimeWarning)
        warnings.simplefilter("ignore", stats.ConstantInputWarning)
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        yield


def one_way(times: "pd.Series[float]", groups: "pd.Series[Any]") -> Json:
    """One-way analysis of variance of times [N] by groups [N], its assumptions, and tests that need fewer of them.

    "ss_between", "ss_within", "df_between", "df_within", "F", "p"; "eta_squared": the share of the variance that lies
    between the levels; "shapiro_p": residuals normal (of at most 5,000 rows, "shapiro_n"); "levene_p": equal
    variances, around medians (Brown and Forsythe 1974); "welch": means, variances unequal; "kruskal": ranks;
    "post_hoc": see `_post_hoc`. None stands where a test cannot be computed.
    """
    residuals = residuals_of(times, groups)
    total, within = float(((times - times.mean()) ** 2).sum()), float((residuals**2).sum())
    between = total - within
    count = int(groups.nunique())
    freedom = (count - 1, len(times) - count)
    exact = within <= 1e-20 * total or freedom[1] < 1  # rounding is all that is left
    ratio = math.nan if exact else between / freedom[0] / (within / freedom[1])
    several = _samples(times, groups)
    tested = sample_rows(residuals)
    return {
        "F": finite(ratio),
        "p": finite(stats.f.sf(ratio, *freedom)),
        "ss_between": between,
        "ss_within": within,
        "df_between": freedom[0],
        "df_within": freedom[1],
        "eta_squared": between / total,
        "shapiro_p": None if exact else shapiro(tested),
        "shapiro_n": len(tested),
        "levene_p": _levene(several),
        "welch": _tested_by(stats.f_oneway, several, "F", equal_var=False),
        "kruskal": _tested_by(stats.kruskal, several, "H"),
        "post_hoc": _post_hoc(times, groups),
    }


def residuals_of(times: "pd.Series[float]", groups: "pd.Series[Any]") -> Array:
    """Each time minus the mean of its level [N]."""
    return np.asarray(times - times.groupby(groups, observed=True).transform("mean"), np.float64)


def _samples(times: "pd.Series[float]", groups: "pd.Series[Any]") -> dict[str, Array]:
    """{level: its times}, of the levels with two rows or more: one row has no spread to test."""
    samples = times.groupby(groups, observed=True)
    return {str(level): np.asarray(sample, np.float64) for level, sample in samples if len(sample) > 1}


def sample_rows(values: Array) -> Array:
    """The values, or 5,000 of them, drawn with a fixed seed."""
    if len(values) <= _MOST_TESTED:
        return values
    return np.random.default_rng(0).choice(values, _MOST_TESTED, replace=False)


def shapiro(values: Array) -> float | None:
    """The p-value of the Shapiro-Wilk test of normality; None for fewer than three values."""
    if len(values) < 3:
        return None
    with degenerate():
        return finite(stats.shapiro(values).pvalue)


def _levene(several: dict[str, Array]) -> float | None:
    """The p-value of Levene's test; two rows lie equally far from their median, so groups of three and more count."""
    return _tested_by(stats.levene, {name: part for name, part in several.items() if len(part) > 2}, "W")["p"]


def _tested_by(test: Any, several: dict[str, Array], letter: str, **options: Any) -> dict[str, float | None]:
    """{letter: statistic, "p"} of a test from scipy over groups; None for both where it cannot be computed."""
    if len(several) < 2:
        return {letter: None, "p": None}
    with degenerate():
        result = test(*several.values(), **options)
    return {letter: finite(result.statistic), "p": finite(result.pvalue)}


def _post_hoc(times: "pd.Series[float]", groups: "pd.Series[Any]") -> Json | None:
    """Which levels differ: each pair's difference of means (second minus first), 95 % interval and p-value.

    "test": "Tukey" (Tukey-Kramer) where Levene's test lets variances pass as equal, else "Games-Howell" (1976).
    p-values hold for all pairs together. None for fewer than two levels with two rows, or more than 20.
    """
    from statsmodels.stats.libqsturng import qsturng

    several = _samples(times, groups)
    if not 2 <= len(several) <= 20:
        return None
    equal = (_levene(several) or 0.0) >= SIGNIFICANT
    pairs = list(combinations(several, 2))
    differences = np.array([several[second].mean() - several[first].mean() for first, second in pairs])
    with degenerate():
        errors, freedom = _pooled(several, pairs) if equal else _unpooled(several, pairs)
        p = np.atleast_1d(stats.studentized_range.sf(np.abs(differences) / errors, len(several), freedom))
    known = np.isfinite(freedom) & (freedom >= 2)  # what Gleason's approximation covers; scipy's takes 0.1 s for each
    quantiles = qsturng(1 - SIGNIFICANT, len(several), np.where(known, freedom, 2.0))
    reach = errors * np.where(known, quantiles, np.nan)
    rows = zip(pairs, differences, differences - reach, differences + reach, p, strict=True)
    return {
        "test": "Tukey" if equal else "Games-Howell",
        "pairs": [
            {"first": first, "second": second, "difference": float(difference), "low": finite(low),
             "high": finite(high), "p": finite(p_value)}
            for (first, second), difference, low, high, p_value in rows
        ],
    }  # fmt: skip


def _pooled(several: dict[str, Array], pairs: Sequence[tuple[str, str]]) -> tuple[Array, Array]:
    """Errors of the studentized range and their degrees of freedom, of each pair: one variance for all levels."""
    freedom = sum(map(len, several.values())) - len(several)
    variance = sum(float(((part - part.mean()) ** 2).sum()) for part in several.values()) / freedom
    inverse = np.array([1 / len(several[first]) + 1 / len(several[second]) for first, second in pairs])
    return np.sqrt(variance / 2 * inverse), np.full(len(pairs), float(freedom))


def _unpooled(several: dict[str, Array], pairs: Sequence[tuple[str, str]]) -> tuple[Array, Array]:
    """The same with a variance for each level, and Welch's degrees of freedom."""
    share = {name: part.var(ddof=1) / len(part) for name, part in several.items()}
    both = np.array([share[first] + share[second] for first, second in pairs])
    weights = {name: share[name] ** 2 / (len(part) - 1) for name, part in several.items()}
    return np.sqrt(both / 2), both**2 / np.array([weights[first] + weights[second] for first, second in pairs])


def doubts(name: str, test: Json) -> list[str]:
    """Why not to believe an analysis of variance, and what to read instead; one sentence each."""
    if test["F"] is None:
        return [f"{name}: times do not vary inside its levels, or it has as many levels as rows: no test is possible."]
    sentences = []
    if below(test["shapiro_p"]):
        sentences.append(
            f"{name}: the residuals are not normal (Shapiro-Wilk p {probability(test['shapiro_p'])}); with few rows "
            "or very unequal groups F's p-value is not to be trusted. Kruskal-Wallis compares ranks instead: "
            f"{_sentence(test['kruskal'], 'H')}."
        )
    if below(test["levene_p"]):
        sentences.append(
            f"{name}: the levels' variances are unequal (Levene p {probability(test['levene_p'])}). Read Welch's test "
            f"({_sentence(test['welch'], 'F')}) and Games-Howell's comparisons in place of F."
        )
    others = {"Welch's": test["welch"]["p"], "Kruskal-Wallis'": test["kruskal"]["p"]}
    against = [other for other, p in others.items() if p is not None and below(p) != below(test["p"])]
    if against:
        verdict = "finds a difference" if below(test["p"]) else "finds none"
        sentences.append(f"{name}: F {verdict} at 5 %, {' and '.join(against)} test says otherwise.")
    return sentences


def below(p: float | None) -> bool:
    """Whether a p-value is significant; a test that could not be computed is not."""
    return p is not None and p < SIGNIFICANT


def _sentence(result: dict[str, float | None], letter: str) -> str:
    """ "F = 66.7, p = 5.5e-46"."""
    value, p = result[letter], result["p"]
    return "not computable" if value is None or p is None else f"{letter} = {value:.4g}, p {probability(p)}"
