"""The stage that stores a teacher's logits for train and select, in the order of their rows."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from featherlight.costs.estimate import CostModel, Estimate, Where
from featherlight.costs.meta_models import MetaModel
from featherlight.data.task import SELECT
from featherlight.data.unlabelled import load_unlabelled
from featherlight.files import hash_text
from featherlight.kinds import LOGITS, Kind
from featherlight.stages.identity import files_named, of_a_model
from featherlight.stages.label.settings import LabelSettings
from featherlight.stages.model_folders import about_model, checked_predictor
from featherlight.stages.rows import data_source, describe_task, load_task_of, select_rows, train_rows
from featherlight.store.phases import Phases
from featherlight.store.stage import Stage, Work

UNLABELLED = "unlabelled"


def _run(work: Work[LabelSettings], out: Path) -> dict[str, Any]:
    settings, data, phases = work.settings, work.task_data, Phases()
    with phases("load"):
        teacher = checked_predictor(work.inputs["teacher"], data, settings)
    rows = {"train": train_rows(data, settings.examples, settings.seed), SELECT: select_rows(data)}
    if settings.unlabelled is not None:
        rows[UNLABELLED] = load_unlabelled(settings.unlabelled, data.task)
    logits = {}
    for split, examples in rows.items():
        with phases("tokenize"):
            tokens = teacher.tokens(examples)
        with phases("predict"):
            values = teacher.logits(tokens, label=f"label {split}")
        logits[split] = torch.from_numpy(values if values.ndim == 2 else values[:, None].copy())  # always [N, C]
    save_file(logits, out / LOGITS)
    return {
        "name": f"logits of {work.inputs['teacher'].name}",
        "task": describe_task(data, settings.examples),
        "seconds": phases.seconds,
        **about_model(teacher, work.inputs["teacher"]),
    }


def texts_source(unlabelled: Path | None) -> Mapping[str, str]:
    """A hash of the texts without labels; how a file is read depends on what it is called."""
    if unlabelled is None:
        return {}
    return {"unlabelled": hash_text(*files_named(unlabelled=unlabelled).values(), unlabelled.suffix.lower())}


def _estimate(work: Work[LabelSettings], costs: CostModel, model_of: Callable[[str], MetaModel]) -> Estimate:
    settings, data = work.settings, work.task_data
    splits = [("train", len(train_rows(data, settings.examples, settings.seed))), (SELECT, len(select_rows(data)))]
    if settings.unlabelled is not None:
        splits.append(("train", len(load_unlabelled(settings.unlabelled, data.task))))
    where = Where(settings.device, settings.precision)
    return costs.predictions(model_of("teacher"), data, where, splits=splits, batch_tokens=settings.batch_tokens)


LABEL = Stage(
    name="label",
    version=2,
    settings=LabelSettings,
    load=load_task_of,
    inputs=("teacher",),
    sources=lambda work: {**data_source(work), **texts_source(work.settings.unlabelled)},
    identity=lambda work: of_a_model(work, "teacher"),
    makes=lambda settings, kinds: Kind.LOGITS,
    run=_run,
    estimate=_estimate,
    listed=False,
)
