"""A Hugging Face tokenizer in; the description from which the runtime tokenises alike out."""

from collections.abc import Callable, Iterable, Mapping
from itertools import takewhile
from pathlib import Path
from typing import Any

from featherlight.errors import UserError
from featherlight.files import read_json
from featherlight.runtime.packed import Json
from featherlight.runtime.text import FIRST, LETTERS, SHARED, SURROGATES


def tokenizer(folder: Path, settings: Mapping[str, Any]) -> Json:
    """A student's tokenizer as the runtime reads it; UserError for one that it could not follow to the letter."""
    if settings.get("tokenizer_class") == "HashTokenizer":
        return {"kind": "hash", "buckets": settings["buckets"]}
    described: Json = read_json(folder / "tokenizer.json")
    kind = next((kind for kind, known in _KINDS.items() if _agrees(known, described)), None)
    ids: Json = described["model"]["vocab"]
    if kind is None or not isinstance(ids, dict) or sorted(ids.values()) != list(range(len(ids))):
        parts = [(described[part] or {}).get("type", "none") for part in ("model", "pre_tokenizer", "normalizer")]
        raise UserError(
            f"{folder}: its tokenizer ({' over '.join(parts)}) cannot be packed: the runtime does not know it. Distil "
            "with --embedding bpe, char, byte or hash, or export the model with --format onnx."
        )
    return {"kind": kind, **(_DESCRIBERS[kind](described) if kind in _DESCRIBERS else {})}


def _agrees(known: Any, described: Any) -> bool:
    """Whether a description has what is known of a kind; what is not named there may be anything."""
    if isinstance(known, dict):
        return isinstance(described, dict) and all(_agrees(part, described.get(name)) for name, part in known.items())
    return bool(known == described)


_PLAIN = {"continuing_subword_prefix": None, "end_of_word_suffix": None, "dropout": None, "byte_fallback": False}
_NOT_LETTERS = {"Regex": r"[^\ abcdefghijklmnopqrstuvwxyz,\.;:\?!]"}
# What `tokenizers` says of those that `runtime.text` has: all that changes an id, but for what DESCRIBERS write down.
_KINDS: Mapping[str, Json] = {
    "wordpiece": {
        "normalizer": {"type": "BertNormalizer", "clean_text": True},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "model": {"type": "WordPiece", "max_input_chars_per_word": 100},
    },
    "bpe": {
        "normalizer": {"type": "Sequence", "normalizers": [{"type": "NFKC"}, {"type": "Lowercase"}]},
        "pre_tokenizer": {"type": "Metaspace", "prepend_scheme": "always", "split": True},
        "model": {"type": "BPE", "fuse_unk": False, "ignore_merges": False, **_PLAIN},
    },
    "byte": {
        "normalizer": None,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False},
        "model": {"type": "BPE", "merges": [], **_PLAIN},
    },
    "char": {
        "normalizer": {
            "type": "Sequence",
            "normalizers": [{"type": "Lowercase"}, {"type": "Replace", "pattern": _NOT_LETTERS, "content": ""}],
        },
        "pre_tokenizer": {"type": "Split", "pattern": {"String": ""}, "behavior": "Isolated", "invert": False},
        "model": {"type": "WordLevel", "vocab": {sign: row for row, sign in enumerate(LETTERS, start=1)}},
    },
}


def _word_pieces(described: Json) -> Json:
    model, normalizer = described["model"], described["normalizer"]
    accents = normalizer["strip_accents"]
    return {
        "pieces": front_code(sorted(model["vocab"], key=model["vocab"].__getitem__)),
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
        shared = len(list(takewhile(lambda pair: pair[0] == pair[1], zip(piece, before, strict=False))))
        words.append(chr(SHARED + shared) + piece[shared:])
        before = piece
    if any(" " in word for word in words):
        raise UserError("a piece with a space in it cannot be packed. Distil with --embedding bpe, char, byte or hash.")
    return " ".join(words)


def characters_of(ids: Iterable[int]) -> str:
    """Ids as characters: the number of each plus 32, with the surrogates skipped. They compress better than digits."""
    return "".join(chr(i + FIRST + SURROGATES * (i + FIRST >= 0xD800)) for i in ids)


def _byte_pairs(described: Json) -> Json:
    """What `runtime.text.BytePairs` needs: what the merges make is left out."""
    model = described["model"]
    ids, merges = model["vocab"], [tuple(merge) for merge in model["merges"]]
    merged = {left + right for left, right in merges}
    return {
        "letters": [piece for piece in sorted(ids, key=ids.__getitem__) if piece not in merged],
        "left": characters_of(ids[left] for left, _ in merges),
        "right": characters_of(ids[right] for _, right in merges),
        "unknown": ids[model["unk_token"]],
        "mark": described["pre_tokenizer"]["replacement"],
    }


_DESCRIBERS: Mapping[str, Callable[[Json], Json]] = {"wordpiece": _word_pieces, "bpe": _byte_pairs}
