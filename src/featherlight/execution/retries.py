"""Which failures are tried again, how often, and what is remembered of them between calls."""

import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from featherlight.files import read_json, write_json
from featherlight.planning.jobs import Job
from featherlight.stages.task_training import FIT, REFIT
from featherlight.store.layout import DRAFT
from featherlight.training.memory import MOST_BATCH_HALVINGS, batch_halvings, halve_batches

TRIES, _FAILURES = 3, ".failures"
_REMEDY = "Shorten the texts (max_length), store less (checkpointing), or take a smaller model or fewer workers."


def answer_to_a_kill(job: Job) -> tuple[bool, bool, str]:
    """After Linux killed a job for its memory: (whether that is the end, whether it was no try, what to say of it)."""
    folders = [job.store / (DRAFT + job.folder.name) / name for name in (FIT, REFIT)]
    trainings = [folder for folder in folders if folder.exists()]
    if not trainings:
        return False, False, ", out of memory"
    if max(map(batch_halvings, trainings)) < MOST_BATCH_HALVINGS:
        return (
            False,
            True,
            f", out of memory; halvings of its batches from here on: {max(map(halve_batches, trainings))}",
        )
    return (
        True,
        False,
        f", out of memory: it does not fit, though its batches were halved {MOST_BATCH_HALVINGS} times. {_REMEDY}",
    )


def failure_file(job: Job) -> Path:
    """Where a job's crashes are counted."""
    return job.store / _FAILURES / f"{job.folder.name}.json"


def earlier_failures(job: Job) -> tuple[int, str]:
    """How often a job crashed, and how last."""
    file = failure_file(job)
    found: Mapping[str, Any] = read_json(file) if file.exists() else {}
    return int(found.get("tries", 0)), str(found.get("error", ""))


def given_up(job: Job, *, retry: bool) -> str | None:
    """The last error of a job that has crashed too often to be tried again; None of any other. retry: forget them."""
    if retry:
        failure_file(job).unlink(missing_ok=True)
    tries, error = earlier_failures(job)
    return error if tries >= TRIES else None


def remember(job: Job, tries: int, error: str) -> None:
    """Count a crash."""
    failure_file(job).parent.mkdir(parents=True, exist_ok=True)
    write_json(failure_file(job), {"tries": tries, "error": error, "settings": job.settings.model_dump(mode="json")})


def ending(code: int | None) -> str:
    """An exit code in words."""
    if code is not None and code < 0:
        return f"signal {signal.Signals(-code).name}"
    return f"exit code {code}"
