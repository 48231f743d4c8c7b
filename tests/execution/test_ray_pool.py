"""On a Ray cluster of a head and two nodes: whoever is killed, no finished cell is lost and the sweep completes."""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import psutil
import pytest

from featherlight.execution.ray_pool import RayPool, packed, unpacked
from featherlight.planning.jobs import Job, jobs_of
from featherlight.stages.distill.stage import DISTILL
from featherlight.stages.label.stage import LABEL
from helpers.commands import call
from helpers.small_sweep import sweep, wait_for_a_checkpoint


@pytest.fixture(scope="module")
def cluster():
    """The address of a cluster with one processor on each of two nodes, and its processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address, ray = f"127.0.0.1:{port}", [sys.executable, "-m", "ray.scripts.scripts", "start", "--disable-usage-stats"]
    before = {process.pid for process in psutil.process_iter()}
    quiet = {"check": True, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with tempfile.TemporaryDirectory(prefix="ray") as folder:  # its sockets' names may not be long
        head = ["--head", "--num-cpus=0", f"--port={port}", "--include-dashboard=false", f"--temp-dir={folder}"]
        subprocess.run([*ray, *head], **quiet)
        for _ in range(2):
            subprocess.run([*ray, f"--address={address}", "--num-cpus=1"], **quiet)
        yield address
        for process in psutil.process_iter(["cmdline"]):
            words = " ".join(process.info["cmdline"] or ())
            if process.pid not in before and folder in words:
                process.kill()


def at_work() -> psutil.Process:
    """A process of the cluster that computes a cell."""
    running = psutil.process_iter(["cmdline"])
    return next(one for one in running if "work_there" in " ".join(one.info["cmdline"] or ()))


@pytest.mark.slow
def test_a_killed_worker_and_a_killed_driver_lose_no_cell(tmp_path, tiny_encoder, sentiment, cluster):
    command = sweep(tmp_path / "worker", tiny_encoder, sentiment, "--ray", cluster)
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_for_a_checkpoint(tmp_path / "worker" / "store")
    at_work().kill()
    found, said = process.communicate(timeout=240)
    assert process.returncode == 0 and "it will be tried again" in said, said
    assert len(json.loads(found)["done"]) == 3

    command = sweep(tmp_path / "driver", tiny_encoder, sentiment, "--ray", cluster)
    process = subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL)
    wait_for_a_checkpoint(tmp_path / "driver" / "store")
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert len(json.loads(done.stdout)["done"]) == 3
    records = {
        name: {path.parent.name: json.loads(path.read_text()) for path in (tmp_path / name).glob("store/*/record.json")}
        for name in ("worker", "driver")
    }
    assert records["worker"].keys() == records["driver"].keys() and len(records["worker"]) == 3
    for address, record in records["worker"].items():
        other = records["driver"][address]
        assert record["metrics"] == other["metrics"] and record["curves"] == other["curves"]


def work_on(cluster: str, jobs: Sequence[Job], token: Path | None) -> RayPool:
    """A workers that has done these jobs; token: what nodes look for to know whether they see the store."""
    workers = RayPool(cluster, jobs[0].store, processors=1, gpus=0, retry=False)
    workers.token = token or workers.token
    workers.take(jobs)
    workers.work()
    assert not workers.outcome.failed and all(job.state == "done" for job in jobs)
    return workers


@pytest.mark.slow
def test_inputs_and_results_travel_as_bytes_where_no_store_is_shared_and_nowhere_else(
    tmp_path, students, sentiment, cluster
):
    values = {"task": str(sentiment), "student": "bag", "epochs": 1, "dim": 8, "max_length": 20, "device": "cpu"}
    sent, made = {}, {}
    for store, token in (("shared", None), ("apart", Path("/no/such/token"))):
        jobs = jobs_of(DISTILL, values, {"teacher": students["teacher"]}, store=tmp_path / store, where="a test")
        assert [job.stage for job in jobs] == [LABEL, DISTILL]
        sent[store] = set(work_on(cluster, jobs, token).sent)
        made[store] = json.loads((jobs[-1].folder / "record.json").read_text())
    assert sent == {"shared": set(), "apart": {students["teacher"], *sent["apart"]}} and len(sent["apart"]) == 2
    assert made["shared"]["metrics"] == made["apart"]["metrics"]


def test_a_folder_survives_the_journey(tmp_path):
    (tmp_path / "one" / "deep").mkdir(parents=True)
    (tmp_path / "one" / "deep" / "file").write_bytes(b"\x00\xff")
    there = unpacked(packed(tmp_path / "one"), tmp_path / "two")
    assert (there / "deep" / "file").read_bytes() == b"\x00\xff"


def test_an_address_that_does_not_answer_is_the_users_to_start(capsys, tmp_path, tiny_encoder, sentiment):
    command = sweep(tmp_path / "a", tiny_encoder, sentiment, "--ray", "127.0.0.1:9")[3:]
    code, found = call(capsys, *[word for word in command if word != "--json"])
    assert code == 2 and "no Ray cluster answers there" in found["error"] and not (tmp_path / "a" / "store").exists()


def test_timed_cells_stay_here(capsys, tmp_path):
    file = tmp_path / "sweep.yaml"
    file.write_text("program: time\nparameters: {task: {value: sst2}, model: {value: bag}}")
    code, found = call(capsys, "sweep", file, "--ray", "auto", "--store", tmp_path / "store")
    assert code == 2 and "timed cells run here" in found["error"]
