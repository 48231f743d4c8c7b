"""A model's name and a runtime in; what computes its batches out. What the stage `time` measures.

A pre-trained encoder gets a new head, and `bilstm`, `rnn` or `bag` is an untrained student of its default size: weights
change no time, so that a model can be timed before it is trained.
"""

import functools
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoConfig

from featherlight.data.task import Examples, TaskData
from featherlight.data.tokens.batches import Tokens
from featherlight.data.tokens.tokenise import tokenise
from featherlight.errors import UserError
from featherlight.export.onnx import write_float, write_int8
from featherlight.files import ScratchFolder
from featherlight.inference.onnx_predictor import OnnxPredictor
from featherlight.inference.packed_predictor import PackedPredictor
from featherlight.inference.torch_predictor import TorchPredictor
from featherlight.models.device import autocast, is_encoder
from featherlight.models.load import check_length, load_encoder
from featherlight.models.source import quiet_transformers
from featherlight.packing.folder import is_packable, pack_folder, packed_file
from featherlight.seeds import seed_torch
from featherlight.stages.distill.settings import DistillSettings
from featherlight.stages.distill.student import new_student
from featherlight.stages.rows import train_rows
from featherlight.stages.time.settings import TimeSettings
from featherlight.store.layout import RECORD

SHAPED = ("onnx", "int8")
STUDENTS = ("bilstm", "rnn", "bag")
KEPT = 8  # models that stay loaded while cells take turns
_MOST_TEXTS = 20_000  # that the pieces of an untrained student are chosen for
_FOLDERS: dict[tuple[str, str], ScratchFolder] = {}  # of untrained students, by name and data


@dataclass(frozen=True)
class Backend:
    """What computes a batch. batches: texts -> what run takes."""

    batches: Callable[[Examples, TimeSettings], list[Any]]
    run: Callable[[Any], object]
    parameters: int
    size: int


@functools.lru_cache(maxsize=KEPT)
def backend_for(folder: Path, name: str, runtime: str, threads: int, device: str) -> Backend:
    """A model in one of the runtimes; exported or packed for it where it is not yet. name: as the user calls it."""
    if runtime == "light":
        return _packed_backend(folder, name)
    if packed_file(folder) is not None:
        raise UserError(f"{folder}: is packed and runs as it is. Use --runtime light.")
    source = TorchPredictor(folder, device=device, precision="bf16" if runtime == "bf16" else "fp32",
                       compiled=runtime == "compiled")  # fmt: skip
    apart = not is_encoder(source.model)

    def batches(examples: Examples, settings: TimeSettings) -> list[Any]:
        source.check_pair(examples.second is not None)
        tokens = tokenise(source.tokenizer, examples, max_length=settings.length, apart=apart)
        if settings.pad == "max":
            tokens = Tokens(tokens.columns, tokens.pads, tokens.left, settings.length)
        order = np.argsort(-tokens.lengths, kind="stable")
        groups = [order[start : start + settings.batch] for start in range(0, len(order), settings.batch)]
        if runtime in SHAPED:
            return [tokens.arrays(rows) for rows in groups]
        return [{name: tensor.to(device) for name, tensor in tokens.batch(rows).items()} for rows in groups]

    if runtime in SHAPED:
        with tempfile.TemporaryDirectory() as scratch:
            out = Path(scratch)
            write_float(source, folder, out)
            if runtime == "int8":
                write_int8(source, folder, out, per_channel=True)
            session = OnnxPredictor(out, threads=threads)
            return Backend(batches, session.run, source.parameters, (out / "model.onnx").stat().st_size)
    source.model.eval()
    size = sum(path.stat().st_size for path in folder.glob("*.safetensors"))

    def run(batch: Mapping[str, torch.Tensor]) -> object:
        with torch.inference_mode(), autocast(device, source.precision):
            return source.model(**batch).logits

    return Backend(batches, run, source.parameters, size)


def _packed_backend(folder: Path, name: str) -> Backend:
    """A packed student; text by text, tokenization included, for that is how it runs."""
    file = packed_file(folder)
    if file is None:
        if not is_packable(folder):
            raise UserError(f"{name}: only students run as packed files. Use --runtime torch, onnx or int8.")
        with tempfile.NamedTemporaryFile(suffix=".light") as packed:
            packed.write(pack_folder(folder))
            packed.flush()
            model, size = PackedPredictor(Path(packed.name)), packed.tell()
    else:
        model, size = PackedPredictor(file), file.stat().st_size

    def batches(examples: Examples, settings: TimeSettings) -> list[Any]:
        model.check_pair(examples.second is not None)
        starts = range(0, len(examples), settings.batch)
        return [examples.take(np.arange(start, start + settings.batch)) for start in starts]

    return Backend(batches, model.logits, model.parameters, size)


def is_result(path: Path) -> bool:
    """Whether a model was made here: a packed file, or a folder with a record."""
    return path.is_file() or (path / RECORD).exists()


def model_folder(settings: TimeSettings, data: TaskData) -> Path:
    """A folder that a predictor reads: a model made here as it is; another with a new head, as long as the process."""
    if is_result(Path(settings.model)):
        return Path(settings.model)
    if settings.model in STUDENTS:
        key = (settings.model, data.fingerprint)
        if key not in _FOLDERS:
            texts = train_rows(data, None, 1).first[:_MOST_TEXTS]
            values = {"student": settings.model, "task": settings.task, "start": "random"}
            student, minilm = DistillSettings.model_validate(values), _encoder_folder("minilm").path
            model, tokenizer, _ = new_student(student, data, minilm, texts)
            _FOLDERS[key] = _saved(model, tokenizer)
        return _FOLDERS[key].path
    folder = _encoder_folder(settings.model).path
    check_length(AutoConfig.from_pretrained(folder, local_files_only=True), settings.length, option="length")
    return folder


@functools.lru_cache(maxsize=KEPT)
def _encoder_folder(model: str) -> ScratchFolder:
    """A pre-trained encoder with a head for two classes; more of them would change no time."""
    seed_torch(1, "initial weights")
    return _saved(*load_encoder(model, labels=("0", "1"), max_length=4))


def _saved(model: Any, tokenizer: Any) -> ScratchFolder:
    folder = ScratchFolder()
    with quiet_transformers():
        model.save_pretrained(folder.path)
        tokenizer.save_pretrained(folder.path)
    return folder
