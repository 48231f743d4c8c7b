"""The stage that hands a model to another engine, proves that it answers alike there, and scores it there."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from featherlight.data.task import TaskData
from featherlight.errors import UserError, pick
from featherlight.export.onnx import check_installed
from featherlight.inference.onnx_predictor import WEIGHT_BITS, OnnxPredictor
from featherlight.kinds import Kind
from featherlight.measurement.metrics import mean_scores, score
from featherlight.stages.export.onnx_file import OnnxFile, torch_folder
from featherlight.stages.export.settings import ExportSettings
from featherlight.stages.identity import TOLD_BY_SOURCES
from featherlight.stages.model_folders import about_model, check_fits_task
from featherlight.stages.rows import data_source, describe_task, load_task_of
from featherlight.stages.scoring import paired_tests, scored_and_timed
from featherlight.store.layout import PREDICTIONS
from featherlight.store.phases import Phases
from featherlight.store.records import name_of
from featherlight.store.stage import Stage, Work

_Json = dict[str, Any]
_FORMATS: Mapping[str, Callable[[], None]] = {"onnx": check_installed}  # what each needs to be there


def _run(work: Work[ExportSettings], out: Path) -> _Json:
    settings, data, path, phases = work.settings, work.task_data, work.inputs["model"], Phases()
    with torch_folder(path) as folder:
        file = OnnxFile(path, folder, out, phases)
        check_fits_task(path, file.model, data)
        exported, worst = file.write(data)
        differences: _Json = {"worst_difference": worst}
        if settings.int8:
            with phases("evaluate before"):
                was = {split: exported.logits(exported.tokens(data.splits[split]), label=split)
                       for split in data.task.reported}  # fmt: skip
            exported, rounded = file.round(data, per_channel=not settings.per_tensor)
            differences = {"worst_difference": rounded, "worst_difference_float": worst}
    measured = scored_and_timed(exported, data, phases, out=out, timed=OnnxPredictor(out, threads=1))
    if settings.int8:
        differences |= _int8_costs(data, was, out, settings.tolerate)
    return {
        "name": f"{name_of(path)}, ONNX{' int8' if settings.int8 else ''}",
        "task": describe_task(data),
        **measured,
        "seconds": phases.seconds,
        **differences,
        **about_model(exported, out),
    }


def _int8_costs(data: TaskData, was: Mapping[str, np.ndarray], out: Path, tolerated: float) -> _Json:
    """What int8 costs on the reported splits; UserError where that is more points than are tolerated.

    was: logits in float32; those in int8, and the labels, are the predictions stored in out.
    """
    stored = load_file(out / PREDICTIONS)
    labels, now = ({split: stored[f"{split}.{name}"] for split in was} for name in ("labels", "logits"))
    metric = data.task.metrics[0]
    before, after = (
        mean_scores([score(data.task.metrics, labels[split], logits[split], kind=data.task.kind) for split in labels])
        for logits in (was, now)
    )
    lost = 100 * (before[metric]["value"] - after[metric]["value"])
    if lost > tolerated:
        raise UserError(
            f"in int8 this model loses {lost:.2f} points of {metric} on {' and '.join(was)}, more than --tolerate "
            f"{tolerated:g}: no file was written. Leave --int8 out, or --per-tensor if it is given, or tolerate more."
        )
    both = (np.concatenate([part[split] for split in labels]) for part in (labels, was, now))
    return {"before": {"metrics": before}, "after": {"metrics": after}, **paired_tests(metric, data.task.kind, *both)}


def _check(work: Work[ExportSettings]) -> None:
    settings, model = work.settings, work.inputs["model"]
    pick("format", settings.format, _FORMATS)()
    if work.kinds["model"] is Kind.ONNX:
        raise UserError(f"{model}: is an exported model already. Export the model that it was made of.")
    if settings.per_tensor and not settings.int8:
        raise UserError("--per-tensor: has no effect without --int8. Add --int8, or leave it out.")


def _identity(work: Work[ExportSettings]) -> _Json:
    identity = {name: value for name, value in work.settings.identity().items() if name not in TOLD_BY_SOURCES}
    return {**identity, "weight_bits": WEIGHT_BITS} if work.settings.int8 else identity


EXPORT = Stage(
    name="export",
    version=1,
    settings=ExportSettings,
    load=load_task_of,
    inputs=("model",),
    sources=data_source,
    identity=_identity,
    makes=lambda settings, kinds: Kind.ONNX,
    check=_check,
    run=_run,
)
