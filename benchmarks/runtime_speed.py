"""One text of 16 tokens through a packed student in numpy, and through the same student in PyTorch, one thread.

    OMP_NUM_THREADS=1 python benchmarks/runtime_speed.py [--repeats 3] [--rounds 5]

A BiLSTM (hidden 150, 25 dimensions) and a bag with 5,000 of MiniLM's word pieces and random weights: time depends on
neither. Every program is given the same texts in turn, each a list of one string, and hands out logits; "module" is the
bare PyTorch module with ids that are there already. All take turns, `--rounds` times. Then: how long a packed file of
about 400 kB takes to be read, from bytes to a model that can predict.
"""

import argparse
import json
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

TOKENS, TEXTS = 16, 100
CHOSEN = ("bilstm, torch", "bilstm, torch module", "bilstm, numpy", "bag, torch", "bag, torch module", "bag, numpy")
REFERENCE = "bilstm, torch module"


def student(kind: str, folder: Path) -> Path:
    """A student's folder with 5,000 word pieces and random weights."""
    from transformers import AutoTokenizer

    from featherlight.models import (
        BagConfig,
        BagForSequenceClassification,
        BiLSTMConfig,
        BiLSTMForSequenceClassification,
    )
    from featherlight.models.heads import head_options
    from featherlight.models.source import minilm_folder
    from featherlight.models.students.tokenizers import cut_vocabulary

    pieces = json.loads((minilm_folder() / "tokenizer.json").read_text())["model"]["vocab"]
    words = [piece for piece in list(pieces)[1000:] if piece.isascii() and piece.isalpha()][:6000]
    tokenizer = cut_vocabulary(AutoTokenizer.from_pretrained(minilm_folder()), words, 5001)
    tokenizer.model_max_length = 128
    common: dict[str, Any] = {"vocab_size": len(tokenizer), "dim": 25, **head_options(["negative", "positive"])}
    model: Any = (
        BagForSequenceClassification(BagConfig(classifier=100, **common))
        if kind == "bag"
        else BiLSTMForSequenceClassification(BiLSTMConfig(hidden=150, classifier=200, **common))
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def texts_of(folder: Path) -> list[str]:
    """Texts of 16 words that are one piece each."""
    import numpy as np

    vocabulary = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
    words = [piece for piece in vocabulary if piece.isalpha()]
    return [" ".join(row) for row in np.random.default_rng(0).choice(words, size=(TEXTS, TOKENS))]


def programs(kind: str, folder: Path) -> dict[str, Callable[[str], Any]]:
    """Each way from a text to logits; all give the same ones."""
    import numpy as np
    import torch

    from featherlight.inference.torch_predictor import TorchPredictor
    from featherlight.packing.folder import pack_folder
    from featherlight.runtime.model import LightModel
    from featherlight.runtime.packed import read_packed

    predictor, light = TorchPredictor(student(kind, folder)), LightModel(read_packed(pack_folder(folder)))
    model = predictor.model
    texts = texts_of(folder)
    ids = {text: predictor.tokenizer(text, return_tensors="pt") for text in texts}
    assert {row["input_ids"].shape[1] for row in ids.values()} == {TOKENS}

    @torch.inference_mode()
    def module(text: str) -> Any:
        return model(**ids[text]).logits

    assert np.abs(light(texts) - predictor(texts)).max() < 1e-5
    return {
        f"{kind}, torch": lambda text: predictor([text]),
        f"{kind}, torch module": module,
        f"{kind}, numpy": lambda text: light([text]),
    }


def seconds(
    known: dict[str, Callable[[str], Any]], texts: list[str], repeats: int, rounds: int
) -> dict[str, list[float]]:
    """The median of each round, by program."""
    from featherlight.measurement.latency import time_each

    found: dict[str, list[float]] = {name: [] for name in known}
    for _ in range(rounds):
        for name, program in known.items():
            found[name].append(time_each(program, texts * repeats, warmup=20).median)
    return found


def unpacking(folder: Path, repeats: int) -> tuple[int, list[float]]:
    """(bytes of the BiLSTM at 8 bits, seconds of each reading)."""
    from featherlight.compression.quantize import is_quantized, scheme
    from featherlight.measurement.latency import time_each
    from featherlight.packing.folder import describe
    from featherlight.packing.writer import write_packed
    from featherlight.runtime.model import LightModel
    from featherlight.runtime.packed import decoded, read_packed

    packed = describe(folder)
    tensors = {
        name: scheme("8")(decoded(encoded)) if is_quantized(name) else encoded
        for name, encoded in packed.tensors.items()
    }
    data = write_packed(packed.about, tensors)
    return len(data), list(time_each(lambda _: LightModel(read_packed(data)), range(repeats), warmup=2).values)


def main() -> None:
    """Print medians, spread and ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3, help="how often each of the 100 texts is read in a round")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        known = {**programs("bilstm", Path(folder, "bilstm")), **programs("bag", Path(folder, "bag"))}
        found = seconds(known, texts_of(Path(folder, "bilstm")), options.repeats, options.rounds)
        size, read = unpacking(Path(folder, "bilstm"), 20)
    medians = {name: statistics.median(times) for name, times in found.items()}
    print(f"| program | µs, median | lowest to highest median of a round | {REFERENCE} takes times as long |")
    print("|---|--:|--:|--:|")
    for name in CHOSEN:
        spread = f"{1e6 * min(found[name]):.0f} to {1e6 * max(found[name]):.0f}"
        print(f"| {name} | {1e6 * medians[name]:.0f} | {spread} | {medians[REFERENCE] / medians[name]:.2f} |")
    print(f"\nReading a file of {size:,} bytes: {1e3 * statistics.median(read):.1f} ms, median of {len(read)} "
          f"({1e3 * min(read):.1f} to {1e3 * max(read):.1f}).")  # fmt: skip


if __name__ == "__main__":
    main()
