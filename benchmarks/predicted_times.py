"""Times that were predicted beside times that were measured: every cell of a store of `featherlight time`.

    python benchmarks/predicted_times.py STORE [--figure FILE.svg] [--csv FILE.csv]

Predicted are cells of pre-trained encoders in torch and of bf16; the machine must be the one that measured them. The
prediction knows the calibration alone: no cell of the store.
"""

import argparse
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from featherlight.config import build
from featherlight.costs.estimate import CostModel
from featherlight.data.registry import LoadedTasks
from featherlight.stages.time.estimate import call_seconds
from featherlight.stages.time.settings import TimeSettings
from featherlight.stages.time.stage import TIME

NEAR = 0.15
NAMES = {"inference": "a batch of inference", "finetune": "an epoch of fine-tuning"}


def cells(store: Path) -> list[dict[str, Any]]:
    """Every record whose cell can be predicted, with the prediction."""
    costs, tasks, found = CostModel(), LoadedTasks(), []
    for path in sorted(store.glob("time-*/record.json")):
        record = json.loads(path.read_text())
        settings = build(TimeSettings, record["settings"], where=str(path))
        assert isinstance(settings, TimeSettings) and record["stage"] == TIME.name
        work = TIME.work(settings, {}, {}, data=TIME.load(settings, tasks))
        if TIME.estimate(work, costs, lambda role: None).seconds is None:
            continue
        told = call_seconds(settings, work.task_data, costs) / record["calls"]
        found.append({
            "what": settings.what, "model": record["name"], "task": record["task"]["name"],
            "examples": record["task"]["rows"]["train"], "length": settings.length, "batch": settings.batch,
            "pad": settings.pad, "runtime": settings.runtime, "predicted": told,
            "measured": record["summary"]["median"],
            "noisy": record["noisy"],
        })  # fmt: skip
    return found


def draw(found: list[dict[str, Any]], path: Path) -> None:
    """Predicted against measured, on logarithmic axes, with a band of 15 %."""
    mpl.rcParams["svg.hashsalt"] = "featherlight"
    figure = Figure(figsize=(10, 4.6), layout="constrained")
    kinds = sorted({cell["what"] for cell in found}, reverse=True)
    for place, what in enumerate(kinds):
        axis = figure.add_subplot(1, len(kinds), place + 1)
        shown = [cell for cell in found if cell["what"] == what]
        for marker, model in zip("osD^v", sorted({cell["model"] for cell in shown}), strict=False):
            points = [(cell["measured"], cell["predicted"]) for cell in shown if cell["model"] == model]
            axis.scatter(*zip(*points, strict=True), s=16, marker=marker, label=model, alpha=0.7)
        ends = np.array([min(cell["measured"] for cell in shown) / 1.5, max(cell["measured"] for cell in shown) * 1.5])
        axis.plot(ends, ends, color="black", linewidth=0.8)
        axis.fill_between(ends, ends * (1 - NEAR), ends * (1 + NEAR), color="black", alpha=0.1, linewidth=0)
        axis.set(xscale="log", yscale="log", xlim=ends, ylim=ends, title=f"Seconds of {NAMES[what]}",
                 xlabel="measured (median)", ylabel="predicted before")  # fmt: skip
        axis.legend(frameon=False)
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    """Print errors by kind and model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path)
    parser.add_argument("--figure", type=Path)
    parser.add_argument("--csv", type=Path)
    options = parser.parse_args()
    found = cells(options.store)
    groups: dict[tuple[str, ...], list[float]] = defaultdict(list)
    for cell in found:
        off = cell["predicted"] / cell["measured"] - 1
        for key in ((cell["what"], "all", ""), (cell["what"], cell["model"], f"pad {cell['pad']}, {cell['runtime']}")):
            groups[key].append(off)
    print("| | model | | cells | median error | median of sizes of errors | within 15 % | worst |")
    print("|---|---|---|--:|--:|--:|--:|--:|")
    for (what, model, how), off in sorted(groups.items()):
        sizes = np.abs(off)
        print(f"| {what} | {model} | {how} | {len(off)} | {np.median(off):+.1%} | {np.median(sizes):.1%} | "
              f"{np.mean(sizes <= NEAR):.0%} | {max(off, key=abs):+.0%} |")  # fmt: skip
    if options.csv:
        lines = [",".join(found[0]), *(",".join(str(value) for value in cell.values()) for cell in found)]
        options.csv.write_text("\n".join(lines) + "\n")
    if options.figure:
        draw(found, options.figure)


if __name__ == "__main__":
    main()
