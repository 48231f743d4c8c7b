"""Packed files put together by hand, from docs/light-format.md and not with the program's own writer."""

import json
import lzma
import struct
import zlib
from collections.abc import Sequence
from typing import Any

START = "<8sHBxII"  # magic, version, coder of the header, stored and raw length of it
DEFLATE, LZMA2 = 1, 2

Json = dict[str, Any]


def deflated(data: bytes) -> bytes:
    stream = zlib.compressobj(9, zlib.DEFLATED, -15)
    return stream.compress(data) + stream.flush()


def lzma2(data: bytes) -> bytes:
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 2**23, "lc": 3, "lp": 0, "pb": 0}]
    return lzma.compress(data, lzma.FORMAT_RAW, filters=filters)


def planes(*numbers: float, kind: str = "f") -> bytes:
    """Floats ("f": float32, "e": float16) as all their first bytes, then all their second bytes ..."""
    whole = [struct.pack(f"<{kind}", number) for number in numbers]
    return bytes(byte for place in zip(*whole, strict=True) for byte in place)


def sealed(body: bytes) -> bytes:
    """Bytes and their checksum."""
    return body + struct.pack("<I", zlib.crc32(body))


def light_file(header: Json | bytes, blobs: Sequence[bytes] = (), *, coder: int = 0, version: int = 1) -> bytes:
    """A whole file. header: with its tensors. coder: of the header."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    stored = {0: bytes, DEFLATE: deflated, LZMA2: lzma2}[coder](text)
    start = struct.pack(START, b"\x89LIGHT\r\n", version, coder, len(stored), len(text))
    return sealed(start + stored + b"".join(blobs))


def one_tensor(about: Json, *blobs: bytes, coders: Sequence[int] = ()) -> bytes:
    """A file with a tensor called "t" and nothing else. coders: of its parts; raw where none is given."""
    coders = coders or [0] * len(blobs)
    squeezed = [
        {0: bytes, DEFLATE: deflated, LZMA2: lzma2}[coder](blob) for coder, blob in zip(coders, blobs, strict=True)
    ]
    parts = [[coder, len(blob)] for coder, blob in zip(coders, squeezed, strict=True)]
    return light_file({"tensors": {"t": {**about, "parts": parts}}}, squeezed)
