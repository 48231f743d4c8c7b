"""What the loop is given: rows that become batches, and an objective that is minimised over them.

Knows no optimiser and no order of rows. House shapes: N rows, B rows of a batch, T tokens.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

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
        return Batch(inputs, {name: tensor.to(device) for name, tensor in self.targets.items()}, totals)


class Rows(Protocol):
    """What a training reads: labelled texts (`TrainingSet`), masked ones, windows of a corpus."""

    @property
    def lengths(self) -> np.ndarray:
        """[N], signed whole numbers: the real tokens of each row, the same in every epoch."""
        ...

    def batch(self, indices: np.ndarray, epoch: int) -> Batch:
        """The rows at these positions in an epoch (0, 1 ...), on the processor, as a step of their own.

        A function of both: a run that is killed asks again, and so may each of several processes.
        """
        ...

    def totals(self, indices: np.ndarray, epoch: int) -> dict[str, float]:
        """What a step of these rows holds; a subclass adds what else its objective takes means over."""
        return {"rows": len(indices), "tokens": int(self.lengths[indices].sum())}


@dataclass(frozen=True)
class TrainingSet(Rows):
    """Tokenised texts and, row by row, what they should lead to."""

    tokens: Tokens
    targets: Mapping[str, np.ndarray]

    @property
    def lengths(self) -> np.ndarray:
        """[N]: the tokens of each row."""
        return self.tokens.lengths

    def batch(self, indices: np.ndarray, epoch: int = 0) -> Batch:
        """The rows at these positions, which are the same in every epoch."""
        targets = {name: torch.from_numpy(rows[indices]) for name, rows in self.targets.items()}
        return Batch(self.tokens.batch(indices), targets, self.totals(indices, epoch))


class Objective:
    """What is minimised.

    trained: what is trained beside the model, such as projections: it is optimised, kept in checkpoints and summed
    over processes as the model is, and ends with the weights of the last step. None: nothing is.
    """

    trained: nn.Module | None = None

    def start(self, device: torch.device, precision: str) -> None:
        """Called once, before the first step: move a teacher to where the model is.

        precision: what the model computes in, as `models.device.autocast` takes it. The loop moves `trained`.
        """

    def __call__(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Mapping[str, Tensor]]:
        """A batch's share of the step's mean loss, and of each part of it for the curves: sums over `batch.totals`."""
        raise NotImplementedError
