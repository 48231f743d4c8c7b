"""Many cells of the stage `time`, measured in turns; their table.

One sample of each, in random order, again and again: a machine that is slower for a minute is so for all of them, and
ratios of medians hold. The cells' samples stand in their drafts, so that a killed run goes on where it was.
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from featherlight.errors import UserError
from featherlight.files import lock
from featherlight.pipeline.plan import Job
from featherlight.pipeline.store import DRAFT, LOCKS, writable
from featherlight.pipeline.timing import Cell, begun, is_measured, take_sample
from featherlight.progress import say, track


def time_in_turns(jobs: Sequence[Job], *, store: Path, seed: int = 0) -> dict[Job, str]:
    """Measure the cells that are not done; those that could not be, with the reason."""
    failed: dict[Job, str] = {}
    open_jobs = [job for job in jobs if job.state != "done"]
    with writable(store), ExitStack() as locks:
        cells: dict[Job, Cell] = {}
        for job in open_jobs:
            name = job.folder.name
            locks.enter_context(lock(store / LOCKS / name, waiting=partial(say, f"{name}: waiting")))
            draft = store / (DRAFT + name)
            draft.mkdir(exist_ok=True)
            if is_measured(job.settings, draft):  # type: ignore[arg-type]
                continue
            try:
                cells[job] = begun(job.settings, draft)  # type: ignore[arg-type]
            except UserError as error:
                failed[job] = str(error)
                draft.rmdir()
        visit_all(cells, store, np.random.default_rng(seed))
    for job in jobs:
        if job not in failed:
            job.run()
    return failed


def visit_all(cells: Mapping[Job, Cell], store: Path, generator: np.random.Generator) -> None:
    """Rounds of visits, each in another order, until every cell has its samples; those with the fewest come first."""
    with track("time", sum(not cell.done for cell in cells.values()), unit="cells") as advance:
        while missing := [job for job, cell in cells.items() if not cell.done]:
            fewest = min(len(cells[job].samples) for job in missing)
            waiting = [job for job in missing if len(cells[job].samples) == fewest]
            for place in generator.permutation(len(waiting)):
                job = waiting[place]
                take_sample(cells[job], store / (DRAFT + job.folder.name))
                if cells[job].done:
                    advance(1)


def row_of(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record of `time` as programs get it."""
    settings, summed = record["settings"], record["summary"]
    examples = settings["batch"] * (record["steps"] if settings["what"] == "finetune" else 1)
    same = {name: settings[name] for name in ("length", "batch", "pad", "runtime", "threads")}
    return {
        "model": record["name"],
        "task": record["task"]["name"],
        **same,
        "what": settings["what"],
        "device": record["device"],
        "unit": record["unit"],
        "samples": record["samples"],
        **summed,
        "examples_per_second": examples / summed["median"],
        **({"joules": float(np.median(record["joules"]))} if "joules" in record else {}),
        **({"step": summed["median"] / record["steps"]} if settings["what"] == "finetune" else {}),
        **({"phases": record["phases"]} if "phases" in record else {}),
        "noisy": record["noisy"],
        "load_seconds": record["seconds"]["load"],
        "tokenize_seconds": record["seconds"]["tokenize"],
        "address": record["address"],
    }
