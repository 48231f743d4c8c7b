"""Movement pruning: which weights go is learned while they are trained (Sanh et al. 2020, arXiv:2005.07683).

A weight's score sums up, step by step, how much the loss would like it to be larger: weights that training drives
towards zero go, however large they are. A weight that sleeps is 0 in the model, keeps its value here, is scored on
and may come back (the straight-through estimator: its gradient is taken as if it were awake).
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from featherlight.compression.parts import Part
from featherlight.compression.unstructured import Masks, Sparsity, cubic, masks_of
from featherlight.training.lazy_rows import LazyRows


class Movement(Masks):
    """`Masks` whose scores are learned; when the sparsity has risen, the masks hold as all others do.

    Hard: the lowest scores go, counted as the scope says. Soft: scores below zero go, wherever they are, and all
    scores pay a penalty that is as high as it takes to follow the asked sparsity.
    """

    def __init__(self, parts: Sequence[Part], how: Sparsity):
        super().__init__(parts, how)
        self.asleep = [torch.zeros_like(part.weight) for part in parts]
        self.scores = [torch.zeros_like(part.weight) for part in parts]

    def start(self, device: torch.device) -> None:
        """Move to where the weights are."""
        super().start(device)
        self.asleep = [weight.to(device) for weight in self.asleep]
        self.scores = [score.to(device) for score in self.scores]

    def state(self) -> dict[str, Tensor]:
        """The masks, what sleeps and the scores."""
        named = {"asleep": self.asleep, "score": self.scores}
        more = {
            f"{kind}.{part.name}": tensor
            for kind, tensors in named.items()
            for part, tensor in zip(self.parts, tensors, strict=True)
        }
        return {**super().state(), **more}

    def needs_whole(self, weight: Tensor) -> bool:
        """Every row has a score."""
        return any(part.weight is weight for part in self.parts)

    @torch.no_grad()
    def shape(self, step: int, total: int, optimizer: torch.optim.Optimizer, lazy: LazyRows | None) -> None:
        """Learn from the gradients before they are masked; the rest as ever."""
        if not self.settled:
            for part, asleep, score in zip(self.parts, self.asleep, self.scores, strict=True):
                if part.weight.grad is not None:
                    score.addcmul_(part.weight.grad, part.weight + asleep, value=-1)
        super().shape(step, total, optimizer, lazy)

    def renew(self, done: float) -> None:
        """Wake all, and put to sleep whose scores are lowest now."""
        assert self.how
        new = masks_of(self.parts, self.scores, self.how, done=cubic(done))
        for part, asleep, mask, found in zip(self.parts, self.asleep, self.masks, new, strict=True):
            weight = part.weight + asleep
            mask.copy_(found)
            part.weight.copy_(weight * mask)
            asleep.copy_(weight - part.weight)
