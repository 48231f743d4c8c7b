"""A table of times in, a checked `Study` and its descriptive statistics out.

A study asks which factors (columns) make a response (a column of times) long or short. What it cannot answer is
refused here, before anything is computed. Tests and models of a study are in `anova`, `loglinear` and `importance`.
House shapes: N rows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from featherlight.errors import UserError, listed, nearest, pick, shortened

_LARGEST = 1e100  # of a number, and of a time's inverse: squares of larger ones overflow
_MOST_LEVELS = 60  # beyond, a column of words is a column of names, and one of numbers a scale
FEW_ROWS = 5  # in a level: below, its mean and spread say little
_EXTREMES = 10
SHOWN = ("count", "mean", "std", "min", "median", "max")
_SAID = {  # columns of the stage `time`
    "min": "fastest sample",
    "median": "median of the samples",
    "p90": "90 % of samples below",
    "p99": "99 % of samples below",
}

Json = dict[str, Any]
Numbers = dict[str, float | int | None]


@dataclass(frozen=True)
class Factor:
    """A column that may decide the time.

    numeric: a number in the log-linear model; else a set of levels there too, compared with `reference`.
    levels: as words, in the order in which they are shown; empty for a numeric column with too many values to group by.
    """

    name: str
    numeric: bool
    levels: tuple[str, ...]
    reference: str | None

    @property
    def grouped(self) -> bool:
        """Whether rows can be grouped by it, for descriptives and analysis of variance."""
        return bool(self.levels)


@dataclass(frozen=True)
class Study:
    """Rows without gaps. frame: the response as float64, factors as numbers or words.

    groups: for each factor that groups rows, the level of each row, a categorical series [N].
    """

    frame: pd.DataFrame
    response: str
    factors: tuple[Factor, ...]
    groups: Mapping[str, "pd.Series[Any]"]
    accuracy: str | None = None

    @property
    def times(self) -> "pd.Series[float]":
        """The response [N]."""
        return self.frame[self.response]

    @property
    def label(self) -> str:
        """The response as an axis names it: "fastest sample, s/batch" for the column `min` of the stage `time`."""
        units: Any = self.frame["unit"].dropna().unique() if "unit" in self.frame.columns else ()
        timed = len(units) == 1 and self.response in _SAID
        return f"{_SAID[self.response]}, {units[0]}" if timed else self.response

    @property
    def grouping(self) -> tuple[Factor, ...]:
        """The factors that rows can be grouped by."""
        return tuple(factor for factor in self.factors if factor.grouped)


def study_of(
    frame: pd.DataFrame,
    *,
    response: str,
    factors: Sequence[str],
    references: Mapping[str, str] | None = None,
    numeric: Sequence[str] = (),
    categorical: Sequence[str] = (),
    accuracy: str | None = None,
) -> Study:
    """A study of these columns of a frame whose index says where each row stands; UserError for what cannot be studied.

    references: factor -> the level that others are compared with; others take their most frequent level. A numeric
    factor with a reference is categorical. numeric, categorical: factors whose kind is not to be guessed.
    accuracy: a column to set beside the times; it may have gaps.
    """
    references = dict(references or {})
    _check_columns(frame, response, factors, [*references, *numeric, *categorical], accuracy)
    _check_times(frame[response], response)
    if accuracy:
        _check_finite(frame[accuracy], accuracy)
    not_numeric = {*references, *categorical}
    if both := not_numeric & set(numeric):
        raise UserError(f"{listed(sorted(both))}: numeric, and categorical or with a reference level. Choose one.")
    for name in factors:
        _check_filled(frame[name], name)
        if name in numeric and not pd.api.types.is_numeric_dtype(frame[name]):
            place, cell = _first_word(frame[name])
            raise UserError(f"--numeric {name}: {place} holds {cell!r}, which is no number.")
    frame = frame.reset_index(drop=True)  # places have served; two rows may share one
    checked, groups = [], {}
    for name in factors:
        column = frame[name]
        is_numeric = pd.api.types.is_numeric_dtype(column) and name not in not_numeric
        levels = _levels_of(column, frame[response], name, numeric=is_numeric)
        reference = None if is_numeric else _reference_of(column, levels, name, references.get(name))
        checked.append(Factor(name, is_numeric, levels, reference))
        if levels:
            groups[name] = pd.Series(pd.Categorical(column.map(word), categories=list(levels)), index=column.index)
    return Study(frame, response, tuple(checked), groups, accuracy)


def _check_columns(
    frame: pd.DataFrame, response: str, factors: Sequence[str], named: Sequence[str], accuracy: str | None
) -> None:
    """UserError unless all columns exist, and factors are named, once each, and are not the response."""
    for name in (response, *factors, *([accuracy] if accuracy else [])):
        _check_column(frame, name)
    if not factors or len(set(factors)) < len(factors) or response in factors:
        raise UserError(f"--factors {','.join(factors)!r}: name one or more columns, each once, and not the response.")
    for name in named:
        pick("factor", name, dict.fromkeys(factors))
    for name in (response, *([accuracy] if accuracy else [])):
        if not pd.api.types.is_numeric_dtype(frame[name]):
            place, cell = _first_word(frame[name])
            raise UserError(f"{place}: {name} is {cell!r}. The column must hold numbers; correct it or name another.")


def _check_column(frame: pd.DataFrame, name: str) -> None:
    columns = dict.fromkeys(map(str, frame.columns))
    if name not in columns:
        raise UserError(f"no column called {name!r}. {nearest(name, columns)}Columns: {listed(columns)}.")


def _check_times(times: "pd.Series[float]", name: str) -> None:
    """UserError unless all are positive, finite and not all the same."""
    _check_filled(times, name)
    wrong = times[~((times > 1 / _LARGEST) & (times < _LARGEST))]
    if len(wrong):
        more = f" ({len(wrong):,} such rows)" if len(wrong) > 1 else ""
        cell = f"{wrong.index[0]}: {name} is {wrong.iloc[0]:g}{more}"
        raise UserError(f"{cell}. A time is above 0 and finite; correct or remove the row.")
    if times.nunique() < 2:
        raise UserError(f"{name} is {times.iloc[0]:g} in all {len(times):,} rows: there is nothing to explain.")


def _check_filled(column: "pd.Series[Any]", name: str) -> None:
    """UserError for gaps, and for numbers that are not finite or nearly so."""
    _check_finite(column, name)
    gaps = column[column.isna()]
    if len(gaps):
        raise UserError(
            f"{gaps.index[0]}: {name} is missing ({len(gaps):,} of {len(column):,} rows). Fill it in, choose rows "
            "with --where, or leave such rows out with --drop-missing."
        )


def _check_finite(column: "pd.Series[Any]", name: str) -> None:
    """UserError for a number that nothing can be computed with."""
    if pd.api.types.is_numeric_dtype(column) and len(wrong := column[column.abs() >= _LARGEST]):
        raise UserError(f"{wrong.index[0]}: {name} is {wrong.iloc[0]:g}. Correct or remove the row.")


def _levels_of(column: "pd.Series[Any]", times: "pd.Series[float]", name: str, *, numeric: bool) -> tuple[str, ...]:
    """The levels of a factor: numbers in their order, words by their median time. Empty: numbers, too many to group."""
    count = column.nunique()
    if count < 2:
        raise UserError(f"factor {name} has only one level ({word(column.iloc[0])}). Leave it out of --factors.")
    if numeric and (count > _MOST_LEVELS or len(column) < 2 * count):
        return ()
    if count > _MOST_LEVELS:
        raise UserError(
            f"factor {name} has {count:,} levels; at most {_MOST_LEVELS} can be compared. Leave it out, or choose rows "
            f"with --where {name}=..."
        )
    if pd.api.types.is_numeric_dtype(column):
        return tuple(word(value) for value in sorted(column.unique()))
    return tuple(times.groupby(column.map(word)).median().sort_values(kind="stable").index)


def _reference_of(column: "pd.Series[Any]", levels: Sequence[str], name: str, named: str | None) -> str:
    """The level that a user named, or the most frequent one (of equals the first)."""
    if named is not None:
        return pick(f"level of {name}", named, {level: level for level in levels})
    counts = column.map(word).value_counts()
    return max(levels, key=lambda level: int(counts[level]))


def word(value: Any) -> str:
    """A level as it is shown: "RTE", "128", "0.5"."""
    if isinstance(value, (bool, np.bool_, str)):
        return str(value)
    return str(int(value)) if float(value).is_integer() else repr(float(value))


def _first_word(column: "pd.Series[Any]") -> tuple[str, str]:
    """The place and content of the first cell that is no number."""
    words = column[pd.to_numeric(column, errors="coerce").isna() & column.notna()]
    return str(words.index[0]), shortened(str(words.iloc[0]))


def restrict(frame: pd.DataFrame, column: str, levels: Sequence[str], *, keep: bool = True) -> pd.DataFrame:
    """The rows whose column has one of these levels, or (keep false) none of them; UserError if one is not there."""
    _check_column(frame, column)
    words = frame[column].map(word, na_action="ignore")
    known = dict.fromkeys(words.dropna())
    for level in levels:
        pick(f"level of {column}", level, known)
    kept = frame[words.isin(levels) == keep]
    if kept.empty:
        raise UserError(f"no row is left after choosing by {column}. Name fewer levels.")
    return kept


def describe(values: "pd.Series[float]") -> Numbers:
    """Count, mean, standard deviation (dividing by n - 1), minimum, median and maximum."""
    return _numbers(values.agg(list(SHOWN)).to_dict())


def _numbers(statistics: Mapping[Any, Any]) -> Numbers:
    """JSON numbers: whole counts, and None where there is no finite number."""
    return {str(key): int(value) if key == "count" else finite(value) for key, value in statistics.items()}


def finite(value: Any) -> float | None:
    """A float, or None where it is infinite or not a number."""
    return float(value) if np.isfinite(value) else None


def descriptives(study: Study) -> dict[str, dict[str, Numbers]]:
    """{factor: {level: numbers}}."""
    return {factor.name: _described(study.times, study.groups[factor.name]) for factor in study.grouping}


def _described(times: "pd.Series[float]", groups: "pd.Series[Any]") -> dict[str, Numbers]:
    """{level: numbers} of the levels that occur, in their order."""
    statistics = times.groupby(groups, observed=True).agg(list(SHOWN))
    return {str(level): _numbers(row) for level, row in statistics.to_dict("index").items()}


def pair_descriptives(study: Study) -> list[Json]:
    """For each pair of factors {"factors": [2], "cells": [{"levels": [2], **numbers}]}, of the cells that occur."""
    pairs = []
    for first, second in combinations(study.grouping, 2):
        both = [study.groups[first.name], study.groups[second.name]]
        rows: Any = study.times.groupby(both, observed=True).agg(list(SHOWN)).to_dict("index")  # keyed by both levels
        cells: list[Json] = [{"levels": [*map(str, levels)], **_numbers(row)} for levels, row in rows.items()]
        pairs.append({"factors": [first.name, second.name], "cells": cells})
    return pairs


def balanced(study: Study) -> dict[str, Json]:
    """{factor: {"combinations", "left_out", "levels": {level: numbers}}}: each level under the same conditions.

    Kept are the rows of those combinations of the other factors' levels that occur with every level of the factor.
    Where there is none, the levels with the fewest rows are left out one by one until there is one.
    """
    subsets = {}
    for factor in study.grouping if len(study.grouping) > 1 else ():
        groups = study.groups[factor.name]
        others = pd.DataFrame({other.name: study.groups[other.name] for other in study.grouping if other != factor})
        cell = others.groupby(list(others), observed=True).ngroup()
        table = pd.crosstab(cell, groups)
        kept = list(table.sum().sort_values(ascending=False, kind="stable").index)
        while not (whole := table[kept].gt(0).all(axis=1)).any():
            kept.pop()
        rows = cell.isin(table.index[whole]) & groups.isin(kept)
        subsets[factor.name] = {
            "combinations": int(whole.sum()),
            "left_out": [level for level in factor.levels if level not in kept],
            "levels": _described(study.times[rows], groups[rows]),
        }
    return subsets


def correlations(study: Study) -> dict[str, dict[str, float | None]]:
    """Pearson's correlations of all numeric columns: the response, numeric factors, and other columns of numbers.

    Other columns belong to it because what describes a level (a task's number of examples) is rarely a factor too.
    """
    columns = [study.response, *(factor.name for factor in study.factors if factor.numeric)]
    others = study.frame.select_dtypes("number").dropna(axis=1)
    varying = [str(name) for name in others if others[name].nunique() > 1 and name not in columns]
    matrix = study.frame[[*columns, *varying[: _MOST_LEVELS // 4]]].corr()
    return {str(name): _numbers(row) for name, row in matrix.to_dict().items()}


def extremes(study: Study) -> dict[str, list[Json]]:
    """The rows with the longest and the shortest times: {"highest": [...], "lowest": [...]}."""
    accuracy = [study.accuracy] if study.accuracy else []
    columns = [*(factor.name for factor in study.factors), study.response, *accuracy]
    kinds = {"highest": study.times.nlargest(_EXTREMES), "lowest": study.times.nsmallest(_EXTREMES)}
    return {
        kind: [
            {str(name): _plain(cell) for name, cell in row.items()}
            for row in study.frame.loc[extreme.index, columns].to_dict("records")
        ]
        for kind, extreme in kinds.items()
    }


def _plain(value: Any) -> str | float | int | None:
    """A cell as a JSON value: whole numbers without a decimal point, None for a gap."""
    if isinstance(value, str):
        return value
    if pd.isna(value):
        return None
    return int(value) if float(value).is_integer() else float(value)


def doubts(study: Study) -> list[str]:
    """Why not to believe comparisons of plain means: few rows, levels that occur once, an unbalanced design."""
    sentences = []
    n = len(study.frame)
    if n < 30:
        sentences.append(
            f"Only {n} rows: tests detect only large differences, and tests of assumptions almost nothing."
        )
    for factor in study.grouping:
        counts = study.groups[factor.name].value_counts()
        once = [level for level in factor.levels if counts[level] == 1]
        few = [level for level in factor.levels if 1 < counts[level] < FEW_ROWS]
        if once:
            sentences.append(
                f"{factor.name}, levels that occur once: {listed(once)}. Such an effect is that one row's."
            )
        if few:
            sentences.append(f"{factor.name}, levels of fewer than {FEW_ROWS} rows, which say little: {listed(few)}.")
    names = [factor.name for factor in study.grouping]
    if len(names) > 1:
        filled = study.frame.groupby([study.groups[name] for name in names], observed=True).size()
        possible = int(np.prod([len(factor.levels) for factor in study.grouping], dtype=float))
        if len(filled) < possible:
            sentences.append(
                f"The design is unbalanced: {len(filled):,} of {possible:,} combinations of levels occur. Plain means "
                "of a factor's levels then differ by what else they were run with, too; compare them on the balanced "
                "subset, or by the log-linear model."
            )
        elif filled.min() != filled.max():
            sentences.append(f"Combinations of levels have between {filled.min():,} and {filled.max():,} rows.")
    return sentences
