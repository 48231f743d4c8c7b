"""The stage that folds the small layers of a LoRA into the weights beside them: a plain model folder."""

import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from featherlight.errors import UserError
from featherlight.inference.torch_predictor import TorchPredictor, logits_of
from featherlight.kinds import Kind
from featherlight.models.adapters import LORA, merge, read_adapter
from featherlight.models.load import load_checkpoint
from featherlight.models.source import ADAPTER, quiet_transformers
from featherlight.stages.identity import resolved
from featherlight.stages.merge.settings import MergeSettings
from featherlight.stages.model_folders import about_model, checked_predictor
from featherlight.stages.recovery import Provenance
from featherlight.stages.rows import data_source, describe_task, select_rows, task_data
from featherlight.stages.scoring import score_splits, time_predictor
from featherlight.store.phases import Phases
from featherlight.store.records import name_of
from featherlight.store.stage import Inputs, Stage

_MOST_DIFFERENCE = 1e-3  # between logits before and after, of rounding alone
_COMPARED = 200  # texts of select


def check_mergeable(folder: Path) -> None:
    """UserError for a folder that has nothing to merge, or what cannot be; none for one that is yet to come."""
    if not folder.exists():
        return
    if not (folder / ADAPTER).exists():
        raise UserError(f"{folder}: has no adapter: it is a plain model, or was merged before. Use it as it is, "
                        "or name a folder that `finetune --method lora`, dora or ia3 made.")  # fmt: skip
    method = read_adapter(folder)[0].name
    if method not in LORA:
        raise UserError(
            f"{folder}: {method} adapters are layers of their own between the encoder's and cannot be folded into its "
            "weights. evaluate, predict, export and distil the folder as it is."
        )


def _run_merge(settings: MergeSettings, inputs: Inputs, out: Path) -> dict[str, Any]:
    """Merge, save, and compare the logits of some texts before and after."""
    check_mergeable(inputs["model"])
    phases, data = Phases(), task_data(settings)
    with phases("load"):
        model, tokenizer = load_checkpoint(inputs["model"])
    rows = select_rows(data)
    before = TorchPredictor(inputs["model"], device="cpu", precision="fp32")
    tokens = before.tokens(rows.take(np.arange(min(len(rows), _COMPARED))))
    with phases("merge"):
        merge(model)
    with phases("save"), quiet_transformers():
        model.save_pretrained(out)
        tokenizer.save_pretrained(out)
        if (inputs["model"] / "tokenizer.json").exists():  # without indentation there
            shutil.copyfile(inputs["model"] / "tokenizer.json", out / "tokenizer.json")
    with phases("compare"):
        after = TorchPredictor(out, device="cpu", precision="fp32")
        same = {"device": "cpu", "precision": "fp32", "batch_tokens": before.batch_tokens}
        first, second = (logits_of(one.model, tokens, **same) for one in (before, after))  # type: ignore[arg-type]
    worst = float(np.abs(first - second).max())
    assert worst <= _MOST_DIFFERENCE * max(1.0, float(np.abs(first).max())), f"merged logits differ by {worst}"
    predictor = checked_predictor(out, data, settings)
    with phases("evaluate"):
        metrics = score_splits(predictor, data, data.task.reported, out=out)
    with phases("latency"):
        latency = time_predictor(predictor, select_rows(data))
    return {
        "name": f"{name_of(inputs['model'])}, merged",
        "task": describe_task(data, settings),
        "metrics": metrics,
        "latency": latency,
        "seconds": phases.seconds,
        "worst_difference": worst,
        "origin": asdict(Provenance.of(inputs["model"])),
        **about_model(predictor, out),
    }


MERGE = Stage(
    "merge",
    1,
    MergeSettings,
    data_source,
    lambda settings, inputs, kinds: resolved(settings, encoder=True),
    _run_merge,
    lambda settings, kinds: Kind.ENCODER,
    ("model",),
    lambda settings, inputs, kinds: check_mergeable(inputs["model"]),
)
