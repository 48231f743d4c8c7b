"""The stage that hands a model to another engine, proves that it answers alike there, and scores it there."""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load_file

from featherlight.data.task import Examples, TaskData
from featherlight.errors import UserError, pick
from featherlight.export.onnx import agreement, check_installed, write_float, write_int8
from featherlight.inference.onnx_predictor import OnnxPredictor
from featherlight.inference.packed_predictor import PackedPredictor
from featherlight.inference.predictor import Predictor
from featherlight.inference.torch_predictor import TorchPredictor
from featherlight.kinds import Kind, Kinds
from featherlight.measurement.metrics import mean_scores, score
from featherlight.packing.folder import packed_file
from featherlight.packing.unpack import unpack
from featherlight.stages.export.settings import ExportSettings
from featherlight.stages.identity import TOLD_BY_SOURCES
from featherlight.stages.model_folders import about_model, check_fits_task
from featherlight.stages.rows import data_source, describe_task, select_rows, task_data
from featherlight.stages.scoring import paired_tests, score_splits, time_predictor
from featherlight.store.layout import PREDICTIONS
from featherlight.store.phases import Phases
from featherlight.store.records import name_of
from featherlight.store.stage import Inputs, Stage

_Json = dict[str, Any]
_Logits = Mapping[str, np.ndarray]
_FORMATS: Mapping[str, Callable[[], None]] = {"onnx": check_installed}  # what each needs to be there
_MOST_DIFFERENCE = 1e-4  # between logits of torch and of onnxruntime, for each unit of the largest: of rounding alone
_COMPARED = 200  # texts of select


def _run_export(settings: ExportSettings, inputs: Inputs, out: Path) -> _Json:
    """A folder that onnxruntime runs, and what it is worth there."""
    phases, data = Phases(), task_data(settings)
    threads = torch.get_num_threads()
    with _model_folder(inputs["model"]) as folder:
        with phases("load"):
            source = TorchPredictor(folder, device="cpu", precision="fp32")
            file = packed_file(inputs["model"])
            model: Predictor = source if file is None else PackedPredictor(file)
            check_fits_task(inputs["model"], model, data)
        rows = select_rows(data)
        rows = rows.take(np.arange(min(len(rows), _COMPARED)))
        with phases("write"):
            write_float(source, folder, out)
        exported = OnnxPredictor(out, threads=threads)
        with phases("compare"):
            worst = _proved(inputs["model"], model, exported, rows)
        found: _Json = {"worst_difference": worst}
        if settings.int8:
            with phases("evaluate before"):
                was = _reported_logits(exported, data)
            with phases("quantize"):
                write_int8(source, folder, out, per_channel=not settings.per_tensor)
            exported = OnnxPredictor(out, threads=threads)
            with phases("compare"):
                found = {"worst_difference": agreement(model, exported, rows)[0], "worst_difference_float": worst}
    with phases("evaluate"):
        metrics = score_splits(exported, data, data.task.reported, out=out)
    if settings.int8:
        found |= _difference(data, was, out, settings.tolerate)
    with phases("latency"):
        latency = time_predictor(OnnxPredictor(out, threads=1), select_rows(data))
    return {
        "name": f"{name_of(inputs['model'])}, ONNX{' int8' if settings.int8 else ''}",
        "task": describe_task(data, settings),
        "metrics": metrics,
        "latency": latency,
        "seconds": phases.seconds,
        **found,
        **about_model(exported, out),
    }


def _proved(path: Path, model: Predictor, exported: Predictor, rows: Examples) -> float:
    """The worst difference between a model's logits and the exported one's; UserError if it is more than rounding."""
    worst, largest = agreement(model, exported, rows)
    if worst > _MOST_DIFFERENCE * max(largest, 1.0):
        raise UserError(
            f"{path}: onnxruntime's logits differ from the model's by up to {worst:.2g} of {largest:.2g}, "
            "which is more than rounding: no file was written. This architecture cannot be exported as it is."
        )
    return worst


@contextmanager
def _model_folder(model: Path) -> Iterator[Path]:
    """The folder of a model; of a packed file one that holds the same, for as long as it is needed."""
    file = packed_file(model)
    if file is None:
        yield model
        return
    with tempfile.TemporaryDirectory() as name:
        unpack(file, Path(name))
        yield Path(name)


def _reported_logits(model: Predictor, data: TaskData) -> _Logits:
    """Logits of each reported split."""
    return {split: model.logits(model.tokens(data.splits[split]), label=split) for split in data.task.reported}


def _difference(data: TaskData, was: _Logits, out: Path, tolerated: float) -> _Json:
    """What int8 costs on the reported splits; UserError where that is more points than are tolerated.

    was: logits in float32; those in int8, and the labels, are the predictions stored in out.
    """
    stored = load_file(out / PREDICTIONS)
    labels, now = ({split: stored[f"{split}.{name}"] for split in was} for name in ("labels", "logits"))
    metric = data.task.metrics[0]
    before, after = (
        mean_scores([score(data.task.metrics, labels[split], logits[split]) for split in labels])
        for logits in (was, now)
    )
    lost = 100 * (before[metric]["value"] - after[metric]["value"])
    if lost > tolerated:
        raise UserError(
            f"in int8 this model loses {lost:.2f} points of {metric} on {' and '.join(was)}, more than --tolerate "
            f"{tolerated:g}: no file was written. Leave --int8 out, or --per-tensor if it is given, or tolerate more."
        )
    both = (np.concatenate([part[split] for split in labels]) for part in (labels, was, now))
    return {"before": {"metrics": before}, "after": {"metrics": after}, **paired_tests(metric, *both)}


def _check_export(settings: ExportSettings, inputs: Inputs, kinds: Kinds) -> None:
    """What can be known to be wrong before anything is computed."""
    pick("format", settings.format, _FORMATS)()
    model = inputs["model"]
    if kinds["model"] is Kind.ONNX:
        raise UserError(f"{model}: is an exported model already. Export the model that it was made of.")
    if settings.per_tensor and not settings.int8:
        raise UserError(
            "--per-tensor: only --int8 rounds weights, per tensor or per channel. Add it, or leave this out."
        )


def _export_identity(settings: ExportSettings, inputs: Inputs, kinds: Kinds) -> _Json:
    """What of the settings can change the result: everything but what the sources say."""
    return {name: value for name, value in settings.identity().items() if name not in TOLD_BY_SOURCES}


EXPORT = Stage(
    "export",
    1,
    ExportSettings,
    data_source,
    _export_identity,
    _run_export,
    lambda settings, kinds: Kind.ONNX,
    ("model",),
    _check_export,
)
