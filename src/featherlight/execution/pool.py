"""A pool of worker processes: jobs in, finished folders out, several at a time.

A worker that crashes, runs out of memory or is killed costs the jobs in flight and nothing else: what is finished is in
the store under its address, what is not resumes from its last checkpoint. A kill for lack of memory does not count as a
try as long as the training's batches can be halved in answer.
"""

import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing import connection
from pathlib import Path
from typing import Any

from featherlight.errors import shortened
from featherlight.execution import retries
from featherlight.execution.worker import spawn
from featherlight.planning.jobs import Job, needed
from featherlight.progress import say
from featherlight.training.memory import killed_by_the_system


@dataclass
class SweepResult:
    """What became of each job. failed, not_run: with the reason; a failure's last line says most."""

    done: list[Job] = field(default_factory=list)
    failed: dict[Job, str] = field(default_factory=dict)
    not_run: dict[Job, str] = field(default_factory=dict)
    interrupted: bool = False

    def __len__(self) -> int:
        return len(self.done) + len(self.failed) + len(self.not_run)


@dataclass(eq=False)
class Worker:
    """A process and its end of the pipe. kills: how many processes the system had killed for memory when job began."""

    process: Any
    pipe: Any
    job: Job | None = None
    since: float = 0.0
    kills: int = 0


def run_in_workers(jobs: Sequence[Job], *, workers: int, retry: bool = False, isolate: bool = False) -> SweepResult:
    """Run jobs in this many processes, inputs before what needs them; the rest goes on when one fails.

    A crash is tried three times, in later calls too unless retry forgets them; what a user has to put right, once.
    isolate: a process for each job, which costs its start.
    """
    pool = WorkerPool(workers, retry=retry, isolate=isolate)
    pool.take(jobs)
    pool.work()
    return pool.outcome


class WorkerPool:
    """The workers of one call. next_jobs: asked for more when one is idle. on_finish: gets (job, error or None)."""

    def __init__(
        self,
        size: int,
        *,
        retry: bool = False,
        isolate: bool = False,
        next_jobs: Callable[[], Sequence[Job]] = list,
        on_finish: Callable[[Job, str | None], None] = lambda job, error: None,
    ):
        self.size, self.retry, self.isolate, self.next_jobs, self.on_finish = size, retry, isolate, next_jobs, on_finish
        self.outcome = SweepResult()
        self.waiting: list[Job] = []
        self.held: set[Path] = set()  # folders that are still to come
        self.workers: list[Worker] = []

    def take(self, jobs: Sequence[Job]) -> None:
        """Queue jobs; one that is done, or has failed too often, is noted at once."""
        for job in [job for job in jobs if needed(job, jobs)]:
            error = retries.given_up(job, retry=self.retry)
            if job.state == "done":
                self.outcome.done.append(job)
                self.on_finish(job, None)
            elif error is not None:
                self.outcome.failed[job] = error
                self.on_finish(job, error)
            else:
                self.waiting.append(job)
                self.held.add(job.folder)

    @property
    def total(self) -> int:
        """How many jobs there are."""
        return len(self.outcome) + len(self.waiting) + len(self.running)

    @property
    def running(self) -> list[Job]:
        """The jobs in flight."""
        return [worker.job for worker in self.workers if worker.job]

    def work(self) -> None:
        """Run all jobs; Ctrl-C stops and leaves the rest as not run."""
        try:
            while self.dispatch():
                self.wait()
        except KeyboardInterrupt:
            self.outcome.interrupted = True
            self.outcome.not_run |= dict.fromkeys([*self.running, *self.waiting], "interrupted")
        finally:
            self.shutdown()

    def shutdown(self) -> None:
        """End every process; a job in flight resumes from its last checkpoint in a later call."""
        for worker in self.workers:
            worker.pipe.close()
            if worker.job:
                worker.process.terminate()
        for worker in self.workers:
            worker.process.join()

    def dispatch(self) -> bool:
        """Give jobs to idle workers, and to new ones up to the pool's size; whether any job is in flight."""
        while len(self.running) < self.size:
            if job := self.next():
                self.waiting.remove(job)
                self.start(job)
            elif more := self.next_jobs():
                self.take(more)
            else:
                break
        return bool(self.running)

    def start(self, job: Job) -> None:
        """Give a job to an idle worker, or to a new one."""
        worker = next((worker for worker in self.workers if worker.job is None), None)
        if worker is None:
            worker = Worker(*spawn(self.size))
            self.workers.append(worker)
        try:
            worker.pipe.send((job.stage.name, job.settings, dict(job.inputs), job.store, dict(job.kinds)))
        except ConnectionError:  # killed while it had nothing to do, which costs no job a try
            worker.process.join()
            self.workers.remove(worker)
            return self.start(job)
        worker.job, worker.since, worker.kills = job, time.monotonic(), killed_by_the_system()

    def next(self) -> Job | None:
        """The first job in the queue whose inputs exist; those whose inputs never will are noted as not run."""
        lost = {job.folder for job in [*self.outcome.failed, *self.outcome.not_run]}
        for job in list(self.waiting):
            if missing := lost.intersection(job.inputs.values()):
                self.waiting.remove(job)
                lost.add(job.folder)
                self.outcome.not_run[job] = f"needs {missing.pop().name}, which is not there"
                self.on_finish(job, self.outcome.not_run[job])
            elif not self.held.intersection(job.inputs.values()):
                return job
        return None

    def wait(self) -> None:
        """Wait until a worker answers or its process ends."""
        busy = [worker for worker in self.workers if worker.job]
        signals = {worker.pipe: worker for worker in busy} | {worker.process.sentinel: worker for worker in busy}
        for worker in {signals[ready] for ready in connection.wait(list(signals))}:  # type: ignore[index]
            job, error, final, free = worker.job, None, False, False
            assert job is not None
            try:
                error, final = worker.pipe.recv()
            except (EOFError, ConnectionError):
                worker.process.join()
                error = f"its process ended with {retries.ending(worker.process.exitcode)}"
                if worker.process.exitcode == -signal.SIGKILL and killed_by_the_system() > worker.kills:
                    final, free, reason = retries.answer_to_a_kill(job)
                    error += reason
            if self.isolate:
                worker.pipe.close()
                worker.process.join()
            if not worker.process.is_alive():
                self.workers.remove(worker)
            worker.job = None
            self.note(job, error, final=final, free=free, seconds=time.monotonic() - worker.since)

    def note(self, job: Job, error: str | None, *, final: bool, seconds: float, free: bool = False) -> None:
        """Note how a job ended: done, failed, or queued for another try. free: this does not count as a try."""
        title = f"{job.name} ({job.folder.name})"
        if error is None:
            self.outcome.done.append(job)
            self.held.discard(job.folder)
            retries.failure_file(job).unlink(missing_ok=True)
            say(f"[{len(self.outcome)}/{self.total}] {title}: done in {seconds:.1f} s")
            return self.on_finish(job, None)
        last = shortened(error.strip().splitlines()[-1])
        tries = retries.TRIES if final else retries.earlier_failures(job)[0] + (not free)
        if not (final or free):
            retries.remember(job, tries, error)
        if tries < retries.TRIES:
            self.waiting.append(job)
            return say(f"{title}: {last}; it will be tried again")
        self.outcome.failed[job] = error
        self.on_finish(job, error)
        say(f"[{len(self.outcome)}/{self.total}] {title}: failed: {last}")
