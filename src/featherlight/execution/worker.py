"""Processes that wait for jobs. Imports nothing heavy, so that what they need is loaded while the parent loads its own.

On Linux they are forked off one process that has loaded torch and computes nothing, so that no thread of it is lost:
a new one costs milliseconds. Elsewhere each loads torch by itself. A job in, (error or None, whether trying again is
useless) out, until the pipe is closed.
"""

import gc
import multiprocessing
import os
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from featherlight.errors import UserError

if TYPE_CHECKING:
    from featherlight.data.registry import LoadedTasks
    from featherlight.kinds import Kinds
    from featherlight.store.stage import Inputs

_THREADS = "OMP_NUM_THREADS"  # torch, numpy and onnxruntime read it when they start
_METHOD = "forkserver" if sys.platform == "linux" else "spawn"


def prepare(size: int) -> None:
    """Begin to load what workers need, for a pool of this size to come; a second call changes nothing."""
    if _METHOD == "forkserver":
        from multiprocessing import forkserver

        forkserver.set_forkserver_preload(["featherlight.stages.table"])
        with _threads(_share(size)):
            forkserver.ensure_running()


def spawn(size: int) -> tuple[Any, Any]:
    """(a process with its share of the cores, one of so many; our end of its pipe)."""
    prepare(size)
    context: Any = multiprocessing.get_context(_METHOD)
    ours, theirs = context.Pipe()
    with _threads(_share(size)):
        process = context.Process(target=serve, args=(theirs,), daemon=True)
        process.start()
    theirs.close()
    return process, ours


def _share(size: int) -> int:
    return max(1, (os.cpu_count() or 1) // size)


@contextmanager
def _threads(number: int) -> Iterator[None]:
    """Processes started meanwhile compute with this many threads, unless the user has said how many."""
    if _THREADS in os.environ:
        yield
        return
    os.environ[_THREADS] = str(number)
    try:
        yield
    finally:
        del os.environ[_THREADS]


def serve(pipe: Any) -> None:
    """Run each job that comes through the pipe, until it is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; who started it decides
    from featherlight.data.registry import LoadedTasks

    gc.collect()
    gc.freeze()  # the libraries' 400,000 objects: else each run's collection looks at them again, for 0.2 s
    tasks = LoadedTasks()
    with suppress(EOFError, ConnectionError):  # the pipe is closed, or whoever held its other end was killed
        while True:
            pipe.send(attempt(tasks, *pipe.recv()))


def attempt(
    tasks: "LoadedTasks", name: str, settings: Any, inputs: "Inputs", store: Path, kinds: "Kinds | None" = None
) -> tuple[str | None, bool]:
    """Run one job here: None, or what went wrong and whether it is the user's to put right. kinds: as in `run_once`."""
    from featherlight.stages.table import STAGES
    from featherlight.store.runs import run_once

    stage = STAGES[name]
    try:
        run_once(stage, settings, inputs, store=store, kinds=kinds, data=stage.load(settings, tasks))
    except UserError as error:
        return str(error), True
    except Exception:  # whatever it is, it is this cell's alone; the report has it all
        return traceback.format_exc(), False
    return None, False
