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
    """After Linux killed a job for lack of memory: (give it up?, does this not count as a try?, message)."""
    folders = [job.store / (DRAFT + job.folder.name) / name for name in (FIT, REFIT)]
    trainings = [folder for folder in folders if folder.exists()]
    if not trainings:
        return False, False, ", out of memory"
    if max(map(batch_halvings, trainings)) < MOST_BATCH_HALVINGS:
        times = max(map(halve_batches, trainings))
        return False, True, f", out of memory; its batches are halved {times} times from here on"
    message = f"it does not fit, though its batches were halved {MOST_BATCH_HALVINGS} times. {_REMEDY}"
    return True, False, f", out of memory: {message}"


def failure_file(job: Job) -> Path:
    """Where a job's crashes are counted."""
    return job.store / _FAILURES / f"{job.folder.name}.json"


def earlier_failures(job: Job) -> tuple[int, str]:
    """How often a job crashed in earlier calls, and its last error."""
    file = failure_file(job)
    failures: Mapping[str, Any] = read_json(file) if file.exists() else {}
    return int(failures.get("tries", 0)), str(failures.get("error", ""))


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
    return f"signal {signal.Signals(-code).name}" if code is not None and code < 0 else f"exit code {code}"
