"""A model folder in, one that onnxruntime runs out: model.onnx with config and tokenizer, in float32 or in int8.

Encoders are traced by `torch.onnx`, students written node by node (`export.graph`). `inference.agreement` says how far
of two models lie apart; whoever calls decides what is too far. House shapes: B texts, T tokens.
"""

import json
import shutil
import signal
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from featherlight.data.task import Examples
from featherlight.errors import UserError, missing_extra
from featherlight.files import read_json, write_atomically
from featherlight.inference.onnx_predictor import ABOUT, WEIGHT_BITS, OnnxPredictor
from featherlight.inference.onnx_reader import TOKENIZER
from featherlight.inference.torch_predictor import TorchPredictor
from featherlight.kinds import MODEL
from featherlight.measurement import footprint
from featherlight.packing.folder import BODIES, architecture, arrays
from featherlight.packing.writer import TABLE
from featherlight.runtime.model import load
from featherlight.runtime.packed import LIGHT, decoded
from featherlight.runtime.text import front_coded

if TYPE_CHECKING:
    from onnx import ModelProto

    from featherlight.export.graph import Weights

_OPSET = 17
_BATCHES, _BATCH = "calibration.npz", 16
QUANTIZER = (sys.executable, "-m", "featherlight.export.onnx_quantizer")


def write_float(source: TorchPredictor, folder: Path, out: Path) -> None:
    """Fill out with model.onnx, config and tokenizer of a model; source: the model of folder, on the processor."""
    check_installed()
    if footprint.parameters(source.model) * 4 > 2e9:  # bytes, the format's limit
        raise UserError(f"{folder}: too large for one ONNX file (at most 2 GB). Distil it into a smaller model.")
    for pattern in (*footprint.CONFIG, *footprint.TOKENIZER):
        for path in folder.glob(pattern):
            shutil.copy(path, out / path.name)
    _write_tokenizer(source, folder, out)
    if source.model.config.model_type in BODIES:
        from featherlight.export.graph import student_graph

        graph = student_graph(architecture(source.model.config.to_dict()), student_weights(folder))
    else:
        graph = _encoder_graph(source)
    _save(graph, out / MODEL, source, precision="fp32")


def write_int8(
    source: TorchPredictor, folder: Path, out: Path, *, per_channel: bool, calibration: Examples | None = None
) -> None:
    """Put the model.onnx of `write_float` into int8; a UserError leaves the folder without one.

    calibration: texts on which the ranges of what weights are multiplied with are found, once and for all; None finds
    them anew in each call. An encoder's alone: onnxruntime computes an LSTM in int8 with ranges of the call only.
    What could take the process down with it, onnxruntime's quantizer and the first call, runs in another one.
    """
    before, after = out / MODEL, out / f"int8-{MODEL}"
    if source.model.config.model_type in BODIES:
        from featherlight.export.graph import rounded_weights, student_graph

        weights = rounded_weights(student_weights(folder), per_channel=per_channel)
        graph = student_graph(architecture(source.model.config.to_dict()), weights, int8=True)
        _save(graph, after, source, precision="int8")
        arguments = [str(after)]
    else:
        arguments = [str(after), str(before), "channel" if per_channel else "tensor"]
        if calibration is not None:
            arguments.append(str(_write_batches(OnnxPredictor(out), calibration, out)))
    done = subprocess.run([*QUANTIZER, *arguments], capture_output=True, text=True, check=False)
    before.unlink()
    (out / _BATCHES).unlink(missing_ok=True)
    if done.returncode:
        after.unlink(missing_ok=True)
        errors = done.stderr.strip().splitlines() or ["no error message"]
        reason = f"ended by {signal.Signals(-done.returncode).name}" if done.returncode < 0 else errors[-1]
        raise UserError(f"onnxruntime cannot compute this model in int8 ({reason}). Export it without --int8.")
    after.rename(before)


def _write_batches(model: OnnxPredictor, examples: Examples, out: Path) -> Path:
    """The inputs that onnxruntime gets for these texts, in batches of texts of similar length, as a file."""
    tokens = model.tokens(examples)
    batches: dict[str, np.ndarray] = {}
    order = np.argsort(tokens.lengths, kind="stable")
    for number, start in enumerate(range(0, len(order), _BATCH)):
        arrays = tokens.arrays(order[start : start + _BATCH])
        batches |= {f"{name}.{number}": arrays[name] for name in model.inputs}
    np.savez(out / _BATCHES, **batches)  # type: ignore[arg-type]  # its stub takes any further name for an option
    return out / _BATCHES


def check_installed() -> None:
    """UserError unless onnx and onnxruntime are there."""
    for package in ("onnx", "onnxruntime"):
        try:
            __import__(package)
        except ImportError:
            raise missing_extra(package, "onnx") from None


def _save(graph: "ModelProto", path: Path, source: TorchPredictor, *, precision: str) -> None:
    """Write a model with the facts about it that `OnnxPredictor` needs."""
    facts = {
        "labels": source.labels,
        "pair": getattr(source.model.config, "pair", None),
        "positive": source.positive,
        "max_length": source.tokenizer.model_max_length,
        "student": source.model.config.model_type in BODIES,
        "parameters": source.parameters,
        "precision": precision,
        **({"weight_bits": WEIGHT_BITS} if precision == "int8" else {}),
    }
    entry = graph.metadata_props.add()
    entry.key, entry.value = ABOUT, json.dumps(facts)
    write_atomically(path, graph.SerializeToString())


def _write_tokenizer(source: TorchPredictor, folder: Path, out: Path) -> None:
    """tokenizer.json that says how to cut and pad, so that `tokenizers` alone makes batches of it."""
    tokenizer = source.tokenizer
    if not tokenizer.is_fast:
        if source.model.config.model_type in BODIES:
            return  # hashed words need no file
        raise UserError(f"{folder}: its tokenizer has no fast version, which an exported model needs. Train with an "
                        "encoder that has one.")  # fmt: skip
    backend = type(tokenizer.backend_tokenizer).from_str(tokenizer.backend_tokenizer.to_str())
    backend.enable_truncation(tokenizer.model_max_length, direction=tokenizer.truncation_side)
    backend.enable_padding(
        direction=tokenizer.padding_side,
        pad_id=tokenizer.pad_token_id,
        pad_type_id=int(getattr(tokenizer, "pad_token_type_id", 0)),
        pad_token=tokenizer.pad_token,
    )
    backend.save(str(out / TOKENIZER), pretty=False)


def student_weights(folder: Path) -> "Weights":
    """The weights of a student's folder by name: int8 with scales for matrices of uniform codes, else float32."""
    if not (folder / LIGHT).exists():
        return dict(arrays(folder))
    from featherlight.export.graph import Rounded

    packed = load(folder / LIGHT).packed
    weights: dict[str, np.ndarray | Rounded] = {}
    for name, encoded in packed.tensors.items():
        if encoded.kind != "uniform" or len(encoded.shape) != 2:
            weights[name] = decoded(encoded)
            continue
        codes = (encoded.parts["codes"].astype(np.int16) - encoded.levels // 2).astype(np.int8)
        scales = encoded.parts["scales"].astype(np.float32)
        weights[name] = Rounded(codes.reshape(encoded.shape), scales.reshape((-1, 1) if len(scales) > 1 else ()))
    if "pieces" in packed.about["tokenizer"]:  # sorted in the file, and the rows with them
        ids = read_json(folder / TOKENIZER)["model"]["vocab"]
        order = np.argsort([ids[piece] for piece in front_coded(packed.about["tokenizer"]["pieces"])])
        weights[TABLE] = weights[TABLE][order]
    return weights


class _Logits(nn.Module):
    """A classifier as a function of its inputs in a fixed order."""

    def __init__(self, model: nn.Module, names: Sequence[str]):
        super().__init__()
        self.model, self.names = model, names

    def forward(self, *inputs: Tensor) -> Tensor:
        """int64 [B, T] each -> [B, C]."""
        logits: Tensor = self.model(**dict(zip(self.names, inputs, strict=True))).logits
        return logits


def _encoder_graph(source: TorchPredictor) -> "ModelProto":
    """The traced graph of an encoder, for any number of texts and tokens."""
    import onnx

    model = source.model
    second = ["b", "a b"] if getattr(model.config, "pair", False) else None
    batch = source.tokens(Examples(["a b", "a"], second, None, np.arange(2))).batch(np.arange(2))
    attention = model.config._attn_implementation
    model.set_attn_implementation("eager")  # plain products and a softmax, which every engine knows
    try:
        with tempfile.TemporaryDirectory() as folder, torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the tracer warns of every size that it sees; `agreement` tries them
            torch.onnx.export(
                _Logits(model, list(batch)).eval(),
                tuple(batch.values()),
                Path(folder) / MODEL,
                dynamo=False,
                opset_version=_OPSET,
                input_names=list(batch),
                output_names=["logits"],
                dynamic_axes={**{name: {0: "texts", 1: "tokens"} for name in batch}, "logits": {0: "texts"}},
            )
            return onnx.load(Path(folder) / MODEL)
    finally:
        model.set_attn_implementation(attention)
