"""Seconds of a training step: full fine-tuning, LoRA, adapters, the head alone. In turns, in one run, as ratios.

    OMP_NUM_THREADS=1 python benchmarks/method_speed.py --data DIR [--task sst2] [--model minilm] [--visits 20]

Every method takes the same batches of the task's texts, padded to the longest of each, with the loop that `finetune`
uses. Peers are full fine-tuning, and LoRA as `peft` itself wraps a model (`get_peft_model`), in the same loop.
"""

import argparse
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from peft import LoraConfig, TaskType, get_peft_model

from featherlight.data.batches import shuffled_batches
from featherlight.data.registry import load_task
from featherlight.data.tokenise import tokenise
from featherlight.measurement.latency import summary, visit
from featherlight.models.adapters import Method, adapt
from featherlight.models.load import load_encoder
from featherlight.pipeline.inputs import labelled
from featherlight.pipeline.trainee import Trainee, in_training
from featherlight.training.loop import TrainingSet
from featherlight.training.seeds import numpy_generator, seed_torch

METHODS = {
    "full": Method("full"),
    "LoRA, query and value": Method("lora"),
    "LoRA, every linear layer": Method("lora", targets=("query", "key", "value", "dense")),
    "Houlsby": Method("houlsby"),
    "Pfeiffer": Method("pfeiffer"),
    "head": Method("head"),
}
PEFT = "LoRA, query and value, get_peft_model"
STEPS, LENGTH = 8, 128


def trainee_with(name: str, options: argparse.Namespace, labels: tuple[str, ...]) -> tuple[Trainee, Any]:
    """A model in training, and its tokenizer."""
    seed_torch(1, "initial weights")
    model, tokenizer = load_encoder(options.model, labels=labels, max_length=LENGTH)
    if name == PEFT:
        theirs = LoraConfig(r=32, lora_alpha=32, lora_dropout=0.1, target_modules=["query", "value"],
                            task_type=TaskType.SEQ_CLS)  # fmt: skip
        model = get_peft_model(model, theirs)
    else:
        adapt(model, METHODS[name])
    return in_training(model, device="cpu", precision=options.precision), tokenizer


def steps_of(trainee: Trainee, data: TrainingSet, batches: list[np.ndarray]) -> Callable[[], None]:
    """A call that takes a step on each batch."""
    return lambda: trainee.take_steps(data, batches)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--task", default="sst2")
    parser.add_argument("--model", default="minilm")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--precision", default="fp32", choices=("fp32", "bf16"))
    parser.add_argument("--visits", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    task = load_task(options.task, data=options.data)
    rows = task.splits["train"].take(np.arange(STEPS * options.batch * 20))
    calls, counts = {}, {}
    for name in [*METHODS, PEFT]:
        trainee, tokenizer = trainee_with(name, options, task.task.labels)
        tokens = tokenise(tokenizer, rows, max_length=LENGTH, apart=False)
        batches = shuffled_batches(tokens.lengths, options.batch, numpy_generator(options.seed, "order"))[:STEPS]
        calls[name] = steps_of(trainee, TrainingSet(tokens, {"labels": labelled(rows.labels)}), batches)
        counts[name] = sum(weight.numel() for weight in trainee.run.trained)
    draw, seen = random.Random(options.seed), {name: [] for name in calls}  # type: dict[str, list[float]]
    for _ in range(options.visits):
        for name in draw.sample(list(calls), len(calls)):
            seen[name].append(visit(calls[name], least=0.0, wait=lambda: None, warm=0).seconds / STEPS)
    medians = {name: summary(values)["median"] for name, values in seen.items()}
    print("| method | trained weights | ms a step, median | 95 % interval | examples a second | of full |")
    print("|---|--:|--:|--:|--:|--:|")
    for name, values in seen.items():
        found = summary(values)
        middle, ratio = medians[name], medians[name] / medians["full"]
        print(f"| {name} | {counts[name]:,} | {1e3 * middle:.0f} | {1e3 * found['low']:.0f} to "
              f"{1e3 * found['high']:.0f} | {options.batch / middle:.0f} | {ratio:.2f} |")  # fmt: skip


if __name__ == "__main__":
    main()
