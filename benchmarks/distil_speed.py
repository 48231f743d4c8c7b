"""Distil into BiLSTM, RNN and bag with stored logits: featherlight's loop beside `transformers.Trainer`, one thread.

    python benchmarks/distil_speed.py --data DIR [--rows 10000] [--repeats 3] [--students bilstm,rnn,bag]

Both train the same student from the same start on the same rows of SST-2 and the same logits (random ones: what
they say does not change the time), batch 50 (bag 100), Adam 1e-3, dropout 0.1, one epoch. The peer runs PyTorch's own
dropout and packed recurrence, pads each batch to its longest text and, "grouped", draws batches of similar length.
Each run has a process of its own, in turn.
Examples a second: rows / seconds of training, without loading and tokenising.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

BATCH = {"bilstm": 50, "rnn": 50, "bag": 100}
PROGRAMS = ("featherlight", "Trainer", "Trainer, grouped")


def prepare(student: str, data: str, rows: int) -> tuple[Any, Any, Any, Any]:
    """(model, tokens, labels, logits)."""
    import numpy as np
    import torch
    from transformers import AutoTokenizer

    from featherlight.data.registry import load_task
    from featherlight.data.splits import cut_stratified
    from featherlight.data.tokens.tokenise import tokenise
    from featherlight.models.source import minilm_folder
    from featherlight.models.students.tokenizers import cut_vocabulary
    from featherlight.stages.distill.settings import DistillSettings
    from featherlight.stages.distill.student import student_body

    torch.set_num_threads(1)
    task = load_task("sst2", data=Path(data))
    part = cut_stratified(task.splits["train"], rows, 1)
    tokenizer = cut_vocabulary(AutoTokenizer.from_pretrained(minilm_folder()), part.first, 5001)
    tokens = tokenise(tokenizer, part, max_length=128, apart=True)
    torch.manual_seed(0)
    model = student_body(DistillSettings(task="sst2", student=student), task, vocabulary=5001)
    return model, tokens, part.labels, np.random.default_rng(1).normal(size=(rows, 2)).astype(np.float32)


def ours(student: str, data: str, rows: int) -> float:
    """Seconds of training."""
    from featherlight.distillation.task_specific import TaskDistillation
    from featherlight.training.loop import RunContext, train
    from featherlight.training.objective import TrainingSet
    from featherlight.training.optimizers import OptimizerOptions

    model, tokens, labels, logits = prepare(student, data, rows)
    options = OptimizerOptions("adam", 1e-3, "linear", 0.0, 0.0, 1.0, 1, BATCH[student], 16384, 0, 1)
    objective = TaskDistillation(alpha=0.5, loss="mse", temperature=1.0)
    with tempfile.TemporaryDirectory() as folder:
        context = RunContext("cpu", "fp32", Path(folder))
        return train(
            model,
            objective,
            TrainingSet(tokens, {"labels": labels, "teacher": logits}),
            None,
            options=options,
            context=context,
        ).seconds


def peer(student: str, data: str, rows: int, *, grouped: bool) -> float:
    """The same with `Trainer`."""
    import torch
    import torch.nn.functional as F
    from transformers import Trainer, TrainingArguments

    model, tokens, labels, logits = prepare(student, data, rows)
    as_in_pytorch(model)
    texts = tokens.columns["input_ids"]
    ids = [texts.values[texts.offsets[i] : texts.offsets[i + 1]].tolist() for i in range(rows)]
    examples = [
        {"input_ids": ids[i], "length": len(ids[i]), "labels": int(labels[i]), "teacher": logits[i].tolist()}
        for i in range(rows)
    ]

    def collate(batch: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        width = max(1, *(example["length"] for example in batch))
        return {
            "input_ids": torch.tensor([e["input_ids"] + [0] * (width - e["length"]) for e in batch]),
            "attention_mask": torch.tensor([[1] * e["length"] + [0] * (width - e["length"]) for e in batch]),
            "labels": torch.tensor([e["labels"] for e in batch]),
            "teacher": torch.tensor([e["teacher"] for e in batch]),
        }

    class Distiller(Trainer):
        def compute_loss(self, model: Any, inputs: Any, **_: Any) -> Any:
            labels, teacher = inputs.pop("labels"), inputs.pop("teacher")
            found = model(**inputs).logits
            return 0.5 * F.cross_entropy(found, labels) + 0.5 * F.mse_loss(found, teacher)

    more = {"train_sampling_strategy": "group_by_length"} if grouped else {}
    with tempfile.TemporaryDirectory() as out:
        arguments = TrainingArguments(
            out, per_device_train_batch_size=BATCH[student], num_train_epochs=1, learning_rate=1e-3, use_cpu=True,
            report_to=[], save_strategy="no", disable_tqdm=True, remove_unused_columns=False, **more,
        )  # fmt: skip
        trainer = Distiller(model=model, args=arguments, train_dataset=examples, data_collator=collate)
        return float(trainer.train().metrics["train_runtime"])


def as_in_pytorch(model: Any) -> None:
    """Take our dropout and our recurrence out of the student that the peer trains."""
    from torch import nn

    from featherlight.models.dropout import Dropout
    from featherlight.models.students import recurrent

    recurrent.both_directions = None  # type: ignore[assignment]  # whoever calls it fails
    recurrent.fused = lambda vectors: False  # type: ignore[attr-defined]
    for parent in model.modules():
        for name, child in parent.named_children():
            if type(child) is Dropout:
                setattr(parent, name, nn.Dropout(child.p))


def one(program: str, student: str, data: str, rows: int) -> float:
    """Seconds of one program, in this process."""
    if program == "featherlight":
        return ours(student, data, rows)
    return peer(student, data, rows, grouped=program.endswith("grouped"))


def main() -> None:
    """Run all in turn and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--students", default="bilstm,rnn,bag")
    parser.add_argument("--program", choices=PROGRAMS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    students = options.students.split(",")
    if options.program:
        return print(json.dumps(one(options.program, students[0], options.data, options.rows)))
    print("| student | program | examples/s, median | lowest to highest | ratio |\n|---|---|--:|--:|--:|")
    for student in students:
        speeds: dict[str, list[float]] = {program: [] for program in PROGRAMS}
        for _ in range(options.repeats):
            for program in PROGRAMS:
                command = [sys.executable, __file__, "--data", options.data, "--rows", str(options.rows), "--students",
                           student, "--program", program]  # fmt: skip
                environment = {**os.environ, "OMP_NUM_THREADS": "1"}
                printed = subprocess.run(command, stdout=subprocess.PIPE, check=True, env=environment).stdout
                speeds[program].append(options.rows / json.loads(printed.splitlines()[-1]))
        best = statistics.median(speeds["featherlight"])
        for program, found in speeds.items():
            median, spread = statistics.median(found), f"{min(found):,.0f} to {max(found):,.0f}"
            ratio = "" if program == "featherlight" else f"{best / median:.2f}"
            print(f"| {student} | {program} | {median:,.0f} | {spread} | {ratio} |", flush=True)


if __name__ == "__main__":
    main()
