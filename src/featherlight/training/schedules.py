"""Learning-rate schedules as pure functions of the step, so that a resumed run needs no state of theirs."""

import math
from collections.abc import Callable

_START_DIVISOR, _END_DIVISOR = 25.0, 1e4  # of 1cycle, as in torch.optim.lr_scheduler.OneCycleLR


def _cosine(progress: float) -> float:
    return 0.5 * (1.0 + math.cos(math.pi * progress))


_DECAYS: dict[str, Callable[[float], float]] = {
    "linear": lambda progress: 1.0 - progress,
    "cosine": _cosine,
    "constant": lambda progress: 1.0,
}


def factor(kind: str, step: int, total: int, *, warmup: float) -> float:
    """What the peak learning rate is multiplied with at a step.

    kind: "linear", "cosine", "constant" or "1cycle" (Smith and Topin 2018, arXiv:1708.07120).
    step: 0 .. total - 1. warmup: share of the steps in which the rate rises, linearly from 0
    (1cycle: along a cosine from 1/25, and then down to 1/250,000).
    """
    rising = round(warmup * total)
    if kind == "1cycle":
        top = max(rising - 1.0, 0.0)
        low, end = 1.0 / _START_DIVISOR, 1.0 / (_START_DIVISOR * _END_DIVISOR)
        if step <= top:
            return low + (1.0 - low) * (1.0 - _cosine(step / top if top else 1.0))
        return end + (1.0 - end) * _cosine((step - top) / max(total - 1.0 - top, 1.0))
    if step < rising:
        return step / rising
    return _DECAYS[kind]((step - rising) / max(total - rising, 1.0))
