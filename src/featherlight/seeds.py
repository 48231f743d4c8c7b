"""One seed, many independent streams, each with a name. The only module that touches global state."""

import hashlib

import numpy as np
import torch


def derive(seed: int, *names: str | int) -> int:
    """A 63-bit seed for one named purpose; streams of different names do not overlap in practice."""
    text = "/".join(str(part) for part in (seed, *names))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


def numpy_generator(seed: int, *names: str | int) -> np.random.Generator:
    """A numpy generator of its own for one named purpose."""
    return np.random.default_rng(derive(seed, *names))


def seed_torch(seed: int, *names: str | int) -> None:
    """Set torch's global generators (initial weights and dropout read them); cheap enough for every step.

    Called before a model is built and before every optimiser step, so that a run that was
    interrupted draws the same numbers after its resumption without storing generator states.
    """
    number = derive(seed, *names)
    torch.default_generator.manual_seed(number)  # torch.manual_seed formats three stack traces where there is no GPU
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.manual_seed_all(number)
    if torch.backends.mps.is_available():
        torch.mps.manual_seed(number)
