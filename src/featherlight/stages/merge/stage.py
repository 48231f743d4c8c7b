"""The stage that folds the small layers of a LoRA into the weights beside them: a plain model folder."""

import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

from featherlight.errors import UserError
from featherlight.inference.torch_predictor import TorchPredictor
from featherlight.kinds import Kind
from featherlight.models.adapters import LORA, merge, read_adapter
from featherlight.models.load import load_checkpoint
from featherlight.models.source import ADAPTER, quiet_transformers
from featherlight.stages.identity import resolved
from featherlight.stages.merge.settings import MergeSettings
from featherlight.stages.model_folders import about_model, checked_predictor
from featherlight.stages.recovery import Provenance
from featherlight.stages.rows import data_source, describe_task, load_task_of
from featherlight.stages.scoring import proved_alike, scored_and_timed
from featherlight.store.phases import Phases
from featherlight.store.records import name_of
from featherlight.store.stage import Stage, Work

_ROUNDING = 1e-3  # between logits before and after, for each unit of the largest


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


def _run(work: Work[MergeSettings], out: Path) -> dict[str, Any]:
    settings, data, folder, phases = work.settings, work.task_data, work.inputs["model"], Phases()
    check_mergeable(folder)
    with phases("load"):
        model, tokenizer = load_checkpoint(folder)
        before = TorchPredictor(folder, device="cpu", precision="fp32")
    with phases("merge"):
        merge(model)
    with phases("save"), quiet_transformers():
        model.save_pretrained(out)
        tokenizer.save_pretrained(out)
        if (folder / "tokenizer.json").exists():  # without indentation there
            shutil.copyfile(folder / "tokenizer.json", out / "tokenizer.json")
    with phases("compare"):
        after = TorchPredictor(out, device="cpu", precision="fp32")
        worst = proved_alike(before, after, data, _ROUNDING, what=f"{folder}, merged")
    predictor = checked_predictor(out, data, settings)
    return {
        "name": f"{name_of(folder)}, merged",
        "task": describe_task(data),
        **scored_and_timed(predictor, data, phases, out=out),
        "seconds": phases.seconds,
        "worst_difference": worst,
        "origin": asdict(Provenance.of(folder)),
        **about_model(predictor, out),
    }


MERGE = Stage(
    name="merge",
    version=1,
    settings=MergeSettings,
    load=load_task_of,
    inputs=("model",),
    sources=data_source,
    identity=lambda work: resolved(work.settings, encoder=True),
    makes=lambda settings, kinds: Kind.ENCODER,
    check=lambda work: check_mergeable(work.inputs["model"]),
    run=_run,
)
