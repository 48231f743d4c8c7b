"""The labels as objective: what fine-tuning minimises, and what distillation mixes in."""

from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor, nn

from featherlight.training.loop import Batch


def label_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy in nats for logits [B, C] and class ids [B]; squared error for [B, 1] and scores [B]."""
    if labels.is_floating_point():
        return F.mse_loss(logits.squeeze(-1).float(), labels)
    return F.cross_entropy(logits.float(), labels)


class LabelObjective:
    """Pull the model's logits towards the labels."""

    def __call__(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Mapping[str, Tensor]]:
        """The mean loss of a batch whose targets hold "labels"."""
        loss = label_loss(model(**batch.inputs).logits, batch.targets["labels"])
        return loss, {"labels": loss}
