"""One way to open a model for prediction: a folder, a packed file or what was exported in, a predictor out.

A packed file needs nothing but numpy, and model.onnx no torch.
"""

import os
from pathlib import Path

from featherlight.errors import naming_extras
from featherlight.inference.predictor import Model, Predictor
from featherlight.kinds import MODEL
from featherlight.runtime.model import load as load_packed


@naming_extras()
def load(
    model: str | os.PathLike[str], *, device: str = "auto", precision: str = "auto", batch_tokens: int = 4096
) -> Model:
    """A model to ask, whatever it is: a .light file, a folder of a stage, a folder or file of `featherlight export`.

    A .light file is opened with numpy alone and has none of the other options. device: "auto", "cpu", "cuda" or "mps".
    precision: "auto", "fp32" or "bf16". batch_tokens: most padded tokens of one forward pass.
    Raises UserError where there is no model, or a damaged one.

        model = featherlight.load("model.light")
        model.predict(["not bad at all"])  # [{"label": "positive", "probability": 0.9, "probabilities": {...}}]
    """
    path = Path(model)
    if not path.is_dir() and path.name != MODEL:
        return load_packed(path)
    folder = path.parent if path.name == MODEL else path
    return open_predictor(folder, device=device, precision=precision, batch_tokens=batch_tokens)


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
    from featherlight.packing.folder import packed_file

    if (file := packed_file(path)) is not None:
        from featherlight.inference.packed_predictor import PackedPredictor

        return PackedPredictor(file)
    if (path / MODEL).exists():
        from featherlight.inference.onnx_predictor import OnnxPredictor

        return OnnxPredictor(path, device=device, precision=precision, batch_tokens=batch_tokens, compiled=compiled,
                             threads=threads)  # fmt: skip
    from featherlight.inference.torch_predictor import TorchPredictor

    return TorchPredictor(path, device=device, precision=precision, batch_tokens=batch_tokens, compiled=compiled)
