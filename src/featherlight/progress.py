"""Progress and log lines on standard error; nothing on standard output.

Silent until `show()` is called, which the command line does and a program that calls us need not.
"""

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_LOGGER = logging.getLogger("featherlight")
_SECONDS_BETWEEN_LINES = 10.0


def show() -> None:
    """Send lines and bars to standard error from now on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    _LOGGER.handlers = [handler]
    _LOGGER.setLevel(logging.INFO)
    _LOGGER.propagate = False


def say(message: str) -> None:
    """Log a line."""
    _LOGGER.info(message)


@contextmanager
def track(label: str, total: int, *, unit: str) -> Iterator[Callable[[int], None]]:
    """Yield a function that is told how many more units are done; draws rate and time left.

    A bar on a terminal; elsewhere a plain line about every ten seconds.
    """
    if not _LOGGER.isEnabledFor(logging.INFO) or total == 0:
        yield lambda _: None
    elif sys.stderr.isatty():
        with _bar(label, total, unit=unit) as advance:
            yield advance
    else:
        yield _lines(label, total, unit=unit)


@contextmanager
def _bar(label: str, total: int, *, unit: str) -> Iterator[Callable[[int], None]]:
    """A rich bar that disappears when its work is done."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
               TextColumn(unit + "  {task.fields[rate]}"), TimeRemainingColumn())  # fmt: skip
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=total, rate="")
        start, done = time.monotonic(), 0

        def advance(count: int) -> None:
            nonlocal done
            done += count
            rate = done / max(time.monotonic() - start, 1e-9)
            bar.update(task, advance=count, rate=f"{_rounded(rate)}/s")

        yield advance


def _lines(label: str, total: int, *, unit: str) -> Callable[[int], None]:
    start = last = time.monotonic()
    done = 0

    def advance(count: int) -> None:
        nonlocal done, last
        done += count
        now = time.monotonic()
        if now - last >= _SECONDS_BETWEEN_LINES:
            last = now
            rate = done / (now - start)
            say(f"{label}: {done:,} of {total:,} {unit}, {_rounded(rate)}/s, {(total - done) / rate:,.0f} s left")

    return advance


def _rounded(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.1f}"
