"""The command `sweep`: a file in; three lists of cells out: done, failed, not run."""

import contextlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from typer import Exit

from featherlight import distributed
from featherlight.commands.console import print_json
from featherlight.commands.plan import show_plan
from featherlight.commands.stage import finished
from featherlight.commands.time import show_cells
from featherlight.errors import UserError, shortened
from featherlight.execution.pool import SweepResult, run_in_workers
from featherlight.execution.ray_pool import RayPool
from featherlight.execution.retries import earlier_failures, failure_file, given_up, remember
from featherlight.execution.turns import interleave
from featherlight.measurement.energy import Factors
from featherlight.planning.jobs import Job
from featherlight.reports.results import print_tables
from featherlight.search.sweep_file import plan_grid, read_sweep
from featherlight.search.trials import search
from featherlight.store.records import read_records


def run_sweep(
    file: Path, stage: str | None, common: Mapping[str, Any], *, store: Path, workers: int, isolate: bool,
    cells: int | None, storage: str | None, retry: bool, yes: bool, dry_run: Factors | None, ray: str | None,
    cell_cpus: float, cell_gpus: float, as_json: bool,
) -> None:  # fmt: skip
    """Run a sweep file and print the outcome; exit code 1 if a cell failed or was not run. dry_run: only the plan."""
    if distributed.world_size() > 1:
        raise UserError("a sweep starts its own processes. Call it without a launcher, with --workers or --ray.")
    sweep = read_sweep(file, stage=stage)
    if isolate and (ray is not None or sweep.stage.alone):
        raise UserError("--isolate is for worker processes on this machine. Leave it out with --ray and timed cells.")
    if ray is not None and (sweep.method != "grid" or sweep.stage.alone or workers > 1):
        raise UserError(
            "--ray is for the cells of a grid; searches and timed cells run here. Leave --workers out, too."
        )
    if sweep.method != "grid":
        if dry_run is not None:
            raise UserError(f"{file}: a search chooses its cells as it runs; it has no plan. Leave --dry-run out.")
        outcome = search(sweep, store=store, common=common, workers=workers, isolate=isolate, cells=cells,
                         storage=storage, retry=retry)  # fmt: skip
        return _show_outcome(outcome, as_json=as_json)
    if cells is not None or storage is not None:
        raise UserError(f"{file}: --cells and --storage are for method random and bayes; a grid runs all its cells.")
    jobs = plan_grid(sweep, store=store, common=common, yes=yes)
    if dry_run is not None:
        return show_plan(jobs, dry_run, as_json=as_json)
    if sweep.stage.alone:
        return _timed(jobs, workers=workers, store=store, retry=retry, as_json=as_json)
    if ray is None:
        return _show_outcome(run_in_workers(jobs, workers=workers, retry=retry, isolate=isolate), as_json=as_json)
    with contextlib.redirect_stdout(sys.stderr):  # Ray says there what becomes of its nodes
        pool = RayPool(ray, store, processors=cell_cpus, gpus=cell_gpus, retry=retry)
        pool.take(jobs)
        pool.work()
    _show_outcome(pool.outcome, as_json=as_json)


def run_apart(jobs: Sequence[Job], *, workers: int, isolate: bool, as_json: bool) -> None:
    """A recipe's jobs in processes of their own: its results, or the three lists where something is missing."""
    if distributed.world_size() > 1:
        raise UserError("--workers and --isolate start processes of their own. Call without a launcher.")
    if any(job.stage.alone for job in jobs):
        _check_alone(workers)
    outcome = run_in_workers(jobs, workers=workers, isolate=isolate)
    if outcome.failed or outcome.not_run:
        return _show_outcome(outcome, as_json=as_json)
    finished([job.folder for job in jobs if job.stage.listed], as_json=as_json)


def _check_alone(workers: int) -> None:
    if workers > 1:
        raise UserError(f"--workers {workers}: cells that are timed at once slow each other down. Leave it out.")


def _timed(jobs: Sequence[Job], *, workers: int, store: Path, retry: bool, as_json: bool) -> None:
    """Cells of the stage `time` take turns in this process; one that crashed in three calls is skipped."""
    _check_alone(workers)
    errors = {job: error for job in jobs if (error := given_up(job, retry=retry)) is not None and job.state != "done"}
    failures = interleave([job for job in jobs if job not in errors], store=store)
    for job, failure in failures.items():
        if not failure.users:
            remember(job, earlier_failures(job)[0] + 1, failure.error)
    errors |= {job: failure.error for job, failure in failures.items()}
    outcome = SweepResult([job for job in jobs if job not in errors], errors)
    for job in outcome.done:
        failure_file(job).unlink(missing_ok=True)
    if not as_json:
        show_cells([job.folder for job in outcome.done])
    _show_outcome(outcome, as_json=as_json)


def _show_outcome(outcome: SweepResult, *, as_json: bool) -> None:
    done = [job for job in dict.fromkeys(outcome.done) if job.stage.listed]
    if as_json:
        missing = {
            key: [{"address": job.folder.name, "error": reason, "settings": job.settings.model_dump(mode="json")}
                  for job, reason in jobs.items()]
            for key, jobs in (("failed", outcome.failed), ("not_run", outcome.not_run))
        }  # fmt: skip
        print_json({"done": [job.folder.name for job in done], **missing})
    else:
        if done and not done[0].stage.alone:
            print_tables(read_records([job.folder for job in done]))
        print(f"done: {len(done)}")
        for title, reasons in (("failed", outcome.failed), ("not run", outcome.not_run)):
            print(f"{title}: {len(reasons)}")
            for job, reason in reasons.items():
                print(f"  {job.folder.name}: {shortened(reason.strip().splitlines()[-1])}")
    if outcome.interrupted:
        raise KeyboardInterrupt
    if outcome.failed or outcome.not_run:
        raise Exit(1)
