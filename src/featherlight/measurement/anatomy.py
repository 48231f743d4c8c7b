"""A model's weights, part by part: how many, how many bytes, how many zeros, how large.

A folder (safetensors, or the model.light that `quantize` writes) or a .light file in, counts out.
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from featherlight.errors import UserError
from featherlight.runtime.model import load
from featherlight.runtime.packed import LIGHT, decoded, read_packed

HEADER = "tokenizer"  # what is left of a packed file: its vocabulary for the most part
# Words in the names of students of ours, and of models that are of no family of encoders here.
_OTHERS: Mapping[str, tuple[str, ...]] = {
    "embedding": ("embedding.", "wte.", "embed_tokens"),
    "recurrent": ("body.network.",),
    "linear": ("classifier.hidden.", "classifier.out.weight", "classifier.out.bias"),
    "attention": (".q_lin", ".k_lin", ".v_lin", ".out_lin"),
    "feed-forward": (".ffn", ".lin1.", ".lin2."),
    "head": ("score.",),
}


@dataclass(frozen=True)
class Tensor:
    """One tensor. stored: its bytes raw, in the file it was read from; packed: in a .light file, None if in none."""

    name: str
    part: str
    weights: np.ndarray
    stored: int
    packed: int | None


def tensors_of(model: Path, packed: bytes | None) -> list[Tensor]:
    """Every tensor of a model. packed: the .light file that it makes, None for an encoder, which makes none."""
    sizes = read_packed(packed).stored if packed is not None else {}
    file = model if model.is_file() else model / LIGHT
    if file.exists():
        content = load(file).packed
        arrays = {name: decoded(encoded) for name, encoded in content.tensors.items()}
        stored = content.stored
    else:
        arrays = _read_safetensors(model)
        stored = {name: array.nbytes for name, array in arrays.items()}
    parts = _OTHERS if file.exists() else None
    return [Tensor(name, part_of(name, parts), array, stored[name], sizes.get(name)) for name, array in arrays.items()]


def _read_safetensors(folder: Path) -> dict[str, np.ndarray]:
    """The weights in all files of a folder, without tensors of whole numbers; UserError where there are none."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    arrays: dict[str, np.ndarray] = {}
    for path in sorted(folder.glob("model*.safetensors")):
        try:
            arrays |= load_file(path)
        except (SafetensorError, OSError) as error:
            raise UserError(f"{path}: damaged or cut short ({error}). Make it again.") from None
    if not arrays:
        problem = "no model.safetensors and no model.light" if folder.exists() else "no such folder or file"
        raise UserError(
            f"{folder}: {problem}. Give a model folder or a .light file; merge an adapter first (`featherlight merge`)."
        )
    return {name: array for name, array in arrays.items() if array.dtype.kind == "f"}  # places are no weights


def part_of(name: str, parts: Mapping[str, tuple[str, ...]] | None = None) -> str:
    """What a tensor belongs to, by words in its name; the first part that fits. parts: None for those of encoders."""
    parts = parts or _words_of_encoders()
    return next((part for part, words in parts.items() if any(word in name for word in words)), "norms and other")


@functools.cache
def _words_of_encoders() -> Mapping[str, tuple[str, ...]]:
    """The words of students and of all families of encoders, which load torch: a packed file is read without."""
    from featherlight.models.families import FAMILIES

    return {
        part: (*words, *(word for family in FAMILIES.values() for word in family.parts.get(part, ())))
        for part, words in _OTHERS.items()
    }


def by_part(tensors: Sequence[Tensor]) -> dict[str, dict[str, float | int | None]]:
    """{"parameters", "bytes", "packed_bytes", "zeros"} of each part, the largest first."""
    groups: dict[str, list[Tensor]] = {}
    for tensor in tensors:
        groups.setdefault(tensor.part, []).append(tensor)
    order = sorted(groups, key=lambda part: -sum(tensor.weights.size for tensor in groups[part]))
    return {part: summed(groups[part]) for part in order}


def summed(tensors: Sequence[Tensor]) -> dict[str, float | int | None]:
    """The same of some tensors together."""
    count = sum(tensor.weights.size for tensor in tensors)
    zeros = sum(int((tensor.weights == 0).sum()) for tensor in tensors)
    sizes = [tensor.packed for tensor in tensors if tensor.packed is not None]
    return {
        "parameters": count,
        "bytes": sum(tensor.stored for tensor in tensors),
        "packed_bytes": sum(sizes) if len(sizes) == len(tensors) else None,
        "zeros": zeros / count if count else 0.0,
    }


def under(tensors: Sequence[Tensor], thresholds: Sequence[float]) -> dict[float, float]:
    """threshold -> share of all weights whose size is at most that: what magnitude pruning would take."""
    sizes = np.concatenate([np.abs(tensor.weights).ravel() for tensor in tensors])
    return {threshold: float((sizes <= threshold).mean()) for threshold in thresholds}


def histogram(tensors: Sequence[Tensor]) -> dict[str, list[float]]:
    """{"edges" [41], "counts" [40]} over all weights, between the 0.1 % and 99.9 % quantiles; the rest at the ends."""
    weights = np.concatenate([tensor.weights.ravel().astype(np.float64) for tensor in tensors])
    low, high = np.quantile(weights, [0.001, 0.999])
    low, high = (low, high) if high > low else (low - 0.5, high + 0.5)
    counts, edges = np.histogram(weights.clip(low, high), bins=40, range=(float(low), float(high)))
    return {"edges": edges.tolist(), "counts": counts.tolist()}
