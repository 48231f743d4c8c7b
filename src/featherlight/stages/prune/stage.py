"""The stage that prunes a trained model, at once or while it is trained on; and pruning inside a distillation."""

from pathlib import Path
from typing import Any

from featherlight.compression.movement import REACH
from featherlight.errors import UserError
from featherlight.kinds import Kind, Kinds, kind_of
from featherlight.models.load import load_checkpoint
from featherlight.progress import say
from featherlight.runtime.packed import LIGHT
from featherlight.stages.identity import resolved
from featherlight.stages.model_folders import check_plain, checked_predictor
from featherlight.stages.prune.removal import Removal
from featherlight.stages.prune.settings import PruneSettings
from featherlight.stages.pruning import Pruning
from featherlight.stages.recovery import Provenance, recovery_target
from featherlight.stages.rows import data_source, describe_task, task_data, train_rows
from featherlight.stages.scoring import before_and_after
from featherlight.stages.settings import UNSTRUCTURED, TaskSettings
from featherlight.stages.task_training import TaskTraining
from featherlight.store.address import address_of
from featherlight.store.phases import Phases
from featherlight.store.records import name_of
from featherlight.store.stage import Inputs, Stage


def _run_prune(settings: PruneSettings, inputs: Inputs, out: Path) -> dict[str, Any]:
    """A smaller or sparser model's folder, and what the step did to it."""
    phases = Phases()
    folder, origin = inputs["model"], Provenance.of(inputs["model"])
    with phases("load"):
        data = task_data(settings)
        checked_predictor(folder, data, settings)
        model, tokenizer = load_checkpoint(folder)
    training = origin.recovery(settings, student=kind_of(folder) is Kind.STUDENT, max_length=tokenizer.model_max_length)
    lesson = recovery_target(settings, training, data, inputs, origin) if settings.reads_train else None
    step: Pruning | Removal
    with phases("prune"):
        if settings.method in UNSTRUCTURED:
            step = Pruning(model, settings)
        else:
            step = Removal(model, tokenizer, settings, lesson)
            tokenizer = step.tokenizer
    fit = TaskTraining(step.model, tokenizer, data, training, out=out, phases=phases, hook=step.hook)
    if settings.epochs:
        assert lesson
        say(f"recovery from {lesson.source}")
        record = fit.train(lesson.objective, lesson.rows, lesson.targets)
        record["recovery"] = {"epochs": settings.epochs, "from": lesson.source}
    else:
        with phases("prune"):
            step.at_once()
        fit.save()
        record = fit.conditions()
    found = step.found()
    if not found["parts_changed"]:
        raise UserError(
            f"{folder}: nothing changed: {found['zeros']:.1%} of these weights are zero, as before. Ask for more."
        )
    return {
        "name": f"{name_of(folder)}{step.title}",
        "task": describe_task(data, settings),
        "seconds": phases.seconds,
        "origin": {"settings": dict(origin.settings), "labels": origin.labels},
        **record,
        **found,
        **before_and_after(folder, out, data, settings, phases),
    }


def _check_prune(settings: PruneSettings, inputs: Inputs, kinds: Kinds) -> None:
    """What can be known to be wrong before anything is computed."""
    check_plain(inputs["model"])
    folder = inputs["model"]
    if folder.is_file() or (folder / LIGHT).exists():
        raise UserError(f"{folder}: is quantized or packed. Prune first: prune the model that it was made of.")
    if settings.reads_train:
        train_rows(task_data(settings), settings.examples, settings.seed)


def _prune_identity(settings: PruneSettings, inputs: Inputs, kinds: Kinds) -> dict[str, Any]:
    """Like `resolved`, without what has no part in the result; a copied folder's own training, for recovery."""
    folder = inputs["model"]
    unused = {"batch_size", "learning_rate"} if not settings.epochs else set()
    unused |= set() if settings.reads_train else {"examples"}
    found = resolved(settings, encoder=kinds["model"] is not Kind.STUDENT)
    if settings.method == "movement":
        found["reach"] = REACH
    if settings.epochs and folder.exists() and address_of(folder) != folder.resolve().name:
        own = Provenance.of(folder).settings
        found["own_training"] = {name: own[name] for name in own if name not in TaskSettings.model_fields}
    return {name: value for name, value in found.items() if name not in unused}


PRUNE = Stage(
    "prune",
    1,
    PruneSettings,
    data_source,
    _prune_identity,
    _run_prune,
    lambda settings, kinds: kinds["model"],
    ("model",),
    _check_prune,
)
