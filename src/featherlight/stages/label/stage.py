"""The stage that stores a teacher's logits for train and select, in the order of their rows."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from featherlight.data.task import SELECT
from featherlight.data.unlabelled import load_unlabelled
from featherlight.files import hash_text
from featherlight.kinds import LOGITS, Kind
from featherlight.stages.distill.settings import DistillSettings
from featherlight.stages.identity import chooses_precision, files_named, resolved
from featherlight.stages.label.settings import LabelSettings
from featherlight.stages.model_folders import about_model, checked_predictor
from featherlight.stages.rows import data_source, describe_task, select_rows, task_data, train_rows
from featherlight.store.phases import Phases
from featherlight.store.stage import Inputs, Stage

UNLABELLED = "unlabelled"


def _numpy_tensor(values: np.ndarray) -> Any:
    """A torch tensor over the same memory, always [N, C]."""
    return torch.from_numpy(values if values.ndim == 2 else values[:, None].copy())


def _run_label(settings: LabelSettings, inputs: Inputs, out: Path) -> dict[str, Any]:
    """Store a teacher's logits for train and select, in the order of their rows."""
    phases = Phases()
    with phases("load"):
        data = task_data(settings)
        teacher = checked_predictor(inputs["teacher"], data, settings)
    rows = {"train": train_rows(data, settings.examples, settings.seed), SELECT: select_rows(data)}
    if settings.unlabelled is not None:
        rows[UNLABELLED] = load_unlabelled(settings.unlabelled, data.task)
    logits = {}
    for split, examples in rows.items():
        with phases("tokenize"):
            tokens = teacher.tokens(examples)
        with phases("predict"):
            logits[split] = teacher.logits(tokens, label=f"label {split}")
    save_file({split: _numpy_tensor(values) for split, values in logits.items()}, out / LOGITS)
    return {
        "name": f"logits of {inputs['teacher'].name}",
        "task": describe_task(data, settings),
        "seconds": phases.seconds,
        **about_model(teacher, inputs["teacher"]),
    }


def label_sources(settings: LabelSettings | DistillSettings) -> Mapping[str, str]:
    """The rows of the task and those without labels, by their contents."""
    found = files_named(unlabelled=settings.unlabelled)
    if settings.unlabelled is not None:  # how a file is read depends on what it is called
        found["unlabelled"] = hash_text(found["unlabelled"], settings.unlabelled.suffix.lower())
    return {**data_source(settings), **found}


LABEL = Stage(
    "label",
    2,
    LabelSettings,
    label_sources,
    lambda settings, inputs, kinds: resolved(settings, encoder=chooses_precision(kinds["teacher"], inputs["teacher"])),
    _run_label,
    lambda settings, kinds: Kind.LOGITS,
    ("teacher",),
)
