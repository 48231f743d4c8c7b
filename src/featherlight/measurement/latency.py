"""Callables in, seconds out. Knows no model and no device: whoever calls says how to wait for one.

A torch model, a packed one and an ONNX session are timed by the same lines.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

T = TypeVar("T")


@dataclass(frozen=True)
class Samples:
    """A measured quantity: every value that was seen, with its unit. Summaries are computed on demand."""

    name: str
    unit: str
    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle value; half way between the middle two if their number is even."""
        return self.quantile(0.5)

    def quantile(self, share: float) -> float:
        """The value below which this share (0 to 1) of the samples lies, interpolated between neighbours."""
        return float(np.quantile(self.values, share))


def nothing() -> None:
    """What a processor has to wait for."""


def time_calls(
    call: Callable[[], object], *, warmup: int = 10, repeats: int = 100, wait: Callable[[], object] = nothing
) -> Samples:
    """Wall time of one call, in seconds, once per repeat.

    wait: blocks until the device is idle (`torch.cuda.synchronize` on a GPU), so that
    the clock sees finished work and not queued work.
    """
    return time_each(lambda _: call(), [None] * repeats, warmup=warmup, wait=wait)


def time_each(
    call: Callable[[T], object], items: Iterable[T], *, warmup: int = 10, wait: Callable[[], object] = nothing
) -> Samples:
    """Wall time of call(item), in seconds, once per item and in their order.

    warmup: calls before the clock counts, on the first items, again from the start if there are fewer.
    wait: as for `time_calls`. No items give no samples.
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
