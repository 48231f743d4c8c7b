"""The bytes that an optimiser keeps between steps, from the shapes of the weights that it moves."""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod

FP32 = 4
_EIGHT_BITS_FROM = 4096  # weights of a tensor from which bitsandbytes stores its moments in 8 bits


def _factored(tensors: list[tuple[int, ...]]) -> int:
    """Bytes of Adafactor's state: a row and a column for each matrix, and vectors whole."""
    return FP32 * sum(prod(t[:-1]) + prod(t[:-2]) * t[-1] if len(t) > 1 else prod(t) for t in tensors)


def _two_moments(tensors: list[tuple[int, ...]]) -> int:
    return 2 * FP32 * sum(map(prod, tensors))


def _eight_bits(tensors: list[tuple[int, ...]]) -> int:
    """Bytes of bitsandbytes' moments: a byte each and a scale for 256; fp32 of small tensors and of two code books."""
    large = [size for size in map(prod, tensors) if size >= _EIGHT_BITS_FROM]
    blocks = sum(-(-size // 256) for size in large)
    small = 2 * FP32 * sum(size for size in map(prod, tensors) if size < _EIGHT_BITS_FROM)
    return 2 * sum(large) + 2 * FP32 * blocks + small + 2 * FP32 * 256


@dataclass(frozen=True)
class _Rule:
    """An optimiser. state: bytes that it keeps; copies: of the largest weight, made and dropped in its step."""

    state: Callable[[list[tuple[int, ...]]], int]
    copies: int
    formula: str
    source: str


RULES = {
    "adamw": _Rule(_two_moments, 0, "8 T", "two moments (Loshchilov and Hutter 2019)"),
    "adamw_8bit": _Rule(_eight_bits, 5, "2 T + T / 32", "two moments in 8 bits (Dettmers et al. 2022)"),
    "adam": _Rule(_two_moments, 0, "8 T", "two moments (Kingma and Ba 2015)"),
    "adadelta": _Rule(_two_moments, 3, "8 T", "averages of squared gradients and steps (Zeiler 2012)"),
    "adafactor": _Rule(_factored, 3, "4 (rows + columns)", "factored second moments (Shazeer and Stern 2018)"),
    "sgd": _Rule(lambda tensors: 0, 0, "0", "no momentum"),
}
