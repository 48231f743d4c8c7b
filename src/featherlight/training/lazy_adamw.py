"""AdamW for a model with a large embedding table, at the price of the rows that a batch touches.

A batch of short texts reads a few hundred of 30,000 rows; plain AdamW reads and writes all of them four times over,
to move the others along by what their moving averages remember. Here a row is brought up to date when it is
next read, by a sum of those steps in closed form. The numbers are those of plain AdamW but for rounding, as long
as gradients are far above epsilon (which enters the sum to first order), so this is no other optimiser.
What takes part in a step beside the optimiser asks the functions at the end, whatever the optimiser is.
House shapes: V rows of the table, U rows that a step reads, D width.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

_MOST_DECAY = 0.01  # of the weights per step; the sums carry the inverse of all of it together
SMALLEST = 1_000_000  # weights; below that a table is cheaper as a whole
BETAS, EPSILON = (0.9, 0.999), 1e-8  # those of torch.optim.AdamW
_ROWS_AT_ONCE = 2048  # brought up to date; of all at once six copies would be in memory
_FORGOTTEN = 6.2e-19  # what is left of a gradient's part in a step when it is forgotten; 400 steps with the usual betas
_LONGEST = 1000  # steps; a table whose gradients are remembered for longer is cheaper as a whole


class LazyAdamW(torch.optim.AdamW):
    """Fused AdamW whose steps on one table are taken by the rows that are read.

    groups: as of `torch.optim.AdamW`; the table's weight is in one of them. In training the table's `forward` brings
    rows up to date and gathers their gradient; between two calls of `settle`, rows that were not read lately are
    behind, and the state's "last" [V] is the step up to which each is done. All that until `release`.
    """

    def __init__(self, groups: Sequence[dict[str, Any]], table: nn.Embedding):
        own = next(group for group in groups if any(weight is table.weight for weight in group["params"]))
        rest = [
            {**group, "params": [weight for weight in group["params"] if weight is not table.weight]}
            for group in groups
        ]
        super().__init__([*rest, {**own, "params": [table.weight]}], fused=True)
        self.table = table
        self.missed = _Missed(own.get("betas", BETAS))
        self.state[table.weight] = {
            "exp_avg": torch.zeros_like(table.weight),
            "exp_avg_sq": torch.zeros_like(table.weight),
            "last": torch.zeros(len(table.weight), dtype=torch.int64),
            **self.missed.state(),
        }
        self._padding = np.array([] if table.padding_idx is None else [table.padding_idx], dtype=np.int64)
        self._places = torch.zeros(len(table.weight), dtype=torch.int64)  # of a row among those of a look-up
        self._looked_up: list[tuple[Tensor, nn.Parameter]] = []  # rows, and the leaf that gathers their gradient
        self._gathered: tuple[Tensor, Tensor] | None = None
        table.forward = torch.compiler.disable(self._look_up)  # type: ignore[method-assign, no-untyped-call]

    def _look_up(self, input: Tensor) -> Tensor:
        """What `nn.Embedding.forward` gives; in training by way of rows that are brought up to date."""
        if not self.table.training:
            return F.embedding(input, self.table.weight)
        self.gathered()  # what an earlier part of the batch has left makes room
        rows = torch.from_numpy(np.unique(np.concatenate([input.numpy().ravel(), self._padding])))
        self._catch_up(rows)
        self._places[rows] = torch.arange(len(rows))
        leaf = nn.Parameter(self.table.weight.detach()[rows])
        self._looked_up.append((rows, leaf))
        padding = None if self.table.padding_idx is None else int(self._places[self.table.padding_idx])
        return F.embedding(self._places[input], leaf, padding)

    def gathered(self) -> tuple[Tensor, Tensor] | None:
        """(rows [U] in rising order, their gradient [U, D], the tensor itself) of this step; None before there is one.

        Each look-up has a gradient after one backward pass, and is added up then.
        """
        parts = [(rows, leaf.grad) for rows, leaf in self._looked_up if leaf.grad is not None]
        self._looked_up = [(rows, leaf) for rows, leaf in self._looked_up if leaf.grad is None]
        if self._gathered is not None:
            parts.insert(0, self._gathered)
        if len(parts) > 1:
            together = torch.unique(torch.cat([rows for rows, _ in parts]))
            total = self.table.weight.new_zeros(len(together), self.table.embedding_dim)
            for rows, gradient in parts:
                total[torch.searchsorted(together, rows)] += gradient
            parts = [(together, total)]
        self._gathered = parts[0] if parts else None
        return self._gathered

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients, those of rows too."""
        super().zero_grad(set_to_none)
        self._looked_up, self._gathered = [], None

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """One step of AdamW. `grad_scale`, where it is set: what gradients are divided by, as in fused AdamW."""
        loss = super().step(closure)
        group, state = self.param_groups[-1], self.state[self.table.weight]
        rate, decay, betas = group["lr"], group["weight_decay"], group["betas"]
        self.missed.count(rate, decay)
        state.update(self.missed.state())
        if (gathered := self.gathered()) is None:
            return loss
        rows, gradient = gathered
        scale = getattr(self, "grad_scale", None)
        gradient = gradient if scale is None else gradient / scale
        mean = state["exp_avg"][rows].lerp_(gradient, 1 - betas[0])
        square = state["exp_avg_sq"][rows].mul_(betas[1]).addcmul_(gradient, gradient, value=1 - betas[1])
        bias = [1 - beta**self.missed.steps for beta in betas]
        spread = (square.sqrt() / math.sqrt(bias[1])).add_(group["eps"])
        weight = self.table.weight[rows].mul_(1 - rate * decay).addcdiv_(mean, spread, value=-rate / bias[0])
        for whole, part in ((self.table.weight, weight), (state["exp_avg"], mean), (state["exp_avg_sq"], square)):
            whole[rows] = part
        state["last"][rows] = self.missed.steps
        self._looked_up, self._gathered = [], None
        return loss

    def settle(self) -> None:
        """Bring every row up to date, so that the table is what plain AdamW would have made of it."""
        for start in range(0, len(self.table.weight), _ROWS_AT_ONCE):
            self._catch_up(torch.arange(start, min(start + _ROWS_AT_ONCE, len(self.table.weight))))

    def release(self) -> None:
        """Give the table back to whoever comes next."""
        self.settle()
        del self.table.forward

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Torch's own would make numbers of the table's kind of all that is known of it."""
        place = sum(len(group["params"]) for group in self.param_groups) - 1
        states = dict(state_dict["state"])
        own = states.pop(place, self.state[self.table.weight])
        super().load_state_dict({**state_dict, "state": states})
        self.state[self.table.weight] = own
        self.missed.load(own)

    @torch.no_grad()
    def _catch_up(self, rows: Tensor) -> None:
        state, steps = self.state[self.table.weight], self.missed.steps
        rows = rows[state["last"][rows] < steps]
        if not len(rows):
            return
        since, betas = state["last"][rows], self.missed.betas
        decay, moved, bias = (torch.from_numpy(part)[:, None].float() for part in self.missed.since(since.numpy()))
        passed = (steps - since).double()[:, None]
        mean, square = state["exp_avg"][rows], state["exp_avg_sq"][rows]
        weight = self.table.weight[rows].mul_(decay)
        spread = square.sqrt().add_(bias * self.param_groups[-1]["eps"])
        self.table.weight[rows] = weight.sub_(mean.mul(moved).div_(spread))
        state["exp_avg"][rows] = mean.mul_((betas[0] ** passed).float())
        state["exp_avg_sq"][rows] = square.mul_((betas[1] ** passed).float())
        state["last"][rows] = steps


class _Missed:
    """What all steps since step s have done to a row that had no gradient in them, for every s.

    With zero gradients step j of AdamW multiplies a weight by d_j = 1 - rate_j x decay and subtracts
    a_j r^(j - s) mean_s / sqrt(square_s), where r = beta_1 / sqrt(beta_2), c_j = sqrt(1 - beta_2^j) and
    a_j = rate_j c_j / (1 - beta_1^j). To first order epsilon adds to sqrt(square_s) the mean of epsilon c_j,
    weighed as the steps are. Sums are kept without the factors d, which are known from their logarithms.
    """

    def __init__(self, betas: tuple[float, float]):
        self.betas, self.steps = betas, 0
        self.sums = np.zeros((3, 1))  # of logarithms of d, of steps, of steps x c; indexed by s

    def state(self) -> dict[str, Any]:
        """What a checkpoint needs; the tensor itself."""
        return {"step": self.steps, "missed": torch.from_numpy(self.sums)}

    def load(self, state: dict[str, Any]) -> None:
        """Go on from such a state."""
        self.steps, self.sums = int(state["step"]), state["missed"].numpy()

    def count(self, rate: float, weight_decay: float) -> None:
        """Add one step to the sums of the steps before it; those long past feel nothing of it."""
        self.steps += 1
        step = self.steps
        if step >= self.sums.shape[1]:  # room for twice as many
            self.sums = np.concatenate([self.sums, np.zeros_like(self.sums)], axis=1)
        log_decay, moved, biased = self.sums
        log_decay[step] = log_decay[step - 1] + math.log1p(-rate * weight_decay)
        lately = np.arange(max(0, step - int(_window(self.betas))), step)
        bias = math.sqrt(1 - self.betas[1] ** step)
        powers = (self.betas[0] / math.sqrt(self.betas[1])) ** (step - lately)
        move = rate * bias / (1 - self.betas[0] ** step) * powers * math.exp(-log_decay[step])
        moved[lately] += move
        biased[lately] += move * bias

    def since(self, last: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(factor of the weight, factor of mean / sqrt(square), mean of the c_j) for rows done up to step last [U]."""
        log_decay, moved, biased = self.sums[0], self.sums[1, last], self.sums[2, last]
        bias = np.divide(biased, moved, out=np.ones_like(moved), where=moved > 0)  # warm-up begins with a rate of 0
        now = log_decay[self.steps]
        return np.exp(now - log_decay[last]), moved * math.exp(now), bias


def _window(betas: tuple[float, float]) -> float:
    """Steps after which a gradient is forgotten; infinite if never."""
    if betas[0] >= math.sqrt(betas[1]):
        return math.inf
    return math.ceil(math.log(_FORGOTTEN) / math.log(max(betas[0] / math.sqrt(betas[1]), _FORGOTTEN)))


def lazy_table(
    model: nn.Module, *, optimizer: str, learning_rate: float, weight_decay: float,
    betas: tuple[float, float] = BETAS, epsilon: float = EPSILON,
) -> nn.Embedding | None:  # fmt: skip
    """The input embeddings of a model if they can and should be trained lazily, else None."""
    find = getattr(model, "get_input_embeddings", None)
    table = find() if find is not None else None
    if type(table) is not nn.Embedding or table.max_norm is not None or table.scale_grad_by_freq or table.sparse:
        return None
    fits = optimizer == "adamw" and learning_rate * weight_decay < _MOST_DECAY
    fits = fits or (optimizer == "adam" and not weight_decay)
    fits = fits and epsilon == EPSILON and _window(betas) <= _LONGEST
    owners = sum(weight is table.weight for part in model.modules() for weight in part._parameters.values())
    large = table.weight.numel() >= SMALLEST and table.weight.dtype == torch.float32
    return table if fits and large and owners == 1 and table.weight.requires_grad else None


def settle(optimizer: torch.optim.Optimizer) -> None:
    """Bring every weight to where the steps so far have moved it."""
    if isinstance(optimizer, LazyAdamW):
        optimizer.settle()


def release(optimizer: torch.optim.Optimizer) -> None:
    """The same, for good: the model is trained no more."""
    if isinstance(optimizer, LazyAdamW):
        optimizer.release()


def gradient_of(optimizer: torch.optim.Optimizer, weight: Tensor) -> tuple[Tensor | None, Tensor | slice]:
    """(a weight's gradient in this step, the tensor itself; the rows that it is of: all, or [U] of a lazy table)."""
    if isinstance(optimizer, LazyAdamW) and weight is optimizer.table.weight and (gathered := optimizer.gathered()):
        return gathered[1], gathered[0]
    return weight.grad, slice(None)


def gradients_of(optimizer: torch.optim.Optimizer, weights: Sequence[Tensor]) -> list[Tensor]:
    """All gradients of a step that there are, the tensors themselves; that of a lazy table comes last."""
    gathered = optimizer.gathered() if isinstance(optimizer, LazyAdamW) else None
    return [*(weight.grad for weight in weights if weight.grad is not None), *([gathered[1]] if gathered else [])]


def moment_of(optimizer: torch.optim.Optimizer, weight: Tensor) -> Tensor | None:
    """The moving average of a weight's gradients, the tensor itself; None if this optimiser has none."""
    moment: Tensor | None = optimizer.state.get(weight, {}).get("exp_avg")
    return moment
