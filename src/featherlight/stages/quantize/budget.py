"""Widths of tensors so that the packed file has at most some bytes."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from featherlight.compression.quantize import is_quantized
from featherlight.errors import UserError
from featherlight.packing.writer import write_packed
from featherlight.progress import say, track
from featherlight.runtime.model import LightModel
from featherlight.runtime.packed import Encoded, Packed, decoded
from featherlight.stages.quantize.settings import QuantizeSettings
from featherlight.stages.quantize.widths import scheme_of

_LADDER = ("8", "5", "4", "3", "2", "ternary")  # what a budget steps down
_Tries = dict[tuple[str, str], tuple[Encoded, float]]  # (tensor, width) -> what it becomes, how far logits move


def within_budget(whole: Packed, texts: Any, most: int, settings: QuantizeSettings) -> dict[str, str]:
    """The width of each tensor so that the file has at most `most` bytes and the logits stay close.

    All begin at 8 bits. Then, again and again, the tensor goes one width down that moves the logits least for each
    byte it saves: the mean squared distance from the float model's on rows of train, the others left whole.
    """
    names = [name for name in whole.tensors if is_quantized(name)]
    wanted = LightModel(whole)(*texts)
    tried: _Tries = {}
    with track("widths", len(names) * len(_LADDER), unit="tries") as advance:
        for name in names:
            for width in _LADDER:
                encoded = scheme_of(settings, name, width)(decoded(whole.tensors[name]))
                found = LightModel(Packed(whole.about, {**whole.tensors, name: encoded}))(*texts)
                tried[name, width] = encoded, float(np.square(found - wanted).mean())
                advance(1)
    place = dict.fromkeys(names, 0)
    while (size := len(_packed_with(whole, tried, place))) > most:
        lower = {name: step for name, step in place.items() if step + 1 < len(_LADDER)}
        if not lower:
            raise UserError(
                f"--budget: this student needs {size:,} bytes at least. Prune it first, or distil a smaller one."
            )
        gains = {name: _gain(tried, name, step) for name, step in lower.items()}
        best = min(gains, key=lambda name: (gains[name], name))
        place[best] += 1
    say(f"{size:,} bytes: {', '.join(f'{name} {_LADDER[step]}' for name, step in place.items())}")
    return {name: _LADDER[step] for name, step in place.items()}


def _packed_with(
    whole: Packed, tried: Mapping[tuple[str, str], tuple[Encoded, float]], place: Mapping[str, int]
) -> bytes:
    """The file that these widths make."""
    return write_packed(
        whole.about, {**whole.tensors, **{name: tried[name, _LADDER[step]][0] for name, step in place.items()}}
    )


def _gain(tried: _Tries, name: str, step: int) -> float:
    """How far the logits move for each bit of code that one width less saves."""
    (now, error), (then, worse) = tried[name, _LADDER[step]], tried[name, _LADDER[step + 1]]
    saved = now.size * (np.log2(now.levels) - np.log2(then.levels))
    return float(max(worse - error, 0.0) / saved)
