"""Update rules by name, and which weights decay."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from featherlight.errors import missing_extra, pick
from featherlight.models.source import quiet_bitsandbytes
from featherlight.training.lazy_adamw import BETAS, EPSILON, LazyAdamW, lazy_table


@dataclass(frozen=True)
class OptimizerOptions:
    """How to walk downhill; the meaning of each number is in `stages.settings.TrainSettings`."""

    optimizer: str
    learning_rate: float
    schedule: str
    warmup: float
    weight_decay: float
    clip: float
    epochs: float
    batch_size: int
    batch_tokens: int
    patience: int
    seed: int
    epsilon: float = EPSILON
    betas: tuple[float, float] = BETAS
    evaluate_every: int = 0


def _adamw_8bit(groups: Sequence[dict[str, object]]) -> torch.optim.Optimizer:
    """AdamW whose moments are stored in 8 bits, in blocks with a scale each (Dettmers et al. 2022, arXiv:2110.02861).

    Of tensors of fewer than 4,096 weights they stay in 32 bits. UserError where bitsandbytes is not installed.
    """
    quiet_bitsandbytes()
    try:
        from bitsandbytes import optim
    except ImportError:
        raise missing_extra("bitsandbytes", "8bit") from None
    optimizer: torch.optim.Optimizer = optim.AdamW8bit(groups)  # type: ignore[no-untyped-call, attr-defined]
    return optimizer


OPTIMIZERS: dict[str, Callable[[Sequence[dict[str, object]]], torch.optim.Optimizer]] = {
    # decoupled weight decay (Loshchilov and Hutter 2019, arXiv:1711.05101)
    "adamw": partial(torch.optim.AdamW, fused=True),
    "adamw_8bit": _adamw_8bit,
    "adam": partial(torch.optim.Adam, fused=True),  # decay inside the gradient (Kingma and Ba 2015, arXiv:1412.6980)
    "adadelta": torch.optim.Adadelta,  # Zeiler 2012, arXiv:1212.5701; its usual learning rate is 1
    # a row and a column for a matrix of second moments (Shazeer and Stern 2018, arXiv:1804.04235)
    "adafactor": torch.optim.Adafactor,
    "sgd": partial(torch.optim.SGD, fused=True),  # without momentum: keeps nothing from step to step
}


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Matrices decay; vectors (biases, norms) do not. One group, and so one kernel a step, where nothing decays."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not weight_decay:
        return [{"params": trained, "weight_decay": 0.0}]
    return [
        {"params": [parameter for parameter in trained if parameter.dim() > 1], "weight_decay": weight_decay},
        {"params": [parameter for parameter in trained if parameter.dim() <= 1], "weight_decay": 0.0},
    ]


def make_optimizer(
    model: nn.Module, options: OptimizerOptions, *, trained: nn.Module, needs_whole: Callable[[Tensor], bool]
) -> torch.optim.Optimizer:
    """The optimiser of all that is trained. needs_whole: whether a table of embeddings must have its whole gradient."""
    make = pick("optimizer", options.optimizer, OPTIMIZERS)
    groups = parameter_groups(trained, options.weight_decay)
    if options.optimizer in ("adamw", "adamw_8bit", "adam"):
        groups = [{**group, "eps": options.epsilon, "betas": options.betas} for group in groups]
    table = lazy_table(
        model, optimizer=options.optimizer, learning_rate=options.learning_rate, weight_decay=options.weight_decay,
        betas=options.betas, epsilon=options.epsilon,
    )  # fmt: skip
    return make(groups) if table is None or needs_whole(table.weight) else LazyAdamW(groups, table)
