"""A packed model as a function of texts, with numpy alone: `load("model.light").predict(["..."])`.

The forward passes of the students; the same numbers as theirs in PyTorch but for rounding. House shapes: B texts,
T tokens, D width, H hidden units per direction, G gates (H of an RNN, 4H of an LSTM), W width of a text, C classes.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from featherlight.errors import UserError
from featherlight.runtime.packed import MOST_FILE, Json, Packed, damaged, decoded, field, read_packed
from featherlight.runtime.text import HASHES, beginning, check_pair, checked_sides, tokenizer_of

Floats = NDArray[np.float32]
_Integers = NDArray[np.int64]
Texts = Iterable[str]
_Weights = Mapping[str, Floats]
TOKENS_AT_ONCE = 8192  # padded tokens of one batch: bounds memory
MOST_TOKENS = 2**20  # of a text
_TABLE, _HASH = _EMBEDDINGS = ("table", "hash")
_BAG, _LSTM, _RNN = _BODIES = ("mean", "lstm", "rnn")
_LAST, _PUBLISHED, _MAX, _MEAN = _POOLINGS = ("last", "last_as_published", "max", "mean")
_SHARE = 10  # buckets per shared vector
_HALF = np.array(0.5, dtype=np.float32)  # in numpy's own form: a Python number takes longer than the product


def load(path: str | Path) -> "LightModel":
    """The model of a .light file; UserError if it is none, or damaged."""
    path = Path(path)
    try:
        with path.open("rb") as file:
            data = file.read(MOST_FILE + 1)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}.") from None
    try:
        if len(data) > MOST_FILE:
            raise UserError("it is larger than a .light file can be.")
        return LightModel(read_packed(data))
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


class LightModel:
    """A packed student. labels: class names in the order of the logits; empty for a regression."""

    def __init__(self, packed: Packed):
        header = packed.about
        self.packed, self.architecture = packed, field(header, "architecture", dict)
        self.labels: tuple[str, ...] = tuple(field(header, "labels", list))
        self.pair: bool = field(self.architecture, "pair", bool)
        self.max_length: int = field(header, "max_length", int)
        if not all(type(label) is str for label in self.labels) or len(set(self.labels)) < len(self.labels):
            raise damaged("labels that are no texts, or not all different")
        if not 1 <= self.max_length <= MOST_TOKENS:
            raise damaged("a maximum length out of range")
        self.tokenizer = tokenizer_of(field(header, "tokenizer", dict))
        _check_shapes(packed, self.tokenizer.size, len(self.labels) or 1)
        weights = {name: decoded(encoded) for name, encoded in packed.tensors.items()}
        table = self.architecture["embedding"] == _TABLE
        self.embed: Callable[[_Integers], Floats] = (
            partial(weights["embedding.weight"].take, axis=0) if table else _HashTable(weights)
        )
        self.body = _mean_body if self.architecture["body"] == _BAG else _Recurrent(weights, self.architecture)
        self.hidden, self.out = (
            (weights[f"classifier.{name}.weight"].T, weights[f"classifier.{name}.bias"]) for name in ("hidden", "out")
        )
        self.width = len(self.hidden[0]) // (4 if self.pair else 1)

    def predict(self, first: Texts, second: Texts | None = None) -> list[Json]:
        """{"label", "probability", "probabilities"} per text, or {"value"} for a regression. second: of pairs."""
        return (class_answers if self.labels else number_answers)(self(first, second), self.labels)

    def __call__(self, first: Texts, second: Texts | None = None) -> Floats:
        """Logits float32 [B, C], or values [B] for a regression."""
        self.check_pair(second is not None)
        firsts, seconds = checked_sides(first, second)
        with np.errstate(over="ignore", invalid="ignore"):
            vectors = self.vectors(firsts)
            if seconds is not None:
                others = self.vectors(seconds)
                vectors = np.concatenate([vectors, others, np.abs(vectors - others), vectors * others], axis=1)
            logits: Floats = np.maximum(vectors @ self.hidden[0] + self.hidden[1], 0) @ self.out[0] + self.out[1]
        if not np.isfinite(logits).all():
            raise damaged("weights so large that a logit is not finite")
        return logits if self.labels else logits[:, 0]

    def check_pair(self, given: bool) -> None:
        """UserError if the model reads two texts per example and was given one, or the other way round."""
        check_pair(self.pair, given)

    @property
    def parameters(self) -> int:
        """Numbers in all tensors."""
        return sum(encoded.size for encoded in self.packed.tensors.values())

    def tokens(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each text, cut to max_length."""
        return [beginning(text, self.tokenizer, self.max_length) for text in texts]

    def vectors(self, texts: Sequence[str]) -> Floats:
        """One vector per text [B, W], computed in batches of texts of similar length."""
        ids = self.tokens(texts)
        if len(ids) == 1:
            return self.batch(ids)
        order = sorted(range(len(ids)), key=lambda row: -len(ids[row]))
        vectors = np.empty((len(ids), self.width), dtype=np.float32)
        start = 0
        while start < len(order):
            rows = order[start : start + max(TOKENS_AT_ONCE // max(len(ids[order[start]]), 1), 1)]
            vectors[rows] = self.batch([ids[row] for row in rows])
            start += len(rows)
        return vectors

    def batch(self, ids: Sequence[list[int]]) -> Floats:
        """Texts of falling length -> [B, W]; an empty one is read as one token of padding."""
        padded = np.zeros((len(ids), max(len(ids[0]), 1)), dtype=np.int64)
        for row, tokens in enumerate(ids):
            padded[row, : len(tokens)] = tokens
        return self.body(self.embed(padded), np.array(list(map(len, ids))))


def number_answers(logits: Floats, labels: Sequence[str]) -> list[Json]:
    """{"value"} for each value [B]."""
    return [{"value": float(value)} for value in logits]


def class_answers(logits: Floats, labels: Sequence[str]) -> list[Json]:
    """{"label", "probability", "probabilities"} for each row of logits [B, C]."""
    precise = logits.astype(np.float64)
    shares = np.exp(precise - precise.max(axis=1, keepdims=True))
    rows = (shares / shares.sum(axis=1, keepdims=True)).tolist()
    return [{"label": labels[row.index(max(row))], "probability": max(row),
             "probabilities": dict(zip(labels, row, strict=True))} for row in rows]  # fmt: skip


def _check_shapes(packed: Packed, pieces: int, classes: int) -> None:
    """UserError unless the tensors are those of the architecture, and each fits its neighbours and the tokenizer.

    D, H and the width of the classifier are read from the tensors, the rest follows.
    """
    shapes = {name: encoded.shape for name, encoded in packed.tensors.items()}
    architecture = packed.about["architecture"]
    embedding, body, pooling = (field(architecture, name, str) for name in ("embedding", "body", "pooling"))
    if embedding not in _EMBEDDINGS or body not in _BODIES or pooling not in _POOLINGS:
        raise damaged("an architecture that this version does not know")
    if (embedding == _HASH) != (field(packed.about["tokenizer"], "kind", str) == _HASH):
        raise damaged("a tokenizer that does not fit the embedding")
    table = "embedding.weight" if embedding == _TABLE else "embedding.vectors.weight"
    width = dim = shapes.get(table, (0,))[-1]
    expected: dict[str, tuple[int, ...]] = {table: (pieces if embedding == _TABLE else (pieces - 1) // _SHARE + 1, dim)}
    if embedding == _HASH:
        expected["embedding.importance.weight"] = (HASHES * pieces, 1)
    if body != _BAG:
        hidden = shapes.get("body.network.weight_hh_l0", (0,))[-1]
        gates, width = hidden * (4 if body == _LSTM else 1), 2 * hidden
        for ending in ("", "_reverse"):
            names = _network_names(ending)
            expected |= {names[0]: (gates, dim), names[1]: (gates, hidden), names[2]: (gates,), names[3]: (gates,)}
    inner = shapes.get("classifier.hidden.bias", (0,))[-1]
    width *= 4 if field(architecture, "pair", bool) else 1
    expected |= {"classifier.hidden.weight": (inner, width), "classifier.hidden.bias": (inner,),
                 "classifier.out.weight": (classes, inner), "classifier.out.bias": (classes,)}  # fmt: skip
    if shapes != expected:
        raise damaged("tensors whose shapes do not fit together")


def _network_names(ending: str) -> list[str]:
    return [f"body.network.{kind}_l0{ending}" for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]


class _HashTable:
    """Three shared vectors per word, each weighed by an importance of its own; see `models.students.embeddings`."""

    def __init__(self, weights: _Weights):
        self.importance, self.vectors = weights["embedding.importance.weight"], weights["embedding.vectors.weight"]
        self.rows, self.shared = len(self.importance) // HASHES, len(self.vectors) - 1

    def __call__(self, words: _Integers) -> Floats:
        """[B, T] packed buckets -> [B, T, D]; padding gives zeros."""
        places = np.arange(HASHES)
        buckets = words[..., None] // self.rows**places % self.rows
        shared = np.where(buckets > 0, (buckets - 1) % self.shared + 1, 0)
        weighed = self.vectors[shared] * self.importance[buckets + places * self.rows]
        summed: Floats = weighed.sum(axis=-2)
        return summed


def _mean_body(vectors: Floats, lengths: _Integers) -> Floats:
    """The bag: [B, T, D] and lengths [B] (falling) -> the mean over the tokens [B, D]; an empty text gives zeros."""
    kept = (np.arange(vectors.shape[1]) < lengths[:, None]).astype(np.float32)
    means: Floats = np.matmul(kept[:, None, :], vectors)[:, 0] / np.maximum(lengths, 1).astype(np.float32)[:, None]
    return means


class _Recurrent:
    """Both directions of an LSTM or Elman RNN at once, summed up by `pooling`.

    The gates of an LSTM are kept in the order input, forget, output, cell. The first three weigh half, for a sigmoid
    is a tanh: 1 / (1 + exp(-x)) = (tanh(x / 2) + 1) / 2; so that one tanh serves all four.
    """

    def __init__(self, weights: _Weights, architecture: Json):
        self.lstm, self.pooling = architecture["body"] == _LSTM, architecture["pooling"]
        directions = [self.direction(*(weights[name] for name in _network_names(end))) for end in ("", "_reverse")]
        self.inputs, self.recurrent, self.bias = (np.stack(parts) for parts in zip(*directions, strict=True))
        self.hidden = self.recurrent.shape[1]

    def direction(self, inputs: Floats, recurrent: Floats, *biases: Floats) -> tuple[Floats, Floats, Floats]:
        """(input weights [D, G], recurrent weights [H, G], bias [1, G]) of one direction, from PyTorch's [G, ...]."""
        with np.errstate(over="ignore"):
            bias = biases[0] + biases[1]
        if self.lstm:
            i, f, g, o = np.split(np.arange(len(bias)), 4)
            order = np.concatenate([i, f, o, g])
            half = np.repeat(np.array([0.5, 0.5, 0.5, 1], dtype=np.float32), len(i))
            inputs, recurrent = inputs[order] * half[:, None], recurrent[order] * half[:, None]
            bias = bias[order] * half
        return inputs.T, recurrent.T, bias[None]

    def __call__(self, vectors: Floats, lengths: _Integers) -> Floats:
        """[B, T, D] -> [B, 2H]; an empty text is read as one token of padding."""
        lengths = np.maximum(lengths, 1)
        batch, steps, _ = vectors.shape
        backward = (lengths[:, None] - 1 - np.arange(steps)) % steps
        read = np.stack([vectors, vectors[np.arange(batch)[:, None], backward]]).swapaxes(1, 2)  # [2, T, B, D]
        alive = (lengths[:, None] > np.arange(steps)).sum(axis=0).tolist()  # the first ones, for lengths fall
        hidden, cell = np.zeros((2, 2, batch, self.hidden), dtype=np.float32)
        summed = np.full_like(hidden, -np.inf if self.pooling == _MAX else 0)
        for step, gates in enumerate(self.projected(read)):
            ways = 1 if step and self.pooling == _PUBLISHED else 2  # published: backward reads one token alone
            count = alive[step]
            gates, state = gates[:ways, :count], hidden[:ways, :count]
            if step:  # states begin at 0
                gates += np.matmul(state, self.recurrent[:ways])
            np.tanh(gates, out=gates)
            if self.lstm:
                self.lstm_step(gates, cell[:ways, :count], state)
            else:
                state[...] = gates
            if self.pooling == _MAX:
                np.maximum(summed[:, :count], state, out=summed[:, :count])
            elif self.pooling == _MEAN:
                summed[:, :count] += state
        if self.pooling == _MEAN:
            summed /= lengths.astype(np.float32)[:, None]
        states = summed if self.pooling in (_MAX, _MEAN) else hidden
        return states.swapaxes(0, 1).reshape(batch, -1)

    def projected(self, read: Floats) -> Iterable[Floats]:
        """What the tokens add to the gates: [2, B, G] for each step; of a very long text a stretch at a time."""
        batch, width = read.shape[2:]
        stretch = max(TOKENS_AT_ONCE // batch, 1)
        for start in range(0, read.shape[1], stretch):
            gates = np.matmul(read[:, start : start + stretch].reshape(2, -1, width), self.inputs)
            gates += self.bias
            yield from gates.reshape(2, -1, batch, gates.shape[-1]).swapaxes(0, 1)

    def lstm_step(self, gates: Floats, cell: Floats, state: Floats) -> None:
        """The tanh of all gates [2, B, 4H]; cells and states [2, B, H] are changed in place."""
        h = self.hidden
        shares, new = gates[..., : 3 * h], gates[..., 3 * h :]
        shares *= _HALF
        shares += _HALF
        cell *= shares[..., h : 2 * h]
        new *= shares[..., :h]
        cell += new
        np.tanh(cell, out=new)
        np.multiply(new, shares[..., 2 * h :], out=state)
