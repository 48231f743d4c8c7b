"""Movement pruning: which weights go is learned while they are trained (Sanh et al. 2020, arXiv:2005.07683).

A weight's score rises when the loss pulls the weight away from zero and falls when it pulls it towards zero. A weight
that sleeps is 0 in the model, keeps its value here, is scored on and may come back: its gradient is taken as if it
were awake (the straight-through estimator). Scores start at the weights' sizes rather than at zero, so that
in short trainings, too, what no text has moved yet is told apart; see docs/design.md.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from featherlight.compression.parts import Part
from featherlight.compression.unstructured import Masks, Sparsity, cubic, masks_of, spread

REACH = 4.0  # how far a score can go while the sparsity rises, in units of its matrix's spread (docs/design.md)
_BETAS, _EPSILON = (0.9, 0.999), 1e-8  # of Adam, by which scores are learned


class Movement(Masks):
    """`Masks` whose scores are learned; when the sparsity has risen, the masks hold as all others do.

    Hard: the lowest scores of each matrix go, or of all matrices together, as the scope says. Soft: one threshold
    for all, and a penalty on every score, so that those sink on which the loss hardly depends.
    """

    def __init__(self, parts: Sequence[Part], how: Sparsity):
        super().__init__(parts, how)
        sizes = [part.weight.detach().abs() for part in parts]
        self.scores = [size / spread(size) for size in sizes]
        self.asleep, self.means, self.squares = ([torch.zeros_like(size) for size in sizes] for _ in range(3))

    def start(self, device: torch.device) -> None:
        """Move to where the weights are."""
        super().start(device)
        for tensors in (self.scores, self.asleep, self.means, self.squares):
            tensors[:] = [tensor.to(device) for tensor in tensors]

    def state(self) -> dict[str, Tensor]:
        """The masks, what sleeps, the scores and their moments."""
        kinds = {"score": self.scores, "asleep": self.asleep, "mean": self.means, "square": self.squares}
        own = {
            f"{kind}.{part.name}": tensor
            for kind, tensors in kinds.items()
            for part, tensor in zip(self.parts, tensors, strict=True)
        }
        return {**super().state(), **own}

    def needs_whole(self, weight: Tensor) -> bool:
        """Every row has a score."""
        return any(part.weight is weight for part in self.parts)

    @torch.no_grad()
    def before_update(self, step: int, total: int, optimizer: torch.optim.Optimizer) -> None:
        """Learn from the gradients before they are masked; the rest as ever."""
        if not self.settled:
            self.learn(step, REACH / max(self.rise(total), 1))
        super().before_update(step, total, optimizer)

    def learn(self, step: int, rate: float) -> None:
        """One step of Adam on the scores. The gradient of a score is that of its weight times the weight."""
        assert self.how
        gradients = [
            torch.zeros_like(part.weight) if part.weight.grad is None else part.weight.grad * (part.weight + asleep)
            for part, asleep in zip(self.parts, self.asleep, strict=True)
        ]
        if self.how.soft:  # as strong, where it is strongest, as the loss is on average
            usual = sum(float(gradient.abs().sum()) for gradient in gradients)
            usual /= sum(gradient.numel() for gradient in gradients)
            for gradient, score in zip(gradients, self.scores, strict=True):
                risen = torch.sigmoid(score)
                gradient.addcmul_(risen, 1 - risen, value=4 * usual)
        bias = [1 - beta ** (step + 1) for beta in _BETAS]
        for gradient, score, mean, square in zip(gradients, self.scores, self.means, self.squares, strict=True):
            mean.lerp_(gradient, 1 - _BETAS[0])
            square.mul_(_BETAS[1]).addcmul_(gradient, gradient, value=1 - _BETAS[1])
            spread_now = square.sqrt().div_(math.sqrt(bias[1])).add_(_EPSILON)
            score.addcdiv_(mean, spread_now, value=-rate / bias[0])

    def renew(self, done: float) -> None:
        """Wake all, and put to sleep whose scores are lowest now."""
        assert self.how
        new = masks_of(self.parts, self.scores, self.how, done=cubic(done))
        for part, asleep, mask, renewed in zip(self.parts, self.asleep, self.masks, new, strict=True):
            weight = part.weight + asleep
            mask.copy_(renewed.mul_(weight != 0))  # what was zero to begin with stays so
            part.weight.copy_(weight * mask)
            asleep.copy_(weight - part.weight)
