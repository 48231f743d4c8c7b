"""Models in; what they are worth, and what a step did to one: scores, latency, bytes, paired tests, flips, out."""

import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load_file
from safetensors.torch import save_file

from featherlight.analysis.statistics import mcnemar, paired_bootstrap
from featherlight.data.task import Examples, Target, TaskData
from featherlight.errors import UserError, listed
from featherlight.inference.agreement import agreement
from featherlight.inference.predictor import Predictor
from featherlight.kinds import MODEL
from featherlight.measurement.footprint import folder_bytes
from featherlight.measurement.latency import time_each
from featherlight.measurement.metrics import details, mean_scores, predictions, score
from featherlight.models.device import wait_for
from featherlight.packing.folder import is_packable, pack_folder
from featherlight.progress import say
from featherlight.stages.model_folders import checked_predictor
from featherlight.stages.rows import select_rows
from featherlight.stages.settings import RunSettings
from featherlight.store.layout import PREDICTIONS
from featherlight.store.phases import Phases

Json = dict[str, Any]
TIMED_TEXTS = 100
COMPARED = 200  # texts of select


def before_and_after(before: Path, out: Path, data: TaskData, settings: RunSettings, phases: Phases) -> Json:
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
    measured = scored_and_timed(new, data, phases, out=out)
    stored = load_file(out / PREDICTIONS)
    labels, now = ({name: stored[f"{name}.{column}"] for name in splits} for column in ("labels", "logits"))
    scores = [score(data.task.metrics, labels[name], was[name], kind=data.task.kind) for name in splits]
    rows = (np.concatenate([column[name] for name in splits]) for column in (labels, was, now))
    return {
        **measured,
        "parameters": new.parameters,
        "bytes": folder_bytes(out),
        "before": {**_sizes(before), "metrics": mean_scores(scores) if len(scores) > 1 else scores[0]},
        "after": {**_sizes(out), "metrics": next(iter(measured["metrics"].values()))["scores"]},
        **paired_tests(data.task.metrics[0], data.task.kind, *rows),
    }


def paired_tests(metric: str, kind: Target, labels: np.ndarray, was: np.ndarray, now: np.ndarray) -> Json:
    """Flips, p-value and both tests, for labels and for logits before and after, row by row."""
    old, new = predictions(was, kind), predictions(now, kind)
    difference = paired_bootstrap(metric, labels, old, new)
    tests: Json = {"bootstrap": {"metric": metric, **asdict(difference)}}
    if kind is not Target.CLASSES:
        return {"flips": None, "p_value": difference.p_value, "tests": tests}
    exact = mcnemar(labels, old, new)
    tests["mcnemar"] = asdict(exact)
    return {"flips": int((old != new).sum()), "p_value": exact.p_value, "tests": tests}


def _sizes(model: Path) -> Json:
    """{"bytes": as it lies there, "packed_bytes": as a .light file; None where there is no such file}."""
    if model.is_file():
        return {"bytes": folder_bytes(model), "packed_bytes": folder_bytes(model)}
    return {"bytes": folder_bytes(model), "packed_bytes": len(pack_folder(model)) if is_packable(model) else None}


def scored_and_timed(
    predictor: Predictor, data: TaskData, phases: Phases, *, out: Path, timed: Predictor | None = None
) -> Json:
    """{"metrics": on the task's reported splits, "latency": of texts of select, of `timed` if that is another}."""
    with phases("evaluate"):
        metrics = score_splits(predictor, data, data.task.reported, out=out)
    with phases("latency"):
        latency = time_predictor(timed or predictor, select_rows(data))
    return {"metrics": metrics, "latency": latency}


def proved_alike(before: Predictor, after: Predictor, data: TaskData, tolerance: float, *, what: str) -> float:
    """The worst difference between two models' logits, on texts of select and random words in odd shapes.

    tolerance: most of rounding, for each unit of the largest logit (1 at least); UserError beyond it. what: was done.
    """
    rows = select_rows(data)
    worst, largest = agreement(before, after, rows.take(np.arange(min(len(rows), COMPARED))))
    if worst > tolerance * max(largest, 1.0):
        raise UserError(
            f"{what}: its logits differ from the model's by up to {worst:.2g} of {largest:.2g}, which is more than "
            "rounding: nothing was written. This architecture cannot be changed so; use the model as it is."
        )
    return worst


def score_splits(predictor: Predictor, data: TaskData, splits: tuple[str, ...], *, out: Path) -> dict[str, Any]:
    """Scores with intervals per split; several reported splits (MNLI) also as "dev", their mean.

    The logits and labels behind them go to predictions.safetensors, for paired tests later.
    """
    results: dict[str, Any] = {}
    stored: dict[str, torch.Tensor] = {}
    for split in splits:
        examples = data.splits[split]
        if examples.labels is None:
            raise UserError(f"split {split!r} of {data.task.name} has no labels to score against.")
        logits = predictor.logits(predictor.tokens(examples), label=split)
        stored |= {f"{split}.logits": torch.from_numpy(logits), f"{split}.labels": torch.from_numpy(examples.labels)}
        scores = score(data.task.metrics, examples.labels, logits, kind=data.task.kind)
        doubts = doubts_of(examples.labels, predictions(logits, data.task.kind), data.task.labels)
        for doubt in doubts:
            say(f"{split}: {doubt}")
        results[split] = {
            "n": len(examples),
            "headline": data.task.metrics[0],
            **({"positive": data.task.positive} if data.task.positive else {}),
            "scores": scores,
            **({"doubts": doubts} if doubts else {}),
            "details": details(examples.labels, logits, data.task.labels, kind=data.task.kind),
        }
    if len(splits) > 1:
        mean = mean_scores([result["scores"] for result in results.values()])
        n = sum(result["n"] for result in results.values())
        results = {"dev": {"n": n, "headline": data.task.metrics[0], "scores": mean}, **results}
    save_file(stored, out / PREDICTIONS)
    return results


def doubts_of(labels: np.ndarray, predicted: np.ndarray, names: Sequence[str]) -> list[str]:
    """What scores of labels and predictions [N] hide: a sentence each. names: of the classes; none: numbers."""
    if not names:
        return _doubts_of_numbers(labels, predicted)
    rows, doubts = len(labels), list[str]()
    missing = [repr(name) for index, name in enumerate(names) if index not in labels]
    if missing:
        doubts.append(f"no row is {listed(missing)}: no score here says anything of it")
    if len(set(predicted.tolist())) == 1 and rows > 1:
        doubts.append(f"the answer is {names[int(predicted[0])]!r} for every text")
    wrong = int((labels != predicted).sum())
    if rows > 1 and wrong in (0, rows):  # every resample is the same; the rule of three (Hanley and Lippman-Hand 1983)
        what = "right" if wrong == 0 else "wrong"
        doubts.append(f"all {rows:,} answers are {what}, so that intervals have no width: with 95 % confidence up to "
                      f"{min(3 / rows, 1):.1%} of other texts are not")  # fmt: skip
    return doubts


def _doubts_of_numbers(labels: np.ndarray, predicted: np.ndarray) -> list[str]:
    """Predictions that all miss by more than the labels differ, or are all alike: a correlation hides both."""
    mean, spread = float(labels.mean()), float(labels.std())
    if abs(float(predicted.mean()) - mean) > spread:
        return [f"predictions are {predicted.mean():.4g} on average and labels {mean:.4g}, further apart than the "
                f"labels' own deviation of {spread:.3g}. Was it trained in another unit, or too briefly?"]  # fmt: skip
    if float(predicted.std()) < 0.01 * spread:
        return [f"nearly the same is predicted for every text ({predicted.mean():.4g}); labels deviate by {spread:.3g}"]
    return []


def time_predictor(predictor: Predictor, examples: Examples) -> dict[str, Any]:
    """Seconds of predict([text]) on one thread, tokenization included, over texts of the select split."""
    spread = np.linspace(0, len(examples) - 1, min(len(examples), TIMED_TEXTS)).astype(int)
    calls = [([examples.first[i]], None if examples.second is None else [examples.second[i]]) for i in spread]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        samples = time_each(lambda call: predictor(*call), calls, wait=lambda: wait_for(predictor.device))
    finally:
        torch.set_num_threads(threads)
    conditions = {"threads": 1, "batch": 1, "device": predictor.device, "precision": predictor.precision}
    assert all(math.isfinite(value) for value in samples.values)
    return {"unit": samples.unit, "values": list(samples.values), **conditions}
