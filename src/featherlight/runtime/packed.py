"""The .light format: one file that holds a model, its tokenizer and its labels. docs/light-format.md has every byte.

Bytes in, a header and tensors out; `export.light` writes them. Knows no architecture. Reading is total: whatever the
bytes are, they are read or refused with one UserError, in time and memory bounded by MOST_BYTES.
"""

import json
import lzma
import math
import struct
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from featherlight.errors import UserError

LIGHT = "model.light"  # what the file is called in a folder
MAGIC = b"\x89LIGHT\r\n"
VERSION = 1
START = struct.Struct("<8sHBxII")  # magic, version, coder of the header, header's stored and raw length
CHECKSUM = struct.Struct("<I")
MOST_BYTES = 2**29  # of all tensors as float32, and of what is kept packed beside them
MOST_HEADER = 2**24
MOST_TENSORS = 1000
LZMA = [{"id": lzma.FILTER_LZMA2, "dict_size": 2**23, "lc": 3, "lp": 0, "pb": 0}]

Json = dict[str, Any]


@dataclass(frozen=True)
class Encoded:
    """A tensor as it is stored.

    kind: one of KINDS. shape: of the tensor. levels: how many different codes there are (uniform, codebook, product).
    parts: flat arrays by name, as `KINDS[kind]` tells them: "values" (float32 or float16), or "codes" (uint8) with
    "scales" or "book" (float32).
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
    stored: Mapping[str, int] = field(default_factory=dict)  # bytes of each tensor in the file it was read from


# --- codes as bits


def code_bits(levels: int) -> int:
    """Bits of one code: enough for `levels` of them; three levels go five to a byte."""
    return max(1, (levels - 1).bit_length())


def packed_length(count: int, levels: int) -> int:
    """Bytes of `count` packed codes."""
    return -(-count // 5) if levels == 3 else -(-count * code_bits(levels) // 8)


def pack_codes(codes: np.ndarray, levels: int) -> bytes:
    """Codes below `levels` as bits, the lowest first; three levels as digits to the base 3, five in a byte."""
    if levels == 3:
        digits = np.zeros(-(-len(codes) // 5) * 5, dtype=np.uint8)
        digits[: len(codes)] = codes
        return bytes(digits.reshape(-1, 5) @ (3 ** np.arange(5)).astype(np.uint8))
    if levels == 256:
        return codes.tobytes()
    bits = np.unpackbits(codes[:, None], axis=1, count=code_bits(levels), bitorder="little")
    return np.packbits(bits, bitorder="little").tobytes()


def unpack_codes(data: bytes, count: int, levels: int) -> np.ndarray:
    """uint8 [count] from `pack_codes`; UserError for a code that is not below `levels`."""
    raw = np.frombuffer(data, dtype=np.uint8)
    if levels == 3:
        codes = (raw[:, None] // (3 ** np.arange(5)).astype(np.uint8) % 3).reshape(-1)[:count]
    elif levels == 256:
        codes = raw
    else:
        width = code_bits(levels)
        bits = np.unpackbits(raw, count=count * width, bitorder="little").reshape(count, width)
        codes = np.packbits(bits, axis=1, bitorder="little").reshape(count)
    if count and int(codes.max()) >= levels:
        raise damaged("a code beyond its levels")
    return codes


# --- parts as bytes


def part_bytes(name: str, part: np.ndarray, levels: int) -> bytes:
    """A part as bytes: codes packed; floats as planes (all first bytes, then all second ...), which compress better."""
    if name == "codes":
        return pack_codes(part, levels)
    return part.view(np.uint8).reshape(len(part), -1).T.tobytes()


def part_of(name: str, data: bytes, count: int, levels: int, dtype: str) -> np.ndarray:
    """The opposite of `part_bytes`; floats must be finite."""
    if name == "codes":
        return unpack_codes(data, count, levels)
    planes = np.frombuffer(data, dtype=np.uint8).reshape(np.dtype(dtype).itemsize, count)
    numbers = np.ascontiguousarray(planes.T).view(dtype).reshape(count)
    if not np.isfinite(numbers).all():
        raise damaged("a number that is not finite")
    return numbers


def zlib_bytes(data: bytes) -> bytes:
    """Deflate without the header and checksum of zlib: the file has its own."""
    squeezer = zlib.compressobj(9, zlib.DEFLATED, -15, 9)
    return squeezer.compress(data) + squeezer.flush()


def unzlib(data: bytes, length: int) -> bytes:
    """At most length + 1 bytes, so that a bomb cannot go off."""
    return zlib.decompressobj(-15).decompress(data, length + 1)


def lzma_bytes(data: bytes) -> bytes:
    """LZMA2 without a container."""
    return lzma.compress(data, lzma.FORMAT_RAW, filters=LZMA)


def unlzma(data: bytes, length: int) -> bytes:
    """At most length + 1 bytes; memory is bounded by the dictionary of LZMA."""
    return lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=LZMA).decompress(data, length + 1)


# The number of a coder stands in files: never change one. 3 to 9 are reserved; 3 will be an arithmetic coder.
CODERS: Mapping[int, tuple[Callable[[bytes], bytes], Callable[[bytes, int], bytes]]] = {
    0: (bytes, lambda data, length: data),
    1: (zlib_bytes, unzlib),
    2: (lzma_bytes, unlzma),
}


def expanded(coder: object, data: bytes, length: int) -> bytes:
    """The bytes that a coder squeezed; UserError unless they are exactly `length`."""
    if not isinstance(coder, int) or isinstance(coder, bool) or coder not in CODERS:
        raise damaged(f"coder {coder!r}, which this version does not know")
    try:
        raw = CODERS[coder][1](data, length)
    except (zlib.error, lzma.LZMAError, EOFError) as error:
        raise damaged(f"bytes that cannot be decoded ({error})") from None
    if len(raw) != length:
        raise damaged(f"{'more' if len(raw) > length else 'fewer'} bytes than a tensor needs")
    return raw


# --- tensors


@dataclass(frozen=True)
class Part:
    """One stored array of a tensor: how many numbers it has and of which type ("codes": packed)."""

    name: str
    count: int
    dtype: str = "u1"


def dense_parts(shape: tuple[int, ...], about: Json) -> list[Part]:
    """float32, float16: the values."""
    return [Part("values", math.prod(shape), "<f4" if about["kind"] == "float32" else "<f2")]


def uniform_parts(shape: tuple[int, ...], about: Json) -> list[Part]:
    """uniform: codes, and one scale for all or one per row."""
    rows = shape[0] if shape else 1
    scales = integer(about, "scales", rows)
    if scales not in (1, rows):
        raise damaged("scales that are neither one nor one per row")
    return [Part("codes", math.prod(shape)), Part("scales", scales, "<f4")]


def codebook_parts(shape: tuple[int, ...], about: Json) -> list[Part]:
    """codebook: codes, and the value that each stands for."""
    return [Part("codes", math.prod(shape)), Part("book", integer(about, "levels", 256), "<f4")]


def product_parts(shape: tuple[int, ...], about: Json) -> list[Part]:
    """product: per row and group of columns a code, and per group a book of vectors."""
    if len(shape) != 2 or not shape[1]:
        raise damaged("a product code of something else than a matrix")
    groups = integer(about, "groups", shape[1])
    if not groups or shape[1] % groups:
        raise damaged("groups that do not divide the columns")
    return [Part("codes", shape[0] * groups), Part("book", integer(about, "levels", 256) * shape[1], "<f2")]


KINDS: Mapping[str, Callable[[tuple[int, ...], Json], list[Part]]] = {
    "float32": dense_parts,
    "float16": dense_parts,
    "uniform": uniform_parts,
    "codebook": codebook_parts,
    "product": product_parts,
}
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
        found = parts["values"].astype(np.float32)
    elif encoded.kind == "codebook":
        found = parts["book"][parts["codes"]]
    elif encoded.kind == "product":
        groups = len(parts["codes"]) // max(shape[0], 1)
        book = parts["book"].astype(np.float32).reshape(groups, encoded.levels, -1)
        found = book[np.arange(groups), parts["codes"].reshape(-1, groups)]
    else:
        rows = parts["codes"].reshape(len(parts["scales"]), -1).astype(np.float32) - encoded.levels // 2
        found = rows * parts["scales"][:, None]
    return np.asarray(found, dtype=np.float32).reshape(shape)


# --- whole files


def read_packed(data: bytes) -> Packed:
    """The header and the tensors of a file; UserError for anything that is not a whole, sound .light file."""
    about, place = read_header(data)
    listed = about.pop("tensors", None)
    if not isinstance(listed, dict) or len(listed) > MOST_TENSORS:
        raise damaged("no list of tensors")
    tensors, stored, room, end = {}, {}, MOST_BYTES, len(data) - CHECKSUM.size
    for name, described in listed.items():
        if not isinstance(described, dict):
            raise damaged("a tensor without a description")
        shape = shape_of(described)
        room -= 8 * math.prod(shape)  # as float32, and as much again while it is decoded
        if room < 0:
            raise UserError(f"the file needs more than {MOST_BYTES // 2**20} MB of memory. It was not made by `pack`.")
        tensors[name], used = read_tensor(described, shape, memoryview(data)[place:end])
        stored[name] = used
        place += used
    if place != end:
        raise damaged("bytes that belong to no tensor")
    return Packed(about, tensors, stored)


def read_header(data: bytes) -> tuple[Json, int]:
    """The header, and where the tensors begin."""
    if data[: len(MAGIC)] != MAGIC:
        raise UserError("it is not a .light file: it does not begin with the format's mark.")
    if len(data) < START.size + CHECKSUM.size:
        raise damaged("not even a whole start")
    _, version, coder, stored, raw = START.unpack_from(data)
    if version > VERSION:
        raise UserError(f"it has version {version} of the format; this program reads up to {VERSION}. Upgrade it.")
    if version < 1:
        raise damaged("version 0")
    if zlib.crc32(memoryview(data)[: -CHECKSUM.size]) != CHECKSUM.unpack_from(data, len(data) - CHECKSUM.size)[0]:
        raise damaged("a checksum that does not fit its bytes")
    place = START.size + stored
    if raw > MOST_HEADER or place > len(data) - CHECKSUM.size:
        raise damaged("a header longer than it can be")
    try:
        about = json.loads(expanded(coder, data[START.size : place], raw))
    except (ValueError, RecursionError):
        raise damaged("a header that is not JSON") from None
    if not isinstance(about, dict):
        raise damaged("a header that is not JSON")
    return about, place


def read_tensor(about: Json, shape: tuple[int, ...], data: memoryview) -> tuple[Encoded, int]:
    """A tensor from the bytes that begin with its parts, and how many of them it takes."""
    kind = about.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        raise damaged("a kind of tensor that this version does not know")
    levels = integer(about, "levels", 256) if kind in ("uniform", "codebook", "product") else 0
    if kind not in ("float32", "float16") and levels < 2:
        raise damaged("a tensor of less than two levels")
    expected = KINDS[kind](shape, about)
    sizes = about.get("parts")
    kept = integer(about, "kept", math.prod(shape)) if kind in SPARSE and "kept" in about else None
    if not isinstance(sizes, list) or len(sizes) != len(expected) + (kept is not None):
        raise damaged("a tensor with another number of parts")
    stored, place = [], 0
    for size in sizes:
        if not (isinstance(size, list) and len(size) == 2 and all(type(number) is int for number in size)):
            raise damaged("a part without coder and length")
        if not 0 <= size[1] <= len(data) - place:
            raise damaged("a part beyond the end of the file")
        stored.append((size[0], bytes(data[place : place + size[1]])))
        place += size[1]
    mask = None
    if kept is not None:
        mask = read_mask(*stored.pop(0), count=math.prod(shape), kept=kept)
    parts = {}
    for part, (coder, raw) in zip(expected, stored, strict=True):
        parts[part.name] = read_part(part, coder, raw, levels, mask)
    encoded = Encoded(kind, shape, parts, levels)
    if mask is not None:
        parts[SPARSE[kind]] = spread(parts[SPARSE[kind]], mask, zero_code(encoded))
    return encoded, place


def read_part(part: Part, coder: object, raw: bytes, levels: int, mask: np.ndarray | None) -> np.ndarray:
    """One array of a tensor; of a sparse one only what the mask keeps is there."""
    leaves_out = mask is not None and part.name in ("codes", "values")
    count = int(mask.sum()) if leaves_out and mask is not None else part.count
    length = packed_length(count, levels) if part.name == "codes" else count * np.dtype(part.dtype).itemsize
    return part_of(part.name, expanded(coder, raw, length), count, levels, part.dtype)


def read_mask(coder: object, raw: bytes, *, count: int, kept: int) -> np.ndarray:
    """bool [count] with `kept` places set."""
    mask = np.unpackbits(np.frombuffer(expanded(coder, raw, -(-count // 8)), np.uint8), count=count, bitorder="little")
    if int(mask.sum()) != kept:
        raise damaged("a mask that keeps another number of weights")
    return mask.astype(bool)


def spread(kept: np.ndarray, mask: np.ndarray, zero: int | None) -> np.ndarray:
    """The kept numbers at their places, zero everywhere else."""
    if zero is None:
        raise damaged("a sparse tensor without a zero")
    whole = np.full(len(mask), zero, dtype=kept.dtype)
    whole[mask] = kept
    return whole


def shape_of(about: Json) -> tuple[int, ...]:
    """A tensor's shape, at most four numbers whose product is bounded."""
    shape = about.get("shape")
    if not isinstance(shape, list) or len(shape) > 4 or not all(type(number) is int for number in shape):
        raise damaged("a tensor without a shape")
    if any(not 0 <= number <= MOST_BYTES for number in shape) or math.prod(shape) > MOST_BYTES:
        raise damaged(f"a tensor of shape {shape}")
    return tuple(shape)


def integer(about: Json, name: str, most: int) -> int:
    """A whole number of a header, between 0 and `most`."""
    number = about.get(name)
    if type(number) is not int or not 0 <= number <= most:
        raise damaged(f"{name} = {str(number)[:40]}")
    return number


def damaged(what: str) -> UserError:
    """The error for bytes that are not what `export.light` writes."""
    return UserError(f"it is damaged ({what}). Copy the file again, or make it again with `featherlight pack`.")
