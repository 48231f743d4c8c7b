"""Rows of unequal length in flat arrays: how token ids are kept until a batch is asked for.

House shapes: N rows, B rows of a batch, T columns.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np


@dataclass(frozen=True)
class Ragged:
    """Rows of unequal length in one array: row i is values[offsets[i]:offsets[i + 1]]."""

    values: np.ndarray
    offsets: np.ndarray

    @classmethod
    def of(cls, rows: Sequence[Sequence[int] | np.ndarray]) -> "Ragged":
        """Pack lists of integers."""
        lengths = np.fromiter(map(len, rows), dtype=np.int64, count=len(rows))
        values = np.fromiter(chain.from_iterable(rows), dtype=np.int64, count=int(lengths.sum()))
        return cls(values, offsets_of(lengths))

    @classmethod
    def joined(cls, parts: Sequence["Ragged"]) -> "Ragged":
        """The rows of one part after those of the other."""
        lengths = np.concatenate([part.lengths for part in parts])
        return cls(np.concatenate([part.values for part in parts]), offsets_of(lengths))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @functools.cached_property
    def lengths(self) -> np.ndarray:
        """int64 [N]."""
        return np.diff(self.offsets)

    def rows(self, indices: np.ndarray) -> np.ndarray:
        """The values of these rows, one after the other."""
        values: np.ndarray = self.values[spans(self.offsets[indices], self.lengths[indices])]
        return values

    def take(self, indices: np.ndarray) -> "Ragged":
        """The rows at these positions, in this order."""
        return Ragged(self.rows(indices), offsets_of(self.lengths[indices]))

    def padded(self, indices: np.ndarray, *, pad: int, left: bool, least: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """int64 [B, T] values and a [B, T] mask of what is real; T is at least `least`."""
        lengths = self.lengths[indices]
        width = max(int(lengths.max()), least)
        columns = np.arange(width) - (width - lengths[:, None] if left else 0)
        mask = (columns >= 0) & (columns < lengths[:, None])
        rows = np.full((len(indices), width), pad, dtype=np.int64)
        rows[mask] = self.values[(self.offsets[indices][:, None] + columns)[mask]]
        return rows, mask


def offsets_of(lengths: np.ndarray) -> np.ndarray:
    """Where each row starts, and after the last one where it ends: [N] -> [N + 1]."""
    return np.concatenate((np.zeros(1, dtype=np.int64), np.cumsum(lengths)))


def spans(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """The positions of N runs, one after the other: `spans([7, 2], [3, 2])` is 7, 8, 9, 2, 3."""
    offsets = offsets_of(lengths)
    positions: np.ndarray = np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], lengths)
    return positions
