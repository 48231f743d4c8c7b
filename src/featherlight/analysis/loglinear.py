"""How many times as long does each level, or each unit, make it? A linear model of the logarithm of time.

A `Study` in, coefficients, tests of the model's assumptions and sentences out. House shapes: N rows, K coefficients.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from featherlight.analysis.anova import SIGNIFICANT, Array, below, degenerate, sample_rows, shapiro
from featherlight.analysis.statistics import probability
from featherlight.analysis.study import Factor, Json, Study, finite, word
from featherlight.errors import UserError

_EFFECT = ("times_as_long", "low", "high")
_CONDITION = 30  # of scaled columns: beyond, coefficients lean on one another (Belsley, Kuh and Welsch 1980, 3.2)


@dataclass(frozen=True)
class Fit:
    """numbers: for JSON. fitted, residuals: [N], of the logarithm; for figures."""

    numbers: Json
    fitted: Array
    residuals: Array


def _design(study: Study) -> tuple[pd.DataFrame, dict[str, list[str]]]:
    """The matrix [N, K] with named columns, and the columns of each factor.

    Intercept, an indicator `factor[level]` per level but the reference, and numeric factors as they are. UserError for
    fewer rows than coefficients, or factors that cannot be told apart.
    """
    blocks = {}
    for factor in study.factors:
        if factor.numeric:
            blocks[factor.name] = study.frame[[factor.name]].astype(np.float64)
        else:
            indicators = {f"{factor.name}[{level}]": (study.groups[factor.name] == level).astype(np.float64)
                          for level in factor.levels if level != factor.reference}  # fmt: skip
            blocks[factor.name] = pd.DataFrame(indicators)
    count = 1 + sum(block.shape[1] for block in blocks.values())
    if len(study.frame) <= count:
        raise UserError(
            f"{len(study.frame)} rows for {count} coefficients (the levels of {', '.join(blocks)}): too few to fit the "
            "model. Give more rows or fewer factors."
        )
    for size in range(2, len(blocks) + 1) if _rank(list(blocks.values())) < count else ():
        for names in combinations(blocks, size):  # the fewest that are collinear among themselves
            subset = [blocks[name] for name in names]
            if _rank(subset) < 1 + sum(block.shape[1] for block in subset):
                raise UserError(
                    f"factors {', '.join(names)} are collinear: in these rows one follows from the other"
                    f"{'s' if size > 2 else ''}, and their effects cannot be told apart. Leave one out."
                )
    intercept = pd.DataFrame({"Intercept": 1.0}, index=study.frame.index)
    columns = {name: list(map(str, block)) for name, block in blocks.items()}
    return pd.concat([intercept, *blocks.values()], axis=1), columns


def _rank(blocks: Sequence[pd.DataFrame]) -> int:
    """The rank of the blocks' columns beside an intercept; columns are centred and scaled first, for units differ."""
    centred = [block.to_numpy() - block.to_numpy().mean(axis=0) for block in blocks]
    matrix = _scaled(np.column_stack([np.ones(len(blocks[0])), *centred]))
    spectrum = np.linalg.eigvalsh(matrix.T @ matrix)
    return int((spectrum > 1e-10 * spectrum[-1]).sum())


def _scaled(matrix: Array) -> Array:
    return np.asarray(matrix / np.linalg.norm(matrix, axis=0))


def fit(study: Study) -> Fit:
    """Least squares of ln(time) on the factors, as in chapter 6.4 of the thesis on fine-tuning times, and its tests.

    "coefficients": {name: {"value", "se", "p"} as published, {"robust_se", "robust_p"}: HC3 (MacKinnon and White 1985),
    "times_as_long" with "low" and "high": exp(value) and its 95 % interval}; "errors": which of the two intervals and
    "factors" use. "factors": {name: {"F", "df", "p"}}: has the factor any effect beside the others? "spans": of a
    numeric factor, how many times as long from its smallest to its largest value.
    """
    import statsmodels.api as sm
    from statsmodels.stats.diagnostic import het_breuschpagan
    from statsmodels.stats.stattools import durbin_watson

    matrix, columns = _design(study)
    x, names = matrix.to_numpy(), list(map(str, matrix))
    model = sm.OLS(np.log(study.times.to_numpy()), x).fit()
    residuals = np.asarray(model.resid)
    spread = float((residuals**2).sum()) > 1e-20 * float(model.centered_tss)
    with degenerate():
        breusch_pagan = finite(het_breuschpagan(residuals, x)[1]) if spread else None
    robust_covariance, undefined = _hc3(x, residuals)
    robust = below(breusch_pagan)
    errors = np.asarray(model.bse) if spread else np.full(len(names), np.nan)
    robust_errors = np.where(undefined | ~np.isfinite(errors), np.nan, np.sqrt(np.diag(robust_covariance)))
    covariance = robust_covariance if robust else np.asarray(model.cov_params())
    known = np.isfinite(robust_errors if robust else errors)
    numbers: Json = {
        "r_squared": float(model.rsquared),
        "r_squared_of_times": float(sm.OLS(study.times.to_numpy(), x).fit().rsquared),
        "condition_number": float(model.condition_number),
        "condition_number_scaled": float(np.linalg.cond(_scaled(x))),
        "durbin_watson": float(durbin_watson(residuals)) if spread else None,
        "breusch_pagan_p": breusch_pagan,
        "shapiro_p": shapiro(sample_rows(residuals)) if spread else None,
        "df_residual": int(model.df_resid),
        "references": {factor.name: factor.reference for factor in study.factors if factor.reference is not None},
        "errors": "HC3" if robust else "ordinary",
        "coefficients": _coefficients(names, model, errors, robust_errors, robust=robust),
        "factors": {
            name: _joint_test(model, covariance, [i for column in block if known[i := names.index(column)]])
            for name, block in columns.items()
        },
    }
    numbers["spans"] = _spans(study, numbers["coefficients"])
    return Fit(numbers, np.asarray(model.fittedvalues), residuals)


def _hc3(x: Array, residuals: Array) -> tuple[Array, Array]:
    """The covariance [K, K] of the coefficients when variances are unequal, and whose errors [K] it leaves undefined.

    statsmodels' own makes an N x N matrix, and NaN of everything where one row alone has a level: that row is fitted
    without residual, so it says nothing of the other coefficients' errors and all of its own.
    """
    half = np.linalg.pinv(x.T @ x) @ x.T
    leverage = (x * half.T).sum(axis=1)
    alone = leverage > 1 - 1e-9
    weights = np.where(alone, 0.0, residuals / np.where(alone, 1.0, 1 - leverage))
    covariance = (half * weights**2) @ half.T
    undefined = (np.abs(half[:, alone]) > 1e-9 * np.abs(half).max(axis=1, keepdims=True)).any(axis=1)
    return np.asarray(covariance), np.asarray(undefined)


def _coefficients(names: Sequence[str], model: Any, errors: Array, robust_errors: Array, *, robust: bool) -> Json:
    """{name: numbers}, see `fit`; robust: whether intervals stand on the robust errors [K]."""
    quantile = float(stats.t.ppf(1 - SIGNIFICANT / 2, model.df_resid))
    with degenerate():
        p = 2 * stats.t.sf(np.abs(model.params / errors), model.df_resid)
        robust_p = 2 * stats.t.sf(np.abs(model.params / robust_errors), model.df_resid)
    coefficients = {}
    for place, name in enumerate(names):
        value = float(model.params[place])
        reach = quantile * (robust_errors if robust else errors)[place]
        coefficients[name] = {
            "value": value,
            "se": finite(errors[place]),
            "p": finite(p[place]),
            "robust_se": finite(robust_errors[place]),
            "robust_p": finite(robust_p[place]),
            "times_as_long": _exponential(value),
            "low": _exponential(value - reach),
            "high": _exponential(value + reach),
        }
    return coefficients


def _exponential(value: float) -> float | None:
    with np.errstate(over="ignore"):
        return finite(np.exp(value))


def _joint_test(model: Any, covariance: Array, places: Sequence[int]) -> Json:
    """Wald's F test that all coefficients at these places are 0; None of it where there is no place."""
    if not places:
        return {"F": None, "df": 0, "p": None}
    values = np.asarray(model.params)[list(places)]
    ratio = float(values @ np.linalg.pinv(covariance[np.ix_(places, places)]) @ values) / len(places)
    return {"F": finite(ratio), "df": len(places), "p": finite(stats.f.sf(ratio, len(places), model.df_resid))}


def _spans(study: Study, coefficients: Json) -> Json:
    """{numeric factor: {"from", "to", "times_as_long", "low", "high"}}."""
    spans = {}
    for name in [factor.name for factor in study.factors if factor.numeric]:
        low, high = float(study.frame[name].min()), float(study.frame[name].max())
        ratios = {key: coefficients[name][key] for key in _EFFECT}
        powers = {key: ratio and finite(np.float64(ratio) ** (high - low)) for key, ratio in ratios.items()}
        spans[name] = {"from": low, "to": high, **powers}
    return spans


def findings(study: Study, numbers: Json) -> list[tuple[str | float | None, ...]]:
    """What each factor does, all else equal; the widest effect first, be it longer or shorter.

    (factor, level, level it is against, times as long, low, high, p of the factor): of levels the longest and the
    shortest against the reference, of numbers the largest against the smallest.
    """
    rows = [
        (factor.name, *effect, numbers["factors"][factor.name]["p"])
        for factor in study.factors
        for effect in _effects_of(factor, numbers)
    ]
    return sorted(rows, key=lambda row: -abs(math.log(row[3])) if row[3] else 0.0)


def _effects_of(factor: Factor, numbers: Json) -> list[tuple[Any, ...]]:
    """(level, level it is against, and whether that is an extreme itself, times as long, low, high), once or twice."""
    if factor.numeric:
        span = numbers["spans"][factor.name]
        return [(word(span["to"]), word(span["from"]), *(span[key] for key in _EFFECT))]
    coefficients = {level: numbers["coefficients"].get(f"{factor.name}[{level}]") for level in factor.levels}
    values = {level: effect["value"] for level, effect in coefficients.items() if effect} | {str(factor.reference): 0.0}
    longest, shortest = max(values, key=values.__getitem__), min(values, key=values.__getitem__)
    beside = {longest: " (takes longest)", shortest: " (takes least)"}.get(str(factor.reference), "")
    ends = [level for level in dict.fromkeys((longest, shortest)) if level != factor.reference]
    return [(level, f"{factor.reference}{beside}", *(coefficients[level][key] for key in _EFFECT)) for level in ends]


def doubts(numbers: Json, n: int) -> list[str]:
    """Why not to believe the log-linear model; one sentence each."""
    if numbers["shapiro_p"] is None:
        return ["The model fits every row: without residuals there are no errors, intervals or tests."]
    sentences = []
    if numbers["r_squared"] < 0.5:
        sentences.append(f"The factors explain only {numbers['r_squared']:.0%} of the variance of ln(time).")
    per_coefficient = n / len(numbers["coefficients"])
    if per_coefficient < 10:
        sentences.append(f"{per_coefficient:.1f} rows per coefficient: R squared is too high, and intervals are wide.")
    if below(numbers["breusch_pagan_p"]):
        sentences.append(
            f"The residuals' variance is not constant (Breusch-Pagan p {probability(numbers['breusch_pagan_p'])}): "
            "ordinary standard errors and p-values are wrong. Intervals and tests of factors use robust ones (HC3)."
        )
    if below(numbers["shapiro_p"]):
        sentences.append(
            f"The residuals are not normal (Shapiro-Wilk p {probability(numbers['shapiro_p'])}): look at the Q-Q plot; "
            "with few rows, intervals are approximate."
        )
    raw, scaled = numbers["condition_number"], numbers["condition_number_scaled"]
    if scaled > _CONDITION:
        sentences.append(
            f"Factors are nearly collinear (condition number of scaled columns {scaled:.0f}): coefficients depend on "
            "one another; believe the fit, not its single effects."
        )
    elif raw > _CONDITION:
        sentences.append(
            f"The condition number {raw:,.0f} comes from the columns' units alone: with columns scaled to one length "
            f"it is {scaled:.1f}, so factors are not collinear."
        )
    if numbers["durbin_watson"] is not None and not 1.5 < numbers["durbin_watson"] < 2.5:
        sentences.append(
            f"Neighbouring rows have related residuals (Durbin-Watson {numbers['durbin_watson']:.2f}; 2 means none). "
            "In a sorted table the model misses something, such as an interaction; in a table in the order of "
            "measurement, the machine's speed drifted."
        )
    undefined = [name for name, coefficient in numbers["coefficients"].items() if coefficient["robust_se"] is None]
    if undefined:
        sentences.append(f"{', '.join(undefined)}: rests on a single row, so its robust error is not defined.")
    return sentences
