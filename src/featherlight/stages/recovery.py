"""What a model that was trained before learns from when it is trained on: its own training, as far as it is known."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import load_file

from featherlight.config import build
from featherlight.data.splits import cut_stratified
from featherlight.data.task import SELECT, Examples, TaskData
from featherlight.files import read_json_object
from featherlight.kinds import LOGITS
from featherlight.progress import say
from featherlight.stages.distill.objective import imitation
from featherlight.stages.distill.settings import DistillSettings
from featherlight.stages.finetune.settings import FinetuneSettings
from featherlight.stages.prune.settings import PruneSettings
from featherlight.stages.quantize.settings import QuantizeSettings
from featherlight.stages.rows import class_weights, label_targets, train_rows
from featherlight.stages.settings import TrainSettings
from featherlight.store.layout import RECORD
from featherlight.store.stage import Inputs
from featherlight.training.finetune import LabelObjective
from featherlight.training.loop import Objective

Targets = dict[str, dict[str, np.ndarray]]
Recovering = PruneSettings | QuantizeSettings  # steps that train a model on


@dataclass(frozen=True)
class Provenance:
    """The training that a model comes from, across prunings. settings: as its record has them; {} if unknown.

    labels: the store's name of the teacher's logits that it read; None if there were none.
    """

    settings: Mapping[str, Any]
    labels: str | None

    @classmethod
    def of(cls, folder: Path) -> "Provenance":
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


@dataclass(frozen=True)
class RecoveryTarget:
    """What a model learns from while it recovers. source: the teacher's logits by name, or why there are none."""

    rows: Examples
    targets: Targets
    objective: Objective
    source: str


def recovery_target(
    settings: Recovering, training: TrainSettings, data: TaskData, inputs: Inputs, origin: Provenance
) -> RecoveryTarget:
    """The model's own distillation if the teacher's logits are still there, else the labels alone."""
    rows, places = origin.rows(settings, data)
    targets = label_targets(data, rows)
    if "labels" not in inputs or not _labels_rows(inputs["labels"], settings, data):
        lost = f"{origin.labels} is not in its store, or of other rows"
        why = "there was no teacher" if origin.labels is None else lost
        return RecoveryTarget(rows, targets, LabelObjective(class_weights(data, training)), f"labels alone: {why}")
    own = build(DistillSettings, {**origin.settings, "unlabelled": None}, where=f"{inputs['model']}: {RECORD}")
    logits = load_file(inputs["labels"] / LOGITS)
    for split, kept in (("train", places), (SELECT, slice(None))):
        targets[split]["teacher"] = logits[split].numpy()[kept]
        assert len(targets[split]["teacher"]) == len(targets[split]["labels"])
    return RecoveryTarget(rows, targets, imitation(own, data), inputs["labels"].name)


def _labels_rows(folder: Path, settings: Recovering, data: TaskData) -> bool:
    """Whether a teacher's logits belong to the rows that these settings give."""
    record = read_json_object(folder / RECORD)
    alike = all(record["settings"].get(name) == getattr(settings, name) for name in ("drop_leaks", "select_on"))
    return alike and record["sources"]["task"] == data.fingerprint
