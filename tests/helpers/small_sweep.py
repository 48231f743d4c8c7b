"""A sweep of three small fine-tunings as a command, for tests that kill it."""

import re
import sys
import time
from pathlib import Path

from featherlight.store.layout import DRAFT

SWEEP = """
program: finetune
parameters:
  model: {value: ENCODER}
  task: {value: TASK}
  epochs: {value: 12}
  max_length: {value: 20}
  batch_size: {value: 10}
  device: {value: cpu}
  learning_rate: {value: 2e-3}
  seed: {values: [1, 2, 3]}
  checkpoint_seconds: {value: 0.1}
"""


def sweep(folder: Path, encoder: Path, task: Path, *options: str, **changed: str) -> list[str]:
    """The command, with its file and its store in a folder."""
    folder.mkdir(exist_ok=True)
    text = SWEEP.replace("ENCODER", str(encoder)).replace("TASK", str(task))
    for old, new in changed.items():
        text = re.sub(rf"{old}: .*", f"{old}: {new}", text)
    (folder / "sweep.yaml").write_text(text)
    return [sys.executable, "-m", "featherlight", "sweep", str(folder / "sweep.yaml"), *options, "--json",
            "--store", str(folder / "store")]  # fmt: skip


def wait_for_a_checkpoint(store: Path, seconds: float = 200) -> None:
    """Until a cell has something to go on from."""
    end = time.monotonic() + seconds
    while not list(store.glob(f"{DRAFT}*/.fit/checkpoint.safetensors")):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)
