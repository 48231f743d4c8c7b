"""A student's folder in, a .light file out: tokenizer, architecture, tensors, in as few bytes as they need.

Needs no torch. `runtime.packed` reads the file; here is what Hugging Face's folders call things, and the writing.
"""

import json
import zlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from featherlight.errors import UserError
from featherlight.files import read_bytes, read_json
from featherlight.runtime.model import LightModel
from featherlight.runtime.packed import (
    CHECKSUM,
    CODERS,
    LIGHT,
    MAGIC,
    SPARSE,
    START,
    VERSION,
    Encoded,
    Packed,
    part_bytes,
    read_packed,
    zero_code,
)

Json = dict[str, Any]
WEIGHTS = "model.safetensors"
BODIES = {"featherlight-bilstm": "lstm", "featherlight-rnn": "rnn", "featherlight-bag": "mean"}


def packed_file(model: Path) -> Path | None:
    """The .light file that a path means: itself, or the one in a folder that `pack` made."""
    if model.is_file():
        return model
    file = model / LIGHT
    return file if file.exists() and not (model / "config.json").exists() else None


def pack_folder(folder: Path) -> bytes:
    """A student's folder as one .light file; its tensors as they are: float32, or what `quantize` made of them."""
    packed = describe(folder)
    data = write_packed(packed.about, packed.tensors)
    LightModel(read_packed(data))  # what cannot be read again must not leave this place
    return data


def describe(folder: Path) -> Packed:
    """Header and tensors of a student's folder; UserError for anything else."""
    config = config_of(folder)
    if (folder / LIGHT).exists():
        packed = read_packed(read_bytes(folder / LIGHT))
        return Packed(packed.about, packed.tensors)
    tensors = {name: Encoded("float32", array.shape, {"values": array.ravel()}) for name, array in arrays(folder)}
    return Packed(about(folder, config), tensors)


def is_packable(folder: Path) -> bool:
    """Whether a folder holds a student."""
    config = folder / "config.json"
    return config.exists() and read_json(config).get("model_type") in BODIES


def config_of(folder: Path) -> Json:
    """A student's config.json; UserError for another model's."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder. Give one that `featherlight distill` made.")
    config: Json = read_json(folder / "config.json")
    if config.get("model_type") not in BODIES:
        raise UserError(
            f"{folder}: holds a {config.get('model_type', 'model of an unknown kind')}, and only students can be "
            "packed. Distil it into one with `featherlight distill`; or export it as ONNX: `featherlight export`."
        )
    return config


def arrays(folder: Path) -> list[tuple[str, np.ndarray]]:
    """The float32 weights of a folder, by name."""
    from safetensors.numpy import load_file

    return sorted((name, array.astype("<f4")) for name, array in load_file(folder / WEIGHTS).items())


def about(folder: Path, config: Json) -> Json:
    """What a file says of a model besides its weights."""
    regression = config.get("problem_type") == "regression"
    record = read_json(folder / "record.json") if (folder / "record.json").exists() else {}
    settings = read_json(folder / "tokenizer_config.json")
    return {
        "task": record.get("task", {}).get("name", ""),
        "labels": [] if regression else [config["id2label"][str(i)] for i in range(len(config["id2label"]))],
        "max_length": int(settings["model_max_length"]),
        "architecture": architecture(config),
        "tokenizer": tokenizer(folder, settings),
    }


def architecture(config: Mapping[str, Any]) -> Json:
    """What a student computes, of its config."""
    return {
        "body": BODIES[config["model_type"]],
        "embedding": config["embedding"],
        "pooling": config.get("pooling", "mean"),
        "pair": config["pair"],
    }


def tokenizer(folder: Path, settings: Mapping[str, Any]) -> Json:
    """A student's tokenizer as the runtime reads it; UserError for one that it could not follow to the letter."""
    if settings.get("tokenizer_class") == "HashTokenizer":
        return {"kind": "hash", "buckets": settings["buckets"]}
    described: Json = read_json(folder / "tokenizer.json")
    shape = (described["model"]["type"], type_of(described["pre_tokenizer"]), normalizers(described["normalizer"]))
    kind = KINDS.get(shape)
    if kind is None:
        raise UserError(
            f"{folder}: its tokenizer ({' over '.join(map(str, shape[:2]))}) cannot be packed yet: the runtime does "
            "not know it. Distil with --embedding bpe, char, byte or hash, or export the model with --format onnx."
        )
    return {"kind": kind, **DESCRIBERS[kind](described)}


def type_of(part: Json | None) -> str:
    """The type of a part of a tokenizer."""
    return "none" if part is None else str(part["type"])


def normalizers(part: Json | None) -> tuple[str, ...]:
    """The types of a normalizer's parts."""
    return tuple(map(type_of, part["normalizers"])) if part and part["type"] == "Sequence" else (type_of(part),)


KINDS = {
    ("WordPiece", "BertPreTokenizer", ("BertNormalizer",)): "wordpiece",
    ("BPE", "Metaspace", ("NFKC", "Lowercase")): "bpe",
    ("BPE", "ByteLevel", ("none",)): "byte",
    ("WordLevel", "Split", ("Lowercase", "Replace")): "char",
}


def word_pieces(described: Json) -> Json:
    """What `runtime.text.WordPiece` needs."""
    model, normalizer = described["model"], described["normalizer"]
    accents = normalizer["strip_accents"]
    return {
        "pieces": by_id(model["vocab"]),
        "unknown": model["vocab"][model["unk_token"]],
        "prefix": model["continuing_subword_prefix"],
        "lower": normalizer["lowercase"],
        "strip_accents": normalizer["lowercase"] if accents is None else accents,
        "clean": normalizer["clean_text"],
        "chinese": normalizer["handle_chinese_chars"],
    }


def byte_pairs(described: Json) -> Json:
    """What `runtime.text.BytePairs` needs: what the merges make is left out."""
    model = described["model"]
    ids, merges = model["vocab"], [tuple(merge) for merge in model["merges"]]
    made = {left + right for left, right in merges}
    letters = [piece for piece in by_id(ids) if piece not in made]
    flat = [ids[piece] for merge in merges for piece in merge]
    return {"letters": letters, "merges": flat, "unknown": ids[model["unk_token"]],
            "mark": described["pre_tokenizer"]["replacement"]}  # fmt: skip


def whole_bytes(described: Json) -> Json:
    """Bytes need nothing; a teacher's byte pairs (RoBERTa's) are more than that."""
    if described["model"]["merges"]:
        raise UserError(
            "a tokenizer of byte pairs over bytes cannot be packed yet. Distil with --embedding bpe, char, byte or "
            "hash."
        )
    return {}


DESCRIBERS: Mapping[str, Callable[[Json], Json]] = {
    "wordpiece": word_pieces,
    "bpe": byte_pairs,
    "byte": whole_bytes,
    "char": lambda described: {},
}


def by_id(vocabulary: Mapping[str, int]) -> list[str]:
    """Pieces in the order of their ids."""
    return sorted(vocabulary, key=vocabulary.__getitem__)


def write_packed(about: Json, tensors: Mapping[str, Encoded], *, version: int = VERSION) -> bytes:
    """The smallest file: each tensor dense or sparse, and each of its parts by the coder that does best."""
    listed: Json = {}
    blobs: list[bytes] = []
    for name, encoded in tensors.items():
        described, stored = min(layouts(encoded), key=lambda found: sum(map(len, found[1])) + len(str(found[0])))
        listed[name] = described
        blobs += stored
    text = json.dumps({**about, "tensors": listed}, ensure_ascii=False, separators=(",", ":")).encode()
    coder, header = squeezed(text)
    start = START.pack(MAGIC, version, coder, len(header), len(text))
    body = b"".join([start, header, *blobs])
    return body + CHECKSUM.pack(zlib.crc32(body))


def layouts(encoded: Encoded) -> Iterable[tuple[Json, list[bytes]]]:
    """The ways to store a tensor, each as its entry in the header and its bytes."""
    about: Json = {"kind": encoded.kind, "shape": list(encoded.shape)}
    if encoded.levels:
        about["levels"] = encoded.levels
    if encoded.kind == "uniform":
        about["scales"] = len(encoded.parts["scales"])
    if encoded.kind == "product":
        about["groups"] = len(encoded.parts["codes"]) // encoded.shape[0]
    yield coded(about, {name: part_bytes(name, part, encoded.levels) for name, part in encoded.parts.items()})
    zero = zero_code(encoded)
    if encoded.kind not in SPARSE or zero is None:
        return
    name = SPARSE[encoded.kind]
    kept = encoded.parts[name] != zero
    if kept.all():
        return
    parts = {**encoded.parts, name: encoded.parts[name][kept]}
    stored = {name: part_bytes(name, part, encoded.levels) for name, part in parts.items()}
    mask = np.packbits(kept, bitorder="little").tobytes()
    yield coded({**about, "kept": int(kept.sum())}, {"mask": mask, **stored})


def coded(about: Json, parts: Mapping[str, bytes]) -> tuple[Json, list[bytes]]:
    """A tensor's entry with coder and length of each part, and the parts."""
    found = [squeezed(part) for part in parts.values()]
    return {**about, "parts": [[coder, len(data)] for coder, data in found]}, [data for _, data in found]


def squeezed(data: bytes) -> tuple[int, bytes]:
    """(coder, bytes) of the coder that makes the least of them."""
    tries = ((number, write(data)) for number, (write, _) in CODERS.items())
    return min(tries, key=lambda found: (len(found[1]), found[0]))
