"""Two thousand damaged files: each gives a sound task or one sentence that names the file, and nothing else."""

import io
import json
import random
from collections.abc import Callable
from decimal import Decimal

import numpy as np
import pytest
from pyarrow import array, duration, nulls, parquet, table, timestamp

from featherlight.commands.predict import table_rows
from featherlight.data.registry import load_task
from featherlight.data.task import Target
from featherlight.errors import UserError

FILES_PER_KIND = 350
PREDICTED = 5  # every fifth file is read as `predict` does
ROWS = [
    (f"text {i}, with “quotes” and \ttabs", f"{i % 7} words follow", ("good", "bad", "3.5")[i % 3]) for i in range(24)
]
NAMES = ("text", "text_pair", "label")
POLARITIES = ("negative", "neutral", "positive")


def delimited(mark: str) -> bytes:
    rows = [[cell.replace("\t", " ") for cell in row] for row in (NAMES, *ROWS)]
    return "\n".join(mark.join(f'"{cell}"' if mark in cell else cell for cell in row) for row in rows).encode()


def json_lines() -> bytes:
    return "\n".join(json.dumps(dict(zip(NAMES, row, strict=True))) for row in ROWS).encode()


def aspects_xml() -> bytes:
    sentences = [
        f"<sentence id='{i}'><text>text {i} &amp; the {term} is</text><aspectTerms>"
        f"<aspectTerm term='{term}' polarity='{POLARITIES[i % 3]}'/></aspectTerms></sentence>\n"
        for i, (_, term, _) in enumerate(ROWS)
    ]
    return f"<?xml version='1.0'?>\n<sentences>{''.join(sentences)}</sentences>".encode()


def aspects_seg() -> bytes:
    return "".join(f"text {i} $T$ is\n{term}\n{i % 3 - 1}\n" for i, (_, term, _) in enumerate(ROWS)).encode()


def as_parquet(columns: dict) -> bytes:
    buffer = io.BytesIO()
    parquet.write_table(table(columns), buffer)
    return buffer.getvalue()


GOOD_FILES = {  # a further format joins by its line here
    ".csv": delimited(","),
    ".tsv": delimited("\t"),
    ".jsonl": json_lines(),
    ".parquet": as_parquet(dict(zip(NAMES, zip(*ROWS, strict=True), strict=True))),
    ".xml": aspects_xml(),
    ".seg": aspects_seg(),
}

TOKENS = (  # what hurts a parser, as bytes
    b'"', b"'", b",", b"\t", b"\r", b"\n", b"\r\n", b"\0", b"\x1a", b"\xff", b"\xef\xbb\xbf", b"\xff\xfe",
    b"nan", b"-inf", b"1e400", b"3,5", b"1_000", b"9" * 5000, b"1" + b"0" * 400, b"-0", "٣²".encode(), b"x" * 70_000,
    b"[" * 3000, b'{"a":' * 3000, b"[1, 2]", b"null", b"true", b"\\ud800", b"\\u0000", b"{}", b"[]", b"PAR1", b"=1+1",
    b"\xed\xa0\x80", b"label", b"Label", b" label ", b"text", b"$T$", b"<", b"&x;",
    b"<sentences>", b"</text>", b"<!DOCTYPE x [<!ENTITY x 'y'>]>", b"<a>" * 3000,
)  # fmt: skip


def cut(data: bytes, draw: random.Random) -> bytes:
    start, end = sorted(draw.randrange(len(data) + 1) for _ in range(2))
    return draw.choice((data[:start], data[end:], data[:start] + data[end:]))


def flip(data: bytes, draw: random.Random) -> bytes:
    damaged = bytearray(data)
    for _ in range(draw.choice((1, 3, 30))):
        damaged[draw.randrange(len(data))] = draw.randrange(256)
    return bytes(damaged)


def insert(data: bytes, draw: random.Random) -> bytes:
    place = draw.randrange(len(data) + 1)
    return data[:place] + draw.choice(TOKENS) * draw.choice((1, 1, 2)) + data[place:]


def drop(data: bytes, draw: random.Random) -> bytes:
    return data.replace(
        draw.choice((b'"', b",", b"\t", b"\n", b"}", b":", b"label", b"good", b"$T$", b"</", b"<")),
        b"",
        draw.choice((1, -1)),
    )


def exchange(data: bytes, draw: random.Random) -> bytes:
    """Another value in the place of a label, a text or a name, once or everywhere."""
    known = (b'"good"', b"good", b"bad", b"3.5", b"text", b"text_pair", b"label", b"negative", b"term", b"sentence")
    return data.replace(draw.choice(known), draw.choice(TOKENS), draw.choice((1, -1)))


def shuffle_lines(data: bytes, draw: random.Random) -> bytes:
    lines = data.split(b"\n")
    draw.shuffle(lines)
    return b"\n".join(lines)


def shuffle_cells(data: bytes, draw: random.Random) -> bytes:
    mark = draw.choice((b",", b"\t", b" ", b'"'))
    cells = data.split(mark)
    draw.shuffle(cells)
    return mark.join(cells)


def repeat(data: bytes, draw: random.Random) -> bytes:
    """The header, a line or the whole file once more."""
    lines = data.split(b"\n")
    extra = draw.choice((lines[:1], [draw.choice(lines)] * 3, lines))
    return b"\n".join([*extra, *lines])


def noise(data: bytes, draw: random.Random) -> bytes:
    return draw.randbytes(draw.choice((0, 1, 2, 3, 50, 3000)))


def encode(data: bytes, draw: random.Random) -> bytes:
    return data.decode("latin-1").encode(draw.choice(("utf-16", "utf-16-le", "utf-32", "utf-8-sig", "utf-7")))


DAMAGES: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    cut, flip, insert, drop, exchange, shuffle_lines, shuffle_cells, repeat, noise, encode,
)  # fmt: skip


ODD_COLUMNS = (
    array([None, 1.5, float("nan")] * 8),
    array([1, 2**62] * 12, timestamp("ms")),
    array([2**62] * 24, duration("s")),
    array([Decimal("1.5"), Decimal("2.5")] * 12),
    array([{"a": 1}, None] * 12),
    array([[1, 2], []] * 12),
    array([b"a", b"\xff"] * 12),
    array(["a", "b"] * 12).dictionary_encode(),
    array([True, False] * 12),
    nulls(24),
    array(range(24)),
    array(["", " ", "a"] * 8),
)


def odd_table(draw: random.Random) -> bytes:
    """A Parquet file with up to three columns of other types."""
    columns = dict(zip(NAMES, zip(*ROWS, strict=True), strict=True))
    columns |= {name: draw.choice(ODD_COLUMNS) for name in draw.choices(NAMES, k=3)}
    return as_parquet(columns)


def damaged(data: bytes, draw: random.Random) -> bytes:
    """The data after one to three damages."""
    if data[:4] == b"PAR1" and draw.random() < 0.5:
        return odd_table(draw)
    for damage in draw.choices(DAMAGES, k=draw.choice((1, 1, 2, 3))):
        data = damage(data, draw) if data else data
    return data


def check_texts(rows: list) -> None:
    assert all(isinstance(text, str) and (pair is None or isinstance(pair, str)) for text, pair in rows)
    assert rows and len({pair is None for _, pair in rows}) == 1


def check_sound(loaded) -> None:
    for split in loaded.splits.values():
        sides = (split.first, split.second) if loaded.task.is_pair else (split.first,)
        assert all(len(side) == len(split) == len(split.labels) == len(split.rows) for side in sides)
        assert all(isinstance(text, str) and text.encode() is not None for side in sides for text in side)
        assert np.isfinite(split.labels).all()
        if loaded.task.kind is Target.CLASSES:
            assert split.labels.min() >= 0 and split.labels.max() < len(loaded.task.labels)
    rows = np.concatenate([split.rows for split in loaded.splits.values()])
    assert sorted(rows) == list(range(len(rows)))


@pytest.mark.parametrize("suffix", GOOD_FILES)
def test_a_damaged_file_gives_a_sound_task_or_one_sentence(tmp_path, suffix):
    draw = random.Random(f"damage {suffix}")
    path = tmp_path / f"mine{suffix}"
    refused = 0
    for number in range(FILES_PER_KIND):
        path.write_bytes(damaged(GOOD_FILES[suffix], draw))
        try:
            if number % PREDICTED == 0:
                check_texts(list(table_rows(path, tmp_path)))
            else:
                check_sound(load_task(str(path)))
        except UserError as error:
            refused += 1
            assert str(path) in str(error) and len(str(error)) < len(str(path)) + 1000 and "\n" not in str(error)
        except BaseException:
            print(f"file {number}: {path.read_bytes()[:2000]!r}")
            raise
    assert FILES_PER_KIND / 2 < refused < FILES_PER_KIND  # damage enough, and not all of it fatal


@pytest.mark.parametrize("suffix", GOOD_FILES)
def test_the_undamaged_files_are_read(tmp_path, suffix):
    path = tmp_path / f"mine{suffix}"
    path.write_bytes(GOOD_FILES[suffix])
    loaded = load_task(str(path))
    check_sound(loaded)
    assert loaded.task.labels in (("3.5", "bad", "good"), POLARITIES) and sum(map(len, loaded.splits.values())) == len(
        ROWS
    )
