"""Numbers to be predicted, standardised while a model is trained: labels in, labels with mean 0 and deviation 1 out.

A squared error sees the unit of the labels: scores from 30 to 94 are out of reach of a head that starts at 0.
Afterwards mean and deviation go into the model's last layer, so that whatever is made of it answers in that unit.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from featherlight.models.heads import output_layer

Targets = Mapping[str, Mapping[str, np.ndarray]]


@dataclass(frozen=True)
class TargetScale:
    """mean, deviation: of the labels that are fitted; 0 and 1 for classes, of which nothing changes."""

    mean: float = 0.0
    deviation: float = 1.0

    @classmethod
    def of(cls, labels: np.ndarray | None) -> "TargetScale":
        """That of labels [N], floats where they are numbers; those that are missing (NaN) do not count."""
        if labels is None or labels.dtype.kind != "f":
            return cls()
        known = labels[~np.isnan(labels)].astype(np.float64)
        deviation = float(known.std()) if len(known) else 0.0
        return cls(float(known.mean()), deviation) if deviation else cls()

    def standardised(self, values: np.ndarray) -> np.ndarray:
        """Labels, or a teacher's predictions, with this mean and deviation taken out; class ids as they are."""
        if self == TargetScale():
            return values
        return ((values.astype(np.float64) - self.mean) / self.deviation).astype(values.dtype)

    def restored(self, values: np.ndarray) -> np.ndarray:
        """Standardised predictions in the unit of the labels; logits of classes as they are."""
        return values if self == TargetScale() else values.astype(np.float64) * self.deviation + self.mean

    @torch.no_grad()
    def fold(self, model: nn.Module) -> None:
        """Make a model that predicts standardised numbers predict them in the unit of the labels."""
        if self != TargetScale():
            layer = output_layer(model)
            layer.weight.mul_(self.deviation)
            layer.bias.mul_(self.deviation).add_(self.mean)

    @torch.no_grad()
    def unfold(self, model: nn.Module) -> None:
        """The way back, for a model that is trained on."""
        if self != TargetScale():
            layer = output_layer(model)
            layer.bias.sub_(self.mean).div_(self.deviation)
            layer.weight.div_(self.deviation)
