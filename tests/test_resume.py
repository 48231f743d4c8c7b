"""A command that is killed with SIGKILL and started again ends with the same files, bit for bit."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from featherlight.store.layout import DRAFT
from helpers.commands import call

pytestmark = pytest.mark.slow


def command(tiny_encoder: Path, sentiment: Path, store: Path, *, epochs: int, precision: str) -> list[str]:
    return ["finetune", "--model", str(tiny_encoder), "--task", str(sentiment), "--store", str(store), "--epochs",
            str(epochs), "--batch-size", "10", "--max-length", "20", "--device", "cpu", "--precision", precision,
            "--learning-rate", "2e-3", "--set", "checkpoint_seconds=0.05"]  # fmt: skip


def finish(capsys, arguments: list[str]) -> dict:
    code, answer = call(capsys, *arguments)
    assert code == 0, answer
    return answer["records"][0]


def kill_after(arguments: list[str], store: Path, seconds: float) -> bool:
    """Start the command and kill it some time after its first checkpoint; whether it was still at work."""
    process = subprocess.Popen(
        [sys.executable, "-m", "featherlight", *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while process.poll() is None and not list(store.glob(f"{DRAFT}*/.fit/checkpoint.safetensors")):
        time.sleep(0.005)
    time.sleep(seconds)
    process.send_signal(signal.SIGKILL)
    return process.wait() == -signal.SIGKILL


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "record.json"}


def check_kills_change_nothing(capsys, tiny_encoder, sentiment, tmp_path, *, kills: int, **how) -> None:
    whole, cut = (command(tiny_encoder, sentiment, tmp_path / name, **how) for name in ("whole", "cut"))
    whole = finish(capsys, whole)
    pause = random.Random(kills)
    interrupted = sum(kill_after(cut, tmp_path / "cut", pause.uniform(0, 0.6)) for _ in range(kills))
    resumed = finish(capsys, cut)
    assert interrupted >= 1
    assert resumed["curves"] == whole["curves"] and resumed["metrics"] == whole["metrics"]
    folders = [tmp_path / name / whole["address"] for name in ("whole", "cut")]
    assert contents(folders[0]) == contents(folders[1])
    assert not list(folders[1].glob(".*")), "checkpoints are left behind"


def test_one_kill_changes_no_bit(capsys, tiny_encoder, sentiment, tmp_path):
    check_kills_change_nothing(capsys, tiny_encoder, sentiment, tmp_path, kills=1, epochs=6, precision="fp32")


def test_many_kills_change_no_bit(capsys, tiny_encoder, sentiment, tmp_path):
    check_kills_change_nothing(capsys, tiny_encoder, sentiment, tmp_path, kills=8, epochs=12, precision="auto")
