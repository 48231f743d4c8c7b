"""The labels as objective: what fine-tuning minimises, and what distillation mixes in. B examples, C classes."""

from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from featherlight.training.objective import Batch, Objective

NO_CLASS, NO_SCORE = -100, float("nan")  # the label of a text that only a teacher has labelled


def label_loss(
    logits: Tensor, labels: Tensor, class_weights: Tensor | None = None, *, rows: float | None = None
) -> Tensor:
    """Cross-entropy in nats for logits [B, C] and class ids [B]; squared error for [B, 1] and scores [B].

    class_weights: [C], a factor for the examples of each class. The mean is over `rows` examples, those of a whole
    step (None: over all B): one without a label (NO_CLASS, NO_SCORE) adds nothing, and weights are not divided
    out again, so that the parts of a step add up to the whole.
    """
    if labels.is_floating_point():
        known = ~labels.isnan()
        losses = torch.where(known, logits.squeeze(-1).float() - labels.nan_to_num(), 0).square()
    else:
        weights = None if class_weights is None else class_weights.to(labels.device)
        losses = F.cross_entropy(logits.float(), labels, weights, ignore_index=NO_CLASS, reduction="none")
    return losses.sum() / (len(labels) if rows is None else rows)


def balanced_weights(labels: np.ndarray, classes: int) -> np.ndarray:
    """float32 [C]: N / (C x rows of the class), so that every class weighs the same; 1 for a class without rows."""
    counts = np.bincount(labels, minlength=classes)
    return np.where(counts > 0, len(labels) / (classes * np.maximum(counts, 1)), 1.0).astype(np.float32)


class LabelObjective(Objective):
    """Pull the model's logits towards the labels. class_weights: [C], see `label_loss`."""

    def __init__(self, class_weights: Tensor | None = None):
        self.class_weights = class_weights

    def __call__(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Mapping[str, Tensor]]:
        """The share of a batch whose targets hold "labels"."""
        logits, rows = model(**batch.inputs).logits, batch.totals["rows"]
        loss = label_loss(logits, batch.targets["labels"], self.class_weights, rows=rows)
        return loss, {"labels": loss}
