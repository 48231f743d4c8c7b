"""How much of the scatter of scores comes from each thing that was varied, and how much from the seed.

A full grid of runs in (every combination of levels, with the same number of runs); shares out. Knows no record.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import prod

import numpy as np

from featherlight.errors import UserError


@dataclass(frozen=True)
class Source:
    """Where scatter comes from. degrees: of freedom; squares: sum of squared deviations; share: of all of them.

    deviation: standard deviation of its random effect (method of moments: expected mean squares of a crossed random
    model, Searle, Casella and McCulloch 1992, chapter 4); 0 where the estimate is negative.
    """

    name: str
    degrees: int
    squares: float
    share: float
    deviation: float


def sources(scores: Mapping[tuple[str, ...], Sequence[float]], factors: Sequence[str]) -> list[Source]:
    """Each factor, each combination of factors, and the seed, which is what is left between runs of one cell.

    scores: level of each factor -> a score for each run. UserError where a combination is missing, has another number
    of runs than others or one run only.
    """
    levels = [sorted({cell[place] for cell in scores}) for place in range(len(factors))]
    runs = {len(values) for values in scores.values()}
    if len(scores) != prod(map(len, levels)) or len(runs) != 1 or min(runs) < 2:
        raise UserError(
            f"variance by {', '.join(factors)}: needs every combination, each with the same number of runs, at "
            f"least two. There are {len(scores)} of {prod(map(len, levels))} combinations with {sorted(runs)} runs."
        )
    cube = np.zeros((*map(len, levels), runs.pop()))
    for cell, values in scores.items():
        cube[tuple(level.index(name) for level, name in zip(levels, cell, strict=True))] = values
    return components(cube, factors)


def components(cube: np.ndarray, factors: Sequence[str]) -> list[Source]:
    """The decomposition of scores [levels of each factor, runs]."""
    places = tuple(place for place, size in enumerate(cube.shape[:-1]) if size > 1)  # one level varies nothing
    total = float(((cube - cube.mean()) ** 2).sum()) or 1.0  # where nothing varies, shares are 0
    effects: dict[tuple[int, ...], np.ndarray] = {(): cube.mean(keepdims=True)}
    squares, degrees = {}, {}
    for size in range(1, len(places) + 1):
        for part in combinations(places, size):
            rest = tuple(axis for axis in range(cube.ndim) if axis not in part)
            smaller = [inner for count in range(size) for inner in combinations(part, count)]
            effects[part] = cube.mean(axis=rest, keepdims=True) - sum(effects[inner] for inner in smaller)
            squares[part] = float((effects[part] ** 2).sum()) * prod(cube.shape[axis] for axis in rest)
            degrees[part] = prod(cube.shape[axis] - 1 for axis in part)
    within = float(((cube - cube.mean(axis=-1, keepdims=True)) ** 2).sum())
    left = prod(cube.shape[:-1]) * (cube.shape[-1] - 1)
    variances: dict[tuple[int, ...], float] = {}
    for part in sorted(squares, key=len, reverse=True):  # a mean square expects those of all that contain it, too
        expected = within / left + sum(
            variance * cube.shape[-1] * prod(cube.shape[place] for place in places if place not in other)
            for other, variance in variances.items() if set(part) < set(other)
        )  # fmt: skip
        count = cube.shape[-1] * prod(cube.shape[place] for place in places if place not in part)
        variances[part] = (squares[part] / degrees[part] - expected) / count
    sources = []
    for part, sum_ in squares.items():
        name, deviation = " x ".join(factors[place] for place in part), max(variances[part], 0.0) ** 0.5
        sources.append(Source(name, degrees[part], sum_, sum_ / total, deviation))
    return [*sources, Source("seed", left, within, within / total, (within / left) ** 0.5)]
