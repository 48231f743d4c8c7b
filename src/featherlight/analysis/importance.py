"""Which factors does a random forest need to tell how long it takes? By impurity, and by permutation.

A `Study` in, shares and sentences out. A forest knows no reference level and finds interactions by itself.
"""

from typing import Any

import numpy as np

from featherlight.analysis.study import Json, Study, word

# For regression: a third of the columns at each split, at least five rows in a leaf (Hastie, Tibshirani and Friedman
# 2009, The Elements of Statistical Learning, section 15.3). The thesis does not give its settings; with these, its
# table 33 is met within 0.02, with scikit-learn's (all columns, leaves of one row) within 0.03.
_AS_PUBLISHED = {"n_estimators": 1000, "max_features": 1 / 3, "min_samples_leaf": 5}
_FOLDS, _REPEATS, _SHUFFLES = 5, 2, 5  # 10 forests, each asked 5 times per factor about rows that it has not seen
_LEAST_ROWS = 30  # below, a fold holds too few rows to judge a forest by
_MOST_ROWS = 5000  # for the forests: more take minutes and change little
TOO_FEW = f"Fewer than {_LEAST_ROWS} rows: no importances are computed."


def importance(study: Study, *, seed: int = 0) -> Json | None:
    """How much a forest of ln(time) leans on each factor.

    "impurity": {factor: share of the variance that its splits take away}, all together 1 (Breiman et al. 1984; table 33
    of the thesis on fine-tuning times). "permutation": {factor: {"value", "low", "high"}}: how much R squared on rows
    not seen falls if the factor is shuffled (Breiman 2001, section 10); mean and middle 95 % over 10 forests (5 folds,
    twice; scikit-learn's defaults) and 5 shuffles each. "r_squared_unseen": mean over these forests. "n": rows used.
    None for fewer than 30 rows.
    """
    if len(study.frame) < _LEAST_ROWS:
        return None
    x, y = _arrays_of(study, seed=seed)
    scores, drops = _permuted(x, y, seed=seed)
    columns = zip(drops.mean(axis=0), *np.quantile(drops, [0.025, 0.975], axis=0), strict=True)
    intervals = [dict(zip(("value", "low", "high"), map(float, column), strict=True)) for column in columns]
    return {
        "n": len(x),
        "impurity": impurity(study, seed=seed),
        "permutation": {factor.name: interval for factor, interval in zip(study.factors, intervals, strict=True)},
        "r_squared_unseen": float(np.mean(scores)),
    }


def impurity(study: Study, *, seed: int) -> dict[str, float]:
    """{factor: share of the variance of ln(time) that a forest's splits by it take away}."""
    from sklearn.ensemble import RandomForestRegressor

    forest = RandomForestRegressor(**_AS_PUBLISHED, random_state=seed).fit(*_arrays_of(study, seed=seed))
    names = [factor.name for factor in study.factors]
    return dict(zip(names, map(float, forest.feature_importances_), strict=True))


def _arrays_of(study: Study, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Factors [N, F], words as their places by median time, and ln(time) [N]; of 5,000 rows at most, drawn by seed."""
    frame = study.frame if len(study.frame) <= _MOST_ROWS else study.frame.sample(_MOST_ROWS, random_state=seed)
    columns = []
    for factor in study.factors:
        column = frame[factor.name]
        if not factor.numeric:
            column = column.map(word).map({level: place for place, level in enumerate(factor.levels)})
        columns.append(column.to_numpy(dtype=float))
    return np.column_stack(columns), np.asarray(np.log(frame[study.response].to_numpy()))


def _permuted(x: np.ndarray, y: np.ndarray, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """R squared on unseen rows [R], and how far it falls with each column shuffled [5 R, F]."""
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.inspection import permutation_importance
    from sklearn.model_selection import RepeatedKFold

    scores, drops = [], []
    folds = RepeatedKFold(n_splits=_FOLDS, n_repeats=_REPEATS, random_state=seed)
    for number, (known, unseen) in enumerate(folds.split(x)):
        forest = RandomForestRegressor(random_state=seed + number).fit(x[known], y[known])
        scores.append(forest.score(x[unseen], y[unseen]))
        result: Any = permutation_importance(forest, x[unseen], y[unseen], n_repeats=_SHUFFLES, random_state=seed)
        drops.append(result.importances.T)
    return np.array(scores), np.concatenate(drops)


def doubts(importances: Json) -> list[str]:
    """Why not to believe importances; one sentence each."""
    sentences = [
        "Importance by impurity depends on the forest's settings, favours factors with many levels and has no "
        "interval. Read permutation first: it is measured on unseen rows."
    ]
    if (unseen := importances["r_squared_unseen"]) < 0.5:
        sentences.append(
            f"The forest explains little of unseen rows (R squared {unseen:.2f}): importances mean little."
        )
    idle = [name for name, interval in importances["permutation"].items() if interval["low"] <= 0]
    if idle:
        sentences.append(f"{', '.join(idle)}: the interval by permutation includes 0, so there may be no effect.")
    return sentences
