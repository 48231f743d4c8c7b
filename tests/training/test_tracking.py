"""Trackers show what the record says; one that is down costs a warning, not a training."""

import contextlib
import json
import logging
import os
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request

import pytest

SMALL = ("--epochs", "2", "--batch-size", "25", "--max-length", "20", "--device", "cpu", "--precision", "fp32",
         "--json")  # fmt: skip


def finetune(encoder, task, store, tracker, **environment):
    """(record, what was said) of a fine-tuning in a process of its own, for trackers keep global state."""
    command = [sys.executable, "-m", "featherlight", "finetune", "--model", str(encoder), "--task", str(task), *SMALL,
               "--store", str(store), "--track", tracker]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment}, cwd=store.parent)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["records"][0], done.stderr


@pytest.mark.slow
def test_tensorboard_and_wandb_offline_get_the_losses_and_scores(tiny_encoder, sentiment, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logs = {"TENSORBOARD_LOGDIR": str(tmp_path / "logs")}
    record, _ = finetune(tiny_encoder, sentiment, tmp_path / "one", "tensorboard", **logs)
    folder = tmp_path / "logs" / record["address"]
    shown = EventAccumulator(str(folder))
    shown.Reload()
    assert [event.step for event in shown.Scalars("select_accuracy")] == [e["step"] for e in record["curves"]["epochs"]]
    final = record["metrics"]["dev"]["scores"]["accuracy"]["value"]
    assert shown.Scalars("dev_accuracy")[-1].value == pytest.approx(final)

    finetune(tiny_encoder, sentiment, tmp_path / "two", "wandb", WANDB_MODE="offline", WANDB_DIR=str(tmp_path))
    (run,) = (tmp_path / "wandb").glob("offline-run-*/run-*.wandb")
    assert b"dev_accuracy" in run.read_bytes()


@pytest.mark.slow
def test_trackio_keeps_the_scores_in_its_folder(tiny_encoder, sentiment, tmp_path):
    record, _ = finetune(tiny_encoder, sentiment, tmp_path / "store", "trackio", TRACKIO_DIR=str(tmp_path / "tracked"))
    with contextlib.closing(sqlite3.connect(tmp_path / "tracked" / "featherlight.db")) as kept:
        rows = kept.execute("select run_name, metrics from metrics").fetchall()
    assert {name for name, _ in rows} == {record["address"]}
    shown = {key: value for _, metrics in rows for key, value in json.loads(metrics).items()}
    assert shown["dev_accuracy"] == pytest.approx(record["metrics"]["dev"]["scores"]["accuracy"]["value"])


@pytest.mark.slow
def test_an_mlflow_server_gets_the_run(tiny_encoder, sentiment, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", f"sqlite:///{tmp_path}/mlflow.db",
               "--port", str(port), "--workers", "1"]  # fmt: skip
    server = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                              start_new_session=True)  # fmt: skip
    try:
        end = time.monotonic() + 120
        while True:
            try:
                urllib.request.urlopen(f"{address}/health", timeout=2).close()
                break
            except OSError:
                assert time.monotonic() < end and server.poll() is None
                time.sleep(0.5)
        record, _ = finetune(tiny_encoder, sentiment, tmp_path / "store", "mlflow", MLFLOW_TRACKING_URI=address)
        asked = urllib.request.Request(
            f"{address}/api/2.0/mlflow/runs/search",
            headers={"Content-Type": "application/json"},
            data=json.dumps({"experiment_ids": ["1"]}).encode(),
        )
        with urllib.request.urlopen(asked, timeout=20) as answer:
            (run,) = json.load(answer)["runs"]
    finally:
        os.killpg(server.pid, 9)
        server.wait()
    shown = {metric["key"]: metric["value"] for metric in run["data"]["metrics"]}
    assert run["info"]["run_name"] == record["address"] and run["info"]["status"] == "FINISHED"
    assert shown["dev_accuracy"] == pytest.approx(record["metrics"]["dev"]["scores"]["accuracy"]["value"])
    assert {entry["key"]: entry["value"] for entry in run["data"]["params"]}["epochs"] == "2"


@pytest.mark.slow
def test_a_tracker_that_is_down_costs_one_warning(tiny_encoder, sentiment, tmp_path):
    record, said = finetune(
        tiny_encoder, sentiment, tmp_path / "store", "mlflow", MLFLOW_TRACKING_URI="http://127.0.0.1:9"
    )
    assert record["metrics"]["dev"]["n"] == 60 and said.count("mlflow is down or refuses") == 1


def test_a_tracker_that_fails_later_is_left_alone(caplog):
    from featherlight.training.tracking import Tracking

    class Failing:
        calls = 0

        def log(self, numbers, step):
            self.calls += 1
            raise ConnectionError("gone")

        def finish(self):
            raise AssertionError("it is not asked again")

    tracking, failing = Tracking.__new__(Tracking), Failing()
    tracking.name, tracking.tracker = "wandb", failing
    with caplog.at_level(logging.INFO, "featherlight"):
        tracking.log({"loss": 1.0}, 1)
        tracking.log({"loss": 0.5}, 2)
        tracking.finish()
    assert failing.calls == 1 and len(caplog.messages) == 1 and "gone" in caplog.text
