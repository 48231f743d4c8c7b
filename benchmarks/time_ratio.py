"""The ratio of two models' times, taken twenty times: how much it scatters, in turns and in blocks.

    OMP_NUM_THREADS=1 python benchmarks/time_ratio.py --data DIR [--models minilm:3,minilm] [--times 20] [--visits 20]

Each time both models are visited as `featherlight time` does it: in turns, in random order, a warm-up before each
visit. The ratio of their medians and of their minima is taken. Blocks, one model's visits after the other's, are what a
benchmark does that takes no care. A ratio holds if it is within 3 % of the middle of the twenty.
"""

import argparse
import random
from pathlib import Path

import numpy as np

from featherlight.data.registry import load_task
from featherlight.stages.time.cells import Cell, new_cell
from featherlight.stages.time.settings import TimeSettings

NEAR = 0.03


def in_turns(cells: list[Cell], visits: int, draw: random.Random) -> np.ndarray:
    """Seconds [2, visits]."""
    found = np.zeros((2, visits))
    for visit in range(visits):
        for place in draw.sample((0, 1), 2):
            found[place, visit] = cells[place].visit().seconds
    return found


def in_blocks(cells: list[Cell], visits: int, draw: random.Random) -> np.ndarray:
    """The same, one model after the other."""
    found = np.zeros((2, visits))
    for place in draw.sample((0, 1), 2):
        found[place] = [cells[place].visit().seconds for _ in range(visits)]
    return found


def row(name: str, ratios: list[float]) -> str:
    """A line of the table."""
    off = np.abs(np.array(ratios) / np.median(ratios) - 1)
    return (f"| {name} | {np.median(ratios):.4f} | {np.std(ratios) / np.mean(ratios):.1%} | {off.max():.1%} | "
            f"{(off <= NEAR).sum()} of {len(off)} |")  # fmt: skip


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--models", default="minilm:3,minilm")
    parser.add_argument("--task", default="sst2")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--length", type=int, default=32)
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--visits", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    data = load_task(options.task, data=options.data)
    cells = [
        new_cell(TimeSettings(task=options.task, data=options.data, model=model, batch=options.batch, pad="max",
                              length=options.length), data)
        for model in options.models.split(",")
    ]  # fmt: skip
    draw = random.Random(options.seed)
    print("| how | ratio | standard deviation | farthest | within 3 % |\n|---|--:|--:|--:|--:|")
    for name, take in (("in turns", in_turns), ("in blocks", in_blocks)):
        seen = [take(cells, options.visits, draw) for _ in range(options.times)]
        print(row(f"{name}, medians", [float(np.divide(*np.median(one, axis=1))) for one in seen]), flush=True)
        print(row(f"{name}, minima", [float(np.divide(*one.min(axis=1))) for one in seen]), flush=True)


if __name__ == "__main__":
    main()
