"""A packed model as a function of texts, with numpy alone: `load("model.light").predict(["..."])`.

The forward passes of the students; the same numbers as theirs in PyTorch but for rounding. House shapes: B texts,
T tokens, D width, H hidden units per direction, C classes.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featherlight.errors import UserError
from featherlight.runtime.packed import Json, Packed, damaged, decoded, read_packed
from featherlight.runtime.text import HASHES, beginning, check_texts, tokenizer_of

Floats = NDArray[np.float32]
Texts = Sequence[str]
Body = Callable[[Floats, NDArray[np.int64]], Floats]
TOKENS_AT_ONCE = 8192  # padded tokens of one batch: bounds memory
LAST, PUBLISHED, MAX, MEAN = POOLINGS = ("last", "last_as_published", "max", "mean")


def load(path: str | Path) -> "LightModel":
    """The model of a .light file; UserError if it is none, or damaged."""
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}.") from None
    try:
        return LightModel(read_packed(data))
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


class LightModel:
    """A packed student. labels: class names in the order of the logits; empty for a regression."""

    def __init__(self, packed: Packed):
        about = packed.about
        self.packed, self.architecture = packed, field(about, "architecture", dict)
        self.labels: tuple[str, ...] = tuple(field(about, "labels", list))
        if not all(isinstance(label, str) for label in self.labels):
            raise damaged("a label that is no text")
        self.pair: bool = field(self.architecture, "pair", bool)
        self.max_length = field(about, "max_length", int)
        self.tokenizer = tokenizer_of(field(about, "tokenizer", dict))
        weights = {name: decoded(encoded) for name, encoded in packed.tensors.items()}
        try:
            self.embed = EMBEDDINGS[self.architecture["embedding"]](weights)
            self.sum_up = BODIES[self.architecture["body"]](weights, self.architecture)
            self.classify = Classifier(weights)
            check_fit(self)
        except (KeyError, ValueError, IndexError, TypeError) as error:
            raise damaged(f"weights that do not fit together: {error}") from None

    def predict(self, first: Texts, second: Texts | None = None) -> list[Json]:
        """{"label", "probability", "probabilities"} per text, or {"value"} for a regression. second: of pairs."""
        return answers(self(first, second), self.labels)

    def __call__(self, first: Texts, second: Texts | None = None) -> Floats:
        """Logits float32 [B, C], or values [B] for a regression."""
        self.check_pair(second is not None)
        vectors = self.vectors(first)
        if second is not None:
            if len(first) != len(second):
                raise UserError(f"{len(first)} first texts and {len(second)} second ones: give as many of each.")
            vectors = compare(vectors, self.vectors(second))
        found = self.classify(vectors)
        return found if self.labels else found[:, 0]

    def check_pair(self, given: bool) -> None:
        """UserError if the model reads two texts per example and was given one, or the other way round."""
        if given != self.pair:
            needs, got = ("two texts", "one") if self.pair else ("one text", "two")
            raise UserError(f"this model reads {needs} per example and was given {got}.")

    @property
    def parameters(self) -> int:
        """Numbers in all tensors."""
        return sum(encoded.size for encoded in self.packed.tensors.values())

    def tokens(self, texts: Texts) -> list[list[int]]:
        """The ids of each text, cut to max_length."""
        check_texts(texts)
        return [beginning(text, self.tokenizer, self.max_length) for text in texts]

    def vectors(self, texts: Texts) -> Floats:
        """One vector per text [B, W], computed in batches of texts of similar length."""
        ids = self.tokens(texts)
        lengths = np.array([max(len(row), 1) for row in ids], dtype=np.int64)
        order = np.argsort(-lengths, kind="stable")
        found: list[Floats] = []
        start = 0
        while start < len(order):
            rows = order[start : start + max(TOKENS_AT_ONCE // int(lengths[order[start]]), 1)]
            found.append(self.batch([ids[row] for row in rows], lengths[rows]))
            start += len(rows)
        if not found:
            return np.zeros((0, self.classify.width // (4 if self.pair else 1)), dtype=np.float32)
        whole = np.empty((len(order), found[0].shape[1]), dtype=np.float32)
        whole[order] = np.concatenate(found)
        return whole

    def batch(self, ids: Sequence[list[int]], lengths: NDArray[np.int64]) -> Floats:
        """Texts of falling length -> [B, W]; an empty one is read as one token of padding."""
        padded = np.zeros((len(ids), int(lengths[0])), dtype=np.int64)
        for row, some in enumerate(ids):
            padded[row, : len(some)] = some
        return self.sum_up(self.embed(padded), np.array([len(some) for some in ids], dtype=np.int64))


def answers(logits: Floats, labels: Sequence[str]) -> list[Json]:
    """What `predict` says of logits [B, C], or of the values [B] of a regression."""
    if not labels:
        return [{"value": float(value)} for value in logits]
    shares = np.exp(logits - logits.max(axis=1, keepdims=True)).astype(np.float64)
    shares /= shares.sum(axis=1, keepdims=True)
    found = []
    for row in shares.tolist():
        top = max(range(len(row)), key=row.__getitem__)
        probabilities = dict(zip(labels, row, strict=True))
        found.append({"label": labels[top], "probability": row[top], "probabilities": probabilities})
    return found


def field(about: Mapping[str, Any], name: str, kind: type) -> Any:
    """about[name], of this type."""
    if type(about.get(name)) is not kind:
        raise damaged(f"a header without {name}")
    return about[name]


def check_fit(model: LightModel) -> None:
    """Whether ids, vectors and classes fit each other: a token that the table lacks would fail in use only."""
    tokenizer: Any = model.tokenizer
    if model.max_length < 1 or tokenizer.size > model.embed.rows:
        raise damaged("an embedding that lacks rows")
    out = model.batch([[0]], np.ones(1, dtype=np.int64))
    found = model.classify(compare(out, out) if model.pair else out)
    if found.shape != (1, max(len(model.labels), 1)):
        raise damaged("a classifier with another number of classes")


# --- embeddings


class Table:
    """A vector per piece."""

    def __init__(self, weights: Mapping[str, Floats]):
        self.table = weights["embedding.weight"]
        self.rows = len(self.table)

    def __call__(self, ids: NDArray[np.int64]) -> Floats:
        """[B, T] -> [B, T, D]."""
        found: Floats = self.table[ids]
        return found


class HashTable:
    """Three shared vectors per word, each weighed by an importance of its own; see `models.embeddings`."""

    def __init__(self, weights: Mapping[str, Floats]):
        self.importance, self.vectors = (
            weights["embedding.importance.weight"][:, 0],
            weights["embedding.vectors.weight"],
        )
        self.rows, self.shared = len(self.importance) // HASHES, len(self.vectors) - 1

    def __call__(self, words: NDArray[np.int64]) -> Floats:
        """[B, T] packed buckets -> [B, T, D]; padding gives zeros."""
        places = np.arange(HASHES)
        buckets = words[..., None] // self.rows**places % self.rows
        shared = np.where(buckets > 0, (buckets - 1) % self.shared + 1, 0)
        importance = self.importance[buckets + places * self.rows]
        summed: Floats = np.einsum("bth,bthd->btd", importance, self.vectors[shared])
        return summed


# --- bodies: [B, T, D] and lengths [B] (falling, 0 for an empty text) -> [B, W]


def mean_body(weights: Mapping[str, Floats], architecture: Json) -> Body:
    """The bag: mean over the tokens; an empty text gives zeros."""

    def sum_up(vectors: Floats, lengths: NDArray[np.int64]) -> Floats:
        kept = (np.arange(vectors.shape[1]) < lengths[:, None]).astype(np.float32)
        means: Floats = np.matmul(kept[:, None, :], vectors)[:, 0] / np.maximum(lengths, 1).astype(np.float32)[:, None]
        return means

    return sum_up


class Recurrent:
    """Both directions of an LSTM or Elman RNN, summed up by `pooling`.

    The gates of an LSTM are kept in the order input, forget, output, cell. The first three weigh half, for a sigmoid
    is a tanh: 1 / (1 + exp(-x)) = (tanh(x / 2) + 1) / 2; so that one tanh serves all four.
    """

    def __init__(self, weights: Mapping[str, Floats], architecture: Json):
        self.lstm, self.pooling = architecture["body"] == "lstm", architecture["pooling"]
        if self.pooling not in POOLINGS:
            raise ValueError(f"pooling {self.pooling!r}")
        self.directions = [self.direction(weights, ending) for ending in ("", "_reverse")]
        self.hidden = self.directions[0][1].shape[0]

    def direction(self, weights: Mapping[str, Floats], ending: str) -> tuple[Floats, Floats, Floats]:
        """(input weights [D, G], recurrent weights [H, G], bias [G]); G is H, or 4H for an LSTM."""
        names = [f"body.network.{kind}_l0{ending}" for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
        inputs, recurrent, *biases = (weights[name] for name in names)
        bias = biases[0] + biases[1]
        if self.lstm:
            i, f, g, o = np.split(np.arange(len(bias)), 4)
            order = np.concatenate([i, f, o, g])
            half = np.repeat(np.array([0.5, 0.5, 0.5, 1], dtype=np.float32), len(i))
            inputs, recurrent, bias = (
                inputs[order] * half[:, None],
                recurrent[order] * half[:, None],
                bias[order] * half,
            )
        return np.ascontiguousarray(inputs.T), np.ascontiguousarray(recurrent.T), bias

    def __call__(self, vectors: Floats, lengths: NDArray[np.int64]) -> Floats:
        """[B, T, D] -> [B, 2H]; an empty text is read as one token of padding."""
        lengths = np.maximum(lengths, 1)
        backward = (lengths[:, None] - 1 - np.arange(vectors.shape[1])) % vectors.shape[1]
        turned = vectors[np.arange(len(vectors))[:, None], backward]
        return np.concatenate(
            [self.read(vectors, lengths, 0, backward=False), self.read(turned, lengths, 1, backward=True)], axis=1
        )

    def read(self, vectors: Floats, lengths: NDArray[np.int64], which: int, *, backward: bool) -> Floats:
        """One direction over texts in the order of reading: [B, T, D] -> [B, H]."""
        inputs, recurrent, bias = self.directions[which]
        batch, steps, width = vectors.shape
        projected = (vectors.transpose(1, 0, 2).reshape(-1, width) @ inputs + bias).reshape(steps, batch, -1)
        hidden = np.zeros((batch, self.hidden), dtype=np.float32)
        cell = np.zeros_like(hidden)
        summed = np.full_like(hidden, -np.inf if self.pooling == MAX else 0)
        first_only = self.pooling == PUBLISHED and backward
        alive = len(lengths) - np.searchsorted(lengths[::-1], np.arange(steps), side="right")
        for step in range(1 if first_only else steps):
            some = int(alive[step])  # texts that have a token here: the first ones, for lengths fall
            gates = projected[step, :some]
            gates += hidden[:some] @ recurrent
            np.tanh(gates, out=gates)
            new = self.lstm_step(gates, cell[:some]) if self.lstm else gates
            hidden[:some] = new
            if self.pooling == MAX:
                np.maximum(summed[:some], new, out=summed[:some])
            elif self.pooling == MEAN:
                summed[:some] += new
        if self.pooling == MEAN:
            return summed / lengths.astype(np.float32)[:, None]
        return summed if self.pooling == MAX else hidden

    def lstm_step(self, gates: Floats, cell: Floats) -> Floats:
        """The tanh of all gates [B, 4H] -> the new states [B, H]; the cells [B, H] are changed in place."""
        h = self.hidden
        shares = gates[:, : 3 * h]
        shares *= 0.5
        shares += 0.5
        cell *= shares[:, h : 2 * h]
        cell += shares[:, :h] * gates[:, 3 * h :]
        new: Floats = np.tanh(cell)
        new *= shares[:, 2 * h :]
        return new


class Classifier:
    """One hidden layer with ReLU: [B, W] -> [B, C]."""

    def __init__(self, weights: Mapping[str, Floats]):
        self.hidden, self.out = (
            (np.ascontiguousarray(weights[f"classifier.{name}.weight"].T), weights[f"classifier.{name}.bias"])
            for name in ("hidden", "out")
        )
        self.width = len(self.hidden[0])

    def __call__(self, vectors: Floats) -> Floats:
        """Logits, or one value each for a regression."""
        hidden = np.maximum(vectors @ self.hidden[0] + self.hidden[1], 0)
        logits: Floats = hidden @ self.out[0] + self.out[1]
        return logits


def compare(first: Floats, second: Floats) -> Floats:
    """[u; v; |u - v|; u * v]: two vectors per pair [B, W] as one [B, 4W]."""
    return np.concatenate([first, second, np.abs(first - second), first * second], axis=1)


EMBEDDINGS: Mapping[str, Callable[[Mapping[str, Floats]], Table | HashTable]] = {"table": Table, "hash": HashTable}
BODIES: Mapping[str, Callable[[Mapping[str, Floats], Json], Body]] = {
    "mean": mean_body,
    "lstm": Recurrent,
    "rnn": Recurrent,
}
