"""Fine-tune MiniLM on SST-2: featherlight beside `transformers.Trainer` as run_glue.py sets it by default.

    python benchmarks/finetune_speed.py --data DIR [--rows 3200] [--seeds 1,2,3]

The peer pads every text to 128 tokens and computes in fp32, batch 32, AdamW, 5e-5, linear to 0, no warm-up,
no weight decay. Both train one epoch on the same rows; each run has a process of its own, in turn: us, peer, us ...
Examples a second: rows / seconds of training, without loading, tokenising, evaluating and saving on either side.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

TASK = ("--task", "sst2", "--model", "minilm", "--epochs", "1", "--batch-size", "32", "--learning-rate", "5e-5",
        "--warmup", "0", "--weight-decay", "0")  # fmt: skip


def run_ours(data: str, rows: int, seed: int) -> dict[str, float]:
    """Speed and dev accuracy of `featherlight finetune`."""
    with tempfile.TemporaryDirectory() as store:
        command = [sys.executable, "-m", "featherlight", "finetune", *TASK, "--data", data, "--store", store, "--json",
                   "--examples", str(rows), "--seeds", str(seed)]  # fmt: skip
        printed = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True).stdout
    record = json.loads(printed)["records"][0]
    accuracy = record["metrics"]["dev"]["scores"]["accuracy"]["value"]
    return {"speed": rows / record["seconds"]["train"], "accuracy": accuracy}


def run_trainer(data: str, rows: int, seed: int) -> dict[str, float]:
    """Speed and dev accuracy of the peer, in a fresh process."""
    command = [sys.executable, __file__, "--data", data, "--rows", str(rows), "--seeds", str(seed), "--peer"]
    printed = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True).stdout
    return dict(json.loads(printed.splitlines()[-1]))


def peer(data: str, rows: int, seed: int) -> dict[str, float]:
    """The same rows through `Trainer`."""
    import numpy as np
    from datasets import Dataset
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        Trainer,
        TrainingArguments,
        default_data_collator,
        set_seed,
    )

    from featherlight.data.registry import load_task
    from featherlight.data.splits import cut_stratified
    from featherlight.models.load import minilm_folder

    task = load_task("sst2", data=Path(data))
    tokenizer = AutoTokenizer.from_pretrained(minilm_folder())
    set_seed(seed)
    model = AutoModelForSequenceClassification.from_pretrained(minilm_folder(), num_labels=2)
    splits = {}
    for name, part in (("train", cut_stratified(task.splits["train"], rows, seed)), ("dev", task.splits["dev"])):
        encoded = tokenizer(list(part.first), padding="max_length", max_length=128, truncation=True)
        splits[name] = Dataset.from_dict({**encoded, "label": part.labels.tolist()})
    with tempfile.TemporaryDirectory() as out:
        arguments = TrainingArguments(
            out, per_device_train_batch_size=32, num_train_epochs=1, learning_rate=5e-5, seed=seed, use_cpu=True,
            report_to=[], save_strategy="no", disable_tqdm=True,
        )  # fmt: skip
        trainer = Trainer(
            model=model, args=arguments, train_dataset=splits["train"], data_collator=default_data_collator
        )
        seconds = trainer.train().metrics["train_runtime"]
        logits = trainer.predict(splits["dev"]).predictions
    return {"speed": rows / seconds, "accuracy": float(np.mean(logits.argmax(1) == task.splits["dev"].labels))}


def main() -> None:
    """Print medians, spread and ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--rows", type=int, default=3200)
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--peer", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    seeds = [int(seed) for seed in options.seeds.split(",")]
    if options.peer:
        return print(json.dumps(peer(options.data, options.rows, seeds[0])))
    found: dict[str, list[dict[str, float]]] = {"featherlight": [], "Trainer": []}
    for seed in seeds:
        found["featherlight"].append(run_ours(options.data, options.rows, seed))
        found["Trainer"].append(run_trainer(options.data, options.rows, seed))
        print(f"seed {seed}: {found['featherlight'][-1]} {found['Trainer'][-1]}", file=sys.stderr)
    print("| program | examples/s, median | lowest to highest | dev accuracy, mean |\n|---|--:|--:|--:|")
    for name, runs in found.items():
        speeds = sorted(run["speed"] for run in runs)
        accuracy = statistics.mean(run["accuracy"] for run in runs)
        print(f"| {name} | {statistics.median(speeds):.1f} | {speeds[0]:.1f} to {speeds[-1]:.1f} | {accuracy:.2%} |")
    ours, theirs = (statistics.median(run["speed"] for run in runs) for runs in found.values())
    print(f"\nratio of the medians: {ours / theirs:.1f}; {options.rows:,} rows, seeds {options.seeds}")


if __name__ == "__main__":
    main()
