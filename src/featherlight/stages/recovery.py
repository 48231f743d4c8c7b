"""What a model that was trained before learns from when it is trained on: its own training, as far as it is known."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

from featherlight.config import build
from featherlight.data.splits import cut_stratified
from featherlight.data.task import SELECT, Examples, TaskData
from featherlight.files import read_json_object
from featherlight.kinds import LOGITS
from featherlight.progress import say
from featherlight.stages.distill.objective import imitation, resolve_loss
from featherlight.stages.distill.settings import DistillSettings
from featherlight.stages.finetune.settings import FinetuneSettings
from featherlight.stages.rows import class_weights, label_targets, train_rows
from featherlight.stages.settings import TrainSettings
from featherlight.store.layout import RECORD
from featherlight.training.finetune import LabelObjective
from featherlight.training.objective import Objective

Targets = dict[str, dict[str, np.ndarray]]


@dataclass(frozen=True)
class Provenance:
    """The training that a model comes from, across prunings. settings: as its record has them; {} if unknown.

    labels: the store's name of the teacher's logits that it read; None if there were none.
    """

    settings: Mapping[str, Any]
    labels: str | None

    @classmethod
    def of(cls, folder: Path) -> "Provenance":
        """As a model's record states it."""
        record = read_json_object(folder / RECORD) if (folder / RECORD).exists() else {}
        if "origin" in record:
            return cls(**record["origin"])
        return cls(record.get("settings", {}), record.get("inputs", {}).get("labels"))

    def training_again(self, given: Mapping[str, Any], *, student: bool, epochs: int, max_length: int) -> TrainSettings:
        """The model's own training as far as nothing else is given; the usual one where it is not known.

        given: settings by name; those of no training, and None, are passed over. All weights are trained, so a
        learning rate of small layers or of a head is not taken over.
        """
        usual = (DistillSettings if student else FinetuneSettings).model_fields
        own = {name: self.settings.get(name, usual[name].default) for name in TrainSettings.model_fields}
        if self.settings.get("method", "full") != "full":
            own["learning_rate"] = usual["learning_rate"].default
        options = {name: value for name, value in given.items()
                   if name in own and name != "batch_tokens" and value is not None}  # fmt: skip
        fixed: dict[str, Any] = {"epochs": epochs, "max_length": max_length, "patience": 0, "refit": False}
        if own["optimizer"] == "adamw_8bit":
            say("trained on with adamw: the rounded momentum of adamw_8bit would move pruned weights")
            fixed["optimizer"] = "adamw"
        return TrainSettings(**{**own, **options, **fixed})

    def rows(self, data: TaskData, *, examples: int | None, seed: int) -> tuple[Examples, np.ndarray]:
        """The train rows of the own training, cut further if asked for, and their places among all of those."""
        rows = train_rows(data, self.settings.get("examples"), self.settings.get("seed", 1))
        places = np.arange(len(rows))
        if examples is not None:
            places = cut_stratified(replace(rows, rows=places), examples, seed).rows
        return rows.take(places), places


@dataclass(frozen=True)
class RecoveryTarget:
    """What a model learns from while it recovers. source: the teacher's logits by name, or why there are none."""

    rows: Examples
    targets: Targets
    objective: Objective
    source: str


def recovery_target(
    origin: Provenance, data: TaskData, training: TrainSettings, *, examples: int | None, seed: int, labels: Path | None
) -> RecoveryTarget:
    """The model's own distillation if the teacher's logits are still there, else the labels alone.

    training: how it is trained now. examples, seed: a further cut of its rows. labels: the folder of the logits.
    """
    rows, places = origin.rows(data, examples=examples, seed=seed)
    targets = label_targets(data, rows)
    if labels is None or not _labels_rows(labels, training, data):
        missing = f"{origin.labels} is not in its store, or of other rows"
        why = "there was no teacher" if origin.labels is None else missing
        return RecoveryTarget(rows, targets, LabelObjective(_weights(training, data)), f"labels alone: {why}")
    values = {**origin.settings, "unlabelled": None}
    own = build(DistillSettings, values, where="the record of this model's own training")
    logits = load_file(labels / LOGITS)
    for split, kept in (("train", places), (SELECT, slice(None))):
        targets[split]["teacher"] = logits[split].numpy()[kept]
        assert len(targets[split]["teacher"]) == len(targets[split]["labels"])
    loss = resolve_loss(own.loss, own.student, data.task)
    objective = imitation(own.alpha, loss=loss, temperature=own.temperature, class_weights=_weights(own, data))
    return RecoveryTarget(rows, targets, objective, labels.name)


def _weights(training: TrainSettings, data: TaskData) -> torch.Tensor | None:
    return class_weights(training.class_weights, train_rows(data, training.examples, training.seed), data.task)


def _labels_rows(folder: Path, training: TrainSettings, data: TaskData) -> bool:
    record = read_json_object(folder / RECORD)
    alike = all(record["settings"].get(name) == getattr(training, name) for name in ("drop_leaks", "select_on"))
    return alike and record["sources"]["task"] == data.fingerprint
