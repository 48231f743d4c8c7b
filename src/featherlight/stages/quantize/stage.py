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
from featherlight.data.task import TaskData
from featherlight.errors import UserError
from featherlight.files import write_atomically
from featherlight.kinds import Kind, Kinds, kind_of
from featherlight.measurement.anatomy import part_of
from featherlight.measurement.footprint import bytes_of
from featherlight.models.load import load_checkpoint
from featherlight.packing.folder import describe
from featherlight.packing.writer import write_packed
from featherlight.runtime.packed import LIGHT, Encoded, Packed, decoded
from featherlight.stages.identity import resolved
from featherlight.stages.model_folders import check_plain
from featherlight.stages.quantize.budget import within_budget
from featherlight.stages.quantize.int8 import COMPUTED, mode_of, run_int8
from featherlight.stages.quantize.settings import QuantizeSettings
from featherlight.stages.quantize.widths import chosen, scheme_of, width_of
from featherlight.stages.recovery import Provenance, recovery_target
from featherlight.stages.rows import data_source, describe_task, task_data, train_rows
from featherlight.stages.scoring import before_and_after
from featherlight.stages.task_training import TaskTraining
from featherlight.store.phases import Phases
from featherlight.store.records import name_of
from featherlight.store.stage import Inputs, Stage

_COPIED = ("config.json", "tokenizer.json", "tokenizer_config.json")
_AWARE_EPOCHS, _AWARE_RATE = 2, 0.1  # of a quantization-aware training; the rate as a share of the own training's
_USUAL_RATE = 1e-3  # of a student whose own training is not known

_Tensors = Mapping[str, Encoded]


def _run_quantize(settings: QuantizeSettings, inputs: Inputs, out: Path) -> dict[str, Any]:
    """A student's folder whose weights stand in model.light, or one that onnxruntime runs, and what that did to it."""
    phases = Phases()
    folder = inputs["model"]
    if (mode := mode_of(settings, kind_of(folder))) in COMPUTED:
        return run_int8(settings, mode, folder, out, phases)
    with phases("load"):
        data = task_data(settings)
        whole = describe(folder)
    more: dict[str, Any] = {}
    if settings.mode == "aware":
        tensors, more = _trained(settings, inputs, data, whole, out, phases)
        widths = {name: width_of(settings, name) for name in whole.tensors if is_quantized(name)}
    else:
        with phases("quantize"):
            tensors, widths = _at_once(settings, data, whole)
    for name in _COPIED:
        if (folder / name).exists():
            shutil.copy(folder / name, out / name)
    write_atomically(out / LIGHT, write_packed(whole.about, tensors))
    changed = {
        name: {"width": widths[name], "error": _relative_error(whole.tensors[name], tensors[name])} for name in widths
    }
    if not any(part["error"] for part in changed.values()):
        raise UserError(f"{folder}: no weight changed: it has these values already. Use fewer bits.")
    return {
        "name": f"{name_of(folder)}, {_title(settings)}",
        "task": describe_task(data, settings),
        "seconds": phases.seconds,
        **more,
        "zeros": _share_of_zeros(tensors),
        "parts_changed": changed,
        **before_and_after(folder, out, data, settings, phases),
    }


def _at_once(settings: QuantizeSettings, data: TaskData, whole: Packed) -> tuple[dict[str, Encoded], dict[str, str]]:
    """(tensors, width of each that is quantized), without training."""
    if settings.budget is None:
        schemes = {name: chosen(settings, name) for name in whole.tensors}
        widths = {name: width_of(settings, name) for name in whole.tensors if is_quantized(name)}
    else:
        rows = train_rows(data, None, settings.seed)
        rows = cut_stratified(rows, min(settings.calibration, len(rows)), settings.seed)
        widths = within_budget(whole, (rows.first, rows.second), bytes_of(settings.budget, option="budget"), settings)
        schemes = {name: scheme_of(settings, name, width) for name, width in widths.items()}
    tensors = {
        name: schemes[name](decoded(encoded)) if is_quantized(name) else encoded
        for name, encoded in whole.tensors.items()
    }
    return tensors, widths


def _trained(
    settings: QuantizeSettings, inputs: Inputs, data: TaskData, whole: Packed, out: Path, phases: Phases
) -> tuple[dict[str, Encoded], dict[str, Any]]:
    """(tensors, what the record says of the training): the student is trained on with weights of this width."""
    origin = Provenance.of(inputs["model"])
    model, tokenizer = load_checkpoint(inputs["model"])
    rate = settings.learning_rate or origin.settings.get("learning_rate", _USUAL_RATE) * _AWARE_RATE
    how = settings.model_copy(update={"epochs": settings.epochs or _AWARE_EPOCHS, "learning_rate": rate})
    training = origin.recovery(how, student=True, max_length=tokenizer.model_max_length)
    parts = [part for part in parts_of(model) if is_quantized(part.name)]
    aware = QuantizationAware(parts, {part.name: chosen(settings, part.name) for part in parts})
    fit = TaskTraining(model, tokenizer, data, training, out=out, phases=phases, hook=lambda: aware)
    lesson = recovery_target(how, training, data, inputs, origin)
    record = {"recovery": {"epochs": how.epochs, "learning_rate": rate, "from": lesson.source}}
    record |= fit.train(lesson.objective, lesson.rows, lesson.targets)
    (out / "model.safetensors").unlink()  # the weights stand in model.light
    state = {name: tensor.numpy().astype("<f4") for name, tensor in model.state_dict().items()}
    floats = {name: Encoded("float32", state[name].shape, {"values": state[name].ravel()}) for name in whole.tensors}
    return {**floats, **aware.encoded()}, record


def _title(settings: QuantizeSettings) -> str:
    """How a table calls what was done."""
    if settings.budget is not None:
        return f"at most {settings.budget}"
    kind = "" if settings.codebook == "uniform" else f" {settings.codebook}"
    kind += " aware" if settings.mode == "aware" else ""
    return f"{settings.bits}{kind}" if settings.bits in ("ternary", "fp16") else f"{settings.bits} bits{kind}"


def _relative_error(before: Encoded, after: Encoded) -> float:
    """The root of the squared error over that of the squared weights; 0 where nothing changed."""
    was, now = decoded(before), decoded(after)
    return float(np.linalg.norm(was - now) / max(float(np.linalg.norm(was)), 1e-12))


def _share_of_zeros(tensors: _Tensors) -> float:
    """Of the weights that the step may change."""
    weights = [decoded(encoded) for name, encoded in tensors.items() if is_quantized(name)]
    return sum(int((part == 0).sum()) for part in weights) / sum(part.size for part in weights)


def _check_quantize(settings: QuantizeSettings, inputs: Inputs, kinds: Kinds) -> None:
    """What can be known to be wrong before anything is computed."""
    check_plain(inputs["model"])
    if settings.budget is not None:
        bytes_of(settings.budget, option="budget")
    folder = inputs["model"]
    if kinds["model"] in (Kind.PACKED, Kind.ONNX) or (folder / LIGHT).exists():
        raise UserError(
            f"{folder}: is quantized or packed already; twice loses twice. Quantize the model that it was made of."
        )
    mode = mode_of(settings, kinds["model"])
    if mode == "static" and kinds["model"] is Kind.STUDENT:
        raise UserError("--mode static: onnxruntime has no LSTM with fixed ranges. Use --mode dynamic for a student.")
    if mode in COMPUTED:
        if settings.bits != "8" or settings.budget is not None:
            raise UserError(f"{folder}: an encoder is quantized to 8 bits only. Leave the widths out, or distil it.")
        from featherlight.export.onnx import check_installed

        check_installed()
    elif folder.exists():
        parts = {part_of(name) for name in describe(folder).tensors}
        for part in ("recurrent", "embedding", "linear"):
            if getattr(settings, f"bits_{part}") is not None and part not in parts:
                there = ", ".join(sorted(parts))
                raise UserError(f"--bits-{part}: this student has no {part} weights. It has: {there}.")


def _quantize_identity(settings: QuantizeSettings, inputs: Inputs, kinds: Kinds) -> dict[str, Any]:
    """Like `resolved`, with the mode that `auto` means, and without what has no part in the result."""
    mode = mode_of(settings, kinds["model"])
    unused = set() if mode == "aware" else {"examples"}  # a recipe may cut train for all its stages
    if settings.budget is None and mode != "static":
        unused.add("calibration")
    found = {**resolved(settings, encoder=kinds["model"] is not Kind.STUDENT), "mode": mode}
    return {name: value for name, value in found.items() if name not in unused}


def _quantized_kind(settings: QuantizeSettings, kinds: Kinds) -> Kind:
    """What onnxruntime computes, or a student whose weights stand in model.light."""
    return Kind.ONNX if mode_of(settings, kinds["model"]) in COMPUTED else Kind.STUDENT


QUANTIZE = Stage(
    "quantize",
    2,
    QuantizeSettings,
    data_source,
    _quantize_identity,
    _run_quantize,
    _quantized_kind,
    ("model",),
    _check_quantize,
)
