"""Which texts are nearly equal: texts in, a twin's number out. MinHash finds them, exact Jaccard decides.

Two texts are near if the Jaccard similarity of their word trigrams, without case, punctuation and digits, is
at least 0.8; two pairs of texts if first and second texts both are. Knows no split and no task.
"""

import re
from collections.abc import Iterator, Sequence

import numpy as np

from featherlight.data.tokens.ragged import offsets_of, spans

_NEAR = 0.8  # Jaccard similarity from which two texts are near
_WORDS = 3  # in a row make a shingle; a shorter text is one shingle
_BANDS, _HASHES_IN_BAND = 20, 4  # of two texts at 0.8, 1 - (1 - 0.8**4)**20 = 99.997 % share a band
MOST_TOGETHER = 32  # texts of one key; further ones meet these alone, or boilerplate would cost its square
_PAIRS_AT_ONCE = 200_000
_BITS = np.uint64(40)  # of a shingle's hash: two that differ look alike once in 10**12 comparisons
_WORD = re.compile(r"[^\W\d_]+")


def near_twins(first: Sequence[str], second: Sequence[str] | None, *, known: int) -> np.ndarray:
    """int64 [N]: the number of an earlier near text among the first `known` ones, or -1.

    first, second: N texts, or N pairs of texts. A text's own earlier copies count as near.
    """
    sides = [_shingled(texts) for texts in ([first] if second is None else [first, second])]
    numbers = np.arange(len(first))
    seen: dict[tuple[bytes, ...], int] = {}  # shingles on every side -> the first text that has them
    keys = zip(*(map(np.ndarray.tobytes, np.split(side.values, side.starts[1:-1])) for side in sides), strict=True)
    copies = np.array([seen.setdefault(key, number) for number, key in enumerate(keys)], dtype=np.int64)
    twins = np.where((copies < numbers) & (copies < known), copies, -1)
    kept = np.flatnonzero(copies == numbers)
    twins[kept] = _distinct_twins([side.take(kept) for side in sides], kept, known)
    late = np.flatnonzero((copies < numbers) & (copies >= known))  # copies of a text that is not known
    twins[late] = twins[copies[late]]
    return twins


def _distinct_twins(sides: Sequence["_Shingles"], numbers: np.ndarray, known: int) -> np.ndarray:
    """int64 [M]: the same for M texts of which no two are alike; numbers [M] are theirs."""
    twins = np.full(len(numbers), -1, dtype=np.int64)
    for keys in _bands(sides):
        earlier, later = _together(keys)
        possible = np.all([side.similar_sizes(earlier, later) for side in sides], axis=0)
        open_pairs = np.flatnonzero(possible & (numbers[earlier] < known) & (twins[later] == -1))
        for start in range(0, len(open_pairs), _PAIRS_AT_ONCE):
            part = open_pairs[start : start + _PAIRS_AT_ONCE]
            a, b = earlier[part], later[part]
            near = np.all([side.similarity(a, b) >= _NEAR for side in sides], axis=0)
            twins[b[near]] = numbers[a[near]]
    return twins


class _Shingles:
    """The sets of word trigrams of N texts: values uint64 [S], each text's run sorted and distinct; starts [N + 1]."""

    def __init__(self, values: np.ndarray, starts: np.ndarray):
        self.values, self.starts = values, starts
        self.sizes = np.diff(starts)

    def take(self, rows: np.ndarray) -> "_Shingles":
        """The sets of these texts."""
        sizes = self.sizes[rows]
        return _Shingles(self.values[spans(self.starts[rows], sizes)], offsets_of(sizes))

    def similar_sizes(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """bool [P]: whether texts a [P] and b [P] can be near by the number of their shingles."""
        ratio = np.minimum(self.sizes[a], self.sizes[b]) / np.maximum(self.sizes[a], self.sizes[b])
        return np.asarray(ratio >= _NEAR)

    def similarity(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """float64 [P]: the exact Jaccard similarity of texts a [P] and b [P]."""
        both = np.concatenate([a, b])
        pairs = np.repeat(np.tile(np.arange(len(a)), 2), self.sizes[both])
        values = np.sort(_numbered(pairs, self.values[spans(self.starts[both], self.sizes[both])]))
        shared = values[1:][values[1:] == values[:-1]] >> _BITS  # each stands twice at most: once in a, once in b
        common = np.bincount(shared.astype(np.int64), minlength=len(a))
        return np.asarray(common / (self.sizes[a] + self.sizes[b] - common))

    def minhashes(self, multipliers: np.ndarray) -> np.ndarray:
        """uint64 [N, K]: for each of K orders (odd multiples of the random values) the first shingle in each set."""
        hashes = [np.minimum.reduceat(self.values * multiplier, self.starts[:-1]) for multiplier in multipliers]
        return np.stack(hashes, axis=1)


def _shingled(texts: Sequence[str]) -> _Shingles:
    """The word trigrams of each text; one shingle for a text of fewer words, or of none (then its letters count)."""
    numbers: dict[str, int] = {}
    words, counts = [], []
    for text in texts:
        folded = text.casefold()
        row = _WORD.findall(folded) or [f" {' '.join(folded.split())}"]  # the space: it is no word
        words += [numbers.setdefault(word, len(numbers) + 1) for word in row]
        counts.append(len(row))
    # Two spare zeros behind each text keep its shingles apart from the next one's.
    lengths = np.array(counts, dtype=np.int64)
    padded = np.zeros(int(lengths.sum()) + (_WORDS - 1) * len(texts), dtype=np.uint64)
    starts = offsets_of(lengths + _WORDS - 1)
    padded[spans(starts[:-1], lengths)] = words
    value = padded[: max(len(padded) - _WORDS + 1, 0)].copy()
    for shift in range(1, _WORDS):
        value = _scrambled(value) + padded[shift : shift + len(value)]
    sizes = np.maximum(lengths - _WORDS + 1, 1)
    shingles = (_scrambled(value) >> np.uint64(64) - _BITS)[spans(starts[:-1], sizes)]
    values = np.sort(_numbered(np.repeat(np.arange(len(sizes)), sizes), shingles))
    values = values[np.concatenate([[True], values[1:] != values[:-1]])[: len(values)]]  # each text's once each
    kept = np.bincount((values >> _BITS).astype(np.int64), minlength=len(sizes))
    return _Shingles(values & ((np.uint64(1) << _BITS) - np.uint64(1)), offsets_of(kept))


def _numbered(numbers: np.ndarray, values: np.ndarray) -> np.ndarray:
    """uint64: number and value in one, so that one sort orders both; numbers stay below 2**24."""
    return np.asarray((numbers.astype(np.uint64) << _BITS) | values)


def _bands(sides: Sequence[_Shingles]) -> Iterator[np.ndarray]:
    """uint64 [N] per band: texts of one key are worth a comparison.

    A band of a pair of texts is half of the first text's hashes and half of the second's: near on both sides
    means 0.8 for each hash, as for single texts.
    """
    count = len(sides[0].sizes)
    if not count:
        return
    multipliers = np.random.default_rng(0).integers(0, 2**63, _BANDS * _HASHES_IN_BAND, dtype=np.uint64) * 2 + 1
    for band in np.split(multipliers, _BANDS):
        key = np.zeros(count, dtype=np.uint64)
        for side, part in zip(sides, np.split(band, len(sides)), strict=True):
            for column in side.minhashes(part).T:
                key = _scrambled(key) + column
        yield key


def _together(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(earlier [P], later [P]) texts of one key; in a crowd the first ones alone meet the rest."""
    order = np.argsort(keys, kind="stable")
    new = np.concatenate([[True], keys[order][1:] != keys[order][:-1]])
    heads = np.flatnonzero(new)
    sizes = np.diff(np.concatenate([heads, [len(keys)]]))
    heads = np.repeat(heads, sizes)
    met = np.minimum(np.arange(len(keys)) - heads, MOST_TOGETHER)
    return order[spans(heads, met)], np.repeat(order, met)


def _scrambled(values: np.ndarray) -> np.ndarray:
    """uint64, one to one and without visible order (the finaliser of splitmix64)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(values ^ (values >> np.uint64(31)))
