"""A program of its own: put an ONNX model into int8, open it and run it once, in a process that may die of it.

    python -m featherlight.export.quantizer TARGET [SOURCE channel|tensor]

With SOURCE the target is made of it; without, it is there already and only tried.
"""

import json
import logging
import sys
from pathlib import Path

import numpy as np

from featherlight.export.predictor import ABOUT, open_session

WHOLE = (2, 3)  # uint8 and int8, as `onnx.TensorProto` numbers them


def main(target: str, source: str = "", granularity: str = "") -> None:
    """What the module says."""
    if source:
        quantize(Path(source), Path(target), per_channel=granularity == "channel")
    session = open_session(Path(target), threads=1)
    session.run(None, {value.name: np.ones((2, 3), dtype=np.int64) for value in session.get_inputs()})


def quantize(source: Path, target: Path, *, per_channel: bool) -> None:
    """Weights of matrix products and embeddings as int8; what they are multiplied with is rounded call by call."""
    import onnx
    from onnxruntime.quantization import quantize_dynamic

    logging.disable(logging.WARNING)  # it asks for a step that `torch.onnx` has done
    quantize_dynamic(source, target, per_channel=per_channel)
    model = onnx.load(target)
    if not any(array.data_type in WHOLE and len(array.dims) > 1 for array in model.graph.initializer):
        raise SystemExit("none of its weights could be put into int8")
    for entry in model.metadata_props:
        if entry.key == ABOUT:
            entry.value = json.dumps({**json.loads(entry.value), "precision": "int8"})
    onnx.save(model, target)


if __name__ == "__main__":
    main(*sys.argv[1:])
