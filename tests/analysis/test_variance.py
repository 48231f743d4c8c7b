import numpy as np
import pandas as pd
import pytest
from statsmodels.formula.api import ols
from statsmodels.stats.anova import anova_lm

from featherlight.analysis.variance import components, sources
from featherlight.errors import UserError

NAMES = ["model", "method", "batch"]


def as_scores(cube):
    return {tuple(map(str, place)): cube[place].tolist() for place in np.ndindex(cube.shape[:-1])}


@pytest.mark.parametrize("shape", [(3, 4), (3, 4, 3), (2, 3, 2, 4)])
def test_sums_of_squares_are_those_of_statsmodels(shape):
    """scores [levels ..., runs] against an ordinary least-squares fit with all interactions."""
    cube = np.random.default_rng(3).normal(size=shape)
    names = NAMES[: len(shape) - 1]
    frame = pd.DataFrame(
        [dict(zip(names, map(str, place), strict=False), y=cube[place]) for place in np.ndindex(shape)]
    )
    fitted = anova_lm(ols("y ~ " + " * ".join(f"C({name})" for name in names), data=frame).fit())
    found = {source.name: source for source in sources(as_scores(cube), names)}
    for row in fitted.index:
        own = found["seed" if row == "Residual" else row.replace("C(", "").replace(")", "").replace(":", " x ")]
        assert own.squares == pytest.approx(fitted.loc[row, "sum_sq"])
        assert own.degrees == fitted.loc[row, "df"]
    assert sum(source.share for source in found.values()) == pytest.approx(1)


def test_deviations_are_those_that_the_scores_were_drawn_with():
    draw = np.random.default_rng(0)
    found = []
    for _ in range(200):
        cube = (0.8 + draw.normal(scale=0.05, size=(6, 1, 1)) + draw.normal(scale=0.04, size=(1, 5, 1))
                + draw.normal(scale=0.04, size=(6, 5, 1)) + draw.normal(scale=0.03, size=(6, 5, 3)))  # fmt: skip
        found.append([source.deviation**2 for source in components(cube, NAMES[:2])])
    assert np.sqrt(np.mean(found, axis=0)) == pytest.approx([0.05, 0.04, 0.04, 0.03], rel=0.1)


def test_a_factor_with_one_level_is_left_out():
    cube = np.random.default_rng(1).normal(size=(1, 4, 3))
    assert [source.name for source in sources(as_scores(cube), NAMES[:2])] == ["method", "seed"]


@pytest.mark.parametrize("spoil", [lambda s: s.popitem(), lambda s: s[("0", "0")].pop()])
def test_a_grid_with_holes_is_refused(spoil):
    scores = as_scores(np.zeros((2, 3, 3)))
    spoil(scores)
    with pytest.raises(UserError, match="needs every combination, each with the same number of runs"):
        sources(scores, NAMES[:2])
    with pytest.raises(UserError, match="at least two"):
        sources(as_scores(np.zeros((2, 3, 1))), NAMES[:2])


def test_equal_scores_vary_by_nothing():
    assert all(source.share == 0 == source.deviation for source in sources(as_scores(np.ones((2, 2, 2))), NAMES[:2]))
