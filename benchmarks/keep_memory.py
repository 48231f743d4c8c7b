"""What `models.device.keep_freed_memory` is worth: fine-tune MiniLM on random tokens with and without it.

    python benchmarks/keep_memory.py [--repeats 5]

60 steps of 32 texts of 13 tokens, each run in a process of its own, in turn: with, without, with ...
"""

import argparse
import statistics
import subprocess
import sys

RUN = """
import sys, tempfile
from pathlib import Path
import numpy as np
from featherlight.data.tokens.batches import Tokens
from featherlight.data.tokens.ragged import Ragged
from featherlight.models.load import load_encoder
from featherlight.training import loop
from featherlight.training.finetune import LabelObjective
from featherlight.training.objective import TrainingSet
from featherlight.training.optimizers import OptimizerOptions
if sys.argv[1] == "without":
    loop.keep_freed_memory = lambda: None
generator = np.random.default_rng(0)
rows = 32 * 60
tokens = Tokens({"input_ids": Ragged.of(generator.integers(1000, 30000, size=(rows, 13)))}, {"input_ids": 0})
data = TrainingSet(tokens, {"labels": generator.integers(2, size=rows)})
model, _ = load_encoder("minilm", labels=("no", "yes"), max_length=16)
options = OptimizerOptions(optimizer="adamw", learning_rate=5e-5, schedule="linear", warmup=0.0, weight_decay=0.0,
                                clip=1.0, epochs=1, batch_size=32, batch_tokens=4096, patience=0, seed=1)
context = loop.RunContext("cpu", "bf16", Path(tempfile.mkdtemp()))
print(rows / loop.train(model, LabelObjective(), data, None, options=options, context=context).seconds)
"""


def main() -> None:
    """Print medians, spread and ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    found: dict[str, list[float]] = {"with": [], "without": []}
    for _ in range(repeats):
        for side, speeds in found.items():
            command = [sys.executable, "-c", RUN, side]
            printed = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout
            speeds.append(float(printed))
    print("| freed memory | examples/s, median | lowest to highest |\n|---|--:|--:|")
    for side, speeds in found.items():
        name = "kept" if side == "with" else "returned"
        print(f"| {name} | {statistics.median(speeds):.0f} | {min(speeds):.0f} to {max(speeds):.0f} |")
    kept, returned = (statistics.median(speeds) for speeds in found.values())
    print(f"\nratio of the medians: {kept / returned:.2f}; {repeats} repeats")


if __name__ == "__main__":
    main()
