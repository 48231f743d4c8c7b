"""The stage that prunes a trained model, at once or while it is trained on; and pruning inside a distillation."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import load_file

from featherlight.compression import unstructured
from featherlight.compression.families import HEADS, LAYERS, touched
from featherlight.compression.movement import REACH, Movement
from featherlight.compression.parts import Part, changed, parts_of, share_of_zeros, zeros
from featherlight.compression.structured import gradients_of, shrink
from featherlight.compression.unstructured import Masks, Sparsity, asked, counted, prunable
from featherlight.compression.vocabulary import shrink_vocabulary
from featherlight.config import build
from featherlight.data.splits import cut_stratified
from featherlight.data.task import SELECT, Examples, TaskData
from featherlight.data.tokens.tokenise import tokenise
from featherlight.errors import UserError
from featherlight.kinds import LOGITS, Kind, Kinds, kind_of
from featherlight.models.device import is_encoder, resolve_device
from featherlight.models.load import load_checkpoint, read_json_object
from featherlight.pipeline.compare import compared
from featherlight.pipeline.compress_settings import PruneSettings, QuantizeSettings
from featherlight.pipeline.fit import Fit, describe_task, train_rows
from featherlight.pipeline.inputs import (
    check_plain,
    checked_predictor,
    class_weights,
    data_source,
    imitation,
    label_targets,
    resolved,
    task_data,
)
from featherlight.pipeline.settings import DistillSettings, FinetuneSettings, TaskSettings, TrainSettings
from featherlight.pipeline.sparsity import UNSTRUCTURED
from featherlight.progress import say
from featherlight.runtime.packed import LIGHT
from featherlight.store.address import address_of
from featherlight.store.layout import RECORD
from featherlight.store.phases import Phases
from featherlight.store.records import name_of
from featherlight.store.stage import Inputs, Stage
from featherlight.training.finetune import LabelObjective
from featherlight.training.loop import Objective, TrainingSet

Targets = dict[str, dict[str, np.ndarray]]
Recovering = PruneSettings | QuantizeSettings  # steps that train a model on


@dataclass(frozen=True)
class Origin:
    """The training that a model comes from, across prunings. settings: as its record has them; {} if unknown.

    labels: the store's name of the teacher's logits that it read; None if there were none.
    """

    settings: Mapping[str, Any]
    labels: str | None

    @classmethod
    def of(cls, folder: Path) -> "Origin":
        """What a model's record says of it."""
        record = read_json_object(folder / RECORD) if (folder / RECORD).exists() else {}
        if "origin" in record:
            return cls(**record["origin"])
        return cls(record.get("settings", {}), record.get("inputs", {}).get("labels"))

    def recovery(self, settings: Recovering, *, student: bool, max_length: int) -> TrainSettings:
        """The model's own training as far as nothing else is asked for; the usual one where it is not known.

        All weights are trained, so a learning rate of small layers or of a head is not taken over.
        """
        usual = (DistillSettings if student else FinetuneSettings).model_fields
        own = {name: self.settings.get(name, usual[name].default) for name in TrainSettings.model_fields}
        if self.settings.get("method", "full") != "full":
            own["learning_rate"] = usual["learning_rate"].default
        given = {
            name: value for name, value in settings if name in own and name != "batch_tokens" and value is not None
        }
        fixed: dict[str, Any] = {
            "epochs": max(settings.epochs or 0, 1),
            "max_length": max_length,
            "patience": 0,
            "refit": False,
        }
        if own["optimizer"] == "adamw_8bit":
            say("training goes on with adamw: the rounded momentum of adamw_8bit would move pruned weights")
            fixed["optimizer"] = "adamw"
        return TrainSettings(**{**own, **given, **fixed})

    def rows(self, settings: Recovering, data: TaskData) -> tuple[Examples, np.ndarray]:
        """The train rows of the own training, cut further if asked for, and their places among all of those."""
        rows = train_rows(data, self.settings.get("examples"), self.settings.get("seed", 1))
        places = np.arange(len(rows))
        if settings.examples is not None:
            places = cut_stratified(replace(rows, rows=places), settings.examples, settings.seed).rows
        return rows.take(places), places


def run_prune(settings: PruneSettings, inputs: Inputs, out: Path) -> dict[str, Any]:
    """A smaller or sparser model's folder, and what the step did to it."""
    phases = Phases()
    folder, origin = inputs["model"], Origin.of(inputs["model"])
    with phases("load"):
        data = task_data(settings)
        checked_predictor(folder, data, settings)
        model, tokenizer = load_checkpoint(folder)
    training = origin.recovery(settings, student=kind_of(folder) is Kind.STUDENT, max_length=tokenizer.model_max_length)
    lesson = lesson_of(settings, training, data, inputs, origin) if settings.reads_train else None
    step: Pruning | Removal
    with phases("prune"):
        if settings.method in UNSTRUCTURED:
            step = Pruning(model, settings)
        else:
            step = Removal(model, tokenizer, settings, lesson)
            tokenizer = step.tokenizer
    fit = Fit(step.model, tokenizer, data, training, out=out, phases=phases, shaper=step.shaper)
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
        **compared(folder, out, data, settings, phases),
    }


class Pruning:
    """Weights of a model that are set to zero, while it is trained or at once, and what became of them; or nothing."""

    def __init__(self, model: Any, settings: PruneSettings | DistillSettings):
        self.model, self.how = model, sparsity_of(settings)
        self.parts: list[Part] = []
        if self.how is not None:
            names = tuple(name.strip() for name in settings.parts.split(",")) if settings.parts else ()
            self.parts = prunable(parts_of(model, names), self.how)
        self.before = counted(self.parts)

    def shaper(self) -> Masks | None:
        """What goes along with a training."""
        if self.how is None:
            return None
        kind = Movement if self.how.method == unstructured.MOVEMENT else Masks
        return kind(self.parts, self.how)

    def at_once(self) -> None:
        """Prune without training."""
        assert self.how is not None
        unstructured.prune(self.parts, self.how)

    @property
    def title(self) -> str:
        """What a table adds to the model's name."""
        if self.how is None:
            return ""
        share = asked(self.parts, self.how)
        return f", {self.how.method} " + (f"{share:.0%}" if share is not None else f"under {self.how.threshold:g}")

    def found(self) -> dict[str, Any]:
        """The record's part: zeros reached and asked for over the matrices that may be pruned, and which changed."""
        if self.how is None:
            return {}
        return {
            "zeros": share_of_zeros(self.parts),
            "zeros_asked": asked(self.parts, self.how),
            "parts_changed": changed(self.before, self.parts),
        }


class Removal:
    """Parts of a model that are taken out for real; `model` and `tokenizer` are what is left."""

    def __init__(self, model: Any, tokenizer: Any, settings: PruneSettings, lesson: "Lesson | None"):
        self.settings, self.tokenizer = settings, tokenizer
        self.kept: dict[str, Any] = {}
        self.before = sizes_of(model)
        if settings.method == "vocabulary":
            assert lesson
            table = model.get_input_embeddings().weight
            self.touched = [name for name, weight in model.named_parameters() if weight is table]
            texts = [*lesson.rows.first, *(lesson.rows.second or ())]
            self.model, self.tokenizer = shrink_vocabulary(model, tokenizer, texts, settings.sparsity)
            return
        assert settings.sparsity is not None
        self.touched = touched(model, settings.method)
        gradients = None
        if settings.score == "taylor":
            assert lesson
            apart = not is_encoder(model)
            tokens = tokenise(tokenizer, lesson.rows, max_length=tokenizer.model_max_length, apart=apart)
            examples = TrainingSet(tokens, lesson.targets["train"])
            device = resolve_device(settings.device)
            gradients = gradients_of(model, lesson.objective, examples, device=device, seed=settings.seed)
        self.model, kept = shrink(model, settings.method, settings.sparsity, gradients=gradients)
        self.kept = {"kept": kept} if settings.method in (HEADS, LAYERS) else {}

    def shaper(self) -> Masks | None:
        """What was pruned to zero before stays zero while the rest recovers."""
        parts = [part for part in parts_of(self.model) if zeros(part.weight)]
        return Masks(parts, None) if parts else None

    def at_once(self) -> None:
        """It is done already."""

    @property
    def title(self) -> str:
        """What a table adds to the model's name."""
        share = "unused" if self.settings.sparsity is None else f"{self.settings.sparsity:.0%}"
        return f", {share} {self.settings.method} removed"

    def found(self) -> dict[str, Any]:
        """The record's part. zeros: the share that is gone, of the tensors from which the method takes."""
        now = sizes_of(self.model)
        left = sum(now.get(name, 0) for name in self.touched)
        return {
            "zeros": 1 - left / sum(self.before[name] for name in self.touched),
            "zeros_asked": self.settings.sparsity,
            "parts_changed": {
                name: {"zeros": 0, "parameters": now.get(name, 0), "parameters_before": size}
                for name, size in self.before.items()
                if now.get(name) != size
            },
            **self.kept,
        }


def sizes_of(model: Any) -> dict[str, int]:
    """name -> numbers in it, of each trained tensor."""
    return {name: weight.numel() for name, weight in model.named_parameters()}


def sparsity_of(settings: PruneSettings | DistillSettings) -> Sparsity | None:
    """The settings of unstructured pruning; None where there is none."""
    method = settings.method if isinstance(settings, PruneSettings) else settings.prune
    if method not in UNSTRUCTURED:
        return None
    keep, of = (int(number) for number in settings.pattern.split(":"))
    share = 1 - keep / of if method == unstructured.PATTERN else settings.sparsity or 0.0
    soft = settings.mask == "soft"
    scope = "global" if soft else settings.scope
    kinds = settings.wanted_kinds()
    return Sparsity(method, share, kinds, scope, settings.threshold, (keep, of), soft, settings.ramp, settings.seed)


@dataclass(frozen=True)
class Lesson:
    """What a model learns from while it recovers. source: the teacher's logits by name, or why there are none."""

    rows: Examples
    targets: Targets
    objective: Objective
    source: str


def lesson_of(settings: Recovering, training: TrainSettings, data: TaskData, inputs: Inputs, origin: Origin) -> Lesson:
    """The model's own distillation if the teacher's logits are still there, else the labels alone."""
    rows, places = origin.rows(settings, data)
    targets = label_targets(data, rows)
    if "labels" not in inputs or not labels_rows(inputs["labels"], settings, data):
        lost = f"{origin.labels} is not in its store, or of other rows"
        why = "there was no teacher" if origin.labels is None else lost
        return Lesson(rows, targets, LabelObjective(class_weights(data, training)), f"labels alone: {why}")
    own = build(DistillSettings, {**origin.settings, "unlabelled": None}, where=f"{inputs['model']}: {RECORD}")
    logits = load_file(inputs["labels"] / LOGITS)
    for split, kept in (("train", places), (SELECT, slice(None))):
        targets[split]["teacher"] = logits[split].numpy()[kept]
        assert len(targets[split]["teacher"]) == len(targets[split]["labels"])
    return Lesson(rows, targets, imitation(own, data), inputs["labels"].name)


def labels_rows(folder: Path, settings: Recovering, data: TaskData) -> bool:
    """Whether a teacher's logits belong to the rows that these settings give."""
    record = read_json_object(folder / RECORD)
    alike = all(record["settings"].get(name) == getattr(settings, name) for name in ("drop_leaks", "select_on"))
    return alike and record["sources"]["task"] == data.fingerprint


def check_prune(settings: PruneSettings, inputs: Inputs, kinds: Kinds) -> None:
    """What can be known to be wrong before anything is computed."""
    check_plain(inputs["model"])
    folder = inputs["model"]
    if folder.is_file() or (folder / LIGHT).exists():
        raise UserError(f"{folder}: is quantized or packed. Prune first: prune the model that it was made of.")
    if settings.reads_train:
        train_rows(task_data(settings), settings.examples, settings.seed)


def prune_identity(settings: PruneSettings, inputs: Inputs, kinds: Kinds) -> dict[str, Any]:
    """Like `resolved`, without what has no part in the result; a copied folder's own training, for recovery."""
    folder = inputs["model"]
    unused = {"batch_size", "learning_rate"} if not settings.epochs else set()
    unused |= set() if settings.reads_train else {"examples"}
    found = resolved(settings, encoder=kinds["model"] is not Kind.STUDENT)
    if settings.method == "movement":
        found["reach"] = REACH
    if settings.epochs and folder.exists() and address_of(folder) != folder.resolve().name:
        own = Origin.of(folder).settings
        found["own_training"] = {name: own[name] for name in own if name not in TaskSettings.model_fields}
    return {name: value for name, value in found.items() if name not in unused}


PRUNE = Stage(
    "prune",
    1,
    PruneSettings,
    data_source,
    prune_identity,
    run_prune,
    lambda settings, kinds: kinds["model"],
    ("model",),
    check_prune,
)
