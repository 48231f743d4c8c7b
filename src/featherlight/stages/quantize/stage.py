"""The stage that stores a student's weights in fewer bits, each kind of part in its own or as a budget allows."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from featherlight.compression.aware import QuantizationAware
from featherlight.compression.parts import parts_of
from featherlight.compression.quantize import is_quantized
from featherlight.data.splits import cut_stratified
from featherlight.data.task import Examples, TaskData
from featherlight.errors import UserError
from featherlight.export.onnx import check_installed
from featherlight.files import write_atomically
from featherlight.inference.onnx_predictor import WEIGHT_BITS
from featherlight.kinds import Kind
from featherlight.measurement.anatomy import part_of
from featherlight.measurement.footprint import bytes_of
from featherlight.models.heads import output_layer
from featherlight.models.load import load_checkpoint
from featherlight.packing.folder import describe
from featherlight.packing.writer import write_packed
from featherlight.runtime.packed import LIGHT, Encoded, Packed, decoded
from featherlight.stages.export.onnx_file import OnnxFile
from featherlight.stages.identity import of_target, resolved
from featherlight.stages.model_folders import check_plain
from featherlight.stages.quantize.settings import QuantizeSettings
from featherlight.stages.quantize.widths import scheme_asked, scheme_of, width_of, within_budget
from featherlight.stages.recovery import Provenance, recovery_target
from featherlight.stages.rows import data_source, describe_task, load_task_of, train_rows
from featherlight.stages.scoring import before_and_after
from featherlight.stages.task_training import TaskTraining
from featherlight.store.phases import Phases
from featherlight.store.records import name_of
from featherlight.store.stage import Stage, Work
from featherlight.training.target_scale import TargetScale

_AWARE_EPOCHS, _AWARE_RATE = 2, 0.1  # of a quantization-aware training; the rate as a share of the own training's
_USUAL_RATE = 1e-3  # of a student whose own training is not known
_COMPUTED = ("dynamic", "static")  # modes in which onnxruntime computes in int8


def _mode_of(settings: QuantizeSettings, kind: Kind) -> str:
    return settings.mode if settings.mode != "auto" else "weights" if kind is Kind.STUDENT else "dynamic"


def _calibration_rows(settings: QuantizeSettings, data: TaskData) -> Examples:
    rows = train_rows(data, None, settings.seed)
    return cut_stratified(rows, min(settings.calibration, len(rows)), settings.seed)


def _run(work: Work[QuantizeSettings], out: Path) -> dict[str, Any]:
    """A student's folder whose weights stand in model.light, or one that onnxruntime runs, and what that did to it."""
    settings, data, folder, phases = work.settings, work.task_data, work.inputs["model"], Phases()
    mode = _mode_of(settings, work.kinds["model"])
    if mode in _COMPUTED:
        title, zeros, more = f"int8 {mode}", None, dict[str, Any]()
        file = OnnxFile(folder, folder, out, phases)
        file.write(data)
        rows = _calibration_rows(settings, data) if mode == "static" else None
        file.round(data, per_channel=settings.scales != "tensor", calibration=rows)
        changed = {name: {"width": "8"} for name, _ in file.source.model.named_parameters() if is_quantized(name)}
    else:
        kind = ("" if settings.codebook == "uniform" else f" {settings.codebook}") + " aware" * (mode == "aware")
        bits = settings.bits if settings.bits in ("ternary", "fp16") else f"{settings.bits} bits"
        title = f"{bits}{kind}" if settings.budget is None else f"at most {settings.budget}"
        tensors, changed, more = _fewer_bits(work, out, phases)
        weights = [decoded(encoded) for name, encoded in tensors.items() if is_quantized(name)]
        zeros = sum(int((part == 0).sum()) for part in weights) / sum(part.size for part in weights)
    return {
        "name": f"{name_of(folder)}, {title}",
        "task": describe_task(data, settings.examples),
        "seconds": phases.seconds,
        **more,
        "zeros": zeros,
        "parts_changed": changed,
        **before_and_after(folder, out, data, settings, phases),
    }


def _fewer_bits(
    work: Work[QuantizeSettings], out: Path, phases: Phases
) -> tuple[Mapping[str, Encoded], dict[str, Any], dict[str, Any]]:
    """(tensors, those that changed, what the record says of a training) of a student; the folder is written."""
    settings, folder = work.settings, work.inputs["model"]
    with phases("load"):
        whole = describe(folder)
    more: dict[str, Any] = {}
    if settings.mode == "aware":
        tensors, more = _trained(work, whole, out, phases)
        widths = {name: width_of(settings, name) for name in whole.tensors if is_quantized(name)}
    else:
        with phases("quantize"):
            tensors, widths = _at_once(settings, work.task_data, whole)
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        if (folder / name).exists():
            shutil.copy(folder / name, out / name)
    write_atomically(out / LIGHT, write_packed(whole.about, tensors))
    changed: dict[str, Any] = {}
    for name, width in widths.items():
        was, now = decoded(whole.tensors[name]), decoded(tensors[name])
        error = float(np.linalg.norm(was - now) / max(float(np.linalg.norm(was)), 1e-12))  # relative to the weights
        changed[name] = {"width": width, "error": error}
    if not any(part["error"] for part in changed.values()):
        raise UserError(f"{folder}: no weight changed: all have such values already. Use fewer bits.")
    return tensors, changed, more


def _at_once(settings: QuantizeSettings, data: TaskData, whole: Packed) -> tuple[dict[str, Encoded], dict[str, str]]:
    """(tensors, width of each that is quantized), without training."""
    if settings.budget is None:
        schemes = {name: scheme_asked(settings, name) for name in whole.tensors}
        widths = {name: width_of(settings, name) for name in whole.tensors if is_quantized(name)}
    else:
        rows = _calibration_rows(settings, data)
        widths = within_budget(whole, (rows.first, rows.second), bytes_of(settings.budget, option="budget"), settings)
        schemes = {name: scheme_of(settings, name, width) for name, width in widths.items()}
    tensors = {
        name: schemes[name](decoded(encoded)) if is_quantized(name) else encoded
        for name, encoded in whole.tensors.items()
    }
    return tensors, widths


def _trained(
    work: Work[QuantizeSettings], whole: Packed, out: Path, phases: Phases
) -> tuple[dict[str, Encoded], dict[str, Any]]:
    """(tensors, what the record says of the training): the student is trained on with weights of this width."""
    settings, data, folder = work.settings, work.task_data, work.inputs["model"]
    origin = Provenance.of(folder)
    model, tokenizer = load_checkpoint(folder)
    scale = TargetScale.of(train_rows(data, None, settings.seed).labels)
    scale.unfold(model)
    rate = settings.learning_rate or origin.settings.get("learning_rate", _USUAL_RATE) * _AWARE_RATE
    epochs = settings.epochs or _AWARE_EPOCHS
    training = origin.training_again({**dict(settings), "learning_rate": rate}, student=True, epochs=epochs,
                                     max_length=tokenizer.model_max_length)  # fmt: skip
    parts = [part for part in parts_of(model) if is_quantized(part.name)]
    aware = QuantizationAware(parts, {part.name: scheme_asked(settings, part.name) for part in parts})
    fit = TaskTraining(model, tokenizer, data, training, out=out, phases=phases, hook=lambda: aware,
                       scale=scale)  # fmt: skip
    target = recovery_target(origin, data, training, examples=settings.examples, seed=settings.seed,
                             labels=work.inputs.get("labels"))  # fmt: skip
    record = {"recovery": {"epochs": epochs, "learning_rate": rate, "from": target.source}}
    record |= fit.train(target.objective, target.rows, target.targets)
    aware.scale(output_layer(model).weight, scale.deviation)
    (out / "model.safetensors").unlink()  # the weights stand in model.light
    state = {name: tensor.numpy().astype("<f4") for name, tensor in model.state_dict().items()}
    floats = {name: Encoded("float32", state[name].shape, {"values": state[name].ravel()}) for name in whole.tensors}
    return {**floats, **aware.encoded()}, record


def _check(work: Work[QuantizeSettings]) -> None:
    settings, folder, kind = work.settings, work.inputs["model"], work.kinds["model"]
    check_plain(folder)
    if settings.budget is not None:
        bytes_of(settings.budget, option="budget")
    if kind in (Kind.PACKED, Kind.ONNX) or (folder / LIGHT).exists():
        raise UserError(
            f"{folder}: is quantized or packed already; twice loses twice. Quantize the model that it was made of."
        )
    mode = _mode_of(settings, kind)
    if mode == "static" and kind is Kind.STUDENT:
        raise UserError("--mode static: onnxruntime has no LSTM with fixed ranges. Use --mode dynamic for a student.")
    if mode in _COMPUTED:
        if settings.bits != "8" or settings.budget is not None:
            raise UserError(f"{folder}: an encoder is quantized to 8 bits only. Leave the widths out, or distil it.")
        check_installed()
    elif folder.exists():
        parts = {part_of(name) for name in describe(folder).tensors}
        for part in ("recurrent", "embedding", "linear"):
            if getattr(settings, f"bits_{part}") is not None and part not in parts:
                there = ", ".join(sorted(parts))
                raise UserError(f"--bits-{part}: this student has no {part} weights. It has: {there}.")


def _identity(work: Work[QuantizeSettings]) -> dict[str, Any]:
    """Like `resolved`, with the mode that `auto` means, and without what has no part in the result."""
    settings, kind = work.settings, work.kinds["model"]
    mode = _mode_of(settings, kind)
    unused = set() if mode == "aware" else {"examples"}  # a recipe may cut train for all its stages
    if settings.budget is None and mode != "static":
        unused.add("calibration")
    identity = {**resolved(settings, encoder=kind is not Kind.STUDENT), "mode": mode}
    identity |= of_target(work) if mode == "aware" else {}
    identity |= {"weight_bits": WEIGHT_BITS} if mode in _COMPUTED else {}
    return {name: value for name, value in identity.items() if name not in unused}


QUANTIZE = Stage(
    name="quantize",
    version=2,
    settings=QuantizeSettings,
    load=load_task_of,
    inputs=("model",),
    inherits=lambda settings: ("labels",) if settings.mode == "aware" else (),
    sources=data_source,
    identity=_identity,
    makes=lambda settings, kinds: Kind.ONNX if _mode_of(settings, kinds["model"]) in _COMPUTED else Kind.STUDENT,
    check=_check,
    run=_run,
    trains=lambda settings: settings.mode == "aware",
)
