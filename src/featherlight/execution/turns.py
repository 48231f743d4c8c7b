"""Many cells of the stage `time`, measured in turns.

One sample of each, in random order, again and again: a machine that is slower for a minute is so for all of them, and
ratios of medians hold. The cells' samples stand in their drafts, so that a killed run goes on where it was. A cell that
does not fit in memory, or crashes, is noted with its error, and the others go on.
"""

import shutil
import traceback
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from featherlight.errors import UserError
from featherlight.files import NO_ROOM, lock
from featherlight.planning.jobs import Job
from featherlight.progress import say, track
from featherlight.stages.time.cells import Cell
from featherlight.stages.time.stage import begun, is_measured, read_samples, take_sample
from featherlight.store.layout import DRAFT, LOCKS
from featherlight.store.runs import writable
from featherlight.training.memory import is_memory_out


@dataclass(frozen=True)
class Failure:
    """Why a cell was not measured; of a crash the whole traceback. users: whether the user can put it right."""

    error: str
    users: bool

    @property
    def last(self) -> str:
        """The line that says most."""
        return self.error.strip().splitlines()[-1]


def interleave(jobs: Sequence[Job], *, store: Path) -> dict[Job, Failure]:
    """Measure the cells that are not done; those that could not be, with the reason."""
    failed: dict[Job, Failure] = {}
    with writable(store), ExitStack() as locks:
        cells: dict[Job, Cell] = {}
        for job in [job for job in jobs if job.state != "done"]:
            name = job.folder.name
            locks.enter_context(lock(store / LOCKS / name, waiting=partial(say, f"{name}: waiting")))
            draft = store / (DRAFT + name)
            draft.mkdir(exist_ok=True)
            with _noting(job, failed):
                if not is_measured(job.settings, draft):  # type: ignore[arg-type]
                    cells[job] = begun(job.settings, job.work.task_data, draft)  # type: ignore[arg-type]
        failed |= visit_all(cells, store, np.random.default_rng(0))
        for job in failed:
            draft = store / (DRAFT + job.folder.name)
            if not read_samples(draft):  # else the next call goes on from them
                shutil.rmtree(draft)
    for job in jobs:
        if job not in failed:
            with _noting(job, failed):
                job.run()
    return failed


def visit_all(cells: dict[Job, Cell], store: Path, generator: np.random.Generator) -> dict[Job, Failure]:
    """Rounds of visits, each in another order, until every cell has its samples; those with the fewest come first.

    Returns those that failed, which are taken out of the cells, so that what they hold is freed for the others.
    """
    failed: dict[Job, Failure] = {}
    with track("time", sum(not cell.done for cell in cells.values()), unit="cells") as advance:
        while missing := [job for job, cell in cells.items() if not cell.done]:
            fewest = min(len(cells[job].samples) for job in missing)
            waiting = [job for job in missing if len(cells[job].samples) == fewest]
            for place in generator.permutation(len(waiting)):
                job = waiting[place]
                with _noting(job, failed):
                    take_sample(cells[job], store / (DRAFT + job.folder.name))
                if job in failed:
                    del cells[job]
                if job in failed or cells[job].done:
                    advance(1)
    return failed


@contextmanager
def _noting(job: Job, failed: dict[Job, Failure]) -> Iterator[None]:
    """Note an error of a cell, and go on; a full disk or a missing package concerns all cells and is raised."""
    try:
        yield
    except UserError as error:
        failed[job] = Failure(str(error), users=True)
    except Exception as error:  # whatever it is, it is this cell's alone; the report has it all
        if isinstance(error, ModuleNotFoundError) or (isinstance(error, OSError) and error.errno in NO_ROOM):
            raise
        out = is_memory_out(error)
        settings: Any = job.settings  # a batch in parts would be the time of something else
        complaint = (
            f"{Path(settings.model).name}, {settings.what}: a batch of {settings.batch} x {settings.length} "
            "tokens does not fit in memory. Take a smaller --batch or --length, or a smaller model."
        )
        failed[job] = Failure(complaint if out else traceback.format_exc(), users=out)
    if job in failed:
        say(f"{job.folder.name}: failed: {failed[job].last}")
