"""Seconds and peak memory of a training: full fine-tuning, LoRA, adapters, the head alone. In turns, as ratios.

    OMP_NUM_THREADS=1 python benchmarks/method_speed.py --data DIR [--task sst2] [--model minilm] [--visits 20]

Every method takes the same batches of the task's texts, padded to the longest of each, with the loop that `finetune`
uses. Peers are full fine-tuning, and LoRA as `peft` itself wraps a model (`get_peft_model`), with the pooler trained
as ours is, in the same loop. A ratio is the median of those within a round, in which every method has its turn. Memory
is the peak of a process of its own that takes three steps on made-up texts, minus what it held before the model was
loaded.
"""

import argparse
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from peft import LoraConfig, TaskType, get_peft_model

from featherlight.costs.memory_probe import Rehearsal, rehearse
from featherlight.data.registry import load_task
from featherlight.data.tokens.batches import shuffled_batches
from featherlight.data.tokens.tokenise import tokenise
from featherlight.measurement.latency import summary, visit
from featherlight.models.adapters import Method, adapt
from featherlight.models.load import load_encoder
from featherlight.seeds import numpy_generator, seed_torch
from featherlight.stages.rows import labelled
from featherlight.training.objective import TrainingSet
from featherlight.training.stepper import TrainingStepper, stepper_for

EVERY = ("query", "key", "value", "dense")
METHODS = {
    "full": Method("full"),
    "LoRA, query and value": Method("lora"),
    "LoRA, query and value, dropout": Method("lora", dropout=0.1),
    "LoRA, every linear layer": Method("lora", targets=EVERY),
    "LoRA, every linear layer, dropout": Method("lora", targets=EVERY, dropout=0.1),
    "LoRA, every linear layer, rank 8": Method("lora", rank=8, targets=EVERY),
    "Houlsby": Method("houlsby"),
    "Pfeiffer": Method("pfeiffer"),
    "head": Method("head"),
}
PEFT = "LoRA, query and value, get_peft_model"
STEPS, LENGTH = 8, 128
LENGTHS = (32, 128)  # of the texts whose memory is measured


def trainee_with(name: str, options: argparse.Namespace, labels: tuple[str, ...]) -> tuple[TrainingStepper, Any, int]:
    """A model in training, its tokenizer, and how many of its weights are trained."""
    seed_torch(1, "initial weights")
    model, tokenizer = load_encoder(options.model, labels=labels, max_length=LENGTH)
    if name == PEFT:
        theirs = LoraConfig(r=32, lora_alpha=32, target_modules=["query", "value"], modules_to_save=["pooler"],
                            task_type=TaskType.SEQ_CLS)  # fmt: skip
        model = get_peft_model(model, theirs)
    else:
        adapt(model, METHODS[name])
    trained = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    return stepper_for(model, device="cpu", precision=options.precision), tokenizer, trained


def steps_of(trainee: TrainingStepper, data: TrainingSet, batches: list[np.ndarray]) -> Callable[[], None]:
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
    parser.add_argument("--only", nargs="+", choices=[*METHODS, PEFT], default=[*METHODS, PEFT], help="beside full")
    options = parser.parse_args()
    task = load_task(options.task, data=options.data)
    rows = task.splits["train"].take(np.arange(STEPS * options.batch * 20))
    calls, counts = {}, {}
    for name in dict.fromkeys(["full", *options.only]):
        trainee, tokenizer, counts[name] = trainee_with(name, options, task.task.labels)
        tokens = tokenise(tokenizer, rows, max_length=LENGTH, apart=False)
        batches = shuffled_batches(tokens.lengths, options.batch, numpy_generator(options.seed, "order"))[:STEPS]
        calls[name] = steps_of(trainee, TrainingSet(tokens, {"labels": labelled(rows.labels)}), batches)
    draw, seen = random.Random(options.seed), {name: [] for name in calls}  # type: dict[str, list[float]]
    for _ in range(options.visits):
        for name in draw.sample(list(calls), len(calls)):
            seen[name].append(visit(calls[name], least=0.0, wait=lambda: None, warm=0).seconds / STEPS)
    print("| method | trained weights | ms a step, median | examples a second | of full | 95 % interval |")
    print("|---|--:|--:|--:|--:|--:|")
    for name, values in seen.items():
        ratios = summary([own / full for own, full in zip(values, seen["full"], strict=True)])
        middle = summary(values)["median"]
        print(f"| {name} | {counts[name]:,} | {1e3 * middle:.0f} | {options.batch / middle:.0f} | "
              f"{ratios['median']:.2f} | {ratios['low']:.2f} to {ratios['high']:.2f} |")  # fmt: skip
    show_memory(options)


def show_memory(options: argparse.Namespace) -> None:
    """Print peaks of three methods, and ratios."""
    print("\n| peak memory, MB | " + " | ".join(f"{options.batch} x {length}, of full" for length in LENGTHS) + " |")
    print("|---|" + "--:|" * len(LENGTHS))
    full: dict[int, int] = {}
    for method in ("full", "lora", "houlsby", "pfeiffer"):
        cells = []
        for length in LENGTHS:
            shape = Rehearsal(options.batch, length, method, precision=options.precision, model=options.model)
            peak = rehearse(shape).total_bytes
            cells.append(f"{peak / 1e6:,.0f}, {peak / full.setdefault(length, peak):.2f}")
        print(f"| {method} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
