"""What `models.device.keep_few_kernels` is worth: trainings, and single texts, with so many kernels of oneDNN's kept.

    OMP_NUM_THREADS=1 python benchmarks/kept_kernels.py --data DIR [--method lora] [--kept 1024 64] [--repeats 5]

Each is a process of its own, in turns: MiniLM in bf16 on 1,000 examples of the restaurants, 16 at a time, three epochs;
and a hundred random texts of 4 to 60 tokens, six times, of which the last four count.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from typing import Any

from featherlight.models.device import KEPT_KERNELS

TRAIN = ("-m", "featherlight", "finetune", "--model", "minilm", "--task", "restaurants", "--examples", "1000",
         "--epochs", "3", "--batch-size", "16", "--max-length", "64", "--precision", "bf16", "--json")  # fmt: skip
SINGLE = """
import json, random, statistics, time, torch
from featherlight.models.load import load_encoder
torch.set_num_threads(1)
model, _ = load_encoder("minilm", labels=("no", "yes"), max_length=64)
model.eval()
draw, seconds = random.Random(1), []
texts = [torch.randint(1000, 20000, (1, draw.randint(4, 60))) for _ in range(100)]
with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
    for text in texts * 6:
        start = time.perf_counter()
        model(input_ids=text, attention_mask=torch.ones_like(text))
        seconds.append(time.perf_counter() - start)
print(json.dumps(1000 * statistics.median(seconds[200:])))
"""


def answer(*command: str, kept: int) -> Any:
    """What a Python process with so many kernels kept prints as JSON."""
    environment = {**os.environ, **dict.fromkeys(KEPT_KERNELS, str(kept))}
    done = subprocess.run([sys.executable, *command], env=environment, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


def main() -> None:
    """Print medians for each number of kernels."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--method", default="lora")
    parser.add_argument("--kept", type=int, nargs="+", default=[1024, 64])
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    found: dict[int, list[tuple[float, float, float]]] = {kept: [] for kept in options.kept}
    for _ in range(options.repeats):
        for kept, rows in found.items():
            with tempfile.TemporaryDirectory() as store:
                more = ("--method", options.method, "--data", options.data, "--store", store)
                record = answer(*TRAIN, *more, kept=kept)["records"][0]
            single = answer("-c", SINGLE, kept=kept)
            rows.append((record["peak_memory_bytes"] / 1e6, record["seconds"]["train"], single))
    print(f"| kernels kept, {options.method} | peak, MB | training, s | a single text, ms |\n|--:|--:|--:|--:|")
    for kept, rows in found.items():
        peak, seconds, text = (statistics.median(values) for values in zip(*rows, strict=True))
        print(f"| {kept:,} | {peak:,.0f} | {seconds:.1f} | {text:.1f} |")


if __name__ == "__main__":
    main()
