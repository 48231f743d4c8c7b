"""Predict with onnxruntime beside torch and `transformers.pipeline`: one short text, and a batch of long ones.

    python benchmarks/onnx_speed.py --data DIR [--repeats 7] [--processor-time]

One thread. One text: sentences of SST-2's select split that a BiLSTM of 25 dimensions and 150 hidden units reads as
16 tokens, one call each, tokenization included. torch appears twice: through `Predictor`, and as quick as it can be
called, with a plain `tokenizers.Tokenizer`. Batch: 32 texts of 128 tokens, tokenised before, through MiniLM; torch
through `Predictor` as one batch and in the small batches that onnxruntime is given, and as transformers alone calls
it, in a process of its own, for `Predictor` keeps freed memory, which speeds up all torch in its process. The others
run in turn. The last table is the same batch through MiniLM without half its heads and neurons, beside the whole of it.
The models are made here and untrained, which changes no time; those exported must agree with them.
--processor-time counts what the process computed and not what it waited for others, on a machine that is shared.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from transformers import AutoModelForSequenceClassification, pipeline

from featherlight.compression.structured import shrink
from featherlight.data.registry import load_task
from featherlight.data.task import SELECT, Examples
from featherlight.export.onnx import write_float, write_int8
from featherlight.inference.agreement import agreement
from featherlight.inference.onnx_predictor import CACHED_TOKENS, OnnxPredictor
from featherlight.inference.torch_predictor import TorchPredictor
from featherlight.models import BiLSTMConfig, BiLSTMForSequenceClassification
from featherlight.models.heads import head_options
from featherlight.models.load import load_encoder
from featherlight.models.students.tokenizers import cut_vocabulary

LABELS, TOKENS, LONG, ROWS, MOST_TEXTS = ("negative", "positive"), 16, 128, 32, 40
FLOAT, INT8 = "onnxruntime, float32", "onnxruntime, int8"
TORCH, QUICK, SMALL = "torch", "torch, called as quickly as can be", f"torch, batches of {CACHED_TOKENS} tokens"
BATCH = "batch.tensors"  # a name that no model folder has
PLAIN = "torch, transformers alone"
PIPELINE = "transformers.pipeline, MiniLM"
HALF, HALF_INT8 = "half the heads and neurons, torch", "half the heads and neurons, onnxruntime, int8"


def make_models(folder: Path, texts: Sequence[str]) -> tuple[Path, Path, Path]:
    """The folders of a student, of an encoder, and of half of it."""
    encoder, tokenizer = load_encoder("minilm", labels=LABELS, max_length=LONG)
    half = shrink(shrink(encoder, "heads", 0.5)[0], "neurons", 0.5)[0]
    for name, model in (("encoder", encoder), ("half", half)):
        model.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
    pieces = cut_vocabulary(tokenizer, texts, 5000)
    pieces.model_max_length = LONG
    torch.manual_seed(1)
    student = BiLSTMForSequenceClassification(BiLSTMConfig(vocab_size=len(pieces), **head_options(LABELS)))
    assert (student.config.dim, student.config.hidden) == (25, 150)
    student.save_pretrained(folder / "student")
    pieces.save_pretrained(folder / "student")
    return folder / "student", folder / "encoder", folder / "half"


def export_both(folder: Path, examples: Examples) -> tuple[TorchPredictor, OnnxPredictor, OnnxPredictor]:
    """The model in torch, in onnxruntime, and there in int8."""
    source, found = TorchPredictor(folder, device="cpu", precision="fp32"), []
    for name in ("float", "int8"):
        out = folder / name
        out.mkdir()
        write_float(source, folder, out)
        if name == "int8":
            write_int8(source, folder, out, per_channel=True)
        found.append(OnnxPredictor(out, threads=1))
    worst = [agreement(source, exported, examples)[0] for exported in found]
    assert worst[0] < 1e-4, worst
    print(f"{folder.name}: worst difference in float32 {worst[0]:.1e}, in int8 {worst[1]:.1e}")
    return source, *found


def quickest_torch(source: TorchPredictor, folder: Path) -> Callable[[str], Any]:
    """A student in torch without anything around it."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))

    def call(text: str) -> Any:
        with torch.inference_mode():
            ids = torch.tensor([tokenizer.encode(text).ids])
            return source.model(ids, torch.ones_like(ids)).logits.numpy()

    return call


def timed(
    programs: dict[str, Callable[[Any], Any]], items: Sequence[Any], repeats: int, clock: Callable[[], float]
) -> dict[str, list[float]]:
    """Seconds of each program on each item, all programs in turn; one round of warm-up."""
    found: dict[str, list[float]] = {name: [] for name in programs}
    for repeat in range(repeats + 1):
        for name, program in programs.items():
            for item in items:
                start = clock()
                program(item)
                if repeat:
                    found[name].append(clock() - start)
    return found


def plain_torch(folder: Path, repeats: int, clock: Callable[[], float]) -> list[float]:
    """Seconds of a model of transformers on the batch that is stored in its folder."""
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    batch = load_file(folder / BATCH)
    with torch.inference_mode():
        return timed({PLAIN: lambda inputs: model(**inputs)}, [batch], repeats, clock)[PLAIN]


def in_a_process(folder: Path, batch: dict[str, Any]) -> list[float]:
    """The same in a process of its own."""
    save_file(batch, folder / BATCH)
    command = [sys.executable, "-W", "ignore", __file__, *sys.argv[1:], "--plain", str(folder)]
    printed = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
    return list(json.loads(printed.splitlines()[-1]))


def show(
    title: str, found: dict[str, list[float]], peers: Sequence[str], unit: str, factor: float, best: str = "int8"
) -> None:
    """Medians, the middle 90 %, and how many times faster the first, called `best`, is than each peer."""
    print(f"\n| {title} | {unit}, median | 5 % to 95 % | {best} is so many times faster |\n|---|--:|--:|--:|")
    ours = statistics.median(next(iter(found.values())))
    for name, seconds in found.items():
        low, high = (factor * np.quantile(seconds, share) for share in (0.05, 0.95))
        ratio = f"{statistics.median(seconds) / ours:.2f}" if name in peers else ""
        print(f"| {name} | {factor * statistics.median(seconds):.3g} | {low:.3g} to {high:.3g} | {ratio} |")


def main() -> None:
    """Print a table for one text and one for a batch."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--processor-time", action="store_true")
    parser.add_argument("--plain", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    clock = time.process_time if options.processor_time else time.perf_counter
    torch.set_num_threads(1)
    if options.plain:
        return print(json.dumps(plain_torch(options.plain, options.repeats, clock)))
    splits = load_task("sst2", data=Path(options.data)).splits
    with tempfile.TemporaryDirectory() as name:
        student, encoder, half = make_models(Path(name), splits["train"].first)
        some = splits[SELECT].take(np.arange(100))
        print(f"load of the machine: {', '.join(f'{load:.1f}' for load in os.getloadavg())}, {os.cpu_count()} cores")
        source, exported, int8 = export_both(student, some)
        lengths = source.tokens(splits[SELECT]).lengths
        texts = [splits[SELECT].first[row] for row in np.flatnonzero(lengths == TOKENS)[:MOST_TEXTS]]
        classify = pipeline("text-classification", str(encoder), device="cpu")
        programs = {
            INT8: lambda text: int8([text]),
            FLOAT: lambda text: exported([text]),
            QUICK: quickest_torch(source, student),
            TORCH: lambda text: source([text]),
            PIPELINE: classify,
        }
        peers = [FLOAT, QUICK, TORCH, PIPELINE]
        show(f"{len(texts)} texts of {TOKENS} tokens", timed(programs, texts, options.repeats, clock), peers, "µs", 1e6)

        source, exported, int8 = export_both(encoder, some)
        longer = [" ".join(splits["train"].first[row :: ROWS * 50]) for row in range(ROWS)]
        tokens = source.tokens(Examples(longer, None, None, np.arange(ROWS)))
        assert set(tokens.lengths) == {LONG}
        small = TorchPredictor(encoder, device="cpu", precision="fp32", batch_tokens=CACHED_TOKENS)
        programs = {INT8: int8.logits, FLOAT: exported.logits, TORCH: source.logits, SMALL: small.logits}
        found = timed(programs, [tokens], options.repeats, clock)
        found[PLAIN] = in_a_process(encoder, tokens.batch(np.arange(ROWS)))
        show(f"MiniLM, {ROWS} texts of {LONG} tokens", found, [FLOAT, TORCH, SMALL, PLAIN], "s", 1)

        halved, _, halved_int8 = export_both(half, some)
        programs = {HALF: halved.logits, HALF_INT8: halved_int8.logits, TORCH: source.logits, INT8: int8.logits}
        found = timed(programs, [tokens], options.repeats, clock)
        show(f"MiniLM, {ROWS} texts of {LONG} tokens", found, [HALF_INT8, TORCH, INT8], "s", 1, "half of it in torch")


if __name__ == "__main__":
    main()
