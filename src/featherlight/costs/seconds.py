"""A model's sizes and the shapes of batches in; counts of their work out, and seconds, given a machine's rates.

Seconds of a batch are a sum of counts times rates: operations of matrix products (by width, for small matrices compute
slower), of attention, numbers that are touched once (norms, activations, sums), launches, and, in training, weights
that are updated. The rates are those that fit a machine's own measurements best, none below zero (Lawson and Hanson
1974, chapter 23), each measurement counting by its relative error. House shapes: B examples, T tokens.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

WIDTHS = (128, 384, 768)  # at which matrix products are calibrated; between them the rate is interpolated
COUNTED = {
    "encoder": (*(f"products at {width}" for width in WIDTHS), "attention", "scores", "touched",
                "weights read", "layers", "batches", "weights"),
    **dict.fromkeys(("bilstm", "rnn"), ("products", "touched", "tokens in turn", "examples", "batches", "weights")),
    "bag": ("touched", "examples", "batches", "weights"),
}  # fmt: skip


@dataclass(frozen=True)
class ModelSizes:
    """What decides the time of a model. kind: "encoder", "bilstm", "rnn" or "bag".

    width: hidden width, of each direction; inner: feed-forward width, or the width of a student's embeddings. layers:
    of an encoder; a student has 1. heads: of its attention, whose scores are touched one by one. dense: weights that
    every update goes through; a table of which it takes few rows is not among them.
    """

    kind: str
    layers: int
    width: int
    inner: int
    dense: int
    heads: int = 1

    def counts(self, rows: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """Counts [features] of batches with so many rows of so many padded tokens each, summed over the batches."""
        b, t = np.asarray(rows, dtype=float), np.asarray(lengths, dtype=float)
        tokens, batches = float((b * t).sum()), float(len(b))
        if self.kind == "encoder":
            weights = self.layers * self.width * (4 * self.width + 2 * self.inner)
            products = [2 * tokens * weights * share for share in hats(self.width)]
            attention = 4 * float((b * t**2).sum()) * self.width * self.layers
            scores = float((b * t**2).sum()) * self.heads * self.layers
            touched = tokens * self.layers * (2 * self.width + self.inner)
            more = [attention, scores, touched, batches * weights, self.layers * batches, batches, batches * self.dense]
            return np.array([*products, *more])
        touched = tokens * (self.width + self.inner)
        if self.kind == "bag":
            return np.array([touched, float(b.sum()), batches, batches * self.dense])
        gates = 4 if self.kind == "bilstm" else 1
        operations = 2 * tokens * 2 * gates * self.width * (self.width + self.inner)
        return np.array([operations, touched, float(t.sum()), float(b.sum()), batches, batches * self.dense])


def hats(width: int) -> list[float]:
    """Shares of the calibrated widths in this one: linear in its logarithm, the nearest one beyond their ends."""
    places = np.log(np.clip(width, WIDTHS[0], WIDTHS[-1])), np.log(WIDTHS)
    return [float(np.interp(places[0], places[1], np.eye(len(WIDTHS))[k])) for k in range(len(WIDTHS))]


def fit_rates(counts: Sequence[np.ndarray], seconds: Sequence[float]) -> np.ndarray:
    """Seconds per count, none negative: least squares of relative errors."""
    times = np.asarray(seconds, dtype=float)
    rates: np.ndarray = nnls(np.asarray(counts) / times[:, None], np.ones(len(times)))[0]
    return rates


@dataclass(frozen=True)
class MachineRates:
    """Seconds per count of a machine. forward and train: kind of model -> rates; off: median relative error there."""

    forward: Mapping[str, Sequence[float]]
    train: Mapping[str, Sequence[float]]
    off: Mapping[str, float]

    def seconds(self, sizes: ModelSizes, rows: np.ndarray, lengths: np.ndarray, *, training: bool) -> float:
        """Seconds of batches: forward passes, or steps of training."""
        rates = (self.train if training else self.forward)[sizes.kind]
        return float(sizes.counts(rows, lengths) @ np.asarray(rates))
