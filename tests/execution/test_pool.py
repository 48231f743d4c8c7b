"""Cells in processes that may die: what is finished stays, what was in flight is tried again, the rest goes on."""

import itertools
import json
import multiprocessing
import os
import shutil
import signal
import subprocess

import psutil
import pytest

from featherlight.execution import pool, worker
from featherlight.execution.pool import WorkerPool, run_in_workers
from featherlight.execution.retries import TRIES, earlier_failures, failure_file, remember
from featherlight.planning.jobs import jobs_of
from featherlight.stages.finetune.stage import FINETUNE
from featherlight.stages.task_training import FIT
from featherlight.store.layout import DRAFT
from featherlight.training.memory import MOST_BATCH_HALVINGS, batch_halvings
from helpers.small_sweep import sweep, wait_for_a_checkpoint


@pytest.fixture
def jobs(tmp_path, tiny_encoder, sentiment):
    """Two fine-tunings that are still to do."""
    common = {"task": str(sentiment), "model": str(tiny_encoder), "epochs": 1, "max_length": 20, "device": "cpu",
              "precision": "fp32"}  # fmt: skip
    return jobs_of(FINETUNE, {**common, "seed": [1, 2]}, {}, store=tmp_path / "store", where="a test")


def test_a_cell_that_crashed_three_times_is_reported_and_not_tried_again(jobs):
    for _ in range(TRIES):
        remember(jobs[0], earlier_failures(jobs[0])[0] + 1, "Traceback ...\nMemoryError: so much")
    jobs[1].folder.mkdir(parents=True)  # done
    outcome = run_in_workers(jobs, workers=2)
    assert outcome.done == [jobs[1]] and list(outcome.failed) == [jobs[0]] and not outcome.not_run
    assert outcome.failed[jobs[0]].endswith("so much")
    kept = json.loads(failure_file(jobs[0]).read_text())
    assert kept["tries"] == TRIES and kept["settings"]["seed"] == 1


def test_what_needs_a_failed_cell_is_not_run(jobs):
    first, second = jobs
    object.__setattr__(second, "inputs", {"model": first.folder})
    remember(first, TRIES, "it burst")
    outcome = run_in_workers(jobs, workers=1)
    assert list(outcome.failed) == [first]
    assert outcome.not_run == {second: f"needs {first.folder.name}, which is not there"}


def test_a_crash_puts_a_cell_behind_the_others_until_it_has_had_its_tries(jobs):
    told = []
    workers = WorkerPool(1, on_finish=lambda job, error: told.append((job, error)))
    workers.take(jobs)
    for tries in range(1, TRIES + 1):
        job = workers.next()
        workers.waiting.remove(job)
        workers.note(job, "boom", final=False, seconds=0)
        if tries == 1:
            assert workers.waiting == [jobs[1], jobs[0]]
            workers.waiting.remove(jobs[1])
    assert told == [(jobs[0], "boom")] and list(workers.outcome.failed) == [jobs[0]]


class Killed:
    """A process, and a pipe to it, that Linux kills as soon as it has a job; folder: what it makes before."""

    exitcode = -signal.SIGKILL

    def __init__(self, folder):
        self.folder = folder
        self.sentinel, end = os.pipe()
        self.pipe = os.dup(self.sentinel)
        os.close(end)

    def send(self, job):
        if self.folder:
            self.folder.mkdir(parents=True, exist_ok=True)

    def recv(self):
        raise EOFError

    def fileno(self):
        return self.pipe

    def close(self):
        os.close(self.pipe)
        os.close(self.sentinel)

    def is_alive(self):
        return False

    def join(self):
        pass


def killed_sweep(job, folder, monkeypatch):
    """What becomes of a job that is killed for memory each time, and how often it was begun."""
    begun = []

    def hire(size):
        begun.append(Killed(folder))
        return begun[-1], begun[-1]

    monkeypatch.setattr(pool, "spawn", hire)
    monkeypatch.setattr(pool, "killed_by_the_system", itertools.count().__next__)
    outcome = run_in_workers([job], workers=1)
    for one in begun:
        one.close()
    return outcome, len(begun)


def test_a_kill_for_memory_is_no_try_until_there_is_nothing_left_to_halve(jobs, monkeypatch):
    lines = []
    monkeypatch.setattr(pool, "say", lines.append)
    fit = jobs[0].store / (DRAFT + jobs[0].folder.name) / FIT
    outcome, begun = killed_sweep(jobs[0], fit, monkeypatch)
    assert (
        begun == MOST_BATCH_HALVINGS + 1
        and batch_halvings(fit) == MOST_BATCH_HALVINGS
        and earlier_failures(jobs[0]) == (0, "")
    )
    assert (
        f"does not fit, though its batches were halved {MOST_BATCH_HALVINGS} times. Shorten" in outcome.failed[jobs[0]]
    )
    *tried, last = lines
    assert len(tried) == MOST_BATCH_HALVINGS and "failed: " in last and "from here on" not in last
    for number, line in enumerate(tried, 1):
        assert f"its batches are halved {number} times from here on; it will be tried again" in line
    assert killed_sweep(jobs[0], fit, monkeypatch)[1] == 1, "called again it is not halved ten times anew"


def test_a_kill_before_there_is_a_training_to_halve_is_a_try(jobs, monkeypatch):
    outcome, begun = killed_sweep(jobs[0], None, monkeypatch)
    assert begun == TRIES and outcome.failed[jobs[0]].endswith("SIGKILL, out of memory")


@pytest.mark.slow
def test_each_result_has_a_process_of_its_own_where_that_is_asked_for(jobs):
    assert len(run_in_workers(jobs, workers=1, isolate=True).done) == 2
    records = [json.loads((job.folder / "record.json").read_text()) for job in jobs]
    assert [record["earlier_runs"] for record in records] == [0, 0]
    shutil.rmtree(jobs[0].store)
    assert len(run_in_workers(jobs, workers=1).done) == 2
    assert sorted(json.loads((job.folder / "record.json").read_text())["earlier_runs"] for job in jobs) == [0, 1]


def test_a_worker_whose_sweep_was_killed_goes_without_a_word(monkeypatch):
    monkeypatch.setattr(signal, "signal", lambda *given: None)
    ours, theirs = multiprocessing.Pipe()

    def attempt(*job):
        ours.close()
        return None, False

    monkeypatch.setattr(worker, "attempt", attempt)
    ours.send(("finetune", None, {}, None))
    assert worker.serve(theirs) is None


def same(one: dict, other: dict) -> bool:
    return one["metrics"] == other["metrics"] and one["curves"] == other["curves"]


@pytest.mark.slow
def test_a_worker_that_is_killed_with_nothing_to_do_costs_no_try(jobs):
    workers = WorkerPool(1)
    workers.take(jobs[:1])
    assert workers.dispatch() and not workers.outcome.done
    workers.wait()
    (worker,) = workers.workers
    worker.process.kill()
    worker.process.join()
    workers.take(jobs[1:])
    workers.work()
    assert workers.outcome.done == jobs and earlier_failures(jobs[1]) == (0, "")


@pytest.mark.slow
def test_killed_workers_and_a_killed_sweep_lose_no_cell(tmp_path, tiny_encoder, sentiment):
    command = {
        name: sweep(tmp_path / name, tiny_encoder, sentiment, "--workers", "2")
        for name in ("worker", "driver", "whole")
    }
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(command["worker"], **pipes)
    wait_for_a_checkpoint(tmp_path / "worker" / "store")
    below = psutil.Process(process.pid).children(recursive=True)
    workers = [child for child in below if child.ppid() != process.pid or "spawn_main" in " ".join(child.cmdline())]
    workers[0].kill()
    found, said = process.communicate(timeout=120)
    assert process.returncode == 0 and "signal SIGKILL; it will be tried again" in said, said
    assert len(json.loads(found)["done"]) == 3

    process = subprocess.Popen(command["driver"], start_new_session=True, stderr=subprocess.DEVNULL)
    wait_for_a_checkpoint(tmp_path / "driver" / "store")
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    records = {}
    for name in command:
        subprocess.run(command[name], capture_output=True, check=True)
        files = (tmp_path / name / "store").glob("*/record.json")
        records[name] = {path.parent.name: json.loads(path.read_text()) for path in files}
    for name in ("worker", "driver"):
        assert records[name].keys() == records["whole"].keys() and len(records[name]) == 3
        assert all(same(records[name][address], records["whole"][address]) for address in records[name])


@pytest.mark.slow
def test_a_cell_that_a_user_has_to_put_right_fails_and_the_others_are_done(tmp_path, tiny_encoder, sentiment):
    changed = {"epochs": "{value: 1}", "learning_rate": "{values: [2e-3, 1e30]}"}
    ended = subprocess.run(
        sweep(tmp_path, tiny_encoder, sentiment, "--workers", "2", **changed), capture_output=True, text=True
    )
    found = json.loads(ended.stdout)
    assert ended.returncode == 1 and len(found["done"]) == 3 and len(found["failed"]) == 3 and not found["not_run"]
    assert all("has diverged" in cell["error"] for cell in found["failed"])
    assert all(cell["settings"]["learning_rate"] == 1e30 for cell in found["failed"])
