"""What the loop is given: rows that become batches, and an objective that is minimised over them.

Knows no optimiser and no order of rows. House shapes: N rows, B rows of a batch, T tokens.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from featherlight.data.tokens.batches import Tokens


@dataclass(frozen=True)
class Batch:
    """Rows that are computed at a time, and what the whole step holds that they are part of.

    inputs: keyword arguments of the model. targets: "labels", "teacher" ... with B rows each. totals: "rows", real
    "tokens" and whatever else the rows count, over all parts of the step and all processes. A mean is a sum over the
    batch divided by one of these, so that the parts of a step add up to its means exactly.
    """

    inputs: Mapping[str, Tensor]
    targets: Mapping[str, Tensor]
    totals: Mapping[str, float]

    def part_of(self, totals: Mapping[str, float], device: torch.device) -> "Batch":
        """The same on a device, as a part of a step that holds so much."""
        inputs = {name: tensor.to(device) for name, tensor in self.inputs.items()}
        targets = {name: tensor.to(device) for name, tensor in self.targets.items()}
        return Batch(inputs, targets, totals)


@dataclass(frozen=True)
class TrainingSet:
    """Tokenised texts and, row by row, what they should lead to."""

    tokens: Tokens
    targets: Mapping[str, np.ndarray]

    @property
    def lengths(self) -> np.ndarray:
        """[N]: the tokens of each row."""
        return self.tokens.lengths

    def batch(self, indices: np.ndarray) -> Batch:
        """The rows at these positions, as a step of their own."""
        targets = {name: torch.from_numpy(rows[indices]) for name, rows in self.targets.items()}
        return Batch(self.tokens.batch(indices), targets, self.totals(indices))

    def totals(self, indices: np.ndarray) -> dict[str, float]:
        """What a step of these rows holds."""
        return {"rows": len(indices), "tokens": int(self.lengths[indices].sum())}


class Objective:
    """What is minimised."""

    def __call__(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Mapping[str, Tensor]]:
        """A batch's share of the step's mean loss, and of each part of it for the curves: sums over `batch.totals`."""
        raise NotImplementedError
