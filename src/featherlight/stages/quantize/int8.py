"""Models that onnxruntime computes in int8: the modes dynamic and static of `quantize`."""

from pathlib import Path
from typing import Any

from featherlight.compression.quantize import is_quantized
from featherlight.data.splits import cut_stratified
from featherlight.data.task import TaskData
from featherlight.kinds import Kind
from featherlight.stages.export.onnx_file import OnnxFile
from featherlight.stages.rows import train_rows
from featherlight.store.phases import Phases

COMPUTED = ("dynamic", "static")  # modes in which onnxruntime computes in int8


def resolve_mode(mode: str, kind: Kind) -> str:
    """What `auto` means for a model."""
    return mode if mode != "auto" else "weights" if kind is Kind.STUDENT else "dynamic"


def write_int8(
    folder: Path, data: TaskData, out: Path, phases: Phases, *, per_channel: bool, calibration: int | None, seed: int
) -> dict[str, Any]:
    """A folder that onnxruntime computes in int8; the tensors that changed. calibration: rows of train, for static."""
    file = OnnxFile(folder, folder, out, phases)
    file.write(data)
    rows = None
    if calibration is not None:
        rows = train_rows(data, None, seed)
        rows = cut_stratified(rows, min(calibration, len(rows)), seed)
    file.round(data, per_channel=per_channel, calibration=rows)
    return {name: {"width": "8"} for name, _ in file.source.model.named_parameters() if is_quantized(name)}
