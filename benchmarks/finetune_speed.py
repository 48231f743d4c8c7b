"""Fine-tune MiniLM on SST-2: featherlight beside `transformers.Trainer`, as run_glue.py sets it and at its best.

    python benchmarks/finetune_speed.py --data DIR [--rows 3200] [--seeds 1,2,3] [--peers default,best]

default: every text padded to 128 tokens, fp32, as run_glue.py leaves it. best: padded to the longest of a batch,
batches grouped by length, bf16, the fused optimiser. All train one epoch of the same rows, batch 32, AdamW, 5e-5,
linear to 0, no warm-up, no weight decay; each run has a process of its own, in turn. Examples a second: rows /
seconds of training alone. Whole: seconds of the whole process, from start to the scores of dev, with imports,
tokenising, one evaluation on select, the saved model, and whatever else a program does on its way.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TASK = ("--task", "sst2", "--model", "minilm", "--epochs", "1", "--batch-size", "32", "--learning-rate", "5e-5",
        "--warmup", "0", "--weight-decay", "0")  # fmt: skip
PEAK_SIZE = 2048  # of the square matrices that the peak is measured with


def run_ours(data: str, rows: int, seed: int) -> dict[str, float]:
    """Speed, dev accuracy and wall time of `featherlight finetune`."""
    with tempfile.TemporaryDirectory() as store:
        command = [sys.executable, "-m", "featherlight", "finetune", *TASK, "--data", data, "--store", store, "--json",
                   "--examples", str(rows), "--seeds", str(seed)]  # fmt: skip
        start = time.monotonic()
        printed = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True).stdout
        whole = time.monotonic() - start
    record = json.loads(printed)["records"][0]
    accuracy = record["metrics"]["dev"]["scores"]["accuracy"]["value"]
    return {"speed": rows / record["seconds"]["train"], "accuracy": accuracy, "whole": whole}


def run_trainer(kind: str, data: str, rows: int, seed: int) -> dict[str, float]:
    """The same of the peer, in a fresh process."""
    command = [sys.executable, __file__, "--data", data, "--rows", str(rows), "--seeds", str(seed), "--peer", kind]
    start = time.monotonic()
    printed = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True).stdout
    return {**json.loads(printed.splitlines()[-1]), "whole": time.monotonic() - start}


def peer(kind: str, data: str, rows: int, seed: int) -> dict[str, float]:
    """The same rows through `Trainer`."""
    import numpy as np
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        DataCollatorWithPadding,
        Trainer,
        TrainingArguments,
        default_data_collator,
        set_seed,
    )

    from featherlight.data.registry import load_task
    from featherlight.data.splits import cut_stratified
    from featherlight.models.source import minilm_folder

    best = kind == "best"
    task = load_task("sst2", data=Path(data))
    tokenizer = AutoTokenizer.from_pretrained(minilm_folder())
    set_seed(seed)
    model = AutoModelForSequenceClassification.from_pretrained(minilm_folder(), num_labels=2)
    parts = {
        "train": cut_stratified(task.splits["train"], rows, seed),
        **{n: task.splits[n] for n in ("select", "dev")},
    }
    splits = {}
    for name, part in parts.items():
        encoded = tokenizer(list(part.first), padding=False if best else "max_length", max_length=128, truncation=True)
        rows_of = {**encoded, "label": part.labels.tolist()}
        splits[name] = [dict(zip(rows_of, row, strict=True)) for row in zip(*rows_of.values(), strict=True)]
    faster = {"bf16": True, "train_sampling_strategy": "group_by_length", "optim": "adamw_torch_fused"} if best else {}
    with tempfile.TemporaryDirectory() as out:
        arguments = TrainingArguments(
            out, per_device_train_batch_size=32, per_device_eval_batch_size=128 if best else 8, num_train_epochs=1,
            learning_rate=5e-5, seed=seed, use_cpu=True, report_to=[], save_strategy="no", disable_tqdm=True, **faster,
        )  # fmt: skip
        collator = DataCollatorWithPadding(tokenizer) if best else default_data_collator
        trainer = Trainer(model=model, args=arguments, train_dataset=splits["train"], data_collator=collator)
        seconds = trainer.train().metrics["train_runtime"]
        trainer.evaluate(splits["select"])
        trainer.save_model(out)
        found = trainer.predict(splits["dev"])  # grouped by length, it gives them in another order
    return {"speed": rows / seconds, "accuracy": float(np.mean(found.predictions.argmax(1) == found.label_ids))}


def measure_peak() -> float:
    """GFLOP/s of a large bf16 matrix product, the best of twenty."""
    import torch

    matrix = torch.randn(PEAK_SIZE, PEAK_SIZE).bfloat16()
    seconds = []
    for _ in range(20):
        start = time.perf_counter()
        matrix @ matrix
        seconds.append(time.perf_counter() - start)
    return float(2 * PEAK_SIZE**3 / min(seconds) / 1e9)


def flops_per_example(data: str, rows: int) -> float:
    """Of one training step, per example: 6 for each weight of the encoder's matrices and each real token."""
    from transformers import AutoModel, AutoTokenizer

    from featherlight.data.registry import load_task
    from featherlight.data.splits import cut_stratified
    from featherlight.models.source import minilm_folder

    texts = cut_stratified(load_task("sst2", data=Path(data)).splits["train"], rows, 1).first
    tokens = sum(len(ids) for ids in AutoTokenizer.from_pretrained(minilm_folder())(list(texts))["input_ids"])
    weights = AutoModel.from_pretrained(minilm_folder()).encoder.parameters()
    return 6 * sum(weight.numel() for weight in weights if weight.dim() > 1) * tokens / rows


def show(found: dict[str, list[dict[str, float]]]) -> None:
    """The table: medians, spread, ratios."""
    print("| program | examples/s, median | lowest to highest | whole run, s | dev accuracy, mean |")
    print("|---|--:|--:|--:|--:|")
    for name, runs in found.items():
        speeds = sorted(run["speed"] for run in runs)
        accuracy = statistics.mean(run["accuracy"] for run in runs)
        whole = statistics.median(run["whole"] for run in runs)
        spread = f"{speeds[0]:.1f} to {speeds[-1]:.1f}"
        print(f"| {name} | {statistics.median(speeds):.1f} | {spread} | {whole:.1f} | {accuracy:.2%} |")
    ours, *peers = found.items()
    for name, runs in peers:
        speed, whole = (
            [statistics.median(run[kind] for run in some) for some in (ours[1], runs)] for kind in ("speed", "whole")
        )
        print(f"\nratio to {name}: {speed[0] / speed[1]:.2f} in training, {whole[1] / whole[0]:.2f} as a whole run")


def main() -> None:
    """Run all in turn and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--rows", type=int, default=3200)
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--peers", default="default,best")
    parser.add_argument("--peer", help=argparse.SUPPRESS)
    options = parser.parse_args()
    seeds = [int(seed) for seed in options.seeds.split(",")]
    if options.peer:
        return print(json.dumps(peer(options.peer, options.data, options.rows, seeds[0])))
    peers = options.peers.split(",")
    found: dict[str, list[dict[str, float]]] = {
        name: [] for name in ("featherlight", *(f"Trainer, {p}" for p in peers))
    }
    peaks = [measure_peak()]
    for seed in seeds:
        found["featherlight"].append(run_ours(options.data, options.rows, seed))
        for kind in peers:
            found[f"Trainer, {kind}"].append(run_trainer(kind, options.data, options.rows, seed))
        peaks.append(measure_peak())
        print(f"seed {seed}: {[runs[-1] for runs in found.values()]}", file=sys.stderr)
    show(found)
    reached = statistics.median(run["speed"] for run in found["featherlight"]) * flops_per_example(
        options.data, options.rows
    )
    print(f"\n{options.rows:,} rows, seeds {options.seeds}, {os.cpu_count()} cores")
    print(
        f"featherlight: {reached / 1e9:.0f} of {max(peaks):.0f} GFLOP/s (bf16 peak): {reached / 1e9 / max(peaks):.0%}"
    )


if __name__ == "__main__":
    main()
