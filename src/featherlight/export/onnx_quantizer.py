"""A program of its own: put an ONNX model into int8, open it and run it once, in a process that may die of it.

    python -m featherlight.export.onnx_quantizer TARGET [SOURCE channel|tensor [CALIBRATION]]

With SOURCE the target is made of it; without, it is there already and only tried. CALIBRATION: an .npz of batches,
named INPUT.0, INPUT.1 ...; with it the ranges of what weights are multiplied with are fixed, else found call by call.
"""

import json
import logging
import sys
from pathlib import Path

import numpy as np

from featherlight.inference.onnx_predictor import ABOUT, WEIGHT_BITS, open_session


def main(target: str, source: str = "", granularity: str = "", calibration: str = "") -> None:
    """What the module says."""
    if source:
        fixed = Path(calibration) if calibration else None
        quantize(Path(source), Path(target), per_channel=granularity == "channel", calibration=fixed)
    session = open_session(Path(target), threads=1)
    session.run(None, {value.name: np.ones((2, 3), dtype=np.int64) for value in session.get_inputs()})


def quantize(source: Path, target: Path, *, per_channel: bool, calibration: Path | None = None) -> None:
    """Weights of matrix products and embeddings as int8; what they are multiplied with too, by fixed ranges or not.

    Weights have seven bits (`reduce_range`), for the reason that `graph.rounded_weights` gives.
    """
    import onnx
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, quantize_dynamic, quantize_static

    logging.disable(logging.WARNING)  # it asks for a step that `torch.onnx` has done
    if calibration is not None:
        quantize_static(
            source, target, _Batches(calibration), quant_format=QuantFormat.QDQ, per_channel=per_channel,
            op_types_to_quantize=["MatMul", "Gemm", "Gather"], calibrate_method=CalibrationMethod.MinMax,
            reduce_range=True, extra_options={"CalibMovingAverage": True, "MatMulConstBOnly": True},
        )  # fmt: skip
    else:
        quantize_dynamic(source, target, per_channel=per_channel, reduce_range=True)
    model = onnx.load(target)
    kinds = (onnx.TensorProto.UINT8, onnx.TensorProto.INT8)
    if not any(array.data_type in kinds and len(array.dims) > 1 for array in model.graph.initializer):
        raise SystemExit("no weight could be converted to int8")
    for entry in model.metadata_props:
        if entry.key == ABOUT:
            entry.value = json.dumps({**json.loads(entry.value), "precision": "int8", "weight_bits": WEIGHT_BITS})
    onnx.save(model, target)


class _Batches:
    """Batches of an .npz, one after the other, as onnxruntime's calibration asks for them."""

    def __init__(self, file: Path):
        stored = np.load(file)
        names = sorted({name.rpartition(".")[0] for name in stored.files})
        count = len(stored.files) // len(names)
        self.rest = iter([{name: stored[f"{name}.{i}"] for name in names} for i in range(count)])

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next batch by input; None behind the last."""
        return next(self.rest, None)


if __name__ == "__main__":
    main(*sys.argv[1:])
