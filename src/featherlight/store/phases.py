"""Seconds of a stage by phase."""

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Phases:
    """Seconds per named phase of a stage; the clock runs inside `with phases("load"):`."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Add the time inside the block to a phase."""
        start = time.monotonic()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - start
