"""Did a step do anything? A model before and after it, on the same examples: bytes, scores, paired tests, flips."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from featherlight.analysis.statistics import mcnemar, paired_bootstrap
from featherlight.data.task import TaskData
from featherlight.kinds import MODEL
from featherlight.measurement.footprint import folder_bytes
from featherlight.measurement.metrics import mean_scores, predictions, score
from featherlight.packing.folder import is_packable, pack_folder
from featherlight.pipeline.fit import score_splits, select_rows, time_predictor
from featherlight.pipeline.inputs import checked_predictor
from featherlight.pipeline.settings import RunSettings
from featherlight.store.layout import PREDICTIONS
from featherlight.store.phases import Phases

Json = dict[str, Any]


def compared(before: Path, out: Path, data: TaskData, settings: RunSettings, phases: Phases) -> Json:
    """What a step from the model `before` to the one in `out` did, on the task's reported splits.

    "metrics", "latency", "parameters", "bytes": of the new model, as of any. "before", "after": {"bytes",
    "packed_bytes", "metrics"}. "flips": predictions that changed, "p_value": McNemar's (a regression: the paired
    bootstrap's, and no flips). "tests": both in full; several reported splits count as one.
    """
    splits = data.task.reported
    with phases("evaluate before"):
        old = checked_predictor(before, data, settings)
        was = {name: old.logits(old.tokens(data.splits[name]), label=f"{name} before") for name in splits}
    own = {"precision": "auto", "device": "auto"} if (out / MODEL).exists() else {}  # it computes in one way only
    new = checked_predictor(out, data, settings.model_copy(update=own))
    with phases("evaluate"):
        metrics = score_splits(new, data, splits, out=out)
    with phases("latency"):
        latency = time_predictor(new, select_rows(data))
    stored = load_file(out / PREDICTIONS)
    now = {name: stored[f"{name}.logits"] for name in splits}
    labels = {name: stored[f"{name}.labels"] for name in splits}
    scores = [score(data.task.metrics, labels[name], was[name]) for name in splits]
    return {
        "metrics": metrics,
        "latency": latency,
        "parameters": new.parameters,
        "bytes": folder_bytes(out),
        "before": {**sizes(before), "metrics": mean_scores(scores) if len(scores) > 1 else scores[0]},
        "after": {**sizes(out), "metrics": next(iter(metrics.values()))["scores"]},
        **paired(
            data.task.metrics[0], *(np.concatenate([part[name] for name in splits]) for part in (labels, was, now))
        ),
    }


def paired(metric: str, labels: np.ndarray, was: np.ndarray, now: np.ndarray) -> Json:
    """Flips, p-value and both tests, for labels and for logits before and after, row by row."""
    old, new = predictions(was), predictions(now)
    difference = paired_bootstrap(metric, labels, old, new)
    tests: Json = {"bootstrap": {"metric": metric, **asdict(difference)}}
    if old.dtype.kind == "f":
        return {"flips": None, "p_value": difference.p_value, "tests": tests}
    exact = mcnemar(labels, old, new)
    tests["mcnemar"] = asdict(exact)
    return {"flips": int((old != new).sum()), "p_value": exact.p_value, "tests": tests}


def sizes(model: Path) -> Json:
    """{"bytes": as it lies there, "packed_bytes": as a .light file; None where there is no such file}."""
    if model.is_file():
        return {"bytes": folder_bytes(model), "packed_bytes": folder_bytes(model)}
    packed = len(pack_folder(model)) if is_packable(model) else None
    return {"bytes": folder_bytes(model), "packed_bytes": packed}
