"""Several processes, one training: each takes its share of every batch, and gradients are summed up.

A launcher (`accelerate launch`, `torchrun`) starts the same command several times and says so in the environment.
"""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the store asks how many processes there are without loading torch
    import torch


class TookPart(Exception):
    """Raised when a process that only helps to train has finished."""


def world_size() -> int:
    """How many processes a launcher has started; 1 without one."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def rank() -> int:
    """Which of them this one is, from 0: the first one writes what is kept."""
    return int(os.environ.get("RANK", "0")) if world_size() > 1 else 0


def wait_for_all(*, on_processor: bool) -> None:
    """Return when every process is here. on_processor: whether the training computes on the CPU."""
    if world_size() > 1:
        from accelerate import PartialState

        PartialState(cpu=on_processor).wait_for_everyone()


def sum_over_processes(parameters: Sequence["torch.Tensor"], losses: "torch.Tensor") -> "torch.Tensor":
    """Replace each gradient by its sum over the processes, in one message; the sums of the losses [n].

    A parameter without a gradient gives zeros.
    """
    import torch

    gradients = []
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        gradients.append(parameter.grad)
    message = torch.cat([*(gradient.flatten() for gradient in gradients), losses])
    torch.distributed.all_reduce(message)
    *sums, summed_losses = torch.split(message, [*(gradient.numel() for gradient in gradients), len(losses)])
    for gradient, gradient_sum in zip(gradients, sums, strict=True):
        gradient.copy_(gradient_sum.view_as(gradient))
    return summed_losses


def agreed(value: float, device: "torch.device") -> float:
    """The first process's value, for all processes: rounding must not make them decide differently."""
    import torch

    if world_size() == 1:
        return value
    message = torch.tensor([value], dtype=torch.float64, device=device)
    torch.distributed.broadcast(message, src=0)
    return float(message)
