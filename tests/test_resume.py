"""A command that is killed with SIGKILL and started again ends with the same files, bit for bit."""

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from featherlight.store.layout import DRAFT


def command(tiny_encoder: Path, sentiment: Path, store: Path) -> list[str]:
    return [sys.executable, "-m", "featherlight", "finetune", "--model", str(tiny_encoder), "--task", str(sentiment),
            "--store", str(store), "--epochs", "12", "--batch-size", "10", "--max-length", "20", "--device", "cpu",
            "--learning-rate", "2e-3", "--set", "checkpoint_seconds=0.05", "--json"]  # fmt: skip


def finish(arguments: list[str]) -> dict:
    done = subprocess.run(arguments, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)["records"][0]


def kill_after(arguments: list[str], store: Path, seconds: float) -> bool:
    """Start the command and kill it some time after its first checkpoint; whether it was still at work."""
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and not list(store.glob(f"{DRAFT}*/.fit/checkpoint.safetensors")):
        time.sleep(0.005)
    time.sleep(seconds)
    process.send_signal(signal.SIGKILL)
    return process.wait() == -signal.SIGKILL


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "record.json"}


def check_kills_change_nothing(tiny_encoder, sentiment, tmp_path, *, kills: int) -> None:
    whole = finish(command(tiny_encoder, sentiment, tmp_path / "whole"))
    pause = random.Random(kills)
    interrupted = sum(
        kill_after(command(tiny_encoder, sentiment, tmp_path / "cut"), tmp_path / "cut", pause.uniform(0, 0.6))
        for _ in range(kills)
    )
    resumed = finish(command(tiny_encoder, sentiment, tmp_path / "cut"))
    assert interrupted >= 1
    assert resumed["curves"] == whole["curves"] and resumed["metrics"] == whole["metrics"]
    folders = [tmp_path / name / whole["address"] for name in ("whole", "cut")]
    assert contents(folders[0]) == contents(folders[1])
    assert not list(folders[1].glob(".*")), "checkpoints are left behind"


def test_one_kill_changes_no_bit(tiny_encoder, sentiment, tmp_path):
    check_kills_change_nothing(tiny_encoder, sentiment, tmp_path, kills=1)


@pytest.mark.slow
def test_many_kills_change_no_bit(tiny_encoder, sentiment, tmp_path):
    check_kills_change_nothing(tiny_encoder, sentiment, tmp_path, kills=8)
