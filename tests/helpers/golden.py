"""Addresses of every stage, and the keys of every `--json` answer, of a small world that is the same everywhere.

    PYTHONPATH=tests python -m helpers.golden > tests/reference/golden.json

writes them anew: only where a change of an address or of an answer is meant.
"""

import contextlib
import io
import json
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from featherlight.cli.main import main
from helpers.toys import BAD, FILLERS, GOOD, sentences, write_csv

MACHINE = ("environment", "counters", "joules")  # keys below these are the machine's
NOISE = ("records[].first",)  # a first measurement, where it was noisy
DEEPEST = 3  # levels of keys that are kept
RECIPE = """
common: {task: TASK, max_length: 20, device: cpu, batch_size: 25}
stages:
  teacher: {stage: finetune, model: MODEL, epochs: 1, precision: [fp32, auto], seed: 1, learning_rate: 1e-3}
  tuned: {stage: finetune, model: MODEL, epochs: 1, precision: fp32, class_weights: balanced, select_metric: macro_f1,
          schedule: cosine, examples: 100, attention: eager, checkpointing: true, refit: true}
  adapted: {stage: finetune, model: MODEL, epochs: 1, precision: fp32, method: [lora, houlsby, head],
            learning_rate: 1e-3}
  lora: {stage: finetune, model: MODEL, epochs: 1, precision: fp32, method: lora, rank: 4}
  lora merged: {stage: merge, model: lora, precision: [fp32, auto]}
  student: {stage: distill, teacher: teacher, epochs: 1, student: [bilstm, rnn, bag], dim: 4, vocabulary: 60,
            precision: fp32}
  own: {stage: distill, teacher: lora, epochs: 1, student: bag, dim: 4, vocabulary: 60, alpha: 1, precision: auto}
  hashed: {stage: distill, teacher: lora, epochs: 1, student: bag, dim: 4, vocabulary: 60, embedding: hash, loss: ce}
  pruned while distilled: {stage: distill, teacher: tuned, epochs: 1, student: bag, dim: 4, vocabulary: 60,
                           precision: fp32, prune: movement, sparsity: 0.5}
  half: {stage: prune, model: student, method: topv, sparsity: 0.5, precision: fp32}
  recovered: {stage: prune, model: student, method: magnitude, sparsity: 0.5, epochs: 1, precision: fp32}
  units: {stage: prune, model: student, method: columns, sparsity: 0.25, precision: fp32}
  heads: {stage: prune, model: lora merged, method: [heads, neurons], sparsity: 0.5, precision: auto}
  8 bits: {stage: quantize, model: [student, half], bits: 8, precision: fp32}
  aware: {stage: quantize, model: recovered, bits: 4, mode: aware, precision: fp32, epochs: 1}
  kmeans: {stage: quantize, model: student, bits: [4, ternary, fp16], codebook: uniform, precision: fp32}
  int8: {stage: quantize, model: tuned, mode: [dynamic], precision: fp32}
  packed: {stage: pack, model: [student, 8 bits, aware], precision: fp32}
  onnx: {stage: export, model: [tuned, half, adapted]}
  onnx int8: {stage: export, model: heads, int8: true, tolerate: 100}
  scores: {stage: evaluate, model: [teacher, student, onnx, heads], split: [dev, select], precision: auto}
  time: {stage: time, what: inference, model: MODEL, length: 16, batch: 4, seconds: 0.05}
"""


def encoder(folder: Path) -> Path:
    """A BERT whose files have the same bytes everywhere: no library's version, no drawn number."""
    import torch
    from safetensors.numpy import save_file
    from transformers import BertConfig, BertModel

    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{c}" for c in letters)]
    pieces += [*GOOD, *BAD, *(word for word in FILLERS if len(word) > 1)]
    sizes = {"vocab_size": len(pieces), "hidden_size": 20, "num_hidden_layers": 2, "num_attention_heads": 4,
             "intermediate_size": 28, "max_position_embeddings": 48}  # fmt: skip
    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join(pieces) + "\n")
    named = {"tokenizer_class": "BertTokenizer", "do_lower_case": True, "model_max_length": 48}
    (folder / "tokenizer_config.json").write_text(json.dumps(named))
    (folder / "config.json").write_text(json.dumps({"architectures": ["BertModel"], "model_type": "bert", **sizes}))
    with torch.device("meta"):
        shapes = {name: tuple(weight.shape) for name, weight in BertModel(BertConfig(**sizes)).state_dict().items()}
    step = 0
    weights = {}
    for name, shape in sorted(shapes.items()):
        count = int(np.prod(shape))
        numbers = (np.arange(step, step + count, dtype=np.int64) * 7919 % 1009).astype(np.float32) / 1009 - 0.5
        weights[name] = np.ascontiguousarray(numbers.reshape(shape))
        step += count
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    return folder


def answer(*arguments: object) -> dict[str, Any]:
    """The JSON object that a command prints; a command that fails is a fault of this file."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        code = main([*(str(argument) for argument in arguments), "--json"])
    assert code == 0, (arguments, printed.getvalue())
    found: dict[str, Any] = json.loads(printed.getvalue().splitlines()[-1])  # predict: a line a text
    return found


def keys_of(value: Any, place: str = "") -> list[str]:
    """The places of keys below a value, "a.b[].c"; those of texts (names of tensors, splits) included."""
    if isinstance(value, Mapping):
        found = []
        for key, below in value.items():
            here = f"{place}.{key}".lstrip(".")
            if here in NOISE:
                continue
            deep = key in MACHINE or here.count(".") + 1 >= DEEPEST
            found += [here, *([] if deep else keys_of(below, here))]
        return sorted(set(found))
    if isinstance(value, list):
        return sorted({found for item in value for found in keys_of(item, f"{place}[]")})
    return []


def golden() -> dict[str, Any]:
    """{"planned", "planned with bf16", "finished": stage name -> addresses, "keys": command -> keys}."""
    with tempfile.TemporaryDirectory() as scratch:
        return golden_in(Path(scratch))


def golden_in(folder: Path) -> dict[str, Any]:
    """The same in an empty folder."""
    model, rows, store = encoder(folder / "encoder"), sentences(360, seed=5), folder / "store"
    task = folder / "sentiment"
    task.mkdir()
    write_csv(task / "train.csv", rows[:300])
    write_csv(task / "dev.csv", rows[300:])
    recipe = folder / "recipe.yaml"
    lines = RECIPE.replace("MODEL", str(model)).replace("TASK", str(task))
    recipe.write_text(lines)
    found: dict[str, Any] = {}
    elsewhere = "featherlight.models.device.has_bf16"
    with patch(elsewhere, lambda device: True):
        found["planned with bf16"] = addresses(answer("run", recipe, "--dry-run", "--store", folder / "none")["jobs"])
    with patch(elsewhere, lambda device: False):
        plan = answer("run", recipe, "--dry-run", "--store", store)
        found["planned"] = addresses(plan["jobs"])
        done = answer("run", recipe, "--store", store)
        found["finished"] = sorted(
            Path(path).name for path in done["folders"] if not Path(path).name.startswith("time-")
        )
        again = answer("run", recipe, "--dry-run", "--store", store)
        found["planned again"] = addresses(again["jobs"])
        found["keys"] = {"run --dry-run": keys_of(plan), "run": keys_of(done)}
        found["keys"] |= {name: keys_of(printed) for name, printed in answers(folder, model, task, store, done).items()}
    return found


def addresses(jobs: list[dict[str, Any]]) -> dict[str, list[str]]:
    """{a recipe's stage: the addresses of its jobs}; a time's is its machine's and not here."""
    found: dict[str, list[str]] = {}
    for job in jobs:
        if job["stage"] != "time":
            found.setdefault(job["stage"], []).append(job["address"])
    return found


def answers(folder: Path, model: Path, task: Path, store: Path, done: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What each command says."""
    made: dict[str, list[str]] = {}
    for path, record in zip(done["folders"], done["records"], strict=True):
        made.setdefault(record["stage"], []).append(path)
    student = next(path for path, record in zip(done["folders"], done["records"], strict=True)
                   if record["stage"] == "distill" and record["settings"]["student"] == "bilstm")  # fmt: skip
    adapted = next(path for path, record in zip(done["folders"], done["records"], strict=True)
                   if record["settings"].get("method") == "lora")  # fmt: skip
    teacher, light = made["finetune"][0], Path(made["pack"][0]) / "model.light"
    here = ("--store", store, "--device", "cpu", "--precision", "fp32")
    fit = ("--task", task, "--max-length", 20, "--epochs", 1, *here)
    (folder / "texts.txt").write_text("a good film\na sad story\n")
    (folder / "sweep.yaml").write_text(
        f"program: finetune\nmethod: grid\nparameters:\n  task: {{value: {task}}}\n  model: {{value: {model}}}\n"
        "  max_length: {value: 20}\n  epochs: {value: 1}\n  device: {value: cpu}\n  precision: {value: fp32}\n"
        "  seed: {values: [1, 2]}\n"
    )
    rows = "model,batch,run_time\n" + "".join(
        f"{name},{batch},{(1 + batch) * (2 if name == 'a' else 3) + place / 9}\n"
        for name in ("a", "b") for batch in (1, 2, 4) for place in range(3)
    )  # fmt: skip
    (folder / "times.csv").write_text(rows)
    return {
        "tasks": answer("tasks"),
        "tasks FILE": answer("tasks", task),
        "finetune": answer("finetune", "--model", model, *fit),
        "distill": answer("distill", "--teacher", teacher, "--student", "bag", "--dim", 3, "--vocabulary", 60, *fit),
        "prune": answer("prune", student, "--method", "topv", "--sparsity", 0.3, *here),
        "quantize": answer("quantize", student, "--bits", 8, *here),
        "merge": answer("merge", adapted, *here),
        "pack": answer("pack", student, *here),
        "export": answer("export", student, "--store", store),
        "evaluate": answer("evaluate", student, *here),
        "evaluate model.light": answer("evaluate", light, "--task", task, "--store", store),
        "evaluate FILE": answer("evaluate", student, "--task", task / "train.csv", *here),
        "inspect": answer("inspect", student),
        "inspect model.light": answer("inspect", light),
        "predict": answer("predict", student, folder / "texts.txt"),
        "predict model.light": answer("predict", light, folder / "texts.txt"),
        "sweep": answer("sweep", folder / "sweep.yaml", "--store", folder / "swept"),
        "time": answer("time", "inference", "--task", task, "--model", model, "--length", 16, "--batch", 4,
                       "--seconds", 0.05, "--repeats", 5, "--store", folder / "timed"),
        "memory": answer("memory", "--model", model, "--batch", 4, "--length", 16),
        "compare": answer("compare", *made["distill"][:2]),
        "analyze": answer("analyze", folder / "times.csv", "--response", "run_time", "--factors", "model,batch"),
        "report": answer("report", store),
        "store list": answer("store", "list", "--store", store),
        "store remove": answer("store", "remove", Path(made["evaluate"][0]).name, "--store", store),
        "store gc": answer("store", "gc", "--store", store),
    }  # fmt: skip


if __name__ == "__main__":
    json.dump(golden(), sys.stdout, indent=1)
