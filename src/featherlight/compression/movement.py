"""Movement pruning: which weights go is learned while they are trained (Sanh et al. 2020, arXiv:2005.07683).

A weight's score sums up, step by step, how much the loss would like it to be larger: weights that training drives
towards zero go, however large they are. A weight that sleeps is 0 in the model, keeps its value here, is scored on
and may come back (the straight-through estimator: its gradient is taken as if it were awake).
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from featherlight.compression.parts import Part
from featherlight.compression.unstructured import Masks, Sparsity, cubic, masks_of, spread
from featherlight.training.lazy_rows import LazyRows


class Movement(Masks):
    """`Masks` whose scores are learned; when the sparsity has risen, the masks hold as all others do.

    Hard: the lowest scores go, counted as the scope says. Soft: scores below zero go, wherever they are, and all
    scores pay a penalty that is as high as it takes to follow the asked sparsity.
    """

    def __init__(self, parts: Sequence[Part], how: Sparsity):
        super().__init__(parts, how)
        self.asleep = [torch.zeros_like(part.weight) for part in parts]
        self.scores = [part.weight.detach().abs() / spread(part.weight.detach().abs()) for part in parts]
        self.mean = [torch.zeros_like(part.weight) for part in parts]
        self.square = [torch.zeros_like(part.weight) for part in parts]
        import os

        self.rate = float(os.environ.get("RATE", "1e-2"))

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
            for part, asleep, score, mean, square in zip(
                self.parts, self.asleep, self.scores, self.mean, self.square, strict=True
            ):
                if part.weight.grad is not None:
                    gradient = part.weight.grad * (part.weight + asleep)
                    mean.lerp_(gradient, 0.1)
                    square.mul_(0.999).addcmul_(gradient, gradient, value=0.001)
                    import math

                    b1, b2 = 1 - 0.9 ** (step + 1), math.sqrt(1 - 0.999 ** (step + 1))
                    score.addcdiv_(mean, square.sqrt() / b2 + 1e-8, value=-self.rate / b1)
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
