"""Token ids in, padded batches out: grouped by length, bounded by tokens.

Knows no model, loss or device. Token ids stay in flat numpy arrays until a batch is asked for.
House shapes: B examples, T tokens.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from featherlight.data.tokens.ragged import Ragged

if TYPE_CHECKING:
    from torch import Tensor

_BATCHES_PER_GROUP = 50  # batches that are sorted by length together; more would make the order less random
_BLOCK, _RUN = 2**20, 64  # rows whose order is made at a time, and neighbours that stay within one block


@dataclass(frozen=True)
class Tokens:
    """A tokenised split.

    columns: "input_ids" and, where the model wants them, "token_type_ids" and "pair_input_ids".
    pads: the value that fills up each column. left: whether padding goes before the text (XLNet).
    least: tokens that a batch is padded to at least, as the timing studies have it that pad to the maximum.
    """

    columns: Mapping[str, Ragged]
    pads: Mapping[str, int]
    left: bool = False
    least: int = 1

    def __len__(self) -> int:
        return len(self.columns["input_ids"])

    @property
    def lengths(self) -> np.ndarray:
        """int64 [N]: tokens per example, both texts of a pair counted."""
        texts = [ragged.lengths for name, ragged in self.columns.items() if name.endswith("input_ids")]
        total: np.ndarray = np.sum(texts, axis=0)
        return total

    def arrays(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        """Model inputs, int64 [B, T] each: every column, and a mask beside each column of ids."""
        inputs = {}
        for name, ragged in self.columns.items():
            inputs[name], mask = ragged.padded(indices, pad=self.pads[name], left=self.left, least=self.least)
            if name.endswith("input_ids"):
                inputs[mask_of(name)] = mask.astype(np.int64)
        return inputs

    def batch(self, indices: np.ndarray) -> dict[str, "Tensor"]:
        """The same as tensors."""
        import torch

        return {name: torch.from_numpy(array) for name, array in self.arrays(indices).items()}

    def take(self, indices: np.ndarray) -> "Tokens":
        """The examples at these positions, in this order."""
        columns = {name: ragged.take(indices) for name, ragged in self.columns.items()}
        return Tokens(columns, self.pads, self.left, self.least)


def mask_of(name: str) -> str:
    """What the mask of a column of token ids is called."""
    return name.replace("input_ids", "attention_mask")


def shuffled_batches(lengths: np.ndarray, size: int, generator: np.random.Generator) -> list[np.ndarray]:
    """One epoch: every example once, in batches of `size` (the last may be smaller) of similar length.

    Random order; then within each group of 50 batches the examples are sorted by length, so that
    little padding is needed; then the batches are shuffled.
    """
    order = generator.permutation(len(lengths))
    group = size * _BATCHES_PER_GROUP
    batches: list[np.ndarray] = []
    for start in range(0, len(order), group):
        part = order[start : start + group]
        part = part[np.argsort(-lengths[part], kind="stable")]
        batches.extend(part[i : i + size] for i in range(0, len(part), size))
    return [batches[i] for i in generator.permutation(len(batches))]


def epoch_batches(
    lengths: np.ndarray, size: int, generator: np.random.Generator, *, block: int = _BLOCK
) -> Iterator[np.ndarray]:
    """The batches of `shuffled_batches`, one at a time; of more than `block` rows made block by block.

    Then runs of 64 neighbouring rows are shuffled, and the rows of as many runs as fill a block among each other; what
    is no whole batch goes into the next block. Beside the lengths, which may lie in a file, that takes one number a
    run, and what one block does.
    """
    if len(lengths) <= block:
        yield from shuffled_batches(lengths, size, generator)
        return
    runs, rest = generator.permutation(-(-len(lengths) // _RUN)), np.zeros(0, dtype=np.int64)
    for start in range(0, len(runs), block // _RUN):
        rows = (runs[start : start + block // _RUN, None] * _RUN + np.arange(_RUN)).ravel()
        rows = generator.permutation(np.concatenate([rest, rows[rows < len(lengths)]]))
        last = start + block // _RUN >= len(runs)
        whole = len(rows) if last else len(rows) // size * size
        rows, rest = rows[:whole], rows[whole:]
        for batch in shuffled_batches(np.asarray(lengths[rows]), size, generator):
            yield rows[batch]


def within_budget(lengths: np.ndarray, indices: np.ndarray, *, tokens: int) -> list[np.ndarray]:
    """Indices, longest first, in runs of padded size (rows x longest) at most `tokens`; a longer one is alone."""
    order = indices[np.argsort(-lengths[indices], kind="stable")]
    parts = []
    while len(order):
        rows = max(tokens // max(int(lengths[order[0]]), 1), 1)
        parts.append(order[:rows])
        order = order[rows:]
    return parts
