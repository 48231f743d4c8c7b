"""Quantization-aware training: a model that computes with few-bit weights while it is trained.

Goes along with the loop as a `training.loop.WeightHook`. The model's tensors always hold quantized values, so that
gradients, scores and checkpoints are those of the quantized model; the precise weights that the optimiser moves are
kept here. The gradient passes the rounding straight through (Bengio et al. 2013, arXiv:1308.3432; for weights
Jacob et al. 2018, arXiv:1712.05877). Scales and books are those of the start.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from featherlight.compression.parts import Part
from featherlight.compression.quantize import Scheme
from featherlight.runtime.packed import Encoded


class Rounding:
    """A tensor's values: which ones it can have, and which one is nearest."""

    def __init__(self, encoded: Encoded):
        self.encoded = encoded
        self.middle = encoded.levels // 2
        book = encoded.parts.get("book")
        self.book = None if book is None else torch.from_numpy(np.asarray(book, dtype=np.float32))
        scales = encoded.parts.get("scales", np.ones(1, dtype=np.float32)).astype(np.float32)
        self.scales = torch.from_numpy(scales.reshape(-1, *[1] * (len(encoded.shape) - 1)))

    def to(self, device: torch.device) -> None:
        """Move to where the weights are."""
        self.scales = self.scales.to(device)
        self.book = None if self.book is None else self.book.to(device)

    def codes(self, weight: Tensor) -> Tensor:
        """The code of the nearest value, from 0 to K - 1."""
        if self.book is not None:
            return torch.bucketize(weight, (self.book[1:] + self.book[:-1]) / 2)
        scaled = torch.where(self.scales == 0, 0.0, weight / self.scales)
        return (scaled.round() + self.middle).clamp(0, self.encoded.levels - 1)

    def __call__(self, weight: Tensor) -> Tensor:
        """The nearest values."""
        codes = self.codes(weight)
        return self.book[codes] if self.book is not None else (codes - self.middle) * self.scales

    def scale(self, factor: float) -> None:
        """Make all values so many times as large."""
        self.scales, self.book = self.scales * factor, None if self.book is None else self.book * factor
        kept = self.encoded.parts.items()
        changed = {name: (part.astype("<f4") * np.float32(factor)) for name, part in kept if name != "codes"}
        self.encoded = replace(self.encoded, parts={**self.encoded.parts, **changed})

    def encode(self, weight: Tensor) -> Encoded:
        """A tensor that holds such values, as it is stored."""
        codes = self.codes(weight).cpu().numpy().astype(np.uint8).ravel()
        return replace(self.encoded, parts={**self.encoded.parts, "codes": codes})


class QuantizationAware:
    """The weights of some parts, precise for the optimiser and quantized for everybody else."""

    settled = True

    def __init__(self, parts: list[Part], schemes: Mapping[str, Scheme]):
        self.parts = parts
        self.precise = [part.weight.detach().clone() for part in parts]
        self.pruned = [weight == 0 for weight in self.precise]  # stays so
        self.roundings = [
            Rounding(schemes[part.name](weight.cpu().numpy())) for part, weight in zip(parts, self.precise, strict=True)
        ]
        self.after_update()

    def start(self, device: torch.device) -> None:
        """Move to where the weights are."""
        self.precise = [weight.to(device) for weight in self.precise]
        self.pruned = [pruned.to(device) for pruned in self.pruned]
        for rounding in self.roundings:
            rounding.to(device)

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint needs; the tensors themselves."""
        return {f"precise.{part.name}": weight for part, weight in zip(self.parts, self.precise, strict=True)}

    def needs_whole(self, weight: Tensor) -> bool:
        """A quantized table is moved as a whole."""
        return any(part.weight is weight for part in self.parts)

    @torch.no_grad()
    def before_update(self, step: int, total: int, optimizer: torch.optim.Optimizer) -> None:
        """Before the update: the optimiser gets the precise weights."""
        for part, weight in zip(self.parts, self.precise, strict=True):
            part.weight.copy_(weight)

    @torch.no_grad()
    def after_update(self) -> None:
        """Keep the precise weights, and show the quantized ones."""
        for part, weight, pruned, rounding in zip(self.parts, self.precise, self.pruned, self.roundings, strict=True):
            weight.copy_(part.weight.masked_fill(pruned, 0.0))
            part.weight.copy_(rounding(weight))

    def scale(self, weight: Tensor, factor: float) -> None:
        """A tensor was multiplied after the training: so are the values that it can have."""
        for part, rounding in zip(self.parts, self.roundings, strict=True):
            if part.weight is weight:
                rounding.scale(factor)

    def encoded(self) -> dict[str, Encoded]:
        """The tensors as they are stored."""
        return {
            part.name: rounding.encode(part.weight.detach())
            for part, rounding in zip(self.parts, self.roundings, strict=True)
        }
