"""A student's folder in, a .light file out: tokenizer, architecture, tensors, in as few bytes as they need.

Needs no torch. `runtime.packed` reads the file; here is what Hugging Face's folders call things, and the writing.
"""

import json
import lzma
import math
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from featherlight.errors import UserError
from featherlight.files import read_json
from featherlight.runtime.model import MOST_TOKENS, LightModel, load
from featherlight.runtime.packed import (
    CHECKSUM,
    LIGHT,
    LZMA,
    MAGIC,
    MOST_NUMBERS,
    SPARSE,
    START,
    VERSION,
    Encoded,
    Json,
    Packed,
    code_bits,
    read_packed,
    zero_code,
)
from featherlight.runtime.text import FIRST, LETTERS, SHARED, SURROGATES, front_coded

WEIGHTS = "model.safetensors"
TABLE = "embedding.weight"
BODIES = {"featherlight-bilstm": "lstm", "featherlight-rnn": "rnn", "featherlight-bag": "mean"}
LONGEST = 512  # tokens, for a tokenizer that states no limit; as in `models.load`
UNSTATED = 10**6


def packed_file(model: Path) -> Path | None:
    """The .light file that a path means: itself, or the one in a folder that `pack` made."""
    if model.is_file():
        return model
    file = model / LIGHT
    return file if file.exists() and not (model / "config.json").exists() else None


def pack_folder(folder: Path) -> bytes:
    """A student's folder as one .light file; its tensors as they are: float32, or what `quantize` made of them."""
    packed = describe(folder)
    numbers = sum(encoded.size for encoded in packed.tensors.values())
    if numbers > MOST_NUMBERS:
        raise UserError(
            f"{folder}: has {numbers:,} weights, and a .light file holds at most {MOST_NUMBERS:,}. "
            "Distil into a student with a smaller --vocabulary or --dim."
        )
    data = write_packed(packed.about, packed.tensors)
    LightModel(read_packed(data))  # what cannot be read again must not leave this place
    return data


def describe(folder: Path) -> Packed:
    """Header and tensors of a student's folder; UserError for anything else."""
    config = config_of(folder)
    if (folder / LIGHT).exists():
        return load(folder / LIGHT).packed
    tensors = {name: Encoded("float32", array.shape, {"values": array.ravel()}) for name, array in arrays(folder)}
    return Packed(about(folder, config), tensors)


def is_packable(folder: Path) -> bool:
    """Whether a folder holds a student and its weights (an exported one has them in another file)."""
    config = folder / "config.json"
    student = config.exists() and read_json(config).get("model_type") in BODIES
    return student and any((folder / name).exists() for name in (WEIGHTS, LIGHT))


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
    """The float32 weights of a folder, by name; UserError for a file that is damaged or not finite."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        found = sorted((name, array.astype("<f4")) for name, array in load_file(folder / WEIGHTS).items())
    except (SafetensorError, OSError, TypeError) as error:  # numpy knows no bfloat16
        raise UserError(f"{folder / WEIGHTS}: cannot be read ({error}). Make it again.") from None
    for name, array in found:
        if not np.isfinite(array).all():
            raise UserError(f"{folder / WEIGHTS}: {name} holds numbers that are not finite. Train it again.")
    return found


def about(folder: Path, config: Json) -> Json:
    """What a file says of a model besides its weights."""
    regression = config.get("problem_type") == "regression"
    names = config.get("id2label", {"0": "LABEL_0", "1": "LABEL_1"})  # what transformers leaves out
    record = read_json(folder / "record.json") if (folder / "record.json").exists() else {}
    settings = read_json(folder / "tokenizer_config.json")
    stated = int(settings.get("model_max_length", UNSTATED))
    return {
        "task": record.get("task", {}).get("name", ""),
        "labels": [] if regression else [names[str(i)] for i in range(len(names))],
        "max_length": min(stated if stated < UNSTATED else LONGEST, MOST_TOKENS),
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


# --- tokenizers


def tokenizer(folder: Path, settings: Mapping[str, Any]) -> Json:
    """A student's tokenizer as the runtime reads it; UserError for one that it could not follow to the letter."""
    if settings.get("tokenizer_class") == "HashTokenizer":
        return {"kind": "hash", "buckets": settings["buckets"]}
    described: Json = read_json(folder / "tokenizer.json")
    kind = next((kind for kind, known in KINDS.items() if agrees(known, described)), None)
    ids: Json = described["model"]["vocab"]
    if kind is None or not isinstance(ids, dict) or sorted(ids.values()) != list(range(len(ids))):
        parts = [(described[part] or {}).get("type", "none") for part in ("model", "pre_tokenizer", "normalizer")]
        raise UserError(
            f"{folder}: its tokenizer ({' over '.join(parts)}) cannot be packed: the runtime does not know it. Distil "
            "with --embedding bpe, char, byte or hash, or export the model with --format onnx."
        )
    return {"kind": kind, **DESCRIBERS[kind](described)}


def agrees(known: Any, found: Any) -> bool:
    """Whether a description has what is known of a kind; what is not named there may be anything."""
    if isinstance(known, dict):
        return isinstance(found, dict) and all(agrees(part, found.get(name)) for name, part in known.items())
    return bool(known == found)


PLAIN = {"continuing_subword_prefix": None, "end_of_word_suffix": None, "dropout": None, "byte_fallback": False}
NOT_LETTERS = {"Regex": r"[^\ abcdefghijklmnopqrstuvwxyz,\.;:\?!]"}
# What `tokenizers` says of those that `runtime.text` has: all that changes an id, but for what DESCRIBERS write down.
KINDS: Mapping[str, Json] = {
    "wordpiece": {
        "normalizer": {"type": "BertNormalizer", "clean_text": True},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "model": {"type": "WordPiece", "max_input_chars_per_word": 100},
    },
    "bpe": {
        "normalizer": {"type": "Sequence", "normalizers": [{"type": "NFKC"}, {"type": "Lowercase"}]},
        "pre_tokenizer": {"type": "Metaspace", "prepend_scheme": "always", "split": True},
        "model": {"type": "BPE", "fuse_unk": False, "ignore_merges": False, **PLAIN},
    },
    "byte": {
        "normalizer": None,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False},
        "model": {"type": "BPE", "merges": [], **PLAIN},
    },
    "char": {
        "normalizer": {
            "type": "Sequence",
            "normalizers": [{"type": "Lowercase"}, {"type": "Replace", "pattern": NOT_LETTERS, "content": ""}],
        },
        "pre_tokenizer": {"type": "Split", "pattern": {"String": ""}, "behavior": "Isolated", "invert": False},
        "model": {"type": "WordLevel", "vocab": {sign: row for row, sign in enumerate(LETTERS, start=1)}},
    },
}


def word_pieces(described: Json) -> Json:
    """What `runtime.text.WordPiece` needs."""
    model, normalizer = described["model"], described["normalizer"]
    accents = normalizer["strip_accents"]
    return {
        "pieces": front_code(by_id(model["vocab"])),
        "unknown": model["vocab"][model["unk_token"]],
        "prefix": model["continuing_subword_prefix"],
        "lower": normalizer["lowercase"],
        "strip_accents": normalizer["lowercase"] if accents is None else accents,
        "chinese": normalizer["handle_chinese_chars"],
    }


def front_code(pieces: Iterable[str]) -> str:
    """Each piece as the number of characters that it shares with the one before, and the others; see `front_coded`."""
    words, before = [], ""
    for piece in pieces:
        shared = next(
            (i for i, (a, b) in enumerate(zip(piece, before, strict=False)) if a != b), min(len(piece), len(before))
        )
        words.append(chr(SHARED + shared) + piece[shared:])
        before = piece
    if any(" " in word for word in words):
        raise UserError("a piece with a space in it cannot be packed. Distil with --embedding bpe, char, byte or hash.")
    return " ".join(words)


def characters_of(ids: Iterable[int]) -> str:
    """Ids as characters: the number of each plus 32, with the surrogates skipped. They compress better than digits."""
    return "".join(chr(i + FIRST + SURROGATES * (i + FIRST >= 0xD800)) for i in ids)


def byte_pairs(described: Json) -> Json:
    """What `runtime.text.BytePairs` needs: what the merges make is left out."""
    model = described["model"]
    ids, merges = model["vocab"], [tuple(merge) for merge in model["merges"]]
    made = {left + right for left, right in merges}
    return {
        "letters": [piece for piece in by_id(ids) if piece not in made],
        "left": characters_of(ids[left] for left, _ in merges),
        "right": characters_of(ids[right] for _, right in merges),
        "unknown": ids[model["unk_token"]],
        "mark": described["pre_tokenizer"]["replacement"],
    }


DESCRIBERS: Mapping[str, Callable[[Json], Json]] = {
    "wordpiece": word_pieces,
    "bpe": byte_pairs,
    "byte": lambda described: {},
    "char": lambda described: {},
}


def by_id(vocabulary: Mapping[str, int]) -> list[str]:
    """Pieces in the order of their ids."""
    return sorted(vocabulary, key=vocabulary.__getitem__)


def write_packed(about: Json, tensors: Mapping[str, Encoded], *, version: int = VERSION) -> bytes:
    """The smallest file: pieces sorted, each tensor dense or sparse, each of its parts by the coder that does best."""
    about, tensors = with_sorted_pieces(about, tensors)
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


def with_sorted_pieces(about: Json, tensors: Mapping[str, Encoded]) -> tuple[Json, Mapping[str, Encoded]]:
    """The same model with its word pieces in the order in which front coding is shortest, padding first as ever."""
    if about["tokenizer"]["kind"] != "wordpiece":
        return about, tensors
    pieces = front_coded(about["tokenizer"]["pieces"])
    order = [0, *sorted(range(1, len(pieces)), key=pieces.__getitem__)]
    if len(order) != tensors[TABLE].shape[0]:
        raise UserError(f"{len(order)} pieces and {tensors[TABLE].shape[0]} vectors: the model is damaged.")
    unknown = order.index(about["tokenizer"]["unknown"])
    tokenizer = {**about["tokenizer"], "pieces": front_code(pieces[i] for i in order), "unknown": unknown}
    parts = {
        name: part if name == "book" or len(part) == 1 else part.reshape(len(order), -1)[order].ravel()
        for name, part in tensors[TABLE].parts.items()
    }
    return {**about, "tokenizer": tokenizer}, {**tensors, TABLE: replace(tensors[TABLE], parts=parts)}


def layouts(encoded: Encoded) -> Iterable[tuple[Json, list[bytes]]]:
    """The ways to store a tensor, each as its entry in the header and its bytes."""
    about: Json = {"kind": encoded.kind, "shape": list(encoded.shape)}
    if encoded.levels:
        about["levels"] = encoded.levels
    if encoded.kind == "uniform":
        about["scales"] = [len(encoded.parts["scales"]), encoded.parts["scales"].itemsize]
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


def part_bytes(name: str, part: np.ndarray, levels: int) -> bytes:
    """A part as bytes: codes packed; floats as planes (all first bytes, then all second ...), which compress better."""
    if name == "codes":
        return pack_codes(part, levels)
    return part.view(np.uint8).reshape(-1, part.itemsize).T.tobytes()


def pack_codes(codes: np.ndarray, levels: int) -> bytes:
    """Codes below `levels` as bits, the lowest first; three levels as digits to the base 3, five in a byte."""
    if levels == 3:
        digits = np.zeros(math.ceil(len(codes) / 5) * 5, dtype=np.uint8)
        digits[: len(codes)] = codes
        return bytes(digits.reshape(-1, 5) @ np.array([1, 3, 9, 27, 81], dtype=np.uint8))
    bits = np.unpackbits(codes[:, None], axis=1, count=code_bits(levels), bitorder="little")
    return np.packbits(bits, bitorder="little").tobytes()


def zlib_bytes(data: bytes) -> bytes:
    """Deflate without the header and checksum of zlib: the file has its own."""
    squeezer = zlib.compressobj(9, zlib.DEFLATED, -15, 9)
    return squeezer.compress(data) + squeezer.flush()


def lzma_bytes(data: bytes) -> bytes:
    """LZMA2 without a container."""
    return lzma.compress(data, lzma.FORMAT_RAW, filters=LZMA)


CODERS: Mapping[int, Callable[[bytes], bytes]] = {0: bytes, 1: zlib_bytes, 2: lzma_bytes}


def squeezed(data: bytes) -> tuple[int, bytes]:
    """(coder, bytes) of the coder that makes the least of them."""
    tries = ((number, write(data)) for number, write in CODERS.items())
    return min(tries, key=lambda found: (len(found[1]), found[0]))
