"""A model folder in; model.onnx, in float32 or rounded to int8, and how far its logits are from the model's, out."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from featherlight.data.task import Examples, TaskData
from featherlight.export.onnx import write_float, write_int8
from featherlight.inference.agreement import agreement
from featherlight.inference.onnx_predictor import OnnxPredictor
from featherlight.inference.packed_predictor import PackedPredictor
from featherlight.inference.predictor import Predictor
from featherlight.inference.torch_predictor import TorchPredictor
from featherlight.packing.folder import packed_file
from featherlight.packing.unpack import unpack
from featherlight.stages.rows import select_rows
from featherlight.stages.scoring import COMPARED, proved_alike
from featherlight.store.phases import Phases

_ROUNDING = 1e-4  # between logits of torch and of onnxruntime, for each unit of the largest


class OnnxFile:
    """A model on its way to onnxruntime. model: as it is used; folder: where torch reads it from."""

    def __init__(self, path: Path, folder: Path, out: Path, phases: Phases):
        self.path, self.folder, self.out, self.phases = path, folder, out, phases
        with phases("load"):
            self.source = TorchPredictor(folder, device="cpu", precision="fp32")
            file = packed_file(path)
            self.model: Predictor = self.source if file is None else PackedPredictor(file)

    def write(self, data: TaskData) -> tuple[OnnxPredictor, float]:
        """The graph in float32, and the worst difference of its logits; UserError if that is more than rounding."""
        with self.phases("write"):
            write_float(self.source, self.folder, self.out)
        exported = OnnxPredictor(self.out, threads=torch.get_num_threads())
        with self.phases("compare"):
            worst = proved_alike(self.model, exported, data, _ROUNDING, what=f"{self.path} in onnxruntime")
        return exported, worst

    def round(
        self, data: TaskData, *, per_channel: bool, calibration: Examples | None = None
    ) -> tuple[OnnxPredictor, float]:
        """The graph that `write` wrote, in int8, and the worst difference of its logits.

        calibration: rows on which fixed ranges of activations are found; None: ranges of each call.
        """
        with self.phases("quantize"):
            write_int8(self.source, self.folder, self.out, per_channel=per_channel, calibration=calibration)
        exported = OnnxPredictor(self.out, threads=torch.get_num_threads())
        rows = select_rows(data)
        with self.phases("compare"):
            worst, _ = agreement(self.model, exported, rows.take(np.arange(min(len(rows), COMPARED))))
        return exported, worst


@contextmanager
def torch_folder(model: Path) -> Iterator[Path]:
    """The folder of a model; of a packed file one that holds the same, for as long as it is needed."""
    file = packed_file(model)
    if file is None:
        yield model
        return
    with TemporaryDirectory() as name:
        unpack(file, Path(name))
        yield Path(name)
