"""The memory that a fine-tuning needs at its peak, term by term, from an architecture and a shape.

It is the peak of our own training loop, of one forward and backward pass over the whole batch, which
`finetune --batch-tokens` may cut. Symbols in formulas: N weights, of which T are trained; d layers; b examples,
l tokens; h width, a heads, f width of the feed-forward part; v words, e width of the embeddings; s bytes of a number in
products (fp32 4, bf16 2). Bytes throughout; MB are 10^6.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

from featherlight.errors import UserError, pick
from featherlight.measurement.architecture import Architecture
from featherlight.measurement.optimizer_state import FP32, RULES

# Measured, docs/studies/memory.md: what torch, oneDNN and accelerate load at the first step, by bytes of a number; and
# the holes in the heap, a share of what a step takes and frees again. Checkpointing returns freed memory at once.
LIBRARIES = {4: 22_000_000, 2: 35_000_000}
HOLES = 0.7
LIBRARIES_SMALL = {4: 64_000_000, 2: 57_000_000}  # the same of trainings of small layers, and holes of a fixed size
HOLES_SMALL = 0.3
LAZY_FROM = 1_000_000  # weights of a table from which its rows are trained lazily: training/lazy_rows.py
LAZY_COPIES = 6  # of the rows that a batch reads, in their update
TERMS = ("parameters", "gradients", "optimizer", "activations", "workspace")


@dataclass(frozen=True)
class Term:
    """Bytes of one kind at the peak, how they are counted, and where that is from."""

    bytes: int
    formula: str
    source: str


@dataclass(frozen=True)
class Memory:
    """What a training holds at its peak. moment: when that is. parameters, trainable: numbers, not bytes."""

    terms: Mapping[str, Term]
    moment: str
    parameters: int
    trainable: int

    @property
    def total_bytes(self) -> int:
        """All terms together."""
        return sum(term.bytes for term in self.terms.values())


@dataclass(frozen=True)
class Shape:
    """How a model is trained, as far as memory knows it.

    rank, lora_dropout: of lora; bottleneck: width of those of adapters; frozen: precision in which frozen matrices are
    held.
    """

    batch: int
    length: int
    method: str = "full"
    optimizer: str = "adamw"
    precision: str = "fp32"
    checkpointing: bool = False
    attention: str = "auto"
    device: str = "cpu"
    rank: int = 32
    bottleneck: int = 24
    frozen: str = "fp32"
    lora_dropout: float = 0.0

    @property
    def size(self) -> int:
        """Bytes of a number in products."""
        return 2 if self.precision == "bf16" else FP32

    @property
    def fused(self) -> bool:
        """Whether attention stores no matrix of tokens by tokens for each head."""
        return self.attention == "sdpa" or (self.attention == "auto" and self.device == "cuda")


def predict_memory(architecture: Architecture, *, batch: int, length: int, **how: object) -> Memory:
    """The peak of a training. how: further fields of `Shape`. Raises UserError for a name that is not known."""
    shape = Shape(batch, length, **how)  # type: ignore[arg-type]
    pick("optimizer", shape.optimizer, RULES)
    pick("method", shape.method, {"full": 0, "head": 0, **SMALL})
    pick("attention", shape.attention, {"auto": 0, "eager": 0, "sdpa": 0})
    if shape.method == "head" and shape.checkpointing:
        raise UserError("--checkpointing: has no effect with --method head, whose layers keep nothing. Leave it out.")
    return Prediction(architecture, shape).memory()


@dataclass(frozen=True)
class Small:
    """Small layers beside frozen weights: what a layer keeps for them, and what the first layer need not keep.

    low, full: tensors of batch x length x width, in the precision of products and in fp32; thin: of batch x length x
    the small layer's width. spared_low, spared_full: of the first layer, whose input needs no gradient; attention: it
    spares what its attention keeps, too; whole: all of it. Counted by hooks of autograd (tests/measurement).
    """

    low: int
    full: int
    thin: int
    spared_low: int
    spared_full: int
    attention: bool = False
    whole: bool = False


SMALL = {
    "lora": Small(0, 1, 2, 1, 0),  # query and value: their common input (bf16: a cast for each); the low-rank product
    "houlsby": Small(2, 0, 4, 3, 0, attention=True),  # two inputs; before and after two activations
    "pfeiffer": Small(1, 0, 2, 3, 1, attention=True, whole=True),
}
DROPPED = Small(2, 2, 2, 1, 2)  # lora with dropout: a dropped input and its mask for query and for value
FROZEN_INPUTS = 3  # of a layer's products with frozen weights: the layer's own, the attention's output, feed-forward's
SMALL_TARGETS = 2  # query and value


class Prediction:
    """The sizes that the moments of a step are put together from, in bytes."""

    def __init__(self, architecture: Architecture, shape: Shape):
        self.architecture, self.shape = architecture, shape
        full = shape.method == "full"
        self.small = DROPPED if shape.method == "lora" and shape.lora_dropout else SMALL.get(shape.method)
        self.trained = [tensor for tensor, part in architecture.tensors if full or part == "head"]
        if not full and architecture.kind == "bert":  # its pooler belongs to the frozen body
            self.trained = [t for t in self.trained if t[0] != architecture.width]
        added = self.added()
        self.trained += added
        if shape.method == "houlsby":
            self.trained += [(architecture.width,)] * (4 * self.distinct)  # gain and bias of two norms
        self.parameters = architecture.count() + sum(map(prod, added))
        self.halved = self.small is not None and shape.frozen == "bf16"
        frozen = architecture.count(matrices=True) - architecture.count("head", matrices=True)
        self.weights = FP32 * self.parameters - (FP32 - 2) * frozen * self.halved
        self.lazy = full and shape.device == "cpu" and shape.optimizer == "adamw" and architecture.table >= LAZY_FROM
        self.tokens = shape.batch * shape.length
        self.rows = FP32 * architecture.embedding * min(self.tokens, architecture.vocabulary) if self.lazy else 0
        self.rule = RULES[shape.optimizer]

    @property
    def distinct(self) -> int:
        """Layers with weights of their own."""
        return 1 if self.architecture.shared else self.architecture.layers

    def added(self) -> list[tuple[int, ...]]:
        """Shapes of the small layers."""
        width, rank, inner = self.architecture.width, self.shape.rank, self.shape.bottleneck
        if self.shape.method == "lora":
            return [(rank, width), (width, rank)] * (SMALL_TARGETS * self.distinct)
        places = {"houlsby": 2, "pfeiffer": 1}.get(self.shape.method, 0)
        return [(inner, width), (inner,), (width, inner), (width,)] * (places * self.distinct)

    @property
    def thin(self) -> int:
        """Bytes for each token that one layer keeps of its small layers' insides."""
        inside = self.shape.rank if self.shape.method == "lora" else self.shape.bottleneck
        return self.shape.size * self.small.thin * inside if self.small else 0

    @property
    def spared(self) -> int:
        """Bytes that the first layer need not keep, for what goes into it needs no gradient."""
        if self.small is None:
            return 0
        size, tokens, small = self.shape.size, self.tokens, self.small
        low = small.spared_low + (max(self.masks - 1, 0) if small.whole else 0)  # and the mask of attention's output
        spared = (size * low + FP32 * small.spared_full) * tokens * self.architecture.width
        spared += self.square if small.attention else 0
        inner = size * tokens * self.architecture.inner + self.cast_weights // self.architecture.layers
        return spared + (inner if small.whole else 0)

    @property
    def matrices(self) -> int:
        """b a l l: numbers in one layer's attention."""
        return self.tokens * self.shape.length * self.architecture.heads

    @property
    def square(self) -> int:
        """Bytes that one layer's attention keeps beyond its vectors."""
        shape, size = self.shape, self.shape.size
        padded = self.tokens * shape.length if shape.batch > 1 else 0  # a mask; a text alone has no padding
        if shape.fused:
            return FP32 * self.tokens * self.architecture.heads + size * padded
        drops = self.architecture.attention_dropout > 0
        if shape.attention == "eager" and size < FP32:  # its mask is fp32, and with it all up to the last product
            return (FP32 * (1 + drops) + size) * self.matrices
        return size * (1 + 2 * drops) * self.matrices + (padded if shape.attention == "auto" else 0)

    @property
    def into(self) -> int:
        """Bytes for each token and unit of width that one layer keeps up to its attention."""
        return self.shape.size * (4 + self.casts)

    @property
    def casts(self) -> int:
        """Further copies of a layer's input; products with frozen weights keep none."""
        return self.architecture.family.casts if self.shape.size < FP32 and self.small is None else 0

    @property
    def masks(self) -> int:
        """Masks of dropout that one layer keeps."""
        return self.architecture.family.masks if self.architecture.dropout > 0 else 0

    @property
    def inner(self) -> int:
        """Tensors of batch x length x f that one layer keeps; a gelu put together from parts keeps each part."""
        kept = 5 if self.architecture.activation == "gelu_new" else self.architecture.family.inner
        return kept - (self.small is not None)  # the input of a product with frozen weights is not kept

    @property
    def wide(self) -> int:
        """Bytes for each token and unit of width that one layer keeps."""
        family, size = self.architecture.family, self.shape.size
        if self.small is not None:
            low = family.kept - FROZEN_INPUTS + self.masks + self.small.low
            return size * low + FP32 * (family.sums + self.small.full)
        return size * (family.kept + self.casts + self.masks) + FP32 * family.sums

    @property
    def forward_part(self) -> int:
        """Bytes of b l f tensors of one layer."""
        return self.shape.size * self.inner * self.tokens * self.architecture.inner

    @property
    def layer(self) -> int:
        """Bytes that one layer keeps for its backward pass: vectors, feed-forward, attention, norms' statistics."""
        per_token = self.wide * self.architecture.width + self.thin + 16
        return per_token * self.tokens + self.forward_part + self.square

    @property
    def entry(self) -> int:
        """Bytes that embeddings and head keep: input of a norm, mask of dropout, ids; the rows that were read.

        Narrow embeddings are the input of one more product. The head reads one token of the last layer's output, and
        keeps all of it unless it makes a copy in bf16.
        """
        if self.small is not None:
            return 0  # frozen embeddings keep nothing
        architecture, size = self.architecture, self.shape.size
        per_token = (FP32 + (FP32 if architecture.dropout > 0 else 0)) * architecture.embedding + 32
        per_token += size * architecture.embedding if architecture.embedding != architecture.width else 0
        per_token += FP32 * architecture.width if size == FP32 else 0
        return per_token * self.tokens + self.rows

    @property
    def cast_weights(self) -> int:
        """Bytes of bf16 copies of the matrices in all layers."""
        if self.shape.size == FP32 or self.halved:
            return 0
        return 2 * self.architecture.count("layer", "head", matrices=True)

    @property
    def in_flight(self) -> int:
        """Bytes that the last layer needs beyond what it keeps, or that its gradients need, whichever is more.

        In the forward pass the scores, or random numbers, stay until attention is over, when the feed-forward part
        keeps nothing yet; eager attention in bf16 hands its shares in fp32 on to the end of the layer. In the
        backward pass: the gradient of the feed-forward part and of one of its matrices.
        """
        architecture, size = self.architecture, self.shape.size
        backward = size * self.tokens * architecture.inner
        backward += 0 if self.small else FP32 * architecture.width * architecture.inner
        if self.shape.attention == "eager":
            return max(backward, FP32 * self.matrices if size < FP32 else 0)
        rest = self.forward_part + (self.wide - self.into) * architecture.width * self.tokens
        passing = 0 if self.shape.fused else FP32 if size == FP32 else 3
        return max(backward, passing * self.matrices - rest)

    def moments(self) -> dict[str, tuple[int, int, int]]:
        """What (gradients, activations, workspace) weigh when they may be heaviest."""
        architecture, shape = self.architecture, self.shape
        whole = FP32 * sum(map(prod, self.trained)) - (FP32 * architecture.table - self.rows if self.lazy else 0)
        update = self.rule.copies * FP32 * max(map(prod, self.trained)) + LAZY_COPIES * self.rows
        largest = FP32 * max(map(prod, self.trained if self.small else [tensor for tensor, _ in architecture.tensors]))
        moments = {"update of the weights": (whole, self.rows, update), "best weights read back": (0, 0, largest)}
        if shape.method == "head":
            running = max(self.square + self.into * architecture.width * self.tokens, 2 * self.forward_part)
            return {**moments, "a frozen layer": (0, 0, running + FP32 * architecture.width * self.tokens)}
        layers, head = architecture.layers, FP32 * architecture.count("head")
        changed = sum(map(prod, self.trained)) if self.small else architecture.count("layer")
        late = FP32 * changed * (0 if architecture.shared else (layers - 1) / layers)
        if shape.checkpointing:
            inputs = FP32 * architecture.width * self.tokens * layers
            one = self.layer + self.cast_weights // layers
            kept = self.entry + inputs
            first = (int(head + late), kept // layers + one, self.in_flight)
            return {
                **moments,
                "backward pass, last layer": (head, kept + one, self.in_flight),
                "backward pass, first layer": first,
            }
        one = self.layer + self.cast_weights // layers
        return {
            **moments,
            "last layer": (head, self.entry + layers * self.layer - self.spared + self.cast_weights, self.in_flight),
            "backward pass, first layer": (int(head + late), self.entry + one, self.in_flight),
        }

    def memory(self) -> Memory:
        """The heaviest moment."""
        state = self.rule.state(self.trained) + (16 * self.architecture.vocabulary if self.lazy else 0)
        moments = self.moments()
        name = max(moments, key=lambda moment: sum(moments[moment]))
        gradients, activations, passing = moments[name]
        return Memory(
            terms=self.terms(state, gradients, activations, passing),
            moment=name,
            parameters=self.parameters,
            trainable=sum(map(prod, self.trained)),
        )

    def terms(self, state: int, gradients: int, activations: int, passing: int) -> dict[str, Term]:
        """The terms of a moment with their formulas."""
        passing_on = f"{passing / 1e6:.1f} MB in flight"
        holes, libraries = 0, 0
        if self.shape.device == "cpu":
            kept = not self.shape.checkpointing  # what is freed
            libraries = (LIBRARIES_SMALL if self.small and kept else LIBRARIES)[self.shape.size]
            share = HOLES_SMALL if self.small else HOLES
            holes = int(share * kept * (gradients + activations + passing))
            passing_on += f" + {libraries / 1e6:.0f} MB libraries + {holes / 1e6:.1f} MB holes in the heap"
        lazy = " + 16 v" if self.lazy else ""
        return {
            "parameters": self.held,
            "gradients": Term(gradients, self.gradient_formula, "training/loop.py: freed after each update"),
            "optimizer": Term(state, self.rule.formula + lazy, self.rule.source),
            "activations": Term(activations, self.formula, "tensors that autograd keeps, counted in a test"),
            "workspace": Term(
                passing + holes + libraries,
                passing_on,
                "measured: docs/studies/memory.md",
            ),
        }  # fmt: skip

    @property
    def held(self) -> Term:
        """The weights themselves."""
        if self.halved:
            return Term(self.weights, "4 N - 2 x frozen matrices", "--frozen-precision bf16")
        return Term(self.weights, "4 N", "fp32 whatever the precision of products")

    @property
    def gradient_formula(self) -> str:
        """In symbols."""
        return "4 x (T - v e + rows read x e), those there at the peak" if self.lazy else "4 T, those there at the peak"

    @property
    def formula(self) -> str:
        """What is kept, in symbols."""
        if self.shape.method == "head":
            return "0: frozen layers keep nothing"
        squares = self.square / max(self.matrices, 1)
        attention = "4 b a l" if self.shape.fused else f"{squares:.3g} b a l l"
        layer = f"{self.wide} b l h + {self.shape.size * self.inner} b l f + {attention}"
        if self.small is not None:
            inside = f"{self.shape.size * self.small.thin} b l {'r' if self.shape.method == 'lora' else 'a_h'}"
            more = " + 2 x matrices" if self.cast_weights else ""
            return f"d ({layer} + {inside}) - what the first layer need not keep{more}"
        more = " + 2 x matrices" if self.cast_weights else ""
        if self.shape.checkpointing:
            return f"4 d b l h + one layer ({layer}){more}"
        return f"d ({layer}) + 8 b l e{more}"


def largest_batch(architecture: Architecture, room: int, *, length: int, **how: object) -> int:
    """The most examples whose training needs at most room bytes; 0 where a single one needs more."""

    def fits(batch: int) -> bool:
        return predict_memory(architecture, batch=batch, length=length, **how).total_bytes <= room

    if not fits(1):
        return 0
    low, high = 1, 2
    while fits(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low
