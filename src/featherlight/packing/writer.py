"""A student's folder in, a .light file out: tokenizer, architecture, tensors, in as few bytes as they need.

Needs no torch. `runtime.packed` reads the file; here is what Hugging Face's folders call things, and the writing.
"""

import json
import lzma
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

import numpy as np

from featherlight.errors import UserError
from featherlight.packing.tokenizers import front_code
from featherlight.runtime.packed import (
    CHECKSUM,
    LZMA,
    MAGIC,
    SPARSE,
    START,
    VERSION,
    Encoded,
    Json,
    code_bits,
    zero_code,
)
from featherlight.runtime.text import front_coded

TABLE = "embedding.weight"


def write_packed(header: Json, tensors: Mapping[str, Encoded], *, version: int = VERSION) -> bytes:
    """The smallest file: pieces sorted, each tensor dense or sparse, each of its parts by the coder that does best."""
    header, tensors = with_sorted_pieces(header, tensors)
    listed: Json = {}
    blobs: list[bytes] = []
    for name, encoded in tensors.items():
        listed[name], stored = min(_layouts(encoded), key=lambda way: sum(map(len, way[1])) + len(str(way[0])))
        blobs += stored
    text = json.dumps({**header, "tensors": listed}, ensure_ascii=False, separators=(",", ":")).encode()
    coder, stored_header = _squeezed(text)
    start = START.pack(MAGIC, version, coder, len(stored_header), len(text))
    body = b"".join([start, stored_header, *blobs])
    return body + CHECKSUM.pack(zlib.crc32(body))


def with_sorted_pieces(header: Json, tensors: Mapping[str, Encoded]) -> tuple[Json, Mapping[str, Encoded]]:
    """The same model with its word pieces in the order in which front coding is shortest, padding first as ever."""
    if header["tokenizer"]["kind"] != "wordpiece":
        return header, tensors
    pieces = front_coded(header["tokenizer"]["pieces"])
    order = [0, *sorted(range(1, len(pieces)), key=pieces.__getitem__)]
    if len(order) != tensors[TABLE].shape[0]:
        raise UserError(f"{len(order)} pieces and {tensors[TABLE].shape[0]} vectors do not fit. Distil it again.")
    unknown = order.index(header["tokenizer"]["unknown"])
    tokenizer = {**header["tokenizer"], "pieces": front_code(pieces[i] for i in order), "unknown": unknown}
    parts = {
        name: part if name == "book" or len(part) == 1 else part.reshape(len(order), -1)[order].ravel()
        for name, part in tensors[TABLE].parts.items()
    }
    return {**header, "tokenizer": tokenizer}, {**tensors, TABLE: replace(tensors[TABLE], parts=parts)}


def _layouts(encoded: Encoded) -> Iterable[tuple[Json, list[bytes]]]:
    """The ways to store a tensor, each as its entry in the header and its bytes."""
    entry: Json = {"kind": encoded.kind, "shape": list(encoded.shape)}
    if encoded.levels:
        entry["levels"] = encoded.levels
    if encoded.kind == "uniform":
        entry["scales"] = [len(encoded.parts["scales"]), encoded.parts["scales"].itemsize]
    if encoded.kind == "product":
        entry["groups"] = len(encoded.parts["codes"]) // encoded.shape[0]
    yield _coded(entry, encoded)
    zero = zero_code(encoded)
    if encoded.kind not in SPARSE or zero is None:
        return
    name = SPARSE[encoded.kind]
    kept = encoded.parts[name] != zero
    if not kept.all():
        sparse = replace(encoded, parts={**encoded.parts, name: encoded.parts[name][kept]})
        mask = np.packbits(kept, bitorder="little").tobytes()
        yield _coded({**entry, "kept": int(kept.sum())}, sparse, mask)


def _coded(entry: Json, encoded: Encoded, *mask: bytes) -> tuple[Json, list[bytes]]:
    """A tensor's entry with coder and length of each part, and the parts; a mask goes first."""
    parts = [*mask, *(_part_bytes(name, part, encoded.levels) for name, part in encoded.parts.items())]
    squeezed = [_squeezed(part) for part in parts]
    return {**entry, "parts": [[coder, len(data)] for coder, data in squeezed]}, [data for _, data in squeezed]


def _part_bytes(name: str, part: np.ndarray, levels: int) -> bytes:
    """A part as bytes: floats as planes (all first bytes, then all second ...), which compress better; codes packed.

    Codes below `levels` are bits, the lowest first; three levels are digits to the base 3, five in a byte.
    """
    if name != "codes":
        return part.view(np.uint8).reshape(-1, part.itemsize).T.tobytes()
    if levels == 3:
        digits = np.pad(part, (0, -len(part) % 5))
        return bytes(digits.reshape(-1, 5) @ np.array([1, 3, 9, 27, 81], dtype=np.uint8))
    bits = np.unpackbits(part[:, None], axis=1, count=code_bits(levels), bitorder="little")
    return np.packbits(bits, bitorder="little").tobytes()


def _deflated(data: bytes) -> bytes:
    stream = zlib.compressobj(9, zlib.DEFLATED, -15, 9)  # without the header and checksum of zlib: the file has its own
    return stream.compress(data) + stream.flush()


CODERS: Mapping[int, Callable[[bytes], bytes]] = {
    0: bytes,
    1: _deflated,
    2: lambda data: lzma.compress(data, lzma.FORMAT_RAW, filters=LZMA),
}


def _squeezed(data: bytes) -> tuple[int, bytes]:
    """(coder, bytes) of the coder that makes the least of them."""
    results = ((number, code(data)) for number, code in CODERS.items())
    return min(results, key=lambda result: (len(result[1]), result[0]))
