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
SHOWN = ("count", "mean", "std", "min", "median", "max")
_LABELS = {"min": "fastest sample", "median": "median of the samples",  # columns of the stage `time`
           "p90": "90 % of samples below", "p99": "99 % of samples below"}  # fmt: skip

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
        timed = len(units) == 1 and self.response in _LABELS
        return f"{_LABELS[self.response]}, {units[0]}" if timed else self.response

    @property
    def grouping(self) -> tuple[Factor, ...]:
        """The factors that rows can be grouped by, for descriptives and analysis of variance."""
        return tuple(factor for factor in self.factors if factor.levels)


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
        if name in numeric:
            _check_numeric(frame[name], name)
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
    numbers = [response, *([accuracy] if accuracy else [])]
    for name in (*numbers, *factors):
        _check_column(frame, name)
    if not factors or len(set(factors)) < len(factors) or response in factors:
        raise UserError(f"--factors {','.join(factors)!r}: name one or more columns, each once, and not the response.")
    for name in named:
        pick("factor", name, dict.fromkeys(factors))
    for name in numbers:
        _check_numeric(frame[name], name)


def _check_numeric(column: "pd.Series[Any]", name: str) -> None:
    if not pd.api.types.is_numeric_dtype(column):
        words = column[pd.to_numeric(column, errors="coerce").isna() & column.notna()]
        cell = f"{words.index[0]}: {name} is {shortened(str(words.iloc[0]))!r}"
        raise UserError(f"{cell}. The column must hold numbers; correct it or name another.")


def _check_column(frame: pd.DataFrame, name: str) -> None:
    columns = dict.fromkeys(map(str, frame.columns))
    if name not in columns:
        raise UserError(f"no column called {name!r}. {nearest(name, columns)}Columns: {listed(columns)}.")


def _check_times(times: "pd.Series[float]", name: str) -> None:
    _check_filled(times, name)
    if len(wrong := times[~((times > 1 / _LARGEST) & (times < _LARGEST))]):
        more = f" ({len(wrong):,} such rows)" if len(wrong) > 1 else ""
        cell = f"{wrong.index[0]}: {name} is {wrong.iloc[0]:g}{more}"
        raise UserError(f"{cell}. A time is above 0 and finite; correct or remove the row.")
    if times.nunique() < 2:
        raise UserError(f"{name} is {times.iloc[0]:g} in all {len(times):,} rows: there is nothing to explain.")


def _check_filled(column: "pd.Series[Any]", name: str) -> None:
    _check_finite(column, name)
    if len(gaps := column[column.isna()]):
        raise UserError(
            f"{gaps.index[0]}: {name} is missing ({len(gaps):,} of {len(column):,} rows). Fill it in, choose rows "
            "with --where, or leave such rows out with --drop-missing."
        )


def _check_finite(column: "pd.Series[Any]", name: str) -> None:
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


def _reference_of(column: "pd.Series[Any]", levels: Sequence[str], name: str, choice: str | None) -> str:
    if choice is not None:
        return pick(f"level of {name}", choice, {level: level for level in levels})
    counts = column.map(word).value_counts()
    return max(levels, key=lambda level: int(counts[level]))


def word(value: Any) -> str:
    """A level as it is shown: "RTE", "128", "0.5"."""
    if isinstance(value, (bool, np.bool_, str)):
        return str(value)
    return str(int(value)) if float(value).is_integer() else repr(float(value))


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
    statistics = times.groupby(groups, observed=True).agg(list(SHOWN)).to_dict("index")
    return {str(level): _numbers(numbers) for level, numbers in statistics.items()}


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
    columns = [*(factor.name for factor in study.factors), study.response, *filter(None, [study.accuracy])]
    kinds = {"highest": study.times.nlargest(10), "lowest": study.times.nsmallest(10)}
    return {
        kind: [
            {str(name): _json_value(cell) for name, cell in row.items()}
            for row in study.frame.loc[times.index, columns].to_dict("records")
        ]
        for kind, times in kinds.items()
    }


def _json_value(cell: Any) -> str | float | int | None:
    """Whole numbers without a decimal point, None for a gap."""
    if isinstance(cell, str) or pd.isna(cell):
        return cell if isinstance(cell, str) else None
    return int(cell) if float(cell).is_integer() else float(cell)


def doubts(study: Study) -> list[str]:
    """Why not to believe comparisons of plain means: few rows, levels that occur once, an unbalanced design."""
    sentences, n = [], len(study.frame)
    if n < 30:
        sentences.append(f"Only {n} rows: tests detect only large differences, tests of assumptions hardly any.")
    for factor in study.grouping:
        counts = study.groups[factor.name].value_counts()
        once = [level for level in factor.levels if counts[level] == 1]
        few = [level for level in factor.levels if 1 < counts[level] < FEW_ROWS]
        if once:
            sentences.append(f"{factor.name}, levels that occur once: {listed(once)}. Each such effect is one row's.")
        if few:
            sentences.append(f"{factor.name}, levels of fewer than {FEW_ROWS} rows, which say little: {listed(few)}.")
    names = [factor.name for factor in study.grouping]
    if len(names) > 1:
        filled = study.frame.groupby([study.groups[name] for name in names], observed=True).size()
        possible = int(np.prod([len(factor.levels) for factor in study.grouping], dtype=float))
        if len(filled) < possible:
            sentences.append(
                f"The design is unbalanced: {len(filled):,} of {possible:,} combinations of levels occur. Means of "
                "levels then depend on the other factors, too; compare levels on the balanced subset, or by the "
                "log-linear model."
            )
        elif filled.min() != filled.max():
            sentences.append(f"Combinations of levels have between {filled.min():,} and {filled.max():,} rows.")
    return sentences
