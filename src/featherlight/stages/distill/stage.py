"""The stage that trains a small model to imitate a teacher on a task."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from featherlight.compression.movement import REACH
from featherlight.costs.estimate import CostModel, Estimate
from featherlight.costs.meta_models import MetaModel
from featherlight.data.splits import row_keys
from featherlight.data.task import Examples, Target, TaskData
from featherlight.data.unlabelled import load_unlabelled
from featherlight.distillation.task_specific import check_loss_fits
from featherlight.errors import UserError
from featherlight.files import read_json_object
from featherlight.kinds import Kind
from featherlight.models.students.embeddings import check_width
from featherlight.progress import say
from featherlight.stages.distill.objective import add_teacher, imitation, resolve_loss
from featherlight.stages.distill.settings import DistillSettings
from featherlight.stages.distill.student import meta_model_of_student, new_student
from featherlight.stages.identity import files_named, of_target, resolved
from featherlight.stages.label.settings import LabelSettings
from featherlight.stages.label.stage import LABEL, texts_source
from featherlight.stages.pruning import Pruning, sparsity_of
from featherlight.stages.rows import class_weights, data_source, joined, label_targets, load_task_of, train_rows
from featherlight.stages.settings import RowSettings, SparsitySettings
from featherlight.stages.task_training import TaskTraining, check_training, estimated_training
from featherlight.store.phases import Phases
from featherlight.store.stage import Stage, Wanted, Work
from featherlight.training.finetune import NO_CLASS, NO_SCORE

_WIDTHS = ("embedding_size", "hidden_size", "dim", "d_model")  # what configs call the width of the embeddings


def fitted_rows(data: TaskData, *, examples: int | None, seed: int, unlabelled: Path | None) -> Examples:
    """The rows of train, and behind them those that only the teacher labels."""
    rows = train_rows(data, examples, seed)
    if unlabelled is None:
        return rows
    more = load_unlabelled(unlabelled, data.task)
    none, kind = (NO_SCORE, np.float32) if data.task.kind is Target.NUMBER else (NO_CLASS, np.int64)
    return joined(rows, replace(more, labels=np.full(len(more), none, dtype=kind)))


def _about_unlabelled(data: TaskData, rows: Examples) -> dict[str, Any]:
    """How many of the fitted rows only the teacher labels, and how many of those stand in a split that is scored."""
    labels = rows.labels
    assert labels is not None
    more = rows.take(np.flatnonzero(labels == NO_CLASS if labels.dtype.kind == "i" else np.isnan(labels)))
    keys = set(row_keys(more))
    leaks = {name: len(keys & set(row_keys(split))) for name, split in data.splits.items() if name != "train"}
    for name, count in leaks.items():
        if count:
            say(f"{count:,} of the texts without labels are in the {name} split, too")
    return {"rows": len(more), "texts_in": leaks}


def _identity(work: Work[DistillSettings]) -> dict[str, Any]:
    """Like `resolved`, without settings of a loss, or of a pruning, that has no part in it."""
    settings = work.settings
    loss = resolve_loss(settings.loss, settings.student, work.task_data.task)
    unused = {"loss", "temperature"} if settings.alpha == 1 else {"temperature"} if loss == "mse" else set()
    unused |= set() if settings.prune else {"prune", *SparsitySettings.model_fields}
    own: dict[str, Any] = {"loss": loss} | ({"reach": REACH} if settings.prune == "movement" else {})
    values = {**resolved(settings, encoder=False), **own, **of_target(work)}
    return {name: value for name, value in values.items() if name not in unused}


def _run(work: Work[DistillSettings], out: Path) -> dict[str, Any]:
    settings, data, phases = work.settings, work.task_data, Phases()
    with phases("load"):
        rows = fitted_rows(data, examples=settings.examples, seed=settings.seed, unlabelled=settings.unlabelled)
        texts = [*rows.first, *(rows.second or ())]
        model, tokenizer, start = new_student(settings, data, work.inputs["teacher"], texts)
        targets = label_targets(data, rows)
        if settings.alpha < 1:
            add_teacher(targets, work.inputs["labels"])
    pruning = Pruning(model, sparsity_of(settings.prune, settings, seed=settings.seed), parts=settings.parts)
    fit = TaskTraining(model, tokenizer, data, settings, out=out, phases=phases, hook=pruning.hook)
    labelled_rows = train_rows(data, settings.examples, settings.seed)
    objective = imitation(
        settings.alpha,
        loss=resolve_loss(settings.loss, settings.student, data.task),
        temperature=settings.temperature,
        class_weights=class_weights(settings.class_weights, labelled_rows, data.task),
    )
    record = fit.run(objective, rows, targets)
    more = {} if settings.unlabelled is None else {"unlabelled": _about_unlabelled(data, rows)}
    name = f"{settings.student} {settings.dim}d {settings.embedding}{pruning.title}"
    return {"name": name, **start, **more, **record, **pruning.record()}


def _sources(work: Work[DistillSettings]) -> Mapping[str, str]:
    return {**data_source(work), **texts_source(work.settings.unlabelled), **files_named(vectors=work.settings.vectors)}


def _check(work: Work[DistillSettings]) -> None:
    """The same as of every training, and whether loss and width fit task and teacher."""
    check_training(work)
    settings, task, teacher = work.settings, work.task_data.task, work.inputs["teacher"]
    if settings.alpha < 1:
        check_loss_fits(resolve_loss(settings.loss, settings.student, task), regression=task.kind is Target.NUMBER)
    if work.kinds["teacher"] in (Kind.PACKED, Kind.ONNX):
        raise UserError(f"{teacher}: is packed or exported. Distil from the model that it was made of.")
    config = teacher / "config.json"
    if settings.start == "teacher" and settings.vectors is None and config.exists():
        values = read_json_object(config)
        if values.get("embedding") == "hash":
            raise UserError(f"{teacher}: hashed words have no vectors to start from. Use --start random.")
        width = next((values[name] for name in _WIDTHS if values.get(name)), None)
        check_width(settings.dim, int(width or settings.dim))


def _labelling(settings: DistillSettings) -> Mapping[str, Wanted]:
    """The teacher's logits that a distillation needs: the same for all students and seeds that see the same texts."""
    if settings.alpha == 1:
        return {}
    same = {name: getattr(settings, name) for name in (*RowSettings.model_fields, "device", "precision")}
    seed = settings.seed if settings.examples is not None else 1
    labels = LabelSettings(**same, seed=seed, unlabelled=settings.unlabelled)
    return {"labels": Wanted("teacher's logits", LABEL, labels, {"teacher": "teacher"})}


def _sketch(work: Work[DistillSettings], costs: CostModel, model_of: Callable[[str], MetaModel]) -> MetaModel:
    settings = work.settings
    shape = (settings.student, settings.embedding, settings.vocabulary, settings.dim, settings.hidden,
             settings.classifier, settings.max_length)  # fmt: skip
    rows = (work.task_data.fingerprint, settings.examples, settings.examples and settings.seed)
    teacher = model_of("teacher").tokenizer
    return costs.remembered(
        (*shape, *rows, work.inputs["teacher"]), lambda: meta_model_of_student(settings, work.task_data, teacher)
    )


def _estimate(work: Work[DistillSettings], costs: CostModel, model_of: Callable[[str], MetaModel]) -> Estimate:
    settings = work.settings
    rows = fitted_rows(work.task_data, examples=settings.examples, seed=settings.seed, unlabelled=settings.unlabelled)
    return estimated_training(work, costs, _sketch(work, costs, model_of), rows=len(rows))


DISTILL = Stage(
    name="distill",
    version=2,
    settings=DistillSettings,
    load=load_task_of,
    inputs=("teacher",),
    prepares=_labelling,
    sources=_sources,
    identity=_identity,
    makes=lambda settings, kinds: Kind.STUDENT,
    check=_check,
    run=_run,
    sketch=_sketch,
    estimate=_estimate,
    trains=lambda settings: True,
)
