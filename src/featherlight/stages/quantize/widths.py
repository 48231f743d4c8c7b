"""The width that is asked for each tensor, and the scheme that makes it."""

from functools import partial

from featherlight.compression.quantize import Scheme, product, scheme
from featherlight.measurement.anatomy import part_of
from featherlight.stages.quantize.settings import QuantizeSettings


def width_of(settings: QuantizeSettings, name: str) -> str:
    """The width that was asked for a tensor."""
    if settings.groups is not None and name == "embedding.weight":
        return f"product, {settings.groups} groups"
    own = getattr(settings, f"bits_{part_of(name)}")
    return str(own or settings.bits)


def chosen(settings: QuantizeSettings, name: str) -> Scheme:
    """What turns a tensor into the width that was asked for."""
    if settings.groups is not None and name == "embedding.weight":
        return partial(product, groups=settings.groups, seed=settings.seed)
    return scheme_of(settings, name, width_of(settings, name))


def scheme_of(settings: QuantizeSettings, name: str, width: str) -> Scheme:
    """A scale for each row pays where rows are long; those of an embedding are many and short."""
    per_row = settings.scales == "row" or (settings.scales == "auto" and part_of(name) != "embedding")
    return scheme(width, codebook=settings.codebook, per_row=per_row)
