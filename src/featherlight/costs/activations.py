"""What a forward pass keeps for its backward pass, from an architecture and a shape: in a layer, beside the layers.

Counted from what autograd keeps, tensor by tensor (tests/measurement/test_memory.py). Symbols as in `memory`.
"""

from dataclasses import dataclass

from featherlight.costs.architecture import Architecture
from featherlight.costs.optimizer_state import FP32

_INDEX = 8  # bytes of a place that is gathered


@dataclass(frozen=True)
class TrainingShape:
    """How a model is trained, as far as memory knows it.

    rank, lora_dropout: of lora; bottleneck: width of those of adapters; frozen: precision in which frozen matrices are
    held. varied: whether the length is that of the longest batch of many, as in a whole training. lazy: whether the
    optimiser's settings allow it to train a large table by its rows (`training.lazy_adamw`).
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
    varied: bool = False
    lazy: bool = True

    @property
    def size(self) -> int:
        """Bytes of a number in products."""
        return 2 if self.precision == "bf16" else FP32

    @property
    def fused(self) -> bool:
        """Whether PyTorch's fused attention is asked for, on this device."""
        return self.attention == "sdpa" or (self.attention == "auto" and self.device == "cuda")


@dataclass(frozen=True)
class _Small:
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
    "lora": _Small(0, 1, 2, 1, 0),  # query and value: their common input (bf16: a cast for each); the low-rank product
    "houlsby": _Small(2, 0, 4, 3, 0, attention=True),  # two inputs; before and after two activations
    "pfeiffer": _Small(1, 0, 2, 3, 1, attention=True, whole=True),
}
_DROPPED = _Small(2, 2, 2, 1, 2)  # lora with dropout: a dropped input and its mask for query and for value
_FROZEN_INPUTS = 3  # of a layer's products with frozen weights: the layer's own, the attention's output, feed-forward's


class Activations:
    """Bytes that are kept, of one layer where nothing else is said. small: what is trained beside frozen weights."""

    def __init__(self, architecture: Architecture, shape: TrainingShape):
        self.architecture, self.shape, self.keeps = architecture, shape, architecture.keeps
        self.small = _DROPPED if shape.method == "lora" and shape.lora_dropout else SMALL.get(shape.method)
        self.halved = self.small is not None and shape.frozen == "bf16"
        self.tokens = shape.batch * shape.length

    @property
    def attention(self) -> str:
        """The attention whose matrices are kept: the only one that a family has, or the chosen one."""
        return self.keeps.attention or self.shape.attention

    @property
    def fused(self) -> bool:
        """Whether attention stores no matrix of tokens by tokens for each head."""
        return not self.keeps.attention and self.shape.fused

    @property
    def thin(self) -> int:
        """Bytes for each token that is kept of small layers' insides."""
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
        """Bytes that attention to the whole text keeps beyond its vectors."""
        shape, size = self.shape, self.shape.size
        padded = self.tokens * shape.length if shape.batch > 1 else 0  # a mask; a text alone has no padding
        if self.fused:
            return self.without_matrices(padded)
        drops = self.architecture.attention_dropout > 0
        more = size * self.keeps.segments * self.tokens * shape.length + self.relative
        more += self.whole if shape.batch == 1 else 0  # of several texts, values are copied for their product
        if self.attention == "eager" and size < FP32:  # its mask is fp32, and with it all up to the last product
            return (FP32 * (1 + drops) + size) * self.matrices + more
        return size * (1 + 2 * drops) * self.matrices + (padded if self.attention == "auto" else 0) + more

    @property
    def biases(self) -> int:
        """Bytes of what all layers add to their scores, or of its gradient."""
        return FP32 * self.keeps.biases * self.matrices

    @property
    def local_square(self) -> int:
        """The same of attention to a window, which `auto` leaves to PyTorch's own; it masks what is further away."""
        if not self.fused and self.attention != "auto":
            return self.square
        masked = self.shape.batch > 1 or self.shape.length > self.architecture.window
        return self.without_matrices(self.tokens * self.shape.length * masked)

    def without_matrices(self, masked: int) -> int:
        """Of PyTorch's own attention: a sum for each token and head, masked numbers of its mask, whole vectors."""
        return FP32 * self.architecture.heads * self.tokens + self.shape.size * masked + self.whole

    @property
    def whole(self) -> int:
        """Bytes of queries and keys where they are one tensor with values, and stay with them."""
        return self.shape.size * self.keeps.whole * self.architecture.width * self.tokens

    @property
    def relative(self) -> int:
        """Bytes of DeBERTa's scores between tokens and distances: from either to the other.

        For each direction: distances' vectors, copied for each text; scores of each token with each distance; which
        of them to gather. And the table of distances after its dropout, and that one's mask.
        """
        architecture, shape = self.architecture, self.shape
        if not architecture.distances:
            return 0
        used = min(architecture.distances, 2 * shape.length) if self.keeps.nearby else architecture.distances
        vectors = shape.batch * used * architecture.width
        scores = self.tokens * used * architecture.heads
        table = FP32 * (1 + (architecture.dropout > 0)) * architecture.distances * architecture.width
        return 2 * (shape.size * (vectors + scores) + _INDEX * shape.length**2) + table

    @property
    def low(self) -> int:
        """Tensors of batch x length x width in the precision of products, without small layers and dropout.

        Casts are further copies of a layer's input; products with frozen weights keep none.
        """
        low = self.keeps.kept + (self.keeps.relative if self.architecture.distances else 0)
        return low + (self.keeps.casts if self.shape.size < FP32 and self.small is None else 0)

    @property
    def into(self) -> int:
        """Bytes for each token and unit of width that are kept up to the end of attention."""
        return self.shape.size * (self.low - self.keeps.after)

    @property
    def masks(self) -> int:
        """Masks of dropout."""
        return self.keeps.masks if self.architecture.dropout > 0 else 0

    @property
    def inner(self) -> int:
        """Tensors of batch x length x f; a gelu put together from parts keeps each part."""
        kept = self.keeps.inner + 3 * (self.architecture.activation == "gelu_new")
        kept += self.keeps.inner_masks * (self.architecture.dropout > 0)
        return kept - (self.small is not None)  # the input of a product with frozen weights is not kept

    @property
    def wide(self) -> int:
        """Bytes for each token and unit of width."""
        size, sums = self.shape.size, self.keeps.sums
        if self.small is not None:
            return size * (self.low - _FROZEN_INPUTS + self.masks + self.small.low) + FP32 * (sums + self.small.full)
        return size * (self.low + self.masks) + FP32 * sums

    @property
    def forward_part(self) -> int:
        """Bytes of b l f tensors."""
        return self.shape.size * self.inner * self.tokens * self.architecture.inner

    @property
    def layer(self) -> int:
        """Bytes that one layer keeps: vectors, feed-forward, attention, norms' statistics, copies of matrices."""
        per_token = self.wide * self.architecture.width + self.thin + 16
        matrices = FP32 * self.keeps.copied if self.shape.size == FP32 else -2 * self.keeps.uncast
        return per_token * self.tokens + self.forward_part + self.square + matrices * self.architecture.width**2

    @property
    def layers(self) -> int:
        """Bytes that all layers keep."""
        architecture = self.architecture
        return architecture.layers * self.layer - architecture.local * (self.square - self.local_square)

    @property
    def entry(self) -> int:
        """Bytes that embeddings and head keep: input of a norm, mask of dropout, ids.

        Narrow embeddings are the input of one more product. The head reads one token of the last layer's output, and
        keeps all of it unless it makes a copy in bf16; positions that all layers share are cast in each of them.
        """
        if self.small is not None:
            return 0  # frozen embeddings keep nothing
        architecture, keeps, size = self.architecture, self.keeps, self.shape.size
        ends = keeps.entry_sums + (keeps.entry_masks if architecture.dropout > 0 else 0)
        per_token = FP32 * ends * architecture.embedding + 32
        per_token += size * architecture.embedding if architecture.embedding != architecture.width else 0
        per_token += FP32 * (1 + keeps.positions) * architecture.width if size == FP32 else 0
        per_token += (3 * size + FP32) * architecture.width if architecture.convolution else 0
        return per_token * self.tokens

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
        architecture, keeps, size = self.architecture, self.keeps, self.shape.size
        backward = size * self.tokens * architecture.inner * keeps.gates
        backward += 0 if self.small else FP32 * architecture.width * architecture.inner * keeps.gates
        if self.attention == "eager" and not keeps.attention:
            return max(backward, FP32 * self.matrices if size < FP32 else 0)
        rest = self.forward_part + (self.wide - self.into) * architecture.width * self.tokens
        passing = 0 if self.fused else (FP32 if size == FP32 else 3) + size * (keeps.scores - 1)
        outputs = keeps.outputs and size < FP32 and not self.shape.checkpointing
        held = FP32 * self.tokens * architecture.width * architecture.layers * outputs
        return max(backward, held + max(passing * self.matrices - rest, 0)) + self.biases

    @property
    def formula(self) -> str:
        """What one layer keeps, in symbols; the mean of attention to the whole text and to a window."""
        architecture = self.architecture
        local = architecture.local / architecture.layers
        squares = (1 - local) * self.square + local * self.local_square
        attention = "4 b a l" if self.fused else f"{squares / max(self.matrices, 1):.3g} b a l l"
        return f"{self.wide} b l h + {self.shape.size * self.inner} b l f + {attention}"
