"""A folder that holds model.onnx as a function of texts, computed by onnxruntime on the processor. Needs no torch.

House shapes: N texts, B texts of a batch, T tokens, C classes.
"""

import json
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from featherlight.data.task import Examples, Target
from featherlight.data.tokens.batches import Tokens, mask_of, within_budget
from featherlight.data.tokens.ragged import Ragged
from featherlight.errors import UserError, missing_extra
from featherlight.inference.onnx_reader import IDS, Columns, reader_of
from featherlight.kinds import MODEL
from featherlight.measurement.metrics import SCORING
from featherlight.progress import say, track
from featherlight.runtime.text import check_pair, checked_sides

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

ABOUT = "featherlight"  # the key of what the file says of itself
WEIGHT_BITS = 7  # of what `export` and `quantize` write, see `export.graph.rounded_weights`
CACHED_TOKENS = 256  # of an encoder's batch, for each thread: what is between two layers stays in a core's cache
_SLOW_FUSIONS = ["SkipLayerNormFusion"]  # slower than the sum and the norm that it replaces; docs/onnx.md


def open_session(file: Path, *, threads: int = 0, exact: bool = False) -> "InferenceSession":
    """An onnxruntime session on the processor. threads: within one call; 0 takes every core.

    exact: products of bytes are added up without loss on every processor, more slowly; all but those of an LSTM.
    """
    try:
        import onnxruntime
    except ImportError:
        raise missing_extra("onnxruntime", "onnx") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    if exact:
        options.add_session_config_entry("session.x64quantprecision", "1")
    options.log_severity_level = 3  # errors; they are raised besides
    try:
        return onnxruntime.InferenceSession(
            file, options, providers=["CPUExecutionProvider"], disabled_optimizers=_SLOW_FUSIONS
        )
    except Exception as error:  # onnxruntime has a class of its own for each way to fail, and no common one
        raise UserError(f"{file}: onnxruntime cannot load it: {str(error).splitlines()[0]} Export it again.") from None


def cuts_off_bytes(processor: str | None = None) -> bool:
    """Whether this may be an x86 processor without VNNI: two products of bytes are added in 16 bits, and cut off.

    processor: what the system says of it; None asks. Where that cannot be known, it may be.
    """
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return False
    try:
        return "vnni" not in (Path("/proc/cpuinfo").read_text() if processor is None else processor)
    except OSError:
        return True


class OnnxPredictor:
    """An exported model behind the interface of `measurement.evaluate.Predictor`, with the same arguments.

    threads: for one call; 1 for the shortest time of a single text, 0 for every core. batch_tokens: most padded tokens
    of a batch; an encoder's are smaller still. In int8 the inputs of a layer are rounded for a whole batch together,
    so that logits depend in their third digit on what else is in it.
    """

    device = "cpu"

    def __init__(
        self,
        folder: Path,
        *,
        device: str = "auto",
        precision: str = "auto",
        batch_tokens: int = 4096,
        compiled: bool = False,
        threads: int = 0,
    ):
        self.session = open_session(folder / MODEL, threads=threads)
        self.inputs = [value.name for value in self.session.get_inputs()]
        metadata = json.loads(self.session.get_modelmeta().custom_metadata_map.get(ABOUT, "null"))
        if metadata is None:
            raise UserError(f"{folder / MODEL}: was not written by `featherlight export`. Export the model with it.")
        self.labels, self.parameters, self.precision = (
            tuple(metadata["labels"]),
            metadata["parameters"],
            metadata["precision"],
        )
        self.pair, self.known_pair = bool(metadata["pair"]), metadata["pair"]
        self.positive: str | None = metadata.get("positive")
        if self.precision == "int8" and metadata.get("weight_bits", 8) > WEIGHT_BITS and cuts_off_bytes():
            self.session = open_session(folder / MODEL, threads=threads, exact=True)
            say(f"{folder}: was exported with weights of 8 bits, whose products this processor (no VNNI) cuts off: "
                "they are computed more slowly, and those of an LSTM stay wrong. Export the model again.")  # fmt: skip
        if device not in ("auto", "cpu") or compiled:
            raise UserError(f"{folder}: model.onnx runs on the CPU as it is. Leave --device and --compile out.")
        if precision not in ("auto", self.precision):
            raise UserError(f"--precision {precision}: {folder} computes in {self.precision}. Leave --precision out.")
        self.reader = reader_of(folder, student=metadata["student"], max_length=metadata["max_length"])
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        self.batch_tokens = (
            batch_tokens if metadata["student"] else min(batch_tokens, CACHED_TOKENS * (threads or cores))
        )

    def check_pair(self, given: bool) -> None:
        """UserError if the model reads two texts per example and was given one, or the other way round."""
        check_pair(self.known_pair, given)

    def tokens(self, examples: Examples) -> Tokens:
        """The texts as this model's tokens, cut to the length that it was trained with."""
        return self.packed(self.read(examples.first, examples.second))

    def read(self, first: Sequence[str], second: Sequence[str] | None) -> Columns:
        """The texts as lists of integers."""
        self.check_pair(second is not None)
        return self.reader(*checked_sides(first, second))

    def packed(self, columns: Columns) -> Tokens:
        """The lists in flat arrays."""
        pads = {name: self.reader.pads.get(name, 0) for name in columns}
        return Tokens({name: Ragged.of(rows) for name, rows in columns.items()}, pads, left=self.reader.left)

    def predict(self, first: Sequence[str], second: Sequence[str] | None = None) -> list[dict[str, Any]]:
        """{"label", "probability", "probabilities"} per text, or {"value"} for a regression. second: of pairs."""
        return SCORING[Target.of(self.labels)].answers(self(first, second), self.labels)

    def __call__(self, first: Sequence[str], second: Sequence[str] | None = None) -> np.ndarray:
        """Logits float32 [N, C], or values [N] for a regression."""
        columns = self.read(first, second)
        if len(first) == 1 and all(rows[0] for rows in columns.values()):
            # Nothing to sort or pad, which takes as long as a third of a BiLSTM.
            arrays = {name: np.array(rows, dtype=np.int64) for name, rows in columns.items()}
            masks = {mask_of(name): np.ones_like(array) for name, array in arrays.items() if name.endswith(IDS)}
            return self.shaped(self.run({**arrays, **masks}))
        return self.logits(self.packed(columns))

    def logits(self, tokens: Tokens, *, label: str = "predict") -> np.ndarray:
        """Logits of tokens that this predictor's tokenizer made; batches are sorted by length."""
        out = np.zeros((len(tokens), max(len(self.labels), 1)), dtype=np.float32)
        with track(label, len(tokens), unit="texts") as advance:
            for part in within_budget(tokens.lengths, np.arange(len(tokens)), tokens=self.batch_tokens):
                out[part] = self.run(tokens.arrays(part))
                advance(len(part))
        return self.shaped(out)

    def run(self, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        """Logits [B, C] of arrays [B, T]; what the graph has no use for is left out."""
        logits: np.ndarray = self.session.run(None, {name: inputs[name] for name in self.inputs})[0]
        return logits

    def shaped(self, logits: np.ndarray) -> np.ndarray:
        """[N, C] -> [N] for a regression."""
        return logits if self.labels else logits[:, 0]
