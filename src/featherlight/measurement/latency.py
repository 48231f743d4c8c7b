"""Callables in, seconds out. Knows no model and no device: whoever calls says how to wait for one.

A torch model, a packed one and an ONNX session are timed by the same lines.
"""

import gc
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from featherlight.measurement.energy import Meter

_T = TypeVar("_T")
_UNMETERED = Meter(())


@dataclass(frozen=True)
class Samples:
    """A measured quantity: all its values, with their unit. Summaries are computed on demand."""

    name: str
    unit: str
    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle value; half way between the middle two if their number is even."""
        return float(np.median(self.values))


def summary(values: Sequence[float]) -> dict[str, float]:
    """Minimum, median, p90, p99, and a 95 % bootstrap interval of the median (percentile method, 2,000 resamples)."""
    samples = np.asarray(values, dtype=float)
    draws = np.random.default_rng(0).integers(len(samples), size=(2000, len(samples)))
    interval = np.quantile(np.median(samples[draws], axis=1), (0.025, 0.975))
    statistics = (samples.min(), np.median(samples), *np.quantile(samples, (0.9, 0.99)), *interval)
    return dict(zip(("min", "median", "p90", "p99", "low", "high"), map(float, statistics), strict=True))


@dataclass(frozen=True)
class Sample:
    """Seconds of a call, the mean over one visit; share: of that time, how much this process computed in a thread.

    joules: of a call, where the machine counts them.
    """

    seconds: float
    share: float
    joules: float | None = None


def spread(values: Sequence[float]) -> float:
    """The middle half of the samples, as a share of their median."""
    low, middle, high = np.quantile(np.asarray(values), (0.25, 0.5, 0.75))
    return float((high - low) / middle)


def visit(
    call: Callable[[], object], *, least: float, wait: Callable[[], object], warm: int = 1, meter: Meter = _UNMETERED
) -> Sample:
    """One sample: warm-up calls, then one call, and more until `least` seconds are over, without garbage collection."""
    for _ in range(warm):
        call()
    gc.collect()
    gc.disable()
    try:
        calls = 0
        wait()
        energy = meter.read()
        start, computed = time.perf_counter(), time.process_time()
        while not calls or time.perf_counter() - start < least:
            call()
            calls += 1
        wait()
        seconds, computed = time.perf_counter() - start, time.process_time() - computed
        joules = meter.since(energy)
    finally:
        gc.enable()
    return Sample(seconds / calls, computed / seconds, None if joules is None else joules / calls)


def time_each(
    call: Callable[[_T], object], items: Iterable[_T], *, warmup: int = 10, wait: Callable[[], object] = lambda: None
) -> Samples:
    """Wall time of call(item), in seconds, once per item and in their order.

    warmup: calls before the clock counts, on the first items, again from the start if there are fewer.
    wait: blocks until the device is idle (`torch.cuda.synchronize` on a GPU), so that the clock sees finished work and
    not queued work. No items give no samples.
    """
    items = list(items)
    for step in range(warmup if items else 0):
        call(items[step % len(items)])
    seconds = []
    for item in items:
        wait()
        start = time.perf_counter()
        call(item)
        wait()
        seconds.append(time.perf_counter() - start)
    return Samples("latency", unit="s", values=tuple(seconds))
