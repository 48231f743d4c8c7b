"""Single weights set to zero: which ones, and that they stay zero while the others are trained.

Matrices and a `Sparsity` in, masks out; in training `Masks` goes along with the loop. Knows no task or folder.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from featherlight.compression.parts import EMBEDDING, KINDS, Part
from featherlight.errors import UserError
from featherlight.seeds import derive
from featherlight.training.lazy_adamw import gradient_of, moment_of, settle

_RENEWALS = 100  # of the masks while the sparsity rises
_MAGNITUDE, _RANDOM, MOVEMENT, PATTERN = "magnitude", "random", "movement", "nm"


@dataclass(frozen=True)
class Sparsity:
    """How many weights go, and which.

    share: of the weights. by_kind: kind of part -> its own share. scope: "local" weighs the weights of each matrix
    against each other, "global" those of all together (by size: each in units of its matrix's spread). threshold:
    magnitude by this very number, whatever share it takes. pattern: (n, m) keeps the n largest of m neighbours.
    soft: movement by a threshold for the scores. ramp: share of the steps of a training in which the sparsity rises.
    seed: of random scores.
    """

    method: str
    share: float
    by_kind: dict[str, float] = field(default_factory=dict)
    scope: str = "local"
    threshold: float | None = None
    pattern: tuple[int, int] = (2, 4)
    soft: bool = False
    ramp: float = 0.5
    seed: int = 1

    def of(self, kind: str) -> float:
        """The share of a kind of part. Neighbours in a table are never multiplied together: no pattern there."""
        if self.threshold is not None:
            return 1.0
        return self.by_kind.get(kind, 0.0 if self.method == PATTERN and kind == EMBEDDING else self.share)


def prunable(parts: Sequence[Part], how: Sparsity) -> list[Part]:
    """Those of the parts that are to lose weights; UserError if a kind is named that is not among them, or none is."""
    present = {part.kind for part in parts}
    for kind in how.by_kind:
        if kind not in present:
            there = ", ".join(kind for kind in KINDS if kind in present)
            raise UserError(f"--sparsity-{kind}: there is no {kind} part among those to prune, only: {there}.")
    losing = [part for part in parts if how.of(part.kind) > 0]
    if not losing:
        raise UserError("nothing would be pruned: the sparsity is 0 for every part. Give one above 0.")
    return losing


def asked(parts: Sequence[Part], how: Sparsity) -> float | None:
    """The share of zeros that is asked for over these parts together; None where a threshold decides."""
    if how.threshold is not None:
        return None
    total = sum(part.weight.numel() for part in parts)
    return sum(how.of(part.kind) * part.weight.numel() for part in parts) / total


def cubic(done: float) -> float:
    """How much of the sparsity there is after this share of its rise (Zhu and Gupta 2017, arXiv:1710.01878)."""
    return float(1 - (1 - min(done, 1.0)) ** 3)


def scores_of(parts: Sequence[Part], how: Sparsity) -> list[Tensor]:
    """What decides: the lowest go first. Random scores are the same at each call, and lowest for weights that are 0."""
    if how.method != _RANDOM:
        sizes = [part.weight.detach().abs() for part in parts]
        return [size / spread(size) for size in sizes] if how.scope == "global" else sizes
    drawn = []
    for part in parts:
        generator = torch.Generator().manual_seed(derive(how.seed, "prune", part.name))
        scores = torch.rand(part.weight.shape, generator=generator).to(part.weight.device)
        drawn.append(scores.where(part.weight.detach() != 0, -1.0))
    return drawn


def spread(size: Tensor) -> Tensor:
    """The root mean square of the weights of a matrix that are not 0.

    Matrices live on different scales: 1.0 for a BiLSTM's embeddings, 0.2 for its recurrent weights, 0.04 for its
    output layer. Compared as they are, whole layers would go; in these units none is at a disadvantage (Han et al.
    2015, arXiv:1506.02626, choose thresholds so).
    """
    return (size.square().sum() / (size > 0).sum().clamp(min=1)).sqrt()


def masks_of(parts: Sequence[Part], scores: Sequence[Tensor], how: Sparsity, *, done: float = 1.0) -> list[Tensor]:
    """A mask for each part: 1 where the weight stays. done: how much of the asked sparsity, from 0 to 1.

    Raises UserError if nothing is left of a matrix.
    """
    exact = how.method != _MAGNITUDE
    if how.method == PATTERN:
        masks = [pattern_mask(score, how.pattern) for score in scores]
    elif how.threshold is not None:
        masks = [(score > how.threshold * done).to(score.dtype) for score in scores]
    elif how.scope == "global":
        masks = _under_threshold(scores, how.share * done, exact=exact)
    else:
        shares = [how.of(part.kind) * done for part in parts]
        masks = [_under_threshold([score], share, exact=exact)[0] for score, share in zip(scores, shares, strict=True)]
    for part, mask in zip(parts, masks, strict=True):
        if not mask.any():
            raise UserError(
                f"this leaves nothing of {part.name}. Ask for less, spare it with --parts, or use --scope local, which "
                "takes an equal share of every matrix."
            )
    return masks


def _under_threshold(scores: Sequence[Tensor], share: float, *, exact: bool) -> list[Tensor]:
    """One threshold for all these scores, found so that the share lies on or under it.

    exact: of equal scores only the first go, to the very count (Sanh et al. 2020: top-v); else all go together.
    """
    together = torch.cat([score.flatten() for score in scores])
    count = round(share * len(together))
    if not count:
        return [torch.ones_like(score) for score in scores]
    threshold = together.kthvalue(count).values
    kept = together > threshold
    if exact:
        equal = (together == threshold).nonzero().flatten()
        kept[equal[count - int((together < threshold).sum()) :]] = True
    flat = torch.split(kept.to(together.dtype), [score.numel() for score in scores])
    return [mask.view_as(score) for mask, score in zip(flat, scores, strict=True)]


def pattern_mask(scores: Tensor, pattern: tuple[int, int]) -> Tensor:
    """Of every m neighbours in a row the n largest stay (Mishra et al. 2021, arXiv:2104.08378), and a rest below m."""
    keep, of = pattern
    rows = scores.flatten(1)
    whole = rows.shape[1] // of * of
    groups = rows[:, :whole].reshape(len(rows), -1, of)
    mask = torch.ones_like(rows)
    mask[:, :whole] = torch.zeros_like(groups).scatter_(-1, groups.topk(keep, dim=-1).indices, 1.0).flatten(1)
    return mask.view_as(scores)


@torch.no_grad()
def prune(parts: Sequence[Part], how: Sparsity) -> None:
    """Set weights to zero at once."""
    for part, mask in zip(parts, masks_of(parts, scores_of(parts, how), how), strict=True):
        part.weight.mul_(mask)


class Masks:
    """Pruning while the weights are trained: a `training.loop.WeightHook`.

    A pruned weight is 0, and neither its gradient nor its momentum is anything else, so that no optimiser moves it.
    The sparsity rises over the first steps; then the masks hold. how: None holds the zeros that are there.
    """

    def __init__(self, parts: Sequence[Part], how: Sparsity | None):
        self.parts, self.how = parts, how
        self.masks = [torch.ones_like(part.weight) if how else (part.weight != 0).float() for part in parts]
        self.settled = how is None

    def start(self, device: torch.device) -> None:
        """Move to where the weights are."""
        self.masks = [mask.to(device) for mask in self.masks]

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint needs; the tensors themselves."""
        return {f"mask.{part.name}": mask for part, mask in zip(self.parts, self.masks, strict=True)}

    def needs_whole(self, weight: Tensor) -> bool:
        """Whether the gradient of a table is needed for rows that no text reads too."""
        return False

    @torch.no_grad()
    def before_update(self, step: int, total: int, optimizer: torch.optim.Optimizer) -> None:
        """Between the gradients of a step (0 .. total - 1) and the update: renew the masks if it is time, and hold."""
        rise = self.rise(total)
        if self.how and step <= rise and (step == rise or step % max(rise // _RENEWALS, 1) == 0):
            settle(optimizer)
            self.renew(step / rise if rise else 1.0)
            self.apply(optimizer)
        self.settled = step >= rise
        self.hold(optimizer)

    def after_update(self) -> None:
        """Nothing: what is pruned does not move."""

    def rise(self, total: int) -> int:
        """The step at which the asked sparsity is reached."""
        return int(self.how.ramp * total) if self.how and self.how.method != PATTERN else 0

    def renew(self, done: float) -> None:
        """New masks. done: the share of the rise that is over."""
        assert self.how
        new = masks_of(self.parts, scores_of(self.parts, self.how), self.how, done=cubic(done))
        for part, mask, renewed in zip(self.parts, self.masks, new, strict=True):
            mask.copy_(renewed.mul_(part.weight != 0))  # what is zero stays zero

    def apply(self, optimizer: torch.optim.Optimizer) -> None:
        """Take weight and momentum from what the masks prune."""
        for part, mask in zip(self.parts, self.masks, strict=True):
            part.weight.mul_(mask)
            if (moment := moment_of(optimizer, part.weight)) is not None:  # AdaDelta has none
                moment.mul_(mask)

    def hold(self, optimizer: torch.optim.Optimizer) -> None:
        """Take the gradient from what the masks prune."""
        gradients, masks = [], []
        for part, mask in zip(self.parts, self.masks, strict=True):
            gradient, rows = gradient_of(optimizer, part.weight)
            if gradient is not None:
                gradients.append(gradient)
                masks.append(mask[rows])
        if gradients:
            torch._foreach_mul_(gradients, masks)
