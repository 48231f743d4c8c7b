"""What a student minimises on a task: labels, and the teacher's stored logits."""

from pathlib import Path

import numpy as np
from safetensors.torch import load_file

from featherlight.data.task import TaskData
from featherlight.distillation.task_specific import TaskDistillation
from featherlight.errors import UserError
from featherlight.kinds import LOGITS
from featherlight.stages.distill.settings import DistillSettings
from featherlight.stages.label.stage import UNLABELLED
from featherlight.stages.rows import class_weights, task_data
from featherlight.training.finetune import LabelObjective
from featherlight.training.objective import Objective


def loss_of(settings: DistillSettings) -> str:
    """The loss that `auto` means: the one that did best on select for the student (docs/design.md)."""
    if settings.loss != "auto":
        return settings.loss
    return "kl" if settings.student == "bag" and not task_data(settings).task.is_regression else "mse"


def imitation(settings: DistillSettings, data: TaskData) -> Objective:
    """What a student minimises: the labels' loss and, unless alpha is 1, its distance from the teacher."""
    weights = class_weights(data, settings)
    if settings.alpha == 1:
        return LabelObjective(weights)
    return TaskDistillation(
        alpha=settings.alpha, loss=loss_of(settings), temperature=settings.temperature, class_weights=weights
    )


def add_teacher(targets: dict[str, dict[str, np.ndarray]], labels: Path) -> None:
    """Put the stored logits beside the labels; those of texts without labels follow the ones of train."""
    stored = {split: logits.numpy() for split, logits in load_file(labels / LOGITS).items()}
    if UNLABELLED in stored:
        stored["train"] = np.concatenate([stored["train"], stored.pop(UNLABELLED)])
    for split, logits in stored.items():
        if len(logits) != len(targets[split]["labels"]):
            raise UserError(
                f"{labels}: holds logits of {len(logits)} {split} rows, not {len(targets[split]['labels'])}."
            )
        targets[split]["teacher"] = logits
