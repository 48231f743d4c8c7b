"""Weights in, fewer bits out: uniform levels, k-means codebooks, product codes, half precision.

Pure functions from a float32 tensor to an `Encoded` one, as a .light file stores it; `runtime.packed.decoded` gives
back what the model then computes with. Zero stays zero, so that what was pruned stays pruned.
House shapes: n weights, K levels, V rows, D columns.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray

from featherlight.errors import UserError, pick
from featherlight.runtime.packed import Encoded

Floats = NDArray[np.float32]
Scheme = Callable[[Floats], Encoded]
WIDTHS = ("8", "5", "4", "3", "2", "ternary", "fp16")
_SHARES = np.linspace(1.0, 0.2, 41)  # of the largest weight, tried as the end of the uniform scale
_ROUNDS = 30  # of Lloyd's algorithm over vectors; more changes the error in its third digit
_MOST_ROUNDS = 1000  # of Lloyd's algorithm over sorted numbers, where a round takes microseconds
_SAMPLE = 200_000  # weights that a codebook is fitted to at most


def levels_of(width: str) -> int:
    """How many values a weight of this width can have."""
    return 3 if width == "ternary" else int(2 ** int(pick("width", width, {name: name for name in WIDTHS})))


def scheme(width: str, *, codebook: str = "uniform", per_row: bool = True) -> Scheme:
    """What turns a tensor into one of this width. codebook: "uniform" or "kmeans". per_row: a scale for each row."""
    if width == "fp16":
        return half
    levels = levels_of(width)
    return partial(kmeans, levels=levels) if codebook == "kmeans" else partial(uniform, levels=levels, per_row=per_row)


def half(weights: Floats) -> Encoded:
    """IEEE half precision: half the bytes, eleven significant bits. UserError for a weight beyond its range."""
    if np.abs(weights).max(initial=0) > np.finfo(np.float16).max:
        raise UserError("a weight is too large for fp16 (65,504). Use 8 bits.")
    return Encoded("float16", weights.shape, {"values": weights.astype("<f2").ravel()})


def uniform(weights: Floats, *, levels: int, per_row: bool) -> Encoded:
    """Equally spaced values around zero: (code - K // 2) x scale, the scale with the least squared error.

    For each of 41 shares of the largest weight the codes are rounded, and the scale is then fitted to them by
    least squares. With an even K there is one value more on one side; the sign of the scale says which.
    """
    rows = weights.reshape(len(weights) if per_row and weights.ndim > 1 else 1, -1)
    low, high = -(levels // 2), levels - levels // 2 - 1
    best = np.full(len(rows), np.inf)
    scales, codes = np.zeros(len(rows), dtype=np.float32), np.zeros(rows.shape, dtype=np.int16)
    most = np.abs(rows).max(axis=1)
    signs = (1.0, -1.0) if 2 < levels <= 16 and levels % 2 == 0 else (1.0,)
    for share in _SHARES if levels <= 64 else _SHARES[:11]:
        for sign in signs:
            step = np.where(most > 0, sign * share * most / max(high, 1), 1.0)[:, None]
            rounded = np.clip(np.rint(rows / step), low, high)
            norm = np.einsum("rn,rn->r", rounded, rounded)
            fitted = np.where(norm > 0, np.einsum("rn,rn->r", rows, rounded) / np.maximum(norm, 1), 0.0)
            error = ((rows - rounded * fitted[:, None]) ** 2).sum(axis=1)
            better = error < best
            best[better], scales[better], codes[better] = error[better], fitted[better], rounded[better]
    parts = {"codes": (codes + levels // 2).astype(np.uint8).ravel(), "scales": _narrowed(scales)}
    return Encoded("uniform", weights.shape, parts, levels)


def _narrowed(scales: Floats) -> NDArray[np.floating]:
    """The scales as float16 where all of them have its eleven bits, which codes of at most eight cannot tell apart."""
    size = np.abs(scales[scales != 0])
    limits = np.finfo(np.float16)
    return scales.astype("<f2" if ((size >= limits.tiny) & (size <= limits.max)).all() else "<f4")


def kmeans(weights: Floats, *, levels: int) -> Encoded:
    """The K values with the least squared error (Lloyd 1982; for networks Han et al. 2016, arXiv:1510.00149).

    The better of two starts: equally spaced values, which section 3 of that paper recommends, and values as dense as
    the cube root of the weights' density, which is best for many levels (Panter and Dite 1951). Where weights are
    zero, one value is.
    """
    flat = weights.ravel().astype(np.float64)
    sample = np.sort(flat if len(flat) <= _SAMPLE else flat[:: len(flat) // _SAMPLE + 1])
    zeros = bool((flat == 0).any())
    spaced = np.linspace(sample[0], sample[-1], levels)
    counts, edges = np.histogram(sample, bins=1000)
    share = np.cumsum(np.cbrt(counts))
    dense = np.interp((np.arange(levels) + 0.5) / levels, share / share[-1], edges[1:])
    book, _ = min((_lloyd(sample, start, zeros=zeros) for start in (spaced, dense)), key=lambda result: result[1])
    stored = np.sort(book).astype("<f4")
    codes = np.searchsorted((stored[1:] + stored[:-1]) / 2, flat).astype(np.uint8)
    return Encoded("codebook", weights.shape, {"codes": codes, "book": stored}, levels)


def _lloyd(
    sample: NDArray[np.float64], start: NDArray[np.float64], *, zeros: bool
) -> tuple[NDArray[np.float64], float]:
    """(values, squared error) of a sorted sample; zeros: whether one of the values must be zero."""
    sums, squares = (np.concatenate([[0.0], np.cumsum(part)]) for part in (sample, sample**2))
    book = np.sort(start)
    for _ in range(_MOST_ROUNDS):
        if zeros:
            book[np.abs(book).argmin()] = 0.0
        ends = np.concatenate([[0], np.searchsorted(sample, (book[1:] + book[:-1]) / 2), [len(sample)]])
        counts, totals = np.diff(ends), np.diff(sums[ends])
        error = float((np.diff(squares[ends]) - 2 * book * totals + counts * book**2).sum())
        moved = np.where(counts > 0, totals / np.maximum(counts, 1), book)
        if zeros:
            moved[np.abs(moved).argmin()] = 0.0
        if np.abs(moved - book).max() <= 1e-6 * np.abs(book).max():
            break
        book = moved
    return book, error


def product(weights: Floats, *, groups: int, levels: int = 256, seed: int = 0) -> Encoded:
    """Product quantization of a table [V, D] (Jegou et al. 2011, doi:10.1109/TPAMI.2010.57): a code per row and group.

    The D columns fall into `groups`; each row of a group is replaced by the nearest of K vectors, found by k-means.
    The first vector of each group is zero, for padding and pruned rows. UserError if groups do not divide D.
    """
    rows, columns = weights.shape
    if columns % groups:
        fitting = ", ".join(str(number) for number in range(1, columns + 1) if columns % number == 0)
        raise UserError(f"--groups {groups} does not divide the {columns} columns of the embedding. Use: {fitting}.")
    levels = min(levels, max(rows, 2))
    generator = np.random.default_rng(seed)
    parts = weights.reshape(rows, groups, -1).transpose(1, 0, 2).astype(np.float64)
    books = np.stack([_vector_book(part, levels, generator) for part in parts])
    codes = np.stack([_nearest(part, book) for part, book in zip(parts, books, strict=True)], axis=1)
    stored = {"codes": codes.astype(np.uint8).ravel(), "book": books.ravel().astype("<f2")}
    return Encoded("product", weights.shape, stored, levels)


def _vector_book(rows: NDArray[np.float64], levels: int, generator: np.random.Generator) -> NDArray[np.float64]:
    """K vectors [K, d] for rows [V, d] by Lloyd's algorithm; the first is zero."""
    book = rows[generator.choice(len(rows), size=levels, replace=len(rows) < levels)].copy()
    for _ in range(_ROUNDS):
        book[0] = 0
        codes = _nearest(rows, book)
        counts = np.bincount(codes, minlength=levels)
        sums = np.zeros_like(book)
        np.add.at(sums, codes, rows)
        book = np.where(counts[:, None] > 0, sums / np.maximum(counts, 1)[:, None], book)
    book[0] = 0
    return book


def _nearest(rows: NDArray[np.float64], book: NDArray[np.float64]) -> NDArray[np.intp]:
    """The vector of the book that is nearest to each row: [V, d], [K, d] -> [V]."""
    distances = (book**2).sum(axis=1) - 2 * rows @ book.T
    nearest: NDArray[np.intp] = distances.argmin(axis=1)
    return nearest


def is_quantized(name: str) -> bool:
    """Whether a tensor is worth fewer bits: matrices are; biases are few and add up over the steps of a text."""
    return not name.split(".")[-1].startswith("bias")
