"""The stage that trains a small model to imitate a teacher on a task."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from featherlight.compression.movement import REACH
from featherlight.data.splits import row_keys
from featherlight.data.task import Examples, TaskData
from featherlight.data.unlabelled import load_unlabelled
from featherlight.distillation.task_specific import check_loss_fits
from featherlight.errors import UserError
from featherlight.files import read_json_object
from featherlight.kinds import Kind, Kinds
from featherlight.models.students.embeddings import check_width
from featherlight.progress import say
from featherlight.stages.distill.objective import add_teacher, imitation, loss_of
from featherlight.stages.distill.settings import DistillSettings
from featherlight.stages.distill.student import new_student
from featherlight.stages.identity import files_named, resolved
from featherlight.stages.label.settings import LabelSettings
from featherlight.stages.label.stage import label_sources
from featherlight.stages.pruning import Pruning
from featherlight.stages.rows import joined, label_targets, task_data, train_rows
from featherlight.stages.settings import RowSettings, SparsitySettings
from featherlight.stages.task_training import TaskTraining, check_training
from featherlight.store.phases import Phases
from featherlight.store.stage import Inputs, Stage
from featherlight.training.finetune import NO_CLASS, NO_SCORE

_WIDTHS = ("embedding_size", "hidden_size", "dim", "d_model")  # what configs call the width of the embeddings


def fitted_rows(data: TaskData, settings: DistillSettings) -> Examples:
    """The rows of train, and behind them those that only the teacher labels."""
    rows = train_rows(data, settings.examples, settings.seed)
    if settings.unlabelled is None:
        return rows
    more = load_unlabelled(settings.unlabelled, data.task)
    none, kind = (NO_SCORE, np.float32) if data.task.is_regression else (NO_CLASS, np.int64)
    missing = np.full(len(more), none, dtype=kind)
    return joined(rows, replace(more, labels=missing))


def _about_unlabelled(data: TaskData, rows: Examples) -> dict[str, Any]:
    """How many of the fitted rows only the teacher labels, and how many of those stand in a split that is scored."""
    labels = rows.labels
    assert labels is not None
    more = rows.take(np.flatnonzero(labels == NO_CLASS if labels.dtype.kind == "i" else np.isnan(labels)))
    leaks = {
        name: len(set(row_keys(more)) & set(row_keys(split))) for name, split in data.splits.items() if name != "train"
    }
    for name, count in leaks.items():
        if count:
            say(f"{count:,} of the texts without labels stand in {name} too")
    return {"rows": len(more), "texts_in": leaks}


def _distill_identity(settings: DistillSettings, inputs: Inputs, kinds: Kinds) -> dict[str, Any]:
    """Like `resolved`, without settings of a loss, or of a pruning, that has no part in it."""
    loss = loss_of(settings)
    unused = {"loss", "temperature"} if settings.alpha == 1 else {"temperature"} if loss == "mse" else set()
    unused |= set() if settings.prune else {"prune", *SparsitySettings.model_fields}
    own: dict[str, Any] = {"loss": loss} | ({"reach": REACH} if settings.prune == "movement" else {})
    return {name: value for name, value in {**resolved(settings, encoder=False), **own}.items() if name not in unused}


def _run_distill(settings: DistillSettings, inputs: Inputs, out: Path) -> dict[str, Any]:
    """Train a student on labels and stored teacher logits."""
    phases = Phases()
    with phases("load"):
        data = task_data(settings)
        rows = fitted_rows(data, settings)
        model, tokenizer, start = new_student(settings, data, inputs["teacher"], [*rows.first, *(rows.second or ())])
        targets = label_targets(data, rows)
        if settings.alpha < 1:
            add_teacher(targets, inputs["labels"])
    pruning = Pruning(model, settings)
    fit = TaskTraining(model, tokenizer, data, settings, out=out, phases=phases, shaper=pruning.shaper)
    record = fit.run(imitation(settings, data), rows, targets)
    more = {} if settings.unlabelled is None else {"unlabelled": _about_unlabelled(data, rows)}
    name = f"{settings.student} {settings.dim}d {settings.embedding}{pruning.title}"
    return {"name": name, **start, **more, **record, **pruning.found()}


def _distill_sources(settings: DistillSettings) -> Mapping[str, str]:
    """The same and the word vectors."""
    return {**label_sources(settings), **files_named(vectors=settings.vectors)}


def _check_distillation(settings: DistillSettings, inputs: Inputs, kinds: Kinds) -> None:
    """The same, and whether loss and width fit task and teacher."""
    check_training(settings, inputs, kinds)
    if settings.alpha < 1:
        check_loss_fits(loss_of(settings), regression=task_data(settings).task.is_regression)
    if kinds["teacher"] in (Kind.PACKED, Kind.ONNX):
        raise UserError(f"{inputs['teacher']}: is packed or exported. Distil from the model that it was made of.")
    config = inputs["teacher"] / "config.json"
    if settings.start == "teacher" and settings.vectors is None and config.exists():
        described = read_json_object(config)
        if described.get("embedding") == "hash":
            raise UserError(f"{inputs['teacher']}: hashed words have no vectors to start from. Use --start random.")
        width = next((described[name] for name in _WIDTHS if described.get(name)), None)
        check_width(settings.dim, int(width or settings.dim))


def label_settings(settings: DistillSettings) -> LabelSettings:
    """The labelling that a distillation needs: one for all students and seeds that see the same texts."""
    same = {name: getattr(settings, name) for name in (*RowSettings.model_fields, "device", "precision")}
    seed = settings.seed if settings.examples is not None else 1
    return LabelSettings(**same, seed=seed, unlabelled=settings.unlabelled)


DISTILL = Stage(
    "distill",
    2,
    DistillSettings,
    _distill_sources,
    _distill_identity,
    _run_distill,
    lambda settings, kinds: Kind.STUDENT,
    ("teacher",),
    _check_distillation,
)
