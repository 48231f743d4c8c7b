"""The width of each tensor, as asked for or so that the packed file has at most some bytes; and how it is made."""

from functools import partial
from typing import Any

import numpy as np

from featherlight.compression.quantize import Scheme, is_quantized, product, scheme
from featherlight.errors import UserError
from featherlight.measurement.anatomy import part_of
from featherlight.packing.writer import write_packed
from featherlight.progress import say, track
from featherlight.runtime.model import LightModel
from featherlight.runtime.packed import Encoded, Packed, decoded
from featherlight.stages.quantize.settings import QuantizeSettings

_LADDER = ("8", "5", "4", "3", "2", "ternary")  # what a budget steps down
_Tries = dict[tuple[str, str], tuple[Encoded, float]]  # (tensor, width) -> what it becomes, how far logits move


def width_of(settings: QuantizeSettings, name: str) -> str:
    """The width that was asked for a tensor."""
    if settings.groups is not None and name == "embedding.weight":
        return f"product, {settings.groups} groups"
    return str(getattr(settings, f"bits_{part_of(name)}") or settings.bits)


def scheme_asked(settings: QuantizeSettings, name: str) -> Scheme:
    """What turns a tensor into the width that was asked for."""
    if settings.groups is not None and name == "embedding.weight":
        return partial(product, groups=settings.groups, seed=settings.seed)
    return scheme_of(settings, name, width_of(settings, name))


def scheme_of(settings: QuantizeSettings, name: str, width: str) -> Scheme:
    """A scale for each row pays where rows are long; those of an embedding are many and short."""
    per_row = settings.scales == "row" or (settings.scales == "auto" and part_of(name) != "embedding")
    return scheme(width, codebook=settings.codebook, per_row=per_row)


def within_budget(whole: Packed, texts: Any, most: int, settings: QuantizeSettings) -> dict[str, str]:
    """The width of each tensor so that the file has at most `most` bytes and the logits stay close.

    All begin at 8 bits. Then, again and again, the tensor goes one width down that moves the logits least for each
    byte it saves: the mean squared distance from the float model's on rows of train, the others left whole.
    """
    names = [name for name in whole.tensors if is_quantized(name)]
    before = LightModel(whole)(*texts)
    tried: _Tries = {}
    with track("widths", len(names) * len(_LADDER), unit="tries") as advance:
        for name in names:
            for width in _LADDER:
                encoded = scheme_of(settings, name, width)(decoded(whole.tensors[name]))
                after = LightModel(Packed(whole.about, {**whole.tensors, name: encoded}))(*texts)
                tried[name, width] = encoded, float(np.square(after - before).mean())
                advance(1)
    steps = dict.fromkeys(names, 0)
    while True:
        encoded_now = {name: tried[name, _LADDER[step]][0] for name, step in steps.items()}
        size = len(write_packed(whole.about, {**whole.tensors, **encoded_now}))
        if size <= most:
            break
        costs = {name: _cost(tried, name, step) for name, step in steps.items() if step + 1 < len(_LADDER)}
        if not costs:
            raise UserError(
                f"--budget: this student needs {size:,} bytes at least. Prune it first, or distil a smaller one."
            )
        steps[min(costs, key=lambda name: (costs[name], name))] += 1
    widths = {name: _LADDER[step] for name, step in steps.items()}
    say(f"{size:,} bytes: {', '.join(f'{name} {width}' for name, width in widths.items())}")
    return widths


def _cost(tried: _Tries, name: str, step: int) -> float:
    """How far the logits move for each bit of code that one width less saves."""
    (now, error), (then, worse) = tried[name, _LADDER[step]], tried[name, _LADDER[step + 1]]
    saved = now.size * (np.log2(now.levels) - np.log2(then.levels))
    return float(max(worse - error, 0.0) / saved)
