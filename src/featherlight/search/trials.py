"""A sweep that chooses its next cell: at random, or where earlier ones promise most (optuna).

One metric: TPE (Bergstra et al. 2011); several: NSGA-II (Deb et al. 2002). What was tried stands in a database, so that
a search goes on where it stopped, and several processes or machines with one database search together. Choices are made
on the select split; the reported score never has a part.
"""

import functools
import math
import os
import socket
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from featherlight.config import digest
from featherlight.data.registry import LoadedTasks
from featherlight.errors import UserError, pick
from featherlight.execution.pool import SweepResult, WorkerPool
from featherlight.files import read_json
from featherlight.planning.jobs import Job
from featherlight.planning.recipe import plan_stage
from featherlight.progress import say
from featherlight.search.sweep_file import Range, Sweep
from featherlight.store.layout import RECORD

_OWNER, _SEED = "owner", 1


def search(
    sweep: Sweep, *, store: Path, common: Mapping[str, Any], workers: int, isolate: bool, cells: int | None,
    storage: str | None, retry: bool,
) -> SweepResult:  # fmt: skip
    """Try cells until so many are finished, earlier calls and other processes with the same database included.

    cells: default: the file's run_cap, else 20. storage: an SQLAlchemy URL; by default an SQLite file in the store.
    """
    study = Search(sweep, store, common, cells or sweep.cap or 20, storage)
    pool = WorkerPool(workers, retry=retry, isolate=isolate, next_jobs=study.ask, on_finish=study.tell)
    pool.work()
    return pool.outcome


class Search:
    """The study of one sweep: asks for cells and is told their results."""

    def __init__(self, sweep: Sweep, store: Path, common: Mapping[str, Any], cells: int, storage: str | None):
        from optuna.trial import TrialState

        self.sweep, self.store, self.common, self.cells = sweep, store, sweep.fitting(common), cells
        self.study = _open_study(sweep, self.common, store, storage)
        self.trials: dict[Path, list[Any]] = {}
        self.tasks = LoadedTasks()
        self.states = TrialState
        self.close_orphans()

    def close_orphans(self) -> None:
        """Close trials of this machine whose process has ended, and queue their cells again."""
        import psutil  # accelerate brings it

        for trial in self.study.get_trials(states=(self.states.RUNNING,)):
            host, process = str(trial.user_attrs.get(_OWNER, ":0")).rsplit(":", 1)
            if host == socket.gethostname() and not psutil.pid_exists(int(process)):
                self.study.enqueue_trial(trial.params)
                self.study.tell(trial.number, state=self.states.FAIL)

    def ask(self) -> Sequence[Job]:
        """The jobs of one more cell; none when there have been enough."""
        if self.asked_before() >= self.cells:
            return []
        trial = self.study.ask()
        if self.asked_before(trial.number) >= self.cells:  # another process asked for the last one in between
            self.study.tell(trial, state=self.states.FAIL)
            return []
        trial.set_user_attr(_OWNER, f"{socket.gethostname()}:{os.getpid()}")
        values = {name: suggest(trial, name, range) for name, range in self.sweep.ranges.items()}
        sweep, name = self.sweep, f"cell {trial.number}"
        jobs = plan_stage(sweep.stage, {**values, **self.common}, {}, store=self.store, where=sweep.where, name=name,
                          tasks=self.tasks)  # fmt: skip
        trial.set_user_attr("address", jobs[-1].folder.name)
        self.trials.setdefault(jobs[-1].folder, []).append(trial)
        return jobs

    def asked_before(self, number: float = math.inf) -> int:
        """How many trials below this number are finished or being worked on, by any process."""
        trials = self.study.get_trials(deepcopy=False, states=(self.states.COMPLETE, self.states.RUNNING))
        return sum(trial.number < number for trial in trials)

    def tell(self, job: Job, error: str | None) -> None:
        """Enter a cell's results; a failed one counts as tried, but not as finished."""
        for trial in self.trials.pop(job.folder, []):
            if error is not None:
                self.study.tell(trial, state=self.states.FAIL)
                continue
            results = measured(read_json(job.folder / RECORD))
            values = [pick("metric (of the select split)", metric.name, results) for metric in self.sweep.metrics]
            self.study.tell(trial, values or [0.0])  # a random search without a metric has nothing to compare


def _open_study(sweep: Sweep, common: Mapping[str, Any], store: Path, storage: str | None) -> Any:
    import optuna
    from sqlalchemy.exc import SQLAlchemyError

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    ranges = {name: vars(range) for name, range in sorted(sweep.ranges.items())}
    metrics = [vars(metric) for metric in sweep.metrics]
    name = f"{sweep.stage.name}-{digest(ranges, metrics, sweep.method, {k: str(v) for k, v in sorted(common.items())})}"
    shared = storage is not None  # other processes must not begin with the same cells
    if not shared:
        (store / ".searches").mkdir(parents=True, exist_ok=True)
        storage = f"sqlite:///{(store / '.searches' / f'{name}.db').resolve()}"
    directions: Any = ["maximize" if metric.maximise else "minimize" for metric in sweep.metrics] or ["maximize"]
    begin = functools.partial(
        optuna.create_study, study_name=name, storage=storage, load_if_exists=True, directions=directions
    )
    try:
        try:
            study = begin()
        except SQLAlchemyError:  # two that begin at the same moment both make the tables, and one of them is late
            time.sleep(2)
            study = begin()
    except (SQLAlchemyError, ImportError, ValueError) as error:
        raise UserError(f"--storage {storage}: {str(error).splitlines()[0]}. Give an SQLAlchemy URL of a database "
                        "that answers, for example postgresql+psycopg://user@host/name.") from None  # fmt: skip
    tried = len(study.get_trials(deepcopy=False))
    say(f"search {name}: {tried} cells tried before")
    samplers: Any = optuna.samplers
    guided = samplers.TPESampler if len(metrics) == 1 else samplers.NSGAIISampler
    sampler = samplers.RandomSampler if sweep.method == "random" else guided
    study.sampler = sampler(seed=None if shared else _SEED + tried)  # not the cells of the last call once more
    return study


def suggest(trial: Any, name: str, range: Range) -> Any:
    """A value for one setting."""
    if range.values:
        return range.values[0] if len(range.values) == 1 else trial.suggest_categorical(name, list(range.values))
    if range.whole:
        return trial.suggest_int(name, int(range.low), int(range.high), log=range.logarithmic)
    step = None if range.logarithmic else range.step
    return trial.suggest_float(name, range.low, range.high, step=step, log=range.logarithmic)


def measured(record: Mapping[str, Any]) -> dict[str, float]:
    """What a search may optimise: the select split's scores and loss at the best epoch, bytes, seconds."""
    results: dict[str, float] = {}
    if best := record.get("best"):
        best_epoch = next(epoch for epoch in record["curves"]["epochs"] if epoch["epoch"] == best["epoch"])
        results = {**best_epoch["select"], "train_seconds": record["seconds"]["train"]}
    if "bytes" in record:
        results["bytes"] = record["bytes"]
    if "latency" in record:
        results["latency"] = statistics.median(record["latency"]["values"])
    return results
