"""What a student minimises on a task: labels, and the teacher's stored logits."""

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

from featherlight.data.task import Target, Task
from featherlight.distillation.task_specific import TaskDistillation
from featherlight.errors import UserError
from featherlight.kinds import LOGITS
from featherlight.stages.label.stage import UNLABELLED
from featherlight.training.finetune import LabelObjective
from featherlight.training.objective import Objective


def resolve_loss(name: str, student: str, task: Task) -> str:
    """The loss that `auto` means: the one that did best on select for the student (docs/design.md)."""
    if name != "auto":
        return name
    return "kl" if student == "bag" and task.kind is Target.CLASSES else "mse"


def imitation(alpha: float, *, loss: str, temperature: float, class_weights: torch.Tensor | None) -> Objective:
    """What a student minimises: the labels' loss and, unless alpha is 1, its distance from the teacher."""
    if alpha == 1:
        return LabelObjective(class_weights)
    return TaskDistillation(alpha=alpha, loss=loss, temperature=temperature, class_weights=class_weights)


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
