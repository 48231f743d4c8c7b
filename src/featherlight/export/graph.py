"""A student's arrays and its architecture in, an ONNX graph out.

Written node by node: a student is a dozen of them, and `torch.onnx` knows no packed texts. Needs no torch.
House shapes: B texts, T tokens, D width, H hidden units per direction, G gates (4 in an LSTM, 1 in an RNN), C classes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

_OPSET, _IR_VERSION = 17, 8  # of 2022: engines of the last years read it
_MICROSOFT = "com.microsoft"  # the domain of onnxruntime's own operators
_IDS, _MASK, _PAIR, _LOGITS = "input_ids", "attention_mask", "pair_", "logits"
_INPUT, _STATE = "recurrent.input", "recurrent.state"  # the weights of both directions
MOST_WEIGHT = 63  # of a weight that is multiplied in int8, see `rounded_weights`
_HASHES = 3  # buckets per word of a hash embedding
_GATES = {"lstm": (0, 3, 1, 2), "rnn": (0,)}  # torch's input, forget, cell, output in the order of ONNX: i, o, f, c


@dataclass(frozen=True)
class Rounded:
    """A matrix of weights as int8 and scales: values x scales. scales: one [], one per row [R, 1] or column [1, C]."""

    values: np.ndarray
    scales: np.ndarray

    def __getitem__(self, rows: np.ndarray) -> "Rounded":
        """The matrix with these rows."""
        per_row = self.scales.ndim == 2 and len(self.scales) > 1
        return Rounded(self.values[rows], self.scales[rows] if per_row else self.scales)

    @property
    def floats(self) -> np.ndarray:
        """What it stands for: float32."""
        return np.asarray(self.values * self.scales, dtype=np.float32)


Weights = Mapping[str, np.ndarray | Rounded]


class Graph:
    """Nodes and weights of a graph in the making. Methods take and return names of values.

    int8: rounded weights of LSTM and linear layers are multiplied in int8, their inputs rounded call by call.
    Otherwise they are stored as int8 and computed with as float32.
    """

    def __init__(self, weights: Weights, *, int8: bool):
        self.weights, self.int8 = weights, int8
        self.nodes: list[NodeProto] = []
        self.initializers: dict[str, TensorProto] = {}

    def add(self, operator: str, *inputs: str, domain: str = "", output: str = "", **attributes: Any) -> str:
        """Append a node with one output."""
        name = output or f"{operator}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [name], domain=domain, **attributes))
        return name

    def constant(self, name: str, values: np.ndarray) -> str:
        """Keep an array with the model, once."""
        if name not in self.initializers:
            self.initializers[name] = numpy_helper.from_array(np.ascontiguousarray(values), name)
        return name

    def integers(self, *values: int, scalar: bool = False) -> str:
        """A small int64 constant [n], or of one value []."""
        name = f"{'scalar' if scalar else 'list'} {' '.join(map(str, values))}"
        return self.constant(name, np.array(values[0] if scalar else values, dtype=np.int64))

    def matrix(self, name: str, weight: np.ndarray | Rounded) -> str:
        """A weight as float32; a rounded one is made so when the model is loaded, and is int8 in the file."""
        if not isinstance(weight, Rounded):
            return self.constant(name, weight)
        return self.scaled(self.constant(name, weight.values), self.constant(f"{name}.scale", weight.scales))

    def scaled(self, whole: str, scales: str) -> str:
        """int8 -> float32."""
        return self.add("Mul", self.add("Cast", whole, to=TensorProto.FLOAT), scales)

    def rows(self, name: str, ids: str) -> str:
        """Rows of a table [V, D] by their ids [...] -> [..., D]; of a rounded one those rows alone become float32."""
        table = self.weights[name]
        if not isinstance(table, Rounded):
            return self.add("Gather", self.constant(name, table), ids)
        values = self.add("Gather", self.constant(name, table.values), ids)
        scales = self.constant(f"{name}.scale", table.scales)
        per_row = table.scales.ndim == 2 and table.scales.shape[0] > 1
        return self.scaled(values, self.add("Gather", scales, ids) if per_row else scales)

    def linear(self, name: str, values: str, *, output: str = "") -> str:
        """[B, D] -> [B, E]."""
        weight = self.weights[f"{name}.weight"]
        bias = self.constant(f"{name}.bias", floats(self.weights[f"{name}.bias"]))
        if not self.int8 or not isinstance(weight, Rounded):
            return self.add("Gemm", values, self.matrix(f"{name}.weight", weight), bias, transB=1, output=output)
        turned = self.constant(f"{name}.weight", weight.values.T)
        flat = weight.scales.reshape(-1) if weight.scales.ndim else weight.scales
        scales = self.constant(f"{name}.weight.scale", flat)
        return self.add("DynamicQuantizeMatMul", values, turned, scales, "", bias, domain=_MICROSOFT, output=output)

    def recurrent(self, body: str, vectors: str, lengths: str) -> tuple[str, str]:
        """Both directions over [T, B, D]: every state [T, 2, B, H], and each direction's last one [2, B, H]."""
        w_in, w_state = (_directions(self.weights, name, body) for name in ("weight_ih", "weight_hh"))
        biases = [floats(_directions(self.weights, name, body)) for name in ("bias_ih", "bias_hh")]
        bias = self.constant("recurrent.bias", np.concatenate([part.reshape(2, -1) for part in biases], axis=1))
        hidden = floats(w_state).shape[-1]
        if self.int8 and body == "lstm" and isinstance(w_in, Rounded) and isinstance(w_state, Rounded):
            turned = [self.constant(name, weight.values.transpose(0, 2, 1))  # [2, GH, D] -> [2, D, GH]
                      for name, weight in ((_INPUT, w_in), (_STATE, w_state))]  # fmt: skip
            scales = [*self.lstm_scales(_INPUT, w_in), *self.lstm_scales(_STATE, w_state)]
            inputs = [vectors, *turned, bias, lengths, "", "", "", *scales]
            return self.run("DynamicQuantizeLSTM", inputs, hidden, _MICROSOFT)
        stored = [self.matrix(_INPUT, w_in), self.matrix(_STATE, w_state)]
        return self.run(body.upper(), [vectors, *stored, bias, lengths], hidden)

    def lstm_scales(self, name: str, rounded: Rounded) -> list[str]:
        """Scales and zero points as DynamicQuantizeLSTM wants them: [2], or per row [2, GH]."""
        scales = rounded.scales.reshape(2, -1).squeeze(-1) if rounded.scales.shape[1] == 1 else rounded.scales[..., 0]
        zeros = self.constant(f"{name}.zero", np.zeros_like(scales, dtype=np.int8))
        return [self.constant(f"{name}.scale", scales), zeros]

    def run(self, operator: str, inputs: list[str], hidden: int, domain: str = "") -> tuple[str, str]:
        """Append a recurrent node."""
        outputs = [f"states_{len(self.nodes)}", f"last_{len(self.nodes)}"]
        frame: dict[str, Any] = {"hidden_size": hidden, "direction": "bidirectional"}
        self.nodes.append(helper.make_node(operator, inputs, outputs, domain=domain, **frame))
        return outputs[0], outputs[1]


def floats(weight: np.ndarray | Rounded) -> np.ndarray:
    """A weight as float32."""
    return weight.floats if isinstance(weight, Rounded) else weight


def _directions(weights: Weights, name: str, body: str) -> np.ndarray | Rounded:
    """A recurrent weight of both directions with the gates in the order of ONNX: [2, GH, ...]."""
    both = [weights[f"body.network.{name}_l0{suffix}"] for suffix in ("", "_reverse")]

    def ordered(rows: np.ndarray) -> np.ndarray:
        blocks = np.split(rows, len(_GATES[body]))
        return np.concatenate([blocks[i] for i in _GATES[body]])

    if not all(isinstance(part, Rounded) for part in both):
        return np.stack([ordered(floats(part)) for part in both])
    rounded = [part for part in both if isinstance(part, Rounded)]
    values = np.stack([ordered(part.values) for part in rounded])
    if all(part.scales.ndim == 0 for part in rounded):
        return Rounded(values, np.stack([part.scales for part in rounded]).reshape(2, 1, 1))
    scales = [np.broadcast_to(part.scales, (len(part.values), 1)) for part in rounded]
    return Rounded(values, np.stack([ordered(part) for part in scales]))


def student_graph(architecture: Mapping[str, Any], weights: Weights, *, int8: bool = False) -> ModelProto:
    """The ONNX model of a student: input_ids and attention_mask int64 [B, T] -> logits float32 [B, C].

    architecture: "body" ("lstm", "rnn", "mean"), "embedding" ("table", "hash"), "pooling", "pair".
    weights: by the names of the student's state dict, biases and what is computed with in float32 as float32.
    int8: see `Graph`; onnxruntime has no RNN in int8. A pair has pair_input_ids and pair_attention_mask too, of a
    length of their own. Padding is on the right.
    """
    graph = Graph(weights, int8=int8)
    prefixes = ("", _PAIR) if architecture["pair"] else ("",)
    vectors = [_text_vector(graph, architecture, f"{prefix}{_IDS}", f"{prefix}{_MASK}") for prefix in prefixes]
    joined = vectors[0]
    if architecture["pair"]:  # [u; v; |u - v|; u * v], see `models.students.heads.compare`
        apart = graph.add("Abs", graph.add("Sub", *vectors))
        joined = graph.add("Concat", *vectors, apart, graph.add("Mul", *vectors), axis=-1)
    hidden = graph.add("Relu", graph.linear("classifier.hidden", joined))
    graph.linear("classifier.out", hidden, output=_LOGITS)
    classes = len(floats(weights["classifier.out.bias"]))
    inputs = [
        helper.make_tensor_value_info(f"{prefix}{name}", TensorProto.INT64, ["texts", f"{prefix}tokens"])
        for prefix in prefixes
        for name in (_IDS, _MASK)
    ]
    outputs = [helper.make_tensor_value_info(_LOGITS, TensorProto.FLOAT, ["texts", classes])]
    body = helper.make_graph(graph.nodes, "student", inputs, outputs, list(graph.initializers.values()))
    domains = [helper.make_opsetid(domain, version) for domain, version in (("", _OPSET), (_MICROSOFT, 1))[: 1 + int8]]
    return helper.make_model(body, opset_imports=domains, ir_version=_IR_VERSION, producer_name="featherlight")


def _text_vector(graph: Graph, architecture: Mapping[str, Any], ids: str, mask: str) -> str:
    """[B, T] -> [B, W]. An empty text gives zeros if the body is a mean, else it is read as one token of padding."""
    if architecture["body"] == "mean":
        vectors = _embedded(graph, architecture, ids)
        real = graph.add("Cast", mask, to=TensorProto.FLOAT)
        sums = graph.add("MatMul", graph.add("Unsqueeze", real, graph.integers(1)), vectors)
        count = graph.add("ReduceSum", real, graph.integers(1), keepdims=1)
        most = graph.add("Max", count, graph.constant("one", np.array(1, dtype=np.float32)))
        return graph.add("Div", graph.add("Squeeze", sums, graph.integers(1)), most)
    vectors = _embedded(graph, architecture, graph.add("Transpose", ids, perm=[1, 0]))
    count = graph.add("ReduceSum", mask, graph.integers(1), keepdims=0)
    lengths = graph.add("Max", count, graph.integers(1))
    counts = graph.add("Cast", lengths, to=TensorProto.INT32)
    states, last = graph.recurrent(architecture["body"], vectors, counts)
    if architecture["pooling"] == "last":
        return _side_by_side(graph, last, perm=[1, 0, 2], shape=(0, -1))
    states = _side_by_side(graph, states, perm=[2, 0, 1, 3], shape=(0, 0, -1))
    return _pooled(graph, architecture["pooling"], states, lengths)


def _side_by_side(graph: Graph, states: str, *, perm: list[int], shape: tuple[int, ...]) -> str:
    """Both directions of a state in one row; a 0 in shape keeps that size."""
    return graph.add("Reshape", graph.add("Transpose", states, perm=perm), graph.integers(*shape))


def _embedded(graph: Graph, architecture: Mapping[str, Any], ids: str) -> str:
    """Vectors of token ids: [...] -> [..., D]. Hashed words: see `models.embeddings.HashEmbedding`."""
    if architecture["embedding"] == "table":
        return graph.rows("embedding.weight", ids)
    rows = len(floats(graph.weights["embedding.importance.weight"])) // _HASHES
    shared = len(floats(graph.weights["embedding.vectors.weight"])) - 1
    places = graph.integers(*(rows**place for place in range(_HASHES)))
    digits = graph.add("Div", graph.add("Unsqueeze", ids, graph.integers(-1)), places)
    buckets = graph.add("Mod", digits, graph.integers(rows))
    sectors = graph.add("Add", buckets, graph.integers(*(rows * place for place in range(_HASHES))))
    before = graph.add("Mod", graph.add("Sub", buckets, graph.integers(1)), graph.integers(shared))
    real = graph.add("Greater", buckets, graph.integers(0))
    vectors = graph.add("Where", real, graph.add("Add", before, graph.integers(1)), graph.integers(0))
    importance = graph.rows("embedding.importance.weight", sectors)
    weighted = graph.add("Mul", importance, graph.rows("embedding.vectors.weight", vectors))
    return graph.add("ReduceSum", weighted, graph.integers(-2), keepdims=0)


def _pooled(graph: Graph, pooling: str, states: str, lengths: str) -> str:
    """States [B, T, 2H] summed up over the real tokens: [B, 2H]; those of padding are zero."""
    column = graph.add("Unsqueeze", lengths, graph.integers(1))
    if pooling == "mean":
        sums = graph.add("ReduceSum", states, graph.integers(1), keepdims=0)
        return graph.add("Div", sums, graph.add("Cast", column, to=TensorProto.FLOAT))
    if pooling == "last_as_published":
        return graph.add("GatherND", states, graph.add("Sub", column, graph.integers(1)), batch_dims=1)
    assert pooling == "max"
    steps = graph.add("Gather", graph.add("Shape", states), graph.integers(1, scalar=True))
    places = graph.add("Range", graph.integers(0, scalar=True), steps, graph.integers(1, scalar=True))
    real = graph.add("Unsqueeze", graph.add("Less", places, column), graph.integers(-1))
    below = graph.constant("below", np.array(-2, dtype=np.float32))  # every state is above -1
    return graph.add("ReduceMax", graph.add("Where", real, states, below), axes=[1], keepdims=0)


def rounded_weights(weights: Weights, *, per_channel: bool) -> Weights:
    """Every matrix as int8, symmetric around zero; biases stay. What is rounded already stays as it is.

    Weights that are multiplied in int8 are at most 63 (rounded again if they are larger): x86 processors without VNNI
    add two products of an unsigned and a signed byte in 16 bits, and what is larger is cut off there. An embedding is
    only looked up. per_channel: a scale for each output of a matrix and each column of an embedding, else one for all.
    """
    rounded = dict(weights)
    for name, weight in weights.items():
        looked_up = name.startswith("embedding")
        if isinstance(weight, Rounded) and (looked_up or np.abs(weight.values.astype(np.int16)).max() <= MOST_WEIGHT):
            continue
        whole = weight.floats if isinstance(weight, Rounded) else weight
        if whole.ndim > 1:
            most = np.abs(whole).max(axis=0 if looked_up else 1, keepdims=True) if per_channel else np.abs(whole).max()
            scales = np.where(most > 0, most / (127 if looked_up else MOST_WEIGHT), 1).astype(np.float32)
            rounded[name] = Rounded(np.rint(whole / scales).astype(np.int8), scales)
    return rounded
