"""The .light format: one file that holds a model, its tokenizer and its labels. docs/light-format.md has every byte.

Bytes in, a header and tensors out; `packing.writer` writes them. Knows no architecture. Reading is total: whatever the
bytes are, they are read or refused with one UserError, in bounded time and memory: a tensor's numbers are counted
before anything is unpacked, and at most 16 bytes are taken for each of MOST_NUMBERS.
"""

import json
import lzma
import math
import struct
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from dataclasses import field as filled
from typing import Any

import numpy as np

from featherlight.errors import UserError

LIGHT = "model.light"  # what the file is called in a folder
MAGIC = b"\x89LIGHT\r\n"
VERSION = 1
START = struct.Struct("<8sHBxII")  # magic, version, coder of the header, header's stored and raw length
CHECKSUM = struct.Struct("<I")
MOST_NUMBERS = 2**24  # in all tensors together, codebooks and scales included
MOST_HEADER = 2**21  # bytes of JSON
MOST_FILE = 4 * MOST_NUMBERS + 2 * MOST_HEADER  # bytes
MOST_TENSORS = 1000
_MOST_LEVELS = 256
_DIGITS = (np.arange(256)[:, None] // 3 ** np.arange(5) % 3).astype(np.uint8)  # of a byte, to the base 3, lowest first
_DIGITS[3**5 :] = 3  # no byte of five digits
LZMA = [{"id": lzma.FILTER_LZMA2, "dict_size": 2**23, "lc": 3, "lp": 0, "pb": 0}]

Json = dict[str, Any]


@dataclass(frozen=True)
class Encoded:
    """A tensor as it is stored.

    kind: one of FLOATS or CODES. shape: of the tensor. levels: how many different codes there are, where there are
    codes. parts: flat arrays by name, as `_parts_of` tells them: "values" (float32 or float16), or "codes" (uint8) with
    "scales" (float16 or float32) or "book" (float32; of a product float16).
    """

    kind: str
    shape: tuple[int, ...]
    parts: Mapping[str, np.ndarray]
    levels: int = 0

    @property
    def size(self) -> int:
        """Numbers in the tensor."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Packed:
    """What a file holds. about: the header without its tensors: task, labels, architecture, tokenizer."""

    about: Json
    tensors: Mapping[str, Encoded]
    stored: Mapping[str, int] = filled(default_factory=dict)  # bytes of each tensor in the file it was read from


def code_bits(levels: int) -> int:
    """Bits of one code: enough for `levels` of them; three levels go five to a byte."""
    return max(1, (levels - 1).bit_length())


def packed_length(count: int, levels: int) -> int:
    """Bytes of `count` packed codes."""
    return -(-count // 5) if levels == 3 else -(-count * code_bits(levels) // 8)


def unpack_codes(data: bytes, count: int, levels: int) -> np.ndarray:
    """uint8 [count] from bits, lowest first, or five base-3 digits a byte; UserError for a code above the levels."""
    raw = np.frombuffer(data, dtype=np.uint8)
    if levels == 3:
        codes = _DIGITS[raw].reshape(-1)[:count]
    else:
        width = code_bits(levels)
        padded = np.zeros(-(-count // 8) * width + 1, dtype=np.uint16)
        padded[: len(raw)] = raw
        two = (padded[:-1] | padded[1:] << 8).reshape(-1, width)  # each byte with the next: no code is in three
        codes = np.empty((len(two), 8), dtype=np.uint8)
        for place in range(8):  # eight codes fill `width` bytes
            byte, shift = divmod(place * width, 8)
            codes[:, place] = two[:, byte] >> shift & 2**width - 1
        codes = codes.reshape(-1)[:count]
    if count and int(codes.max()) >= levels:
        raise damaged("a code above its number of levels")
    return codes


def _part_of(name: str, data: bytes, count: int, levels: int, dtype: str) -> np.ndarray:
    """A part's numbers from its bytes: codes, or finite floats as planes (all first bytes, then all second ...)."""
    if name == "codes":
        return unpack_codes(data, count, levels)
    planes = np.frombuffer(data, dtype=np.uint8).reshape(np.dtype(dtype).itemsize, count)
    numbers = np.array(planes.T, order="C").view(dtype).reshape(count)
    if not np.isfinite(numbers).all():
        raise damaged("a number that is not finite")
    return numbers


# A coder's number stands in files: never change one. 0 is none; 3 to 9 are reserved, 3 for an arithmetic coder.
CODERS: Mapping[int, Callable[[], Any]] = {
    1: lambda: zlib.decompressobj(-15),  # Deflate without the header and checksum of zlib
    2: lambda: lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=LZMA),  # LZMA2 without a container
}


def expanded(coder: int, data: bytes, length: int) -> bytes:
    """The bytes that a coder squeezed; UserError unless they are exactly `length`, and no more are ever made."""
    if coder == 0:
        raw, ended = data, True
    elif coder in CODERS:
        stream = CODERS[coder]()
        try:
            raw = stream.decompress(data, length + 1)
        except (zlib.error, lzma.LZMAError, EOFError):
            raise damaged("bytes that cannot be decoded") from None
        ended = stream.eof and not stream.unused_data
    else:
        raise damaged("a coder that this version does not know")
    if len(raw) != length or not ended:
        raise damaged("a part of another length than it says")
    return raw


@dataclass(frozen=True)
class _Part:
    """One stored array of a tensor: how many numbers it has and of which type ("codes": packed)."""

    name: str
    count: int
    dtype: str = "u1"


_FLOATS = {"float32": "<f4", "float16": "<f2"}
_CODES = ("uniform", "codebook", "product")


def _parts_of(kind: str, shape: tuple[int, ...], entry: Json) -> list[_Part]:
    """What a tensor of each kind consists of.

    float32, float16: the values. uniform: codes, and one scale for all or one per row. codebook: codes, and the value
    that each stands for. product: per row and group of columns a code, and per group a book of vectors.
    """
    count = math.prod(shape)
    if kind in _FLOATS:
        return [_Part("values", count, _FLOATS[kind])]
    levels = field(entry, "levels", int)
    if kind not in _CODES or not 2 <= levels <= _MOST_LEVELS:
        raise damaged("a kind of tensor, or a number of levels, that this version does not know")
    if kind == "codebook":
        return [_Part("codes", count), _Part("book", levels, "<f4")]
    if kind == "uniform":
        scales, width = _numbers(entry, "scales", length=2)
        if scales not in (1, shape[0]) or width not in (2, 4):
            raise damaged("scales that are neither one nor one per row")
        return [_Part("codes", count), _Part("scales", scales, f"<f{width}")]
    groups = field(entry, "groups", int)
    if len(shape) != 2 or groups < 1 or shape[1] % groups:
        raise damaged("groups that do not divide the columns")
    return [_Part("codes", shape[0] * groups), _Part("book", levels * shape[1], "<f2")]


SPARSE = {"float32": "values", "float16": "values", "uniform": "codes", "codebook": "codes"}  # what zeros leave out


def zero_code(encoded: Encoded) -> int | None:
    """The code (or value) that stands for zero; None where no code does."""
    if "values" in encoded.parts:
        return 0
    if encoded.kind == "uniform":
        return encoded.levels // 2
    if encoded.kind != "codebook":
        return None
    zeros = np.flatnonzero(encoded.parts["book"] == 0)
    return int(zeros[0]) if len(zeros) else None


def decoded(encoded: Encoded) -> np.ndarray:
    """The tensor: float32 of its shape.

    uniform: (code - levels // 2) x scale. codebook: book[code]. product: row by row the vectors that its codes name.
    """
    shape, parts = encoded.shape, encoded.parts
    if "values" in parts:
        tensor = parts["values"]
    elif encoded.kind == "codebook":
        tensor = parts["book"][parts["codes"]]
    elif encoded.kind == "product":
        groups = len(parts["codes"]) // shape[0]
        book = parts["book"].astype(np.float32).reshape(groups, encoded.levels, -1)
        tensor = book[np.arange(groups), parts["codes"].reshape(-1, groups)]
    else:
        tensor = parts["codes"].astype(np.float32).reshape(len(parts["scales"]), -1)
        tensor -= encoded.levels // 2
        with np.errstate(over="ignore"):
            tensor *= parts["scales"].astype(np.float32)[:, None]
        if not np.isfinite(tensor).all():
            raise damaged("scales that are too large")
    return np.asarray(tensor, dtype=np.float32).reshape(shape)


def read_packed(data: bytes) -> Packed:
    """The header and the tensors of a file; UserError for anything that is not a whole, sound .light file."""
    header, place = _read_header(data)
    listed = header.pop("tensors", None)
    if not isinstance(listed, dict) or len(listed) > MOST_TENSORS:
        raise damaged("no list of tensors")
    tensors, stored, room, end = {}, {}, MOST_NUMBERS, len(data) - CHECKSUM.size
    for name, described in listed.items():
        if not isinstance(described, dict):
            raise damaged("a tensor without a description")
        shape = tuple(_numbers(described, "shape"))
        if not 1 <= len(shape) <= 4 or min(shape) < 1 or math.prod(shape) > MOST_NUMBERS:
            raise damaged("a tensor with a shape out of range")
        parts = _parts_of(field(described, "kind", str), shape, described)
        room -= math.prod(shape) + sum(part.count for part in parts if part.name in ("scales", "book"))
        if room < 0:
            raise UserError(f"it has more than {MOST_NUMBERS:,} numbers, the most that a .light file can hold.")
        tensors[name], stored[name] = _read_tensor(described, shape, parts, memoryview(data)[place:end])
        place += stored[name]
    if place != end:
        raise damaged("bytes that belong to no tensor")
    return Packed(header, tensors, stored)


def _read_header(data: bytes) -> tuple[Json, int]:
    """The header, and where the tensors begin."""
    if data[: len(MAGIC)] != MAGIC:
        raise UserError("it is not a .light file: its first bytes are not the format's signature.")
    if len(data) < START.size + CHECKSUM.size:
        raise damaged("a file header that is cut short")
    _, version, coder, stored, raw = START.unpack_from(data)
    if zlib.crc32(memoryview(data)[: -CHECKSUM.size]) != CHECKSUM.unpack_from(data, len(data) - CHECKSUM.size)[0]:
        raise damaged("a checksum that does not fit its bytes")
    if version > VERSION:
        raise UserError(f"it has version {version} of the format; this program reads up to {VERSION}. Upgrade it.")
    place = START.size + stored
    if version < 1 or raw > MOST_HEADER or place > len(data) - CHECKSUM.size:
        raise damaged("a file header with sizes out of range")
    text = expanded(coder, data[START.size : place], raw)
    try:
        header = json.loads(text.decode())
        if b"\\" in text:  # half of a surrogate pair can stand in JSON, escaped; no other program could print it
            json.dumps(header, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        raise damaged("a header that is not JSON") from None
    if not isinstance(header, dict):
        raise damaged("a header that is not JSON")
    return header, place


def _read_tensor(entry: Json, shape: tuple[int, ...], expected: list[_Part], data: memoryview) -> tuple[Encoded, int]:
    """A tensor from the bytes that begin with its parts, and how many of them it takes."""
    kind, count = entry["kind"], math.prod(shape)
    levels = entry["levels"] if kind in _CODES else 0
    sparse = "kept" in entry and kind in SPARSE
    listed = field(entry, "parts", list)
    if len(listed) != len(expected) + sparse:
        raise damaged("a tensor with another number of parts")
    stored, place = [], 0
    for number in range(len(listed)):
        coder, length = _numbers({"parts": listed[number]}, "parts", length=2)
        if not 0 <= length <= len(data) - place:
            raise damaged("a part beyond the end of the file")
        stored.append((coder, bytes(data[place : place + length])))
        place += length
    if sparse:
        coder, squeezed = stored.pop(0)
        bits = np.frombuffer(expanded(coder, squeezed, -(-count // 8)), dtype=np.uint8)
        mask = np.unpackbits(bits, count=count, bitorder="little").view(bool)
        if np.count_nonzero(mask) != field(entry, "kept", int):
            raise damaged("a mask that keeps another number of weights")
    parts = {}
    for part, (coder, squeezed) in zip(expected, stored, strict=True):
        kept = entry["kept"] if sparse and part.name == SPARSE[kind] else part.count
        length = packed_length(kept, levels) if part.name == "codes" else kept * np.dtype(part.dtype).itemsize
        parts[part.name] = _part_of(part.name, expanded(coder, squeezed, length), kept, levels, part.dtype)
    encoded = Encoded(kind, shape, parts, levels)
    if sparse:
        zero = zero_code(encoded)
        if zero is None:
            raise damaged("a sparse tensor without a zero")
        whole = np.full(count, zero, dtype=parts[SPARSE[kind]].dtype)
        whole[mask] = parts[SPARSE[kind]]
        parts[SPARSE[kind]] = whole
    return encoded, place


def field(fields: Mapping[str, Any], name: str, kind: type) -> Any:
    """fields[name], of exactly this type: True is no int."""
    if type(fields.get(name)) is not kind:
        raise damaged(f"a header without {name}, or with one of another type")
    return fields[name]


def _numbers(fields: Mapping[str, Any], name: str, *, length: int | None = None) -> list[int]:
    """fields[name], a list of whole numbers, of this length."""
    numbers: list[int] = field(fields, name, list)
    if length not in (None, len(numbers)) or not all(type(number) is int for number in numbers):
        raise damaged(f"a header without {name}, or with one of another type")
    return numbers


def damaged(what: str) -> UserError:
    """The error for bytes that are not what `packing.writer` writes. what: in our words, never the file's."""
    return UserError(f"it is damaged ({what}). Copy the file again, or make it again with `featherlight pack`.")
