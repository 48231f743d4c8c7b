"""The stage that prunes a trained model, at once or while it is trained on."""

from pathlib import Path
from typing import Any

from featherlight.compression.movement import REACH
from featherlight.errors import UserError
from featherlight.kinds import Kind
from featherlight.models.load import load_checkpoint
from featherlight.progress import say
from featherlight.runtime.packed import LIGHT
from featherlight.stages.identity import of_target, resolved
from featherlight.stages.model_folders import check_plain, checked_predictor
from featherlight.stages.prune.removal import Removal
from featherlight.stages.prune.settings import PruneSettings
from featherlight.stages.pruning import Pruning, sparsity_of
from featherlight.stages.recovery import Provenance, recovery_target
from featherlight.stages.rows import data_source, describe_task, load_task_of, train_rows
from featherlight.stages.scoring import before_and_after
from featherlight.stages.settings import UNSTRUCTURED, TaskSettings
from featherlight.stages.task_training import TaskTraining
from featherlight.store.address import address_of
from featherlight.store.phases import Phases
from featherlight.store.records import name_of
from featherlight.store.stage import Stage, Work
from featherlight.training.target_scale import TargetScale


def _run(work: Work[PruneSettings], out: Path) -> dict[str, Any]:
    settings, data, phases = work.settings, work.task_data, Phases()
    folder, origin = work.inputs["model"], Provenance.of(work.inputs["model"])
    with phases("load"):
        checked_predictor(folder, data, settings)
        model, tokenizer = load_checkpoint(folder)
        train = data.splits.get("train")
        scale = TargetScale.of(None if train is None else train.labels)
        scale.unfold(model)
    training = origin.training_again(
        dict(settings),
        student=work.kinds["model"] is Kind.STUDENT,
        epochs=max(settings.epochs, 1),
        max_length=tokenizer.model_max_length,
    )
    target = None
    if settings.reads_train:
        target = recovery_target(origin, data, training, examples=settings.examples, seed=settings.seed,
                                 labels=work.inputs.get("labels"))  # fmt: skip
    step: Pruning | Removal
    with phases("prune"):
        if settings.method in UNSTRUCTURED:
            step = Pruning(model, sparsity_of(settings.method, settings, seed=settings.seed), parts=settings.parts)
        else:
            step = Removal(model, tokenizer, settings, target)
            tokenizer = step.tokenizer
    fit = TaskTraining(step.model, tokenizer, data, training, out=out, phases=phases, hook=step.hook,
                       scale=scale)  # fmt: skip
    if settings.epochs:
        assert target
        say(f"recovery from {target.source}")
        record = fit.train(target.objective, target.rows, target.targets)
        record["recovery"] = {"epochs": settings.epochs, "from": target.source}
    else:
        with phases("prune"):
            step.at_once()
        scale.fold(step.model)
        fit.save()
        record = fit.conditions()
    pruned = step.record()
    if not pruned["parts_changed"]:
        raise UserError(
            f"{folder}: nothing changed: {pruned['zeros']:.1%} of these weights are zero, as before. Ask for more."
        )
    return {
        "name": f"{name_of(folder)}{step.title}",
        "task": describe_task(data, settings.examples),
        "seconds": phases.seconds,
        "origin": {"settings": dict(origin.settings), "labels": origin.labels},
        **record,
        **pruned,
        **before_and_after(folder, out, data, settings, phases),
    }


def _check(work: Work[PruneSettings]) -> None:
    folder, settings = work.inputs["model"], work.settings
    check_plain(folder)
    if work.kinds["model"] is Kind.ONNX:
        raise UserError(f"{folder}: is an exported model. Prune the model that it was made of, and export that.")
    if work.kinds["model"] is Kind.PACKED or (folder / LIGHT).exists():
        raise UserError(f"{folder}: is quantized or packed. Prune first: prune the model that it was made of.")
    if settings.reads_train:
        train_rows(work.task_data, settings.examples, settings.seed)


def _identity(work: Work[PruneSettings]) -> dict[str, Any]:
    """Like `resolved`, without what has no part in the result; a copied folder's own training, for recovery."""
    folder, settings = work.inputs["model"], work.settings
    unused = {"batch_size", "learning_rate"} if not settings.epochs else set()
    unused |= set() if settings.reads_train else {"examples"}
    identity = {**resolved(settings, encoder=work.kinds["model"] is not Kind.STUDENT), **of_target(work)}
    if settings.method == "movement":
        identity["reach"] = REACH
    if settings.epochs and folder.exists() and address_of(folder) != folder.resolve().name:
        own = Provenance.of(folder).settings
        identity["own_training"] = {name: own[name] for name in own if name not in TaskSettings.model_fields}
    return {name: value for name, value in identity.items() if name not in unused}


PRUNE = Stage(
    name="prune",
    version=1,
    settings=PruneSettings,
    load=load_task_of,
    inputs=("model",),
    inherits=lambda settings: ("labels",) if settings.epochs or settings.score == "taylor" else (),
    sources=data_source,
    identity=_identity,
    makes=lambda settings, kinds: kinds["model"],
    check=_check,
    run=_run,
    trains=lambda settings: settings.epochs > 0,
)
