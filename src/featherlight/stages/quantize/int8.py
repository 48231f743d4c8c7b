"""Models that onnxruntime computes in int8."""

from pathlib import Path
from typing import Any

from featherlight.compression.quantize import is_quantized
from featherlight.data.splits import cut_stratified
from featherlight.inference.torch_predictor import TorchPredictor
from featherlight.kinds import Kind
from featherlight.stages.quantize.settings import QuantizeSettings
from featherlight.stages.rows import describe_task, task_data, train_rows
from featherlight.stages.scoring import before_and_after
from featherlight.store.phases import Phases
from featherlight.store.records import name_of

COMPUTED = ("dynamic", "static")  # modes in which onnxruntime computes in int8


def mode_of(settings: QuantizeSettings, kind: Kind) -> str:
    """What `auto` means for a model."""
    return settings.mode if settings.mode != "auto" else "weights" if kind is Kind.STUDENT else "dynamic"


def run_int8(settings: QuantizeSettings, mode: str, folder: Path, out: Path, phases: Phases) -> dict[str, Any]:
    """A folder that onnxruntime computes in int8, and what that did to the model."""
    from featherlight.export.onnx import write_float, write_int8

    data = task_data(settings)
    with phases("load"):
        source = TorchPredictor(folder, device="cpu", precision="fp32")
    rows = None
    if mode == "static":
        rows = train_rows(data, None, settings.seed)
        rows = cut_stratified(rows, min(settings.calibration, len(rows)), settings.seed)
    with phases("quantize"):
        write_float(source, folder, out)
        write_int8(source, folder, out, per_channel=settings.scales != "tensor", calibration=rows)
    changed = {name: {"width": "8"} for name, _ in source.model.named_parameters() if is_quantized(name)}
    return {
        "name": f"{name_of(folder)}, int8 {mode}",
        "task": describe_task(data, settings),
        "seconds": phases.seconds,
        "zeros": None,
        "parts_changed": changed,
        **before_and_after(folder, out, data, settings, phases),
    }
