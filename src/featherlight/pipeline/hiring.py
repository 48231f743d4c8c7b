"""Processes that wait for jobs. Imports nothing heavy, so that they can start, and load torch, while the parent does.

A job in, (error or None, whether trying again is useless) out, until the pipe is closed.
"""

import multiprocessing
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.context import SpawnProcess
from typing import Any

THREADS = "OMP_NUM_THREADS"  # torch, numpy and onnxruntime read it when they start
Hired = tuple[SpawnProcess, Any]  # a process, and our end of its pipe
AHEAD: list[Hired] = []  # started before there was a crew to belong to


def hire_ahead(size: int) -> None:
    """Start so many processes now, for a crew of this size to come."""
    AHEAD.extend(start_process(size) for _ in range(size))


def hire(size: int) -> Hired:
    """A process with its share of the cores: one that was started ahead, or a new one."""
    return AHEAD.pop() if AHEAD else start_process(size)


def dismiss_ahead() -> None:
    """Send those home that nobody needed."""
    while AHEAD:
        process, pipe = AHEAD.pop()
        pipe.close()
        process.terminate()
        process.join()


def start_process(size: int) -> Hired:
    """One of so many processes that share the cores."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    with threads(max(1, (os.cpu_count() or 1) // size)):
        process = context.Process(target=serve, args=(theirs,), daemon=True)
        process.start()
    theirs.close()
    return process, ours


@contextmanager
def threads(number: int) -> Iterator[None]:
    """Processes started meanwhile compute with this many threads, unless the user has said how many."""
    if THREADS in os.environ:
        yield
        return
    os.environ[THREADS] = str(number)
    try:
        yield
    finally:
        del os.environ[THREADS]


def serve(pipe: Any) -> None:
    """A worker's life."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; who started it decides
    from featherlight.pipeline.workers import attempt

    with suppress(EOFError, ConnectionError):  # the pipe is closed, or whoever held its other end was killed
        while True:
            name, settings, inputs, store = pipe.recv()
            pipe.send(attempt(name, settings, inputs, store))
