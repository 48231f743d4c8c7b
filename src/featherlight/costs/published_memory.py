"""The memory of a training as X. Wang's report on BERT-like models and adapters has it, to the byte.

Symbols as in `costs.memory`. In fp32 with AdamW; positions, biases, head and workspace are left out.
"""

from featherlight.costs.architecture import Architecture
from featherlight.costs.memory import Memory, Term


def published(architecture: Architecture, *, batch: int, length: int) -> Memory:
    """16 N + d (34 b l h + 9 b a l^2 + 8 b l h'), N = v h + d (4 h^2 + 2 h h' + 4 h): as published, to the byte.

    X. Wang's report on BERT-like models and adapters, section 2.3.1 (its MiB are 10^6 bytes): full fine-tuning
    in fp32 with AdamW; positions, biases, head and workspace are left out.
    """
    d, h, a, inner = architecture.layers, architecture.width, architecture.heads, architecture.inner
    count = architecture.vocabulary * h + d * (4 * h * h + 2 * h * inner + 4 * h)
    tokens = batch * length
    kept = d * (34 * tokens * h + 9 * tokens * length * a + 8 * tokens * inner)
    where = "as published: X. Wang, section 2.3.1"
    terms = {
        "parameters": Term(4 * count, "4 N", where),
        "gradients": Term(4 * count, "4 N", where),
        "optimizer": Term(8 * count, "8 N", where),
        "activations": Term(kept, "d (34 b l h + 9 b a l l + 8 b l f)", where),
        "workspace": Term(0, "0", where),
    }
    return Memory(terms, "all at once", count, count)


def published_adapters(architecture: Architecture, *, batch: int, length: int, bottleneck: int) -> Memory:
    """4 N + 16 N_a + 2 d (4 b l h + 8 b l h_a), N_a = 4 d h h_a + 4 d h: section 2.3.2 of the same report."""
    d, h, tokens = architecture.layers, architecture.width, batch * length
    whole = published(architecture, batch=batch, length=length)
    count = 4 * d * h * bottleneck + 4 * d * h
    where = "as published: X. Wang, section 2.3.2"
    terms = {
        "parameters": Term(4 * whole.parameters + 4 * count, "4 N + 4 N_a", where),
        "gradients": Term(4 * count, "4 N_a", where),
        "optimizer": Term(8 * count, "8 N_a", where),
        "activations": Term(2 * d * (4 * tokens * h + 8 * tokens * bottleneck), "2 d (4 b l h + 8 b l h_a)", where),
        "workspace": Term(0, "0", where),
    }
    return Memory(terms, "all at once", whole.parameters + count, count)
