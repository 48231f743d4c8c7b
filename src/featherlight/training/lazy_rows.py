"""AdamW for a large embedding table at the price of the rows that a batch touches.

A batch of short texts reads a few hundred of 30,000 rows; plain AdamW reads and writes all of them four times over,
to move the others along by what their moving averages remember. Here a row is brought up to date when it is
next read, by a sum of those steps in closed form. The numbers are those of plain AdamW but for rounding, as long
as gradients are far above epsilon (which enters the sum to first order), so this is no other optimiser.
House shapes: V rows of the table, U rows that a batch reads, D width.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

_MOST_DECAY = 0.01  # of the weights per step; the sums carry the inverse of all of it together
SMALLEST = 1_000_000  # weights; below that a table is cheaper as a whole
_BETAS, EPSILON = (0.9, 0.999), 1e-8  # those of torch.optim.AdamW
_ROWS_AT_ONCE = 2048  # brought up to date; of all at once six copies would be in memory
_WINDOW = 400  # steps after which a gradient is forgotten


class LazyRows:
    """One embedding table in training; while it is, the table's `forward` reads the rows made ready by `ready`.

    Between two calls of `settle`, rows of the table that were not read lately are behind.
    last: [V], the step up to which each row is done.
    """

    def __init__(self, table: nn.Embedding, *, weight_decay: float):
        self.table, self.weight_decay = table, weight_decay
        self.mean, self.square = torch.zeros_like(table.weight), torch.zeros_like(table.weight)
        self.last = torch.zeros(len(table.weight), dtype=torch.int64)
        self.places = torch.full((len(table.weight),), -1)  # of a row among those that are ready; -1: no place
        self.padding_at: int | None = None
        self.step_number = 0
        self.missed = _Missed()
        self.read: Tensor | None = None
        self.rows = nn.Parameter(table.weight.new_zeros(0, table.embedding_dim))
        table.weight.requires_grad_(False)  # its gradient arrives in self.rows
        table.forward = self.look_up  # type: ignore[method-assign]

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint needs beyond the table's weight; the tensors themselves."""
        return {"mean": self.mean, "square": self.square, "last": self.last}

    def count_steps(self, rates: list[float]) -> None:
        """Let the steps of an earlier run pass; their learning rates decide what rows have missed."""
        for rate in rates:
            self.count_step(rate)

    def ready(self, ids: np.ndarray) -> None:
        """Bring the rows of these token ids up to date and make them the leaf that gathers the gradient."""
        distinct = np.unique(ids)
        self.read = torch.from_numpy(distinct)
        padding = self.table.padding_idx
        self.padding_at = int(np.searchsorted(distinct, padding)) if padding is not None and padding in ids else None
        self.catch_up(self.read)
        self.places[self.read] = torch.arange(len(self.read))
        self.rows = nn.Parameter(self.table.weight[self.read])

    def look_up(self, input: Tensor) -> Tensor:
        """What `nn.Embedding.forward` gives; in training by way of the rows that are ready."""
        if not self.table.training or self.read is None:
            return F.embedding(input, self.table.weight)
        return F.embedding(self.places[input], self.rows, self.padding_at)  # IndexError for an id that is not ready

    def step(self, rate: float, scale: Tensor | None) -> None:
        """One step of AdamW on the rows that were read. scale: what the gradient is divided by; None: nothing."""
        assert self.read is not None
        self.count_step(rate)
        gradient = self.rows.grad
        gradient = torch.zeros_like(self.rows) if gradient is None else gradient
        if scale is not None:
            gradient = gradient / scale
        mean = self.mean[self.read].lerp_(gradient, 1 - _BETAS[0])
        square = self.square[self.read].mul_(_BETAS[1]).addcmul_(gradient, gradient, value=1 - _BETAS[1])
        bias = [1 - beta**self.step_number for beta in _BETAS]
        spread = (square.sqrt() / math.sqrt(bias[1])).add_(EPSILON)
        weight = self.rows.detach().mul(1 - rate * self.weight_decay).addcdiv_(mean, spread, value=-rate / bias[0])
        for whole, part in ((self.table.weight.data, weight), (self.mean, mean), (self.square, square)):
            whole[self.read] = part
        self.last[self.read] = self.step_number
        self.places[self.read] = -1
        self.read = None

    def count_step(self, rate: float) -> None:
        """Let a step pass."""
        self.step_number += 1
        self.missed.count(rate, self.weight_decay)

    def settle(self) -> None:
        """Bring every row up to date, so that the table is what plain AdamW would have made of it."""
        for start in range(0, len(self.last), _ROWS_AT_ONCE):
            self.catch_up(torch.arange(start, min(start + _ROWS_AT_ONCE, len(self.last))))

    def release(self) -> None:
        """Give the table back to whoever comes next."""
        self.settle()
        del self.table.forward
        self.table.weight.requires_grad_(True)

    def catch_up(self, rows: Tensor) -> None:
        """Take the steps that these rows [U] have missed."""
        rows = rows[self.last[rows] < self.step_number]
        if not len(rows):
            return
        since = self.last[rows]
        decay, moved, bias = (torch.from_numpy(part)[:, None].float() for part in self.missed.since(since.numpy()))
        passed = (self.step_number - since).double()[:, None]
        mean, square = self.mean[rows], self.square[rows]
        self.table.weight.data[rows] = (
            self.table.weight.data[rows].mul_(decay).sub_(moved * mean / (square.sqrt() + EPSILON * bias))
        )
        self.mean[rows] = mean * (_BETAS[0] ** passed).float()
        self.square[rows] = square * (_BETAS[1] ** passed).float()
        self.last[rows] = self.step_number


class _Missed:
    """What all steps since step s have done to a row that had no gradient in them, for every s.

    With zero gradients step j of AdamW multiplies a weight by d_j = 1 - rate_j x decay and subtracts
    a_j r^(j - s) mean_s / sqrt(square_s), where r = beta_1 / sqrt(beta_2), c_j = sqrt(1 - beta_2^j) and
    a_j = rate_j c_j / (1 - beta_1^j). To first order epsilon adds to sqrt(square_s) the mean of epsilon c_j,
    weighed as the steps are. Sums are kept without the factors d, which are known from their logarithms.
    """

    def __init__(self) -> None:
        self.steps = 0
        self.log_decay, self.moved, self.biased = np.zeros(1), np.zeros(1), np.zeros(1)  # indexed by s

    def count(self, rate: float, weight_decay: float) -> None:
        """Add one step to the sums of the steps before it; those long past feel nothing of it (r^400 is 5e-19)."""
        self.steps += 1
        step = self.steps
        if step >= len(self.moved):  # room for twice as many
            room = np.zeros(len(self.moved))
            self.log_decay, self.moved, self.biased = (
                np.concatenate([part, room]) for part in (self.log_decay, self.moved, self.biased)
            )
        self.log_decay[step] = self.log_decay[step - 1] + math.log1p(-rate * weight_decay)
        lately = np.arange(max(0, step - _WINDOW), step)
        bias = math.sqrt(1 - _BETAS[1] ** step)
        powers = (_BETAS[0] / math.sqrt(_BETAS[1])) ** (step - lately)
        moved = rate * bias / (1 - _BETAS[0] ** step) * powers * math.exp(-self.log_decay[step])
        self.moved[lately] += moved
        self.biased[lately] += moved * bias

    def since(self, last: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(factor of the weight, factor of mean / sqrt(square), mean of the c_j) for rows done up to step last [U]."""
        moved, biased = self.moved[last], self.biased[last]
        bias = np.divide(biased, moved, out=np.ones_like(moved), where=moved > 0)  # warm-up begins with a rate of 0
        now = self.log_decay[self.steps]
        return np.exp(now - self.log_decay[last]), moved * math.exp(now), bias


def lazy_table(model: nn.Module, *, optimizer: str, learning_rate: float, weight_decay: float) -> nn.Embedding | None:
    """The input embeddings of a model if they can and should be trained lazily, else None."""
    find = getattr(model, "get_input_embeddings", None)
    table = find() if find is not None else None
    if type(table) is not nn.Embedding or table.max_norm is not None or table.scale_grad_by_freq or table.sparse:
        return None
    fits = optimizer == "adamw" and learning_rate * weight_decay < _MOST_DECAY
    fits = fits or (optimizer == "adam" and not weight_decay)
    owners = sum(weight is table.weight for part in model.modules() for weight in part._parameters.values())
    large = table.weight.numel() >= SMALLEST and table.weight.dtype == torch.float32
    return table if fits and large and owners == 1 and table.weight.requires_grad else None
