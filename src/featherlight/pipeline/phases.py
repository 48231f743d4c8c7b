"""A training in flight and some batches in; the seconds of each part of a step out."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from featherlight.training.loop import Run

PARTS = ("batch", "forward", "backward", "update")


class Clocked:
    """A callable, or an object with a method `batch`, that adds up the seconds it takes."""

    def __init__(self, inner: Any, wait: Callable[[], object]):
        self.inner, self.wait, self.seconds = inner, wait, 0.0

    def timed(self, call: Callable[..., Any], *given: Any) -> Any:
        """call(*given), on the clock."""
        self.wait()
        start = time.perf_counter()
        found = call(*given)
        self.wait()
        self.seconds += time.perf_counter() - start
        return found

    def __call__(self, *given: Any) -> Any:
        """Of an objective, or a method."""
        return self.timed(self.inner, *given)

    def batch(self, *given: Any) -> Any:
        """Of a training set."""
        return self.timed(self.inner.batch, *given)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


def step_phases(run: Run, batches: Sequence[np.ndarray], wait: Callable[[], object]) -> dict[str, float]:
    """Medians over the batches of the seconds that a step spends on each part; backward is what remains.

    batch: rows to tensors on the device; update: clipping and the optimiser. The run is moved on by as many steps.
    """
    parts: dict[str, list[float]] = {name: [] for name in PARTS}
    own = run.data, run.objective
    try:
        for indices in batches:
            data, objective, update = Clocked(own[0], wait), Clocked(own[1], wait), Clocked(run.update, wait)
            run.data, run.objective, run.update = data, objective, update  # type: ignore[assignment, method-assign]
            whole = Clocked(run.step, wait)
            try:
                whole(indices)
            finally:
                del run.update  # the method shows again
            seen = {"batch": data.seconds, "forward": objective.seconds, "update": update.seconds}
            for name, seconds in {**seen, "backward": whole.seconds - sum(seen.values())}.items():
                parts[name].append(seconds)
    finally:
        run.data, run.objective = own
    return {name: float(np.median(values)) for name, values in parts.items()}
