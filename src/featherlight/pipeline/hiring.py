"""Processes that wait for jobs. Imports nothing heavy, so that what they need is loaded while the parent loads its own.

On Linux they are forked off one process that has loaded torch and computes nothing, so that no thread of it is lost:
a new one costs milliseconds. Elsewhere each loads torch by itself. A job in, (error or None, whether trying again is
useless) out, until the pipe is closed.
"""

import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

THREADS = "OMP_NUM_THREADS"  # torch, numpy and onnxruntime read it when they start
METHOD = "forkserver" if sys.platform == "linux" else "spawn"
LOADED = ["featherlight.stages.table", "featherlight.pipeline.workers"]
Hired = tuple[Any, Any]  # a process, and our end of its pipe


def prepare(size: int) -> None:
    """Begin to load what workers need, for a crew of this size to come; a second call changes nothing."""
    if METHOD == "forkserver":
        from multiprocessing import forkserver

        forkserver.set_forkserver_preload(LOADED)
        with threads(share(size)):
            forkserver.ensure_running()


def hire(size: int) -> Hired:
    """A process with its share of the cores, one of so many."""
    prepare(size)
    context: Any = multiprocessing.get_context(METHOD)
    ours, theirs = context.Pipe()
    with threads(share(size)):
        process = context.Process(target=serve, args=(theirs,), daemon=True)
        process.start()
    theirs.close()
    return process, ours


def share(size: int) -> int:
    """Threads for each of so many processes."""
    return max(1, (os.cpu_count() or 1) // size)


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
            pipe.send(attempt(*pipe.recv()))
