"""The memory that a fine-tuning needs at its peak, term by term, from an architecture and a shape.

It is the peak of our own training loop, of one forward and backward pass over the whole batch, which
`finetune --batch-tokens` may cut. Symbols in formulas: N weights, of which T are trained; d layers; b examples,
l tokens; h width, a heads, f width of the feed-forward part; v words, e width of the embeddings; s bytes of a number in
products (fp32 4, bf16 2). Bytes throughout; MB are 10^6.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

from featherlight.costs.activations import SMALL, Activations, TrainingShape
from featherlight.costs.architecture import Architecture
from featherlight.costs.optimizer_state import FP32, RULES
from featherlight.errors import UserError, pick
from featherlight.training.lazy_adamw import SMALLEST

# Measured, docs/studies/memory.md: what torch, oneDNN and accelerate load at the first step, by bytes of a number; and
# the holes in the heap, a share of what a step takes and frees again. Checkpointing returns freed memory at once.
_LIBRARIES = {4: 22_000_000, 2: 35_000_000}
_HOLES = 0.7
_LIBRARIES_SMALL = {4: 64_000_000, 2: 57_000_000}  # the same of trainings of small layers
_HOLES_SMALL = 0.3  # of small layers where every batch has one shape
_LAZY_COPIES = 6  # of the rows that a batch reads, in their update
_SMALL_TARGETS = 2  # of lora: query and value
_FROZEN_LAYER = "a frozen layer"


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


def predict_memory(architecture: Architecture, *, batch: int, length: int, **options: object) -> Memory:
    """The peak of a training. options: further fields of `TrainingShape`.

    Raises UserError for a name that is not known, and for what this family of models cannot do or is not known of it.
    """
    shape = TrainingShape(batch, length, **options)  # type: ignore[arg-type]
    pick("optimizer", shape.optimizer, RULES)
    pick("method", shape.method, {"full": 0, "head": 0, **SMALL})
    pick("attention", shape.attention, {"auto": 0, "eager": 0, "sdpa": 0})
    if shape.method == "head" and shape.checkpointing:
        raise UserError("--checkpointing: has no effect with --method head, whose layers keep nothing. Leave it out.")
    kind, keeps = architecture.kind, architecture.keeps
    if keeps.attention and shape.attention == "sdpa":
        raise UserError(f"--attention sdpa: {kind} models have one attention only. Leave it out.")
    if shape.checkpointing and not keeps.again:
        raise UserError(f"--checkpointing: {kind} models cannot do it. Leave it out.")
    if shape.method in SMALL and not keeps.small:
        raise UserError(
            f"--method {shape.method}: what {kind} models keep beside frozen weights is not known here. "
            "--measure tells what any model takes; full and head are predicted."
        )
    return Prediction(architecture, shape).memory()


def predict_inference(architecture: Architecture, *, batch: int, length: int, **options: object) -> int:
    """Bytes of a forward pass that keeps nothing: weights, what one layer has in flight, libraries.

    options: precision, device and attention of `TrainingShape`.
    """
    shape = TrainingShape(batch, length, method="head", **options)  # type: ignore[arg-type]
    layers = Prediction(architecture, shape)
    libraries = _LIBRARIES[shape.size] if shape.device == "cpu" else 0
    return layers.weights + sum(layers.moments()[_FROZEN_LAYER]) + libraries


class Prediction:
    """The sizes that the moments of a step are put together from, in bytes."""

    def __init__(self, architecture: Architecture, shape: TrainingShape):
        self.architecture, self.shape, self.kept = architecture, shape, Activations(architecture, shape)
        self.small, self.halved, self.tokens = self.kept.small, self.kept.halved, self.kept.tokens
        full = shape.method == "full"
        self.trained = [tensor for tensor, part in architecture.tensors if full or part == "head"]
        added = self.added()
        self.trained += added
        if shape.method == "houlsby":
            self.trained += [(architecture.width,)] * (4 * self.distinct)  # gain and bias of two norms
        self.parameters = architecture.count() + sum(map(prod, added))
        frozen = architecture.count(matrices=True) - architecture.count("head", matrices=True)
        self.weights = FP32 * self.parameters - (FP32 - 2) * frozen * self.halved
        self.lazy = (
            shape.lazy
            and full
            and shape.device == "cpu"
            and shape.optimizer == "adamw"
            and architecture.table >= SMALLEST
        )
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
            return [(rank, width), (width, rank)] * (_SMALL_TARGETS * self.distinct)
        places = {"houlsby": 2, "pfeiffer": 1}.get(self.shape.method, 0)
        return [(inner, width), (inner,), (width, inner), (width,)] * (places * self.distinct)

    def moments(self) -> dict[str, tuple[int, int, int]]:
        """What (gradients, activations, workspace) weigh when they may be heaviest."""
        architecture, shape = self.architecture, self.shape
        whole = FP32 * sum(map(prod, self.trained)) - (FP32 * architecture.table - self.rows if self.lazy else 0)
        update = self.rule.copies * FP32 * max(map(prod, self.trained)) + _LAZY_COPIES * self.rows
        largest = FP32 * max(map(prod, self.trained if self.small else [tensor for tensor, _ in architecture.tensors]))
        moments = {"update of the weights": (whole, self.rows, update), "best weights read back": (0, 0, largest)}
        kept, vectors = self.kept, architecture.width * self.tokens
        if shape.method == "head":
            running = max(kept.square + kept.into * vectors, 2 * kept.forward_part) + kept.biases
            return {**moments, _FROZEN_LAYER: (0, 0, running + FP32 * vectors)}
        layers = architecture.layers
        head = FP32 * architecture.count("head")
        small = sum(map(prod, self.trained)) - architecture.count("head")
        changed = small if self.small else architecture.count("layer")
        late = int(head + FP32 * changed * (0 if architecture.shared else (layers - 1) / layers))
        entry, one = kept.entry + self.rows, kept.layer + kept.cast_weights // layers
        if shape.checkpointing:
            inputs = entry + FP32 * vectors * layers
            return {
                **moments,
                "backward pass, last layer": (head, inputs + one, kept.in_flight),
                "backward pass, first layer": (late, inputs // layers + one, kept.in_flight),
            }
        return {
            **moments,
            "last layer": (head, entry + kept.layers - kept.spared + kept.cast_weights, kept.in_flight),
            "backward pass, first layer": (late, entry + one, kept.in_flight),
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
            libraries = (_LIBRARIES_SMALL if self.small and kept else _LIBRARIES)[self.shape.size]
            share = _HOLES_SMALL if self.small and not self.shape.varied else _HOLES
            holes = int(share * kept * (gradients + activations + passing))
            passing_on += f" + {libraries / 1e6:.0f} MB libraries + {holes / 1e6:.1f} MB holes in the heap"
        moving, lazy = ("4 x (T - v e + rows read x e)", " + 16 v") if self.lazy else ("4 T", "")
        return {
            "parameters": self.held,
            "gradients": Term(
                gradients, moving + ", those there at the peak", "training/loop.py: freed after each update"
            ),
            "optimizer": Term(state, self.rule.formula + lazy, self.rule.source),
            "activations": Term(activations, self.formula, "tensors that autograd keeps, counted in a test"),
            "workspace": Term(passing + holes + libraries, passing_on, "measured: docs/studies/memory.md"),
        }

    @property
    def held(self) -> Term:
        """The weights themselves."""
        if self.halved:
            return Term(self.weights, "4 N - 2 x frozen matrices", "--frozen-precision bf16")
        return Term(self.weights, "4 N", "fp32 whatever the precision of products")

    @property
    def formula(self) -> str:
        """What is kept, in symbols."""
        if self.shape.method == "head":
            return "0: frozen layers keep nothing"
        more = " + 2 x matrices" if self.kept.cast_weights else ""
        if self.small is not None:
            inside = f"{self.shape.size * self.small.thin} b l {'r' if self.shape.method == 'lora' else 'a_h'}"
            return f"d ({self.kept.formula} + {inside}) - what the first layer need not keep{more}"
        if self.shape.checkpointing:
            return f"4 d b l h + one layer ({self.kept.formula}){more}"
        return f"d ({self.kept.formula}) + 8 b l e{more}"


def largest_batch(architecture: Architecture, room: int, *, length: int, **options: object) -> int:
    """The most examples whose training needs at most room bytes; 0 where a single one needs more."""

    def fits(batch: int) -> bool:
        return predict_memory(architecture, batch=batch, length=length, **options).total_bytes <= room

    if not fits(1):
        return 0
    low, high = 1, 2
    while fits(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low
