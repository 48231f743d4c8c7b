"""Damage packed files in every way, and see that each is refused with one sentence or is a model that predicts.

    PYTHONPATH=tests python -m helpers.fuzz_light [--files 100000] [--seed 0]

Damages: flipped, cut, inserted and repeated bytes; hostile numbers in the start; values of the header replaced, dropped
and exchanged; codes and floats changed before they are compressed. Nearly all files get a fresh checksum, so that the
reader sees what is in them. Each call has a second of processor time; memory is measured, and bounded by
`MOST_MEMORY` beside the file itself.
"""

import argparse
import copy
import json
import math
import random
import re
import resource
import struct
import sys
import tempfile
import time
import tracemalloc
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from featherlight.compression.quantize import is_quantized, product, scheme
from featherlight.errors import UserError
from featherlight.packing.folder import describe
from featherlight.packing.writer import CODERS, write_packed
from featherlight.runtime.model import LightModel
from featherlight.runtime.packed import CODERS as STREAMS
from featherlight.runtime.packed import MOST_HEADER, MOST_NUMBERS, Encoded, decoded, expanded, read_packed
from helpers.light_files import START, sealed
from helpers.toy_students import ONE, PAIR, VALUE, tiny_student

TEXTS = ["a text", "", "the film was good, ünd 中 so on\t" * 30]
MOST_SECONDS = 1.0
MOST_MEMORY = 16 * MOST_NUMBERS + 64 * MOST_HEADER
Mutation = Callable[[bytes, random.Random], bytes]

NUMBERS = (0, -1, 1, 2, 3, 5, 255, 256, 257, 2**16, 2**24, 2**24 + 1, 2**31, 2**32 - 1, 2**40, 2**63, 2**64, -(2**63),
           10**300, 0.0, 0.5, 1.0, 2.0, -1.5, 1e308, math.nan, math.inf, -math.inf)  # fmt: skip
HOSTILE: tuple[Any, ...] = (
    *NUMBERS, None, True, False, "", " ", "a", "A", "\x00", "\U0010ffff", "x" * 70_000, "Aa " * 20_000, [], {}, [[]],
    [None], ["a"], ["a", "a"], [1], [0, 0], [2**40, 2**40], [2**12, 2**12], [-1, 5], [1.5, 2], [True, True],
    {"kind": "hash", "buckets": 10**6}, {"a": 1}, [["a"]], list(range(3000)), "float32", "uniform", "codebook",
    "product", "lstm", "rnn", "mean", "hash", "table", "wordpiece", "bpe", "byte", "char", "last", "max",
)  # fmt: skip


def kmeans(width: str) -> Any:
    """Codebooks of this width."""
    return scheme(width, codebook="kmeans")


def sparse(weights: np.ndarray) -> Encoded:
    """Every third weight."""
    return Encoded("float32", weights.shape, {"values": (weights * (np.arange(weights.size) % 3 == 0).reshape(
        weights.shape)).astype("<f4").ravel()})  # fmt: skip


def good_files(folder: Path) -> list[bytes]:
    """Sound files with every body, tokenizer, kind of tensor and coder between them."""
    wanted = [
        ("bilstm", "wordpiece", ONE, [scheme("4"), scheme("ternary"), sparse]),
        ("rnn", "bpe", PAIR, [kmeans("3"), scheme("8", per_row=False), scheme("fp16")]),
        ("bag", "hash", VALUE, [lambda weights: product(weights, groups=weights.shape[1], levels=5), kmeans("2")]),
        ("bag", "char", ONE, [scheme("2"), lambda weights: product(weights, groups=1, levels=7)]),
        ("bilstm", "byte", ONE, [sparse, scheme("5")]),
    ]
    found = []
    for number, (body, kind, task, schemes) in enumerate(wanted):
        packed = describe(tiny_student(folder / str(number), body, kind, task=task))
        tensors = {
            name: schemes[place % len(schemes)](decoded(encoded)) if is_quantized(name) else encoded
            for place, (name, encoded) in enumerate(packed.tensors.items())
        }
        found.append(write_packed(packed.about, tensors))
    return found


# --- a file taken apart and put together again


def opened(data: bytes) -> tuple[Any, bytes]:
    """(header, the bytes of its tensors) of a sound file."""
    _, _, coder, stored, length = struct.unpack_from(START, data)
    return json.loads(expanded(coder, data[20 : 20 + stored], length)), data[20 + stored : -4]


def opened_part(coder: int, blob: bytes) -> bytes:
    """The bytes of a part before they were compressed."""
    return STREAMS[coder]().decompress(blob, 2**24) if coder else blob


def whole(header: Any, body: bytes, draw: random.Random) -> bytes:
    """A file with this header and these bytes behind it."""
    text = json.dumps(header, ensure_ascii=draw.random() < 0.5).encode(errors="surrogatepass")
    coder = draw.choice(list(CODERS))
    stored = CODERS[coder](text)
    return sealed(struct.pack(START, b"\x89LIGHT\r\n", 1, coder, len(stored), len(text)) + stored + body)


def places_of(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every (container, key) in a JSON value."""
    if isinstance(value, (dict, list)):
        for key in list(value if isinstance(value, dict) else range(len(value))):
            yield value, key
            yield from places_of(value[key])


# --- damages


def flip(data: bytes, draw: random.Random) -> bytes:
    """Some bytes become others."""
    damaged = bytearray(data)
    for _ in range(draw.choice((1, 1, 3, 30))):
        damaged[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    return bytes(damaged)


def cut(data: bytes, draw: random.Random) -> bytes:
    """A stretch is gone."""
    start, end = sorted(draw.randrange(len(data) + 1) for _ in range(2))
    return draw.choice((data[:start], data[end:], data[:start] + data[end:]))


def insert(data: bytes, draw: random.Random) -> bytes:
    """A stretch is there twice, or noise or zeros are there."""
    place, start = draw.randrange(len(data)), draw.randrange(len(data))
    more = draw.choice((data[start : start + draw.randrange(300)], draw.randbytes(draw.randrange(50)), bytes(500)))
    return data[:place] + more + data[place:]


def noise(data: bytes, draw: random.Random) -> bytes:
    """Nothing is left but the mark."""
    return data[: draw.choice((0, 8, 20))] + draw.randbytes(draw.choice((0, 1, 30, 3000)))


def resealed(damage: Mutation) -> Mutation:
    """The same with a checksum that fits."""
    return lambda data, draw: sealed(damage(data[:-4], draw))


def start_field(data: bytes, draw: random.Random) -> bytes:
    """A hostile number in the start."""
    fields = list(struct.unpack_from(START, data))
    most = (0, 2**16 - 1, 2**8 - 1, 2**32 - 1, 2**32 - 1)
    place = draw.randrange(1, 5)
    fields[place] = min(draw.choice((0, 1, 2, 3, fields[place] + 1, 2**20, 2**21, 2**31, 2**32)), most[place])
    return sealed(struct.pack(START, *fields) + data[20:-4])


def header_values(data: bytes, draw: random.Random) -> bytes:
    """Values of the header are hostile, gone, exchanged, or nested deep."""
    header, body = opened(data)
    for _ in range(draw.choice((1, 1, 1, 2, 4))):
        if not (places := list(places_of(header))):
            break
        about = list(places_of({name: value for name, value in header.items() if name != "tensors"}))
        container, key = draw.choice(places if draw.random() < 0.6 or not about else about)
        kind = draw.randrange(12)
        if kind < 6:
            container[key] = draw.choice(HOSTILE)
        elif kind < 8 and isinstance(container[key], (int, float)) and math.isfinite(container[key]):
            container[key] += draw.choice((-1, 1, 7, -100))
        elif kind < 9:
            del container[key]
        elif kind < 11:
            other, its_key = draw.choice(places)
            container[key] = copy.deepcopy(other[its_key])
        else:
            container[key] = text_damage(container[key], draw) if isinstance(container[key], str) else deep(draw)
        header = copy.deepcopy(header)
    return whole(header, body, draw)


def text_damage(text: str, draw: random.Random) -> str:
    """A text with some characters changed: vocabularies are texts."""
    letters = list(text) or [" "]
    for _ in range(draw.choice((1, 3, 20))):
        letters[draw.randrange(len(letters))] = draw.choice((" ", "A", "Z", "\ue000", "\U0010ffff", "\ud800", "é", ""))
    return "".join(letters)


def deep(draw: random.Random) -> Any:
    """A list in a list in a list."""
    value: Any = 0
    for _ in range(draw.choice((10, 200))):
        value = [value]
    return value


def deeper(data: bytes, draw: random.Random) -> bytes:
    """More brackets than any parser likes."""
    text = draw.choice((b"[", b'{"tensors":', b'{"a":[')) * draw.choice((900, 20_000, 300_000))
    return sealed(struct.pack(START, b"\x89LIGHT\r\n", 1, 0, len(text), len(text)) + text)


def raw_parts(data: bytes, draw: random.Random) -> bytes:
    """Codes, scales, floats and masks changed before they are compressed; their lengths are right."""
    header, body = opened(data)
    parts = [part for tensor in header["tensors"].values() for part in tensor["parts"]]
    blobs, place = [], 0
    for _, length in parts:
        blobs.append(body[place : place + length])
        place += length
    for number in draw.sample(range(len(parts)), k=min(len(parts), draw.choice((1, 2, 5)))):
        raw = opened_part(parts[number][0], blobs[number])
        raw = draw.choice((flip, flip, flip, cut, insert, extreme))(raw or b"\0", draw)
        coder = draw.choice(list(CODERS))
        blobs[number] = CODERS[coder](raw)
        parts[number][:] = [coder, len(blobs[number])]
    return whole(header, b"".join(blobs), draw)


def extreme(data: bytes, draw: random.Random) -> bytes:
    """All bytes 0, all 255, all 0x7f (the largest floats), or one such stretch."""
    byte = draw.choice((b"\0", b"\xff", b"\x7f", b"\x7e"))
    start = draw.choice((0, len(data) // 2, 3 * len(data) // 4))
    return data[:start] + byte * (len(data) - start)


DAMAGES: tuple[Mutation, ...] = (
    flip, cut, insert, noise, resealed(flip), resealed(cut), resealed(insert), resealed(noise), start_field, deeper,
    header_values, header_values, header_values, header_values, header_values, header_values, raw_parts, raw_parts,
    raw_parts, raw_parts,
)  # fmt: skip


# --- what must hold


def outcome(data: bytes) -> str:
    """What became of a file: a model's answers, or the beginning of the sentence that refused it.

    Anything but a UserError passes through; answers that are none are an AssertionError.
    """
    try:
        model = LightModel(read_packed(data))
    except UserError as error:
        assert len(str(error)) < 300 and "\n" not in str(error), str(error)[:1000]
        return re.sub(r"\d[\d,]*", "N", str(error).split(")")[0])
    try:
        found = model.predict(TEXTS, TEXTS if model.pair else None)
    except UserError as error:
        assert "not finite" in str(error)
        return "loads, but its answers are no numbers"
    json.dumps(found, allow_nan=False, ensure_ascii=False).encode()
    for answer in found:
        assert "value" in answer or math.isclose(sum(answer["probabilities"].values()), 1, abs_tol=1e-6)
    return "loads and predicts"


def checked(damaged: bytes) -> str:
    """`outcome` in its bounds of time and memory."""
    tracemalloc.reset_peak()
    before, start = tracemalloc.get_traced_memory()[0], time.process_time()
    found = outcome(damaged)
    seconds, peak = time.process_time() - start, tracemalloc.get_traced_memory()[1] - before
    assert seconds < MOST_SECONDS, f"{seconds} s"
    assert peak < MOST_MEMORY + 2 * len(damaged), f"{peak} bytes"
    return found


def fuzz(files: int, seed: int, *, good: list[bytes], measured: bool) -> Counter[str]:
    """How often each thing became of damaged files. measured: count memory too, which takes twice the time."""
    draw, found = random.Random(seed), Counter[str]()
    if measured:
        tracemalloc.start()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for number in range(files):
            damaged = draw.choice(DAMAGES)(draw.choice(good), draw)
            try:
                found[checked(damaged)] += 1
            except BaseException:
                place = Path(tempfile.gettempdir()) / "fuzzed.light"
                place.write_bytes(damaged)
                print(f"file {number} did it; it is {place}", file=sys.stderr)
                raise
    tracemalloc.stop()
    return found


def main() -> None:
    """Print what became of the files; an exception if anything became of them that must not."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        good = good_files(Path(folder))
    start, before = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = fuzz(options.files, options.seed, good=good, measured=True)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    for name, count in found.most_common():
        print(f"{count:7,}  {name}")
    print(
        f"{options.files:,} files in {time.monotonic() - start:.0f} s; the process grew by {grown // 1024} MB at most"
    )


if __name__ == "__main__":
    main()
