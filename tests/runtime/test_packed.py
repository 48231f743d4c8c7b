import json
import math
import re
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from featherlight.errors import UserError
from featherlight.runtime.model import MOST_TOKENS, LightModel
from featherlight.runtime.packed import (
    MOST_HEADER,
    MOST_NUMBERS,
    MOST_TENSORS,
    code_bits,
    decoded,
    packed_length,
    read_packed,
    unpack_codes,
)
from featherlight.runtime.text import MOST_BUCKETS, MOST_CHARACTERS, MOST_PIECES
from helpers.light_files import DEFLATE, LZMA2, deflated, light_file, lzma2, one_tensor, planes, sealed

FLOATS = {"kind": "float32", "shape": [2, 3]}
SIX = (1.5, -2.0, 0.0, 1e-30, 3.25, 65504.0)


def tensor(data):
    return decoded(read_packed(data).tensors["t"])


def refused(data, match):
    with pytest.raises(UserError, match=match) as caught:
        read_packed(data)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300


# --- codes as bits


@pytest.mark.parametrize(
    ("levels", "codes", "expected"),
    [
        (2, [1, 0, 1, 1, 0, 0, 0, 0, 1], [0b00001101, 1]),
        (3, [2, 1, 0, 1, 2, 2], [2 + 1 * 3 + 0 * 9 + 1 * 27 + 2 * 81, 2]),
        (4, [3, 0, 1, 2, 1], [0b10_01_00_11, 0b01]),
        (5, [4, 1, 3], [0b11_001_100, 0]),
        (8, [7, 1, 4], [0b00_001_111, 0b1]),
        (16, [1, 15, 8], [0xF1, 0x08]),
        (32, [31, 1, 16], [0b001_11111, 0b0_10000_00]),
        (64, [63, 0, 32, 1], [0b00_111111, 0b0000_0000, 0b000001_10]),
        (128, [127, 1, 64], [0b1_1111111, 0b00_000000, 0b10000]),
        (255, [254, 0, 7], [254, 0, 7]),
        (256, [255, 0, 7], [255, 0, 7]),
    ],
)
def test_codes_are_read_from_bytes_written_out_by_hand(levels, codes, expected):
    assert packed_length(len(codes), levels) == len(expected)
    assert unpack_codes(bytes(expected), len(codes), levels).tolist() == codes


def test_codes_are_the_digits_of_one_long_number():
    for levels in (2, *range(4, 257)):
        codes = np.random.default_rng(levels).integers(levels, size=levels % 23 + 1).tolist()
        bits = math.ceil(math.log2(levels))
        number = sum(code << bits * place for place, code in enumerate(codes))
        data = number.to_bytes(math.ceil(len(codes) * bits / 8), "little")
        assert code_bits(levels) == bits
        assert unpack_codes(data, len(codes), levels).tolist() == codes


def test_a_code_beyond_the_levels_is_refused():
    for levels, data in ((5, b"\x05"), (3, bytes([243])), (3, bytes([255])), (100, bytes([100])), (255, b"\xff")):
        with pytest.raises(UserError, match="above its number of levels"):
            unpack_codes(data, 1, levels)


def test_no_codes_are_no_bytes():
    assert packed_length(0, 3) == packed_length(0, 7) == 0
    assert unpack_codes(b"", 0, 7).tolist() == unpack_codes(b"", 0, 3).tolist() == []


# --- kinds


def test_floats_stand_byte_by_byte_in_planes():
    assert planes(1.0, -2.0) == bytes.fromhex("0000 0000 8000 3fc0")
    found = tensor(one_tensor(FLOATS, planes(*SIX)))
    assert found.dtype == np.float32 and found.tolist() == np.float32(SIX).reshape(2, 3).tolist()


def test_half_precision_is_read_as_single():
    found = tensor(one_tensor({"kind": "float16", "shape": [6]}, planes(*SIX, kind="e")))
    assert found.dtype == np.float32 and found.tolist() == [1.5, -2, 0, 0, 3.25, 65504]


@pytest.mark.parametrize(("width", "kind"), [(2, "e"), (4, "f")])
def test_uniform_codes_count_from_the_middle_in_steps_of_the_scale(width, kind):
    about = {"kind": "uniform", "shape": [2, 3], "levels": 16, "scales": [1, width]}
    found = tensor(one_tensor(about, bytes([0x80, 0xF7, 0x19]), planes(0.5, kind=kind)))
    assert found.tolist() == [[-4, 0, -0.5], [3.5, 0.5, -3.5]]  # codes 0 8 7 15 9 1, less 8, times a half


def test_each_row_may_have_its_own_scale():
    about = {"kind": "uniform", "shape": [2, 3], "levels": 3, "scales": [2, 4]}
    found = tensor(one_tensor(about, bytes([0 + 3 + 18 + 27 + 162, 0]), planes(2.0, -5.0)))
    assert found.tolist() == [[-2, 0, 2], [0, -5, 5]]  # digits 0 1 2 1 2 0, less 1; a scale may be negative


def test_a_codebook_says_what_each_code_stands_for():
    about = {"kind": "codebook", "shape": [5], "levels": 4}
    found = tensor(one_tensor(about, bytes([0b10_01_00_11, 0b01]), planes(-1.0, 0.0, 0.25, 7.0)))
    assert found.tolist() == [7, -1, 0, 0.25, 0]


def test_a_product_code_names_a_vector_for_each_group_of_columns():
    about = {"kind": "product", "shape": [3, 4], "levels": 2, "groups": 2}
    book = planes(0, 0, 1, 2, 0, 0, 3, 4, kind="e")  # group 0: (0, 0), (1, 2); group 1: (0, 0), (3, 4)
    found = tensor(one_tensor(about, bytes([0b00_10_01]), book))  # a row: its group 0, then its group 1
    assert found.tolist() == [[1, 2, 0, 0], [0, 0, 3, 4], [0, 0, 0, 0]]


@pytest.mark.parametrize("coder", [0, DEFLATE, LZMA2])
def test_each_part_is_read_by_the_coder_that_it_names(coder):
    about = {"kind": "codebook", "shape": [64], "levels": 4}
    data = one_tensor(about, bytes([0b11_10_01_00] * 16), planes(*range(4)), coders=(coder, 2 - coder))
    assert tensor(data).tolist() == [0, 1, 2, 3] * 16


@pytest.mark.parametrize("coder", [0, DEFLATE, LZMA2])
def test_the_header_is_read_by_the_coder_that_the_start_names(coder):
    assert read_packed(light_file({"task": "sst2", "tensors": {}}, coder=coder)).about == {"task": "sst2"}


def test_of_a_sparse_tensor_only_what_its_mask_keeps_is_there():
    found = tensor(one_tensor({**FLOATS, "kept": 2}, bytes([0b100010]), planes(5.0, -6.0)))
    assert found.tolist() == [[0, 5, 0], [0, 0, -6]]
    about = {"kind": "uniform", "shape": [10], "levels": 4, "scales": [1, 4], "kept": 3}
    found = tensor(one_tensor(about, bytes([0b00000001, 0b11]), bytes([0b01_11_00]), planes(1.0)))
    assert found.tolist() == [-2, 0, 0, 0, 0, 0, 0, 0, 1, -1]
    about = {"kind": "codebook", "shape": [4], "levels": 3, "kept": 2}
    found = tensor(one_tensor(about, bytes([0b1001]), bytes([0 + 2 * 3]), planes(-1.0, 0.0, 9.0)))
    assert found.tolist() == [-1, 0, 0, 9]


def test_a_sparse_tensor_may_be_all_zeros():
    assert tensor(one_tensor({**FLOATS, "kept": 0}, b"\0", b"")).tolist() == [[0, 0, 0], [0, 0, 0]]


def test_the_bytes_of_each_tensor_are_counted():
    header = {"tensors": {name: {**FLOATS, "shape": [n], "parts": [[0, 4 * n]]} for name, n in (("a", 2), ("b", 3))}}
    packed = read_packed(light_file(header, [planes(1, 2), planes(3, 4, 5)]))
    assert packed.stored == {"a": 8, "b": 12} and decoded(packed.tensors["b"]).tolist() == [3, 4, 5]


# --- what is refused


def test_what_is_no_light_file_is_told_apart_from_what_is_damaged():
    for data in (b"", b"PK\x03\x04 a zip", light_file({"tensors": {}})[1:]):
        refused(data, "not a .light file")
    refused(light_file({"tensors": {}})[:20], "a file header that is cut short")


def test_a_newer_version_is_named_even_if_all_but_its_start_and_end_is_different():
    refused(sealed(light_file({}, version=2)[:20] + b"anything"), "version 2 .* reads up to 1. Upgrade")
    refused(light_file({"tensors": {}}, version=0), "damaged")


def test_every_single_flipped_bit_and_every_cut_is_noticed():
    data = one_tensor(FLOATS, planes(*SIX), coders=(DEFLATE,))
    for place in range(len(data)):
        for bit in range(8):
            refused(data[:place] + bytes([data[place] ^ 1 << bit]) + data[place + 1 :], "damaged|not a .light|version")
        refused(data[:place], "damaged|not a .light")
    refused(data + b"\0", "checksum")


@pytest.mark.parametrize(
    "text",
    [b"", b"[]", b"null", b"{", b'{"tensors": []}', b'{"tensors": {"t": 3}}', b'{"tensors": null}', b"\xff\xfe{}",
     '{"tensors": {}}'.encode("utf-16"), b'{"a": "\\ud800", "tensors": {}}', b"[" * 100_000, b'{"a":' * 100_000,
     b'{"tensors": {}, "a": ' + b"9" * 5000 + b"}"],
)  # fmt: skip
def test_a_header_that_is_no_object_with_tensors_is_refused(text):
    refused(light_file(text), "damaged")


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "complex64"}, {"kind": None}, {"kind": ["float32"]}, {"kind": 1},
        {"shape": None}, {"shape": []}, {"shape": [6.0]}, {"shape": [True, 6]}, {"shape": [-2, -3]}, {"shape": [0, 6]},
        {"shape": [2**40, 2**40]}, {"shape": [10**4000]}, {"shape": [1, 1, 1, 2, 3]}, {"shape": "23"},
        {"shape": {"0": 6}}, {"shape": [7]}, {"shape": [5]}, {"shape": [2**24, 0]},
        {"kept": -1}, {"kept": 7}, {"kept": None}, {"kept": 2.0}, {"kept": 6},
        {"parts": None}, {"parts": []}, {"parts": [[0, 24], [0, 0]]}, {"parts": [24]}, {"parts": [[0]]},
        {"parts": [[0, 25]]}, {"parts": [[0, 23]]}, {"parts": [[0, -1]]}, {"parts": [[0, 24.0]]},
        {"parts": [[3, 24]]}, {"parts": [[-1, 24]]}, {"parts": [[True, 24]]}, {"parts": [["0", 24]]},
        {"parts": [[1, 24]]}, {"parts": [[2, 24]]}, {"parts": [[0, 2**70]]},
    ],
    ids=str,
)  # fmt: skip
def test_a_tensor_with_one_wrong_field_is_refused(change):
    described = {**FLOATS, "parts": [[0, 24]], **change}
    refused(light_file({"tensors": {"t": described}}, [planes(*SIX)]), "damaged")


@pytest.mark.parametrize(
    "change",
    [
        {"levels": 1}, {"levels": 0}, {"levels": -4}, {"levels": 257}, {"levels": 4.0}, {"levels": None},
        {"levels": True}, {"levels": 8}, {"scales": None}, {"scales": 1}, {"scales": [1]}, {"scales": [2, 4]},
        {"scales": [0, 4]}, {"scales": [1, 8]}, {"scales": [1, 3]}, {"scales": [1.0, 4]}, {"kind": "codebook"},
        {"kind": "product"}, {"kind": "product", "groups": 0}, {"kind": "product", "groups": -1},
        {"kind": "product", "groups": 3}, {"kind": "product", "groups": 2**50}, {"kind": "float32"},
    ],
    ids=str,
)  # fmt: skip
def test_a_tensor_of_codes_with_one_wrong_field_is_refused(change):
    described = {"kind": "uniform", "shape": [4, 4], "levels": 4, "scales": [1, 4], "parts": [[0, 4], [0, 4]], **change}
    refused(light_file({"tensors": {"t": described}}, [b"\0\1\2\3", planes(1.0)]), "damaged")


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_not_finite_are_refused(number):
    refused(one_tensor(FLOATS, planes(*SIX[1:], number)), "not finite")
    scales = one_tensor({"kind": "uniform", "shape": [4], "levels": 4, "scales": [1, 4]}, b"\0", planes(number))
    refused(scales, "not finite")


def test_a_scale_that_makes_infinite_weights_is_refused():
    about = {"kind": "uniform", "shape": [4], "levels": 256, "scales": [1, 4]}
    encoded = read_packed(one_tensor(about, bytes([0, 128, 129, 255]), planes(3e38))).tensors["t"]
    with pytest.raises(UserError, match="too large"):
        decoded(encoded)


def test_a_mask_must_keep_as_many_as_it_says_and_needs_a_zero():
    refused(one_tensor({**FLOATS, "kept": 2}, b"\7", planes(1, 2)), "keeps another number")
    about = {"kind": "codebook", "shape": [4], "levels": 2, "kept": 1}
    refused(one_tensor(about, b"\1", b"\1", planes(1.0, 2.0)), "without a zero")


def test_bytes_that_no_tensor_uses_are_refused():
    described = {"t": {**FLOATS, "parts": [[0, 24]]}}
    refused(light_file({"tensors": described}, [planes(*SIX), b"!"]), "belong to no tensor")
    for coder, squeeze in ((DEFLATE, deflated), (LZMA2, lzma2)):
        for more in (b"!", b"\0" * 40, squeeze(b"x")):
            blob = squeeze(planes(*SIX)) + more
            refused(light_file({"tensors": {"t": {**FLOATS, "parts": [[coder, len(blob)]]}}}, [blob]), "damaged")
        blob = squeeze(planes(*SIX))[:-1]
        refused(light_file({"tensors": {"t": {**FLOATS, "parts": [[coder, len(blob)]]}}}, [blob]), "damaged")


def test_there_are_at_most_a_thousand_tensors():
    tensors = {str(number): {"kind": "float32", "shape": [1], "parts": [[0, 4]]} for number in range(1001)}
    refused(light_file({"tensors": tensors}, [planes(1.0)] * 1001), "no list of tensors")
    del tensors["0"]
    assert len(read_packed(light_file({"tensors": tensors}, [planes(1.0)] * 1000)).tensors) == 1000


# --- bombs: files that are small and would be large


def bomb(about, *lengths):
    return one_tensor(about, *(bytes(length) for length in lengths), coders=[LZMA2] * len(lengths))


BOMBS = {
    "a terabyte": one_tensor({"kind": "float32", "shape": [2**38]}, b""),
    "a tensor above the bound": one_tensor({"kind": "float32", "shape": [MOST_NUMBERS + 1]}, b""),
    "two tensors above the bound": light_file(
        {"tensors": {name: {"kind": "float16", "shape": [MOST_NUMBERS - 9], "kept": 0, "parts": [[2, n] for n in sizes]}
                     for name, sizes in (("a", (len(lzma2(bytes(MOST_NUMBERS // 8 - 1))), len(lzma2(b"")))),
                                         ("b", (9, 9)))}},
        [lzma2(bytes(MOST_NUMBERS // 8 - 1)), lzma2(b"")],
    ),
    "more in the book than in the tensor": one_tensor(
        {"kind": "product", "shape": [1, 2**23], "levels": 256, "groups": 1}, b"\0", b""
    ),
    "as many scales as numbers": one_tensor({"kind": "uniform", "shape": [2**24], "levels": 2, "scales": [2**24, 4]},
                                            b"", b""),
    "a part that expands a thousand times": light_file(
        {"tensors": {"t": {**FLOATS, "parts": [[2, len(lzma2(bytes(10**7)))]]}}}, [lzma2(bytes(10**7))]
    ),
    "a header that expands a thousand times": light_file(b" " * (MOST_HEADER + 1), coder=LZMA2),
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_what_is_too_large_is_refused_before_it_is_unpacked(name):
    data = BOMBS[name]
    assert len(data) < 20_000
    tracemalloc.start()
    start = time.perf_counter()
    refused(data, "damaged|most that a .light file can hold")
    seconds, (_, peak) = time.perf_counter() - start, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert seconds < 1
    assert peak < 10 * MOST_HEADER or name == "two tensors above the bound"
    assert peak < 8 * MOST_NUMBERS


@pytest.mark.parametrize(
    "data",
    [
        bomb({"kind": "float32", "shape": [MOST_NUMBERS]}, 4 * MOST_NUMBERS),
        bomb({"kind": "codebook", "shape": [MOST_NUMBERS - 128], "levels": 128}, 7 * (MOST_NUMBERS - 128) // 8, 512),
    ],
    ids=["float32", "codebook"],
)
def test_the_largest_tensor_takes_no_more_than_sixteen_bytes_a_number(data):
    tracemalloc.start()
    found = tensor(data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found.size > MOST_NUMBERS - 129 and not found.any()
    assert peak < 16 * MOST_NUMBERS


def test_a_header_of_empty_lists_takes_bounded_memory():
    text = b'{"tensors": {}, "a": [' + b"[]," * (MOST_HEADER // 3 - 20) + b"[]]}"
    tracemalloc.start()
    assert read_packed(light_file(text, coder=LZMA2)).tensors == {}
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 64 * MOST_HEADER


# --- the document


def example():
    """The file that docs/light-format.md shows, from its dump."""
    text = (Path(__file__).parents[2] / "docs" / "light-format.md").read_text(encoding="utf-8")
    rows = re.findall(r"^[0-9a-f]{4}  ((?:[0-9a-f]{2} ?)+)", text, re.MULTILINE)
    return bytes.fromhex(" ".join(rows)), text


def test_the_example_of_the_document_is_the_file_that_its_tables_describe():
    header = {
        "task": "marks",
        "labels": ["no", "yes"],
        "max_length": 512,
        "architecture": {"body": "mean", "embedding": "table", "pooling": "mean", "pair": False},
        "tokenizer": {"kind": "char"},
        "tensors": {
            "embedding.weight": {"shape": [34, 1], "kind": "uniform", "levels": 3, "scales": [1, 2],
                                 "parts": [[0, 7], [0, 2]]},
            "classifier.hidden.weight": {"shape": [2, 1], "kind": "codebook", "levels": 2, "parts": [[0, 1], [0, 8]]},
            "classifier.hidden.bias": {"shape": [2], "kind": "float32", "kept": 0, "parts": [[0, 1], [0, 0]]},
            "classifier.out.weight": {"shape": [2, 2], "kind": "float16", "parts": [[0, 8]]},
            "classifier.out.bias": {"shape": [2], "kind": "float32", "parts": [[0, 8]]},
        },
    }  # fmt: skip
    blobs = [bytes.fromhex("7979797979793a"), planes(1, kind="e"), b"\2", planes(1, -1), b"\0",
             planes(-1, 1, 1, -1, kind="e"), planes(0.5, 0)]  # fmt: skip
    data, text = example()
    assert data == light_file(json.dumps(header, separators=(",", ":")).encode(), blobs)
    for shown in re.findall(r"`((?:[0-9a-f]{2} )+[0-9a-f]{2})`", text.split("## An example")[1]):
        assert bytes.fromhex(shown) in data


def test_the_example_of_the_document_answers_as_it_says():
    model = LightModel(read_packed(example()[0]))
    assert model.tokens(["Wow!!"]) == [[24, 16, 24, 33, 33]]
    assert model(["Wow!!", "why??", ""]) == pytest.approx(np.array([[0.1, 0.4], [0.9, -0.4], [0.5, 0]]), abs=1e-6)
    assert model.predict(["Wow!!"])[0]["probability"] == pytest.approx(1 / (1 + math.exp(-0.3)), abs=1e-6)


def test_the_document_names_every_bound_and_every_field():
    text = example()[1]
    for bound in (MOST_NUMBERS, MOST_TENSORS, MOST_PIECES, MOST_CHARACTERS, MOST_TOKENS, MOST_BUCKETS):
        assert f"{bound:,}" in text
    fields = "kind shape levels scales groups kept parts pooling pair pieces unknown prefix lower strip_accents chinese"
    for name in (*fields.split(), "letters", "left", "right", "mark", "buckets"):
        assert f'"{name}"' in text or f"`{name}`" in text
