"""Texts in, padded batches of token ids out: tokenised once, grouped by length, bounded by tokens.

Knows no model, loss or device. Token ids stay in flat numpy arrays until a batch is asked for.
House shapes: B examples, T tokens.
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from featherlight.data.beginnings import beginnings
from featherlight.data.task import Examples

if TYPE_CHECKING:
    from torch import Tensor

TOKENISE_AT_ONCE = 4096  # rows handed to the tokenizer in one call; bounds its memory
BATCHES_PER_GROUP = 50  # batches that are sorted by length together; more would make the order less random


@dataclass(frozen=True)
class Ragged:
    """Rows of unequal length in one array: row i is values[offsets[i]:offsets[i + 1]]."""

    values: np.ndarray
    offsets: np.ndarray

    @classmethod
    def of(cls, rows: Sequence[Sequence[int] | np.ndarray]) -> "Ragged":
        """Pack lists of integers."""
        lengths = np.fromiter((len(row) for row in rows), dtype=np.int64, count=len(rows))
        offsets = np.concatenate(([0], np.cumsum(lengths)))
        values = np.fromiter((value for row in rows for value in row), dtype=np.int64, count=int(offsets[-1]))
        return cls(values, offsets)

    @functools.cached_property
    def lengths(self) -> np.ndarray:
        """int64 [N]."""
        return np.diff(self.offsets)

    def rows(self, indices: np.ndarray) -> np.ndarray:
        """The values of these rows, one after the other."""
        starts, lengths = self.offsets[indices], self.lengths[indices]
        before = np.cumsum(lengths) - lengths
        return self.values[np.repeat(starts - before, lengths) + np.arange(int(lengths.sum()))]

    def padded(self, indices: np.ndarray, *, pad: int, left: bool) -> tuple[np.ndarray, np.ndarray]:
        """int64 [B, T] values and a [B, T] mask of what is real; T is at least 1."""
        lengths = self.lengths[indices]
        width = max(int(lengths.max()), 1)
        columns = np.arange(width) - (width - lengths[:, None] if left else 0)
        mask = (columns >= 0) & (columns < lengths[:, None])
        rows = np.full((len(indices), width), pad, dtype=np.int64)
        rows[mask] = self.values[(self.offsets[indices][:, None] + columns)[mask]]
        return rows, mask


@dataclass(frozen=True)
class Tokens:
    """A tokenised split.

    columns: "input_ids" and, where the model wants them, "token_type_ids" and "pair_input_ids".
    pads: the value that fills up each column. left: whether padding goes before the text (XLNet).
    """

    columns: Mapping[str, Ragged]
    pads: Mapping[str, int]
    left: bool = False

    def __len__(self) -> int:
        return len(self.columns["input_ids"].offsets) - 1

    @property
    def lengths(self) -> np.ndarray:
        """int64 [N]: tokens per example, both texts of a pair counted."""
        texts = [ragged.lengths for name, ragged in self.columns.items() if name.endswith("input_ids")]
        total: np.ndarray = np.sum(texts, axis=0)
        return total

    def ids(self, indices: np.ndarray) -> np.ndarray:
        """int64 [n]: all token ids of these examples, padding included."""
        texts = [name for name in self.columns if name.endswith("input_ids")]
        parts = [self.columns[name].rows(indices) for name in texts]
        return np.concatenate([*parts, [self.pads[name] for name in texts]])

    def batch(self, indices: np.ndarray) -> dict[str, "Tensor"]:
        """Model inputs, int64 [B, T] each: every column, and a mask beside each column of ids."""
        import torch

        inputs = {}
        for name, ragged in self.columns.items():
            rows, mask = ragged.padded(indices, pad=self.pads[name], left=self.left)
            inputs[name] = torch.from_numpy(rows)
            if name.endswith("input_ids"):
                inputs[name.replace("input_ids", "attention_mask")] = torch.from_numpy(mask.astype(np.int64))
        return inputs

    def take(self, indices: np.ndarray) -> "Tokens":
        """The examples at these positions, in this order."""
        columns = {
            name: Ragged.of([ragged.values[ragged.offsets[i] : ragged.offsets[i + 1]] for i in indices])
            for name, ragged in self.columns.items()
        }
        return Tokens(columns, self.pads, self.left)


def tokenise(tokenizer: Any, examples: Examples, *, max_length: int, apart: bool) -> Tokens:
    """Run a Hugging Face tokenizer over a split, once.

    apart: the two texts of a pair become two columns (students), else one joined sequence
    (encoders). max_length: most tokens per row and column, special tokens included.
    """
    if apart:
        columns = {"input_ids": ids(tokenizer, examples.first, None, max_length)["input_ids"]}
        if examples.second is not None:
            columns["pair_input_ids"] = ids(tokenizer, examples.second, None, max_length)["input_ids"]
    else:
        columns = ids(tokenizer, examples.first, examples.second, max_length)
    pads = {name: tokenizer.pad_token_id if name.endswith("input_ids") else pad_type(tokenizer) for name in columns}
    return Tokens(columns, pads, left=tokenizer.padding_side == "left")


def pad_type(tokenizer: Any) -> int:
    """The segment number of padding; 0 for nearly every model (XLNet has its own)."""
    return int(getattr(tokenizer, "pad_token_type_id", 0))


def ids(tokenizer: Any, first: Sequence[str], second: Sequence[str] | None, max_length: int) -> dict[str, Ragged]:
    """Every column of integers that the tokenizer makes for its model, except the mask."""
    first = beginnings(tokenizer, first, max_length)
    second = None if second is None else beginnings(tokenizer, second, max_length)
    rows: dict[str, list[list[int]]] = {}
    for start in range(0, len(first), TOKENISE_AT_ONCE):
        part = slice(start, start + TOKENISE_AT_ONCE)
        pair = None if second is None else list(second[part])
        encoded = tokenizer(
            list(first[part]), pair, truncation=True, max_length=max_length, return_attention_mask=False
        )
        for name, values in encoded.items():
            rows.setdefault(name, []).extend(values)
    if not rows:
        rows["input_ids"] = []
    return {name: Ragged.of(values) for name, values in rows.items()}


def shuffled_batches(lengths: np.ndarray, size: int, generator: np.random.Generator) -> list[np.ndarray]:
    """One epoch: every example once, in batches of `size` (the last may be smaller) of similar length.

    Random order; then within each group of 50 batches the examples are sorted by length, so that
    little padding is needed; then the batches are shuffled.
    """
    order = generator.permutation(len(lengths))
    group = size * BATCHES_PER_GROUP
    batches: list[np.ndarray] = []
    for start in range(0, len(order), group):
        part = order[start : start + group]
        part = part[np.argsort(-lengths[part], kind="stable")]
        batches.extend(part[i : i + size] for i in range(0, len(part), size))
    return [batches[i] for i in generator.permutation(len(batches))]


def within_budget(lengths: np.ndarray, indices: np.ndarray, *, tokens: int) -> list[np.ndarray]:
    """Cut indices, longest first, into runs whose padded size (rows x longest) is at most `tokens`.

    An example that is longer than the budget stands alone.
    """
    order = indices[np.argsort(-lengths[indices], kind="stable")]
    parts, start = [], 0
    while start < len(order):
        rows = max(tokens // max(int(lengths[order[start]]), 1), 1)
        parts.append(order[start : start + rows])
        start += rows
    return parts
