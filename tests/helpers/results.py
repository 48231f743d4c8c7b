"""Result folders as a store holds them: a record and predictions, without a model."""

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from featherlight.data.task import Target
from featherlight.measurement.metrics import score


def write_result(
    store: Path, address: str, labels: np.ndarray, guess: np.ndarray, *, name: str = "bag", task: str = "toy",
    split: str = "dev", seed: int | None = 1, metrics: tuple[str, ...] = ("accuracy",), inputs: dict | None = None,
    fingerprint: str = "f" * 64, stage: str = "distill", settings: dict | None = None, more: dict | None = None,
) -> Path:  # fmt: skip
    """A folder whose model predicts these classes [N] (or numbers, for a task of pearson) of rows with these labels."""
    folder = store / address
    folder.mkdir(parents=True)
    numbers = metrics[0] == "pearson"
    logits = guess.astype(np.float32) if numbers else np.eye(2, dtype=np.float32)[guess]
    labels = labels.astype(np.float32 if numbers else np.int64)
    save_file({f"{split}.logits": logits, f"{split}.labels": labels}, folder / "predictions.safetensors")
    found = score(metrics, labels, logits, resamples=50, kind=Target.CLASSES)
    record = {
        "address": address, "stage": stage, "name": name, "settings": {"seed": seed, **(settings or {})},
        "identity": {"seed": seed, **(settings or {})}, **(more or {}),
        "inputs": inputs or {},
        "task": {"name": task, "fingerprint": fingerprint, "labels": [] if numbers else ["no", "yes"]},
        "metrics": {split: {"n": len(labels), "headline": metrics[0], "scores": found}},
    }  # fmt: skip
    (folder / "record.json").write_text(json.dumps(record))
    return folder


def guesses(labels: np.ndarray, right: float, *, seed: int) -> np.ndarray:
    """Classes that are right with this probability, independently of any other seed's."""
    generator = np.random.default_rng(seed)
    return np.where(generator.random(len(labels)) < right, labels, 1 - labels)
