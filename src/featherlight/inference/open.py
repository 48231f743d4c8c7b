"""One way to open a model for prediction: a folder, a packed file or what was exported in, a predictor out.

A packed file needs nothing but numpy, and model.onnx no torch.
"""

from pathlib import Path

from featherlight.inference.onnx_predictor import OnnxPredictor
from featherlight.inference.packed_predictor import PackedPredictor
from featherlight.inference.predictor import Predictor
from featherlight.kinds import MODEL
from featherlight.packing.folder import packed_file


def open_predictor(
    path: Path,
    *,
    device: str = "auto",
    precision: str = "auto",
    batch_tokens: int = 4096,
    compiled: bool = False,
    threads: int = 0,
) -> Predictor:
    """A model as a function of texts, computing where and how it is said; a packed file computes in one way only.

    batch_tokens: most padded tokens of one forward pass. compiled: through torch.compile. threads: of onnxruntime; 0
    takes every core. Torch's own are the process's.
    """
    if (file := packed_file(path)) is not None:
        return PackedPredictor(file)
    if (path / MODEL).exists():
        return OnnxPredictor(path, device=device, precision=precision, batch_tokens=batch_tokens, compiled=compiled,
                             threads=threads)  # fmt: skip
    from featherlight.inference.torch_predictor import TorchPredictor

    return TorchPredictor(path, device=device, precision=precision, batch_tokens=batch_tokens, compiled=compiled)
