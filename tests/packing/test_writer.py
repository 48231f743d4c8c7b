import json
import lzma
import shutil
import zlib

import numpy as np
import pytest
from safetensors.torch import load_file, save_file
from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers
from transformers import AutoTokenizer

from featherlight.errors import UserError
from featherlight.inference.torch_predictor import TorchPredictor
from featherlight.packing import folder as packing
from featherlight.packing.folder import describe, pack_folder, packed_file
from featherlight.packing.tokenizers import front_code
from featherlight.packing.writer import with_sorted_pieces, write_packed
from featherlight.runtime.model import LightModel
from featherlight.runtime.packed import Encoded, Packed, decoded, read_packed
from helpers.light_files import DEFLATE, LZMA2, planes
from helpers.toy_students import BODIES, PAIR, TOKENIZERS, VALUE, tiny_student

ABOUT = {"tokenizer": {"kind": "byte"}}


def header_of(data):
    """The header of a file, read without the program's own reader."""
    coder, stored = data[10], int.from_bytes(data[12:16], "little")
    raw = data[20 : 20 + stored]
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 2**23}]
    expand = {0: bytes, DEFLATE: lambda part: zlib.decompress(part, -15),
              LZMA2: lambda part: lzma.decompress(part, lzma.FORMAT_RAW, None, filters)}[coder]  # fmt: skip
    return json.loads(expand(raw)), data[20 + stored : -4]


def written(encoded):
    """(header entry, bytes) of a file with this one tensor."""
    header, body = header_of(write_packed(ABOUT, {"t": encoded}))
    return header["tensors"]["t"], body


# --- the writer


@pytest.mark.parametrize(
    ("levels", "codes", "expected"),
    [
        (2, [1, 0, 1, 1, 0, 0, 0, 0, 1], [0b00001101, 1]),
        (3, [2, 1, 0, 1, 2, 2], [2 + 1 * 3 + 0 * 9 + 1 * 27 + 2 * 81, 2]),
        (4, [3, 1, 1, 3, 1], [0b11_01_01_11, 0b01]),
        (32, [31, 1, 15], [0b001_11111, 0b0_01111_00]),
        (256, [255, 1, 7], [255, 1, 7]),
    ],
)
def test_codes_become_the_bytes_that_one_writes_by_hand(levels, codes, expected):
    parts = {"codes": np.array(codes, dtype=np.uint8), "scales": np.array([0.5], dtype="<f2")}
    entry, body = written(Encoded("uniform", (len(codes),), parts, levels))
    assert entry == {"kind": "uniform", "shape": [len(codes)], "levels": levels, "scales": [1, 2],
                     "parts": [[0, len(expected)], [0, 2]]}  # fmt: skip
    assert body == bytes(expected) + planes(0.5, kind="e")


def test_whatever_is_written_is_read_again():
    draw = np.random.default_rng(0)
    for levels in (*range(2, 20), 31, 32, 64, 100, 128, 200, 255, 256):
        codes = draw.integers(levels, size=60).astype(np.uint8)
        tensors = {
            "rows": Encoded("uniform", (5, 12), {"codes": codes, "scales": draw.random(5).astype("<f4")}, levels),
            "book": Encoded("codebook", (60,), {"codes": codes, "book": draw.random(levels).astype("<f4")}, levels),
            "groups": Encoded("product", (20, 6), {"codes": codes, "book": np.ones(6 * levels, dtype="<f2")}, levels),
        }  # fmt: skip
        found = read_packed(write_packed(ABOUT, tensors))
        assert found.about == ABOUT
        for name, encoded in tensors.items():
            assert (decoded(found.tensors[name]) == decoded(encoded)).all()


def test_each_part_takes_the_coder_that_makes_the_fewest_bytes():
    draw = np.random.default_rng(0)
    for values, coder in ((draw.random(4), 0), (np.repeat(draw.random(3), 40), DEFLATE), (np.ones(10**5), LZMA2)):
        entry, body = written(Encoded("float32", values.shape, {"values": values.astype("<f4")}))
        assert entry["parts"] == [[coder, len(body)]] and len(body) <= 4 * len(values)


def test_a_tensor_is_sparse_where_that_is_smaller():
    values = np.random.default_rng(0).random(1000).astype("<f4")
    entry, dense = written(Encoded("float32", (1000,), {"values": values}))
    assert "kept" not in entry
    entry, body = written(Encoded("float32", (1000,), {"values": values * (np.arange(1000) % 5 == 0)}))
    assert entry["kept"] == 200 and len(body) < len(dense) / 3
    entry, body = written(Encoded("float32", (1000,), {"values": np.zeros(1000, dtype="<f4")}))
    assert len(body) < 30


# --- word pieces in order


@pytest.mark.parametrize("kind", ["float32", "uniform", "rows", "codebook", "product"])
def test_pieces_are_sorted_and_each_keeps_its_vector(kind):
    pieces = ["[PAD]", "the", "##s", "[UNK]", "a", "##"]
    about = {"tokenizer": {"kind": "wordpiece", "pieces": front_code(pieces), "unknown": 3}}
    codes = np.arange(12, dtype=np.uint8)
    table = {
        "float32": Encoded("float32", (6, 2), {"values": codes.astype("<f4")}),
        "uniform": Encoded("uniform", (6, 2), {"codes": codes, "scales": np.ones(1, dtype="<f2")}, 12),
        "rows": Encoded("uniform", (6, 2), {"codes": codes, "scales": np.arange(1, 7).astype("<f2")}, 12),
        "codebook": Encoded("codebook", (6, 2), {"codes": codes, "book": codes.astype("<f4")}, 12),
        "product": Encoded("product", (6, 2), {"codes": codes, "book": np.arange(24).astype("<f2")}, 12),
    }[kind]
    found, tensors = with_sorted_pieces(about, {"embedding.weight": table})
    assert found["tokenizer"] == {"kind": "wordpiece", "pieces": "A[PAD] A## Cs B[UNK] Aa Athe".replace("B[", "A["),
                                  "unknown": 3}  # fmt: skip
    vectors = dict(zip(pieces, decoded(table).tolist(), strict=True))
    order = ["[PAD]", "##", "##s", "[UNK]", "a", "the"]
    assert decoded(tensors["embedding.weight"]).tolist() == [vectors[piece] for piece in order]
    assert with_sorted_pieces(found, tensors)[0] == found  # sorted already


def test_sorted_pieces_take_fewer_characters_than_a_list_of_them(tmp_path):
    folder = tiny_student(tmp_path)
    vocabulary = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
    header, _ = header_of(pack_folder(folder))
    assert header["tokenizer"]["pieces"].startswith("A[PAD] A##a Cb Cc") and len(vocabulary) > 70
    assert len(header["tokenizer"]["pieces"]) < sum(len(piece) + 3 for piece in vocabulary) / 1.5


# --- folders


@pytest.mark.parametrize("kind", TOKENIZERS)
@pytest.mark.parametrize("body", BODIES)
def test_a_file_says_what_the_folder_says(tmp_path, body, kind):
    folder = tiny_student(tmp_path, body, kind, max_length=17)
    (folder / "record.json").write_text(json.dumps({"task": {"name": "sst2"}}))
    header, _ = header_of(pack_folder(folder))
    assert header["task"] == "sst2" and header["labels"] == ["bad", "good", "neither"]
    assert header["max_length"] == 17 and header["tokenizer"]["kind"] == kind
    assert header["architecture"] == {
        "body": {"bilstm": "lstm", "rnn": "rnn", "bag": "mean"}[body],
        "embedding": "hash" if kind == "hash" else "table",
        "pooling": "mean" if body == "bag" else "last",
        "pair": False,
    }
    weights = load_file(folder / "model.safetensors")
    assert {name: entry["shape"] for name, entry in header["tensors"].items()} == {
        name: list(tensor.shape) for name, tensor in weights.items()
    }


def test_a_regression_has_no_labels_and_a_pair_says_so(tmp_path):
    assert describe(tiny_student(tmp_path / "value", task=VALUE)).about["labels"] == []
    assert describe(tiny_student(tmp_path / "pair", task=PAIR)).about["architecture"]["pair"] is True


def test_a_limit_that_is_none_becomes_512_tokens(tmp_path):
    folder = tiny_student(tmp_path, max_length=int(1e30))
    assert describe(folder).about["max_length"] == 512


def test_names_that_transformers_leaves_out_are_its_own(tmp_path):
    folder = tiny_student(tmp_path)
    config = json.loads((folder / "config.json").read_text())
    weights = load_file(folder / "model.safetensors")
    for name in ("classifier.out.weight", "classifier.out.bias"):
        weights[name] = weights[name][:2].clone()
    save_file(weights, folder / "model.safetensors")
    del config["id2label"], config["label2id"]
    (folder / "config.json").write_text(json.dumps(config))
    assert (
        LightModel(read_packed(pack_folder(folder))).labels == TorchPredictor(folder).labels == ("LABEL_0", "LABEL_1")
    )


def test_half_precision_weights_are_packed_as_the_numbers_they_are(tmp_path):
    folder = tiny_student(tmp_path)
    weights = load_file(folder / "model.safetensors")
    save_file({name: tensor.half() for name, tensor in weights.items()}, folder / "model.safetensors")
    found = decoded(describe(folder).tensors["classifier.out.weight"])
    assert (found == weights["classifier.out.weight"].half().float().numpy()).all()


def test_a_quantized_folder_is_its_own_file(tmp_path):
    folder = tiny_student(tmp_path)
    data = pack_folder(folder)
    (folder / "model.safetensors").unlink()
    (folder / "model.light").write_bytes(data)
    assert pack_folder(folder) == data
    assert packed_file(folder) is None and packed_file(folder / "model.light") == folder / "model.light"
    (tmp_path / "packed").mkdir()
    shutil.copy(folder / "model.light", tmp_path / "packed")
    assert packed_file(tmp_path / "packed") == tmp_path / "packed" / "model.light"


# --- what cannot be packed


def test_an_encoder_is_refused_with_what_to_do(tiny_encoder):
    with pytest.raises(UserError, match=r"holds a bert, and only students .* `featherlight distill`; or .* ONNX"):
        pack_folder(tiny_encoder)


def test_what_is_no_folder_or_no_model_is_refused(tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        pack_folder(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"config.json: no such file"):
        pack_folder(tmp_path)


def test_weights_that_are_damaged_or_not_finite_are_refused(tmp_path):
    folder = tiny_student(tmp_path)
    file = folder / "model.safetensors"
    weights = load_file(file)
    weights["classifier.hidden.bias"][1] = float("nan")
    save_file(weights, file)
    with pytest.raises(UserError, match=r"classifier.hidden.bias holds numbers that are not finite"):
        pack_folder(folder)
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(UserError, match=r"model.safetensors: cannot be read"):
        pack_folder(folder)
    file.unlink()
    with pytest.raises(UserError, match=r"model.safetensors: cannot be read"):
        pack_folder(folder)


def test_a_student_that_no_file_can_hold_is_refused_with_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(packing, "MOST_NUMBERS", 100)
    with pytest.raises(UserError, match=r"a .light file holds at most 100. Distil into .* smaller --vocabulary"):
        pack_folder(tiny_student(tmp_path))


def change_tokenizer(folder, change):
    described = json.loads((folder / "tokenizer.json").read_text())
    change(described)
    (folder / "tokenizer.json").write_text(json.dumps(described))


def part_of(made):
    """How a part of a tokenizer is written in tokenizer.json."""
    return json.loads(made.__getstate__())


CHANGES = {
    "unigram": ("wordpiece", lambda d: d["model"].update(type="Unigram")),
    "words of another length": ("wordpiece", lambda d: d["model"].update(max_input_chars_per_word=20)),
    "controls kept": ("wordpiece", lambda d: d["normalizer"].update(clean_text=False)),
    "no normalizer": ("wordpiece", lambda d: d.update(normalizer=None)),
    "split at white space": ("wordpiece", lambda d: d.update(pre_tokenizer=part_of(pre_tokenizers.Whitespace()))),
    "capitals": ("bpe", lambda d: d.update(normalizer=part_of(normalizers.NFKC()))),
    "no mark at the start": ("bpe", lambda d: d["pre_tokenizer"].update(prepend_scheme="never")),
    "unknown letters together": ("bpe", lambda d: d["model"].update(fuse_unk=True)),
    "unknown letters as bytes": ("bpe", lambda d: d["model"].update(byte_fallback=True)),
    "whole words first": ("bpe", lambda d: d["model"].update(ignore_merges=True)),
    "byte pairs": ("byte", lambda d: d["model"].update(merges=[["a", "b"]])),
    "a space before": ("byte", lambda d: d["pre_tokenizer"].update(add_prefix_space=True)),
    "other letters": (
        "char", lambda d: d["normalizer"]["normalizers"].__setitem__(1, part_of(normalizers.Replace(Regex("[^a]"), "")))
    ),
    "other rows": ("char", lambda d: d["model"]["vocab"].update(a=2, b=1)),
    "a row left out": ("wordpiece", lambda d: d["model"]["vocab"].update(the=10**6)),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_a_tokenizer_that_would_read_texts_otherwise_is_refused_with_what_to_do(tmp_path, name):
    kind, change = CHANGES[name]
    folder = tiny_student(tmp_path, kind=kind)
    change_tokenizer(folder, change)
    with pytest.raises(UserError, match=r"cannot be packed: .* --embedding bpe, char, byte or hash"):
        pack_folder(folder)


@pytest.mark.parametrize(
    "settings", [{"lowercase": False}, {"strip_accents": False}, {"strip_accents": True, "lowercase": False},
                 {"handle_chinese_chars": False}], ids=str
)  # fmt: skip
def test_every_setting_of_berts_rules_is_packed(tmp_path, settings):
    folder = tiny_student(tmp_path)
    change_tokenizer(folder, lambda described: described["normalizer"].update(settings))
    texts = ["The FILM is gÖÖd", "中文 film", "naïve"]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    found = LightModel(describe(folder)).tokens(texts)
    assert [tokenizer.convert_ids_to_tokens(ids) for ids in found] == [tokenizer.tokenize(text) for text in texts]


def test_a_piece_with_a_space_is_refused(tmp_path):
    folder = tiny_student(tmp_path)

    def change(described):
        described["model"]["vocab"]["a b"] = described["model"]["vocab"].pop("the")

    change_tokenizer(folder, change)
    Tokenizer.from_file(str(folder / "tokenizer.json"))  # `tokenizers` has nothing against it
    with pytest.raises(UserError, match="a piece with a space"):
        pack_folder(folder)


def test_a_table_that_is_not_as_long_as_its_vocabulary_is_refused(tmp_path):
    packed = describe(tiny_student(tmp_path))
    short = Encoded("float32", (3, 5), {"values": np.zeros(15, dtype="<f4")})
    with pytest.raises(UserError, match="pieces and 3 vectors"):
        write_packed(packed.about, {**packed.tensors, "embedding.weight": short})


def test_a_header_can_be_read_by_eye(tmp_path):
    """No program but one that reads JSON is needed to see what a file holds."""
    header, _ = header_of(pack_folder(tiny_student(tmp_path, "bag", "char")))
    assert header["tensors"]["embedding.weight"]["shape"] == [34, 5]
    assert isinstance(Packed(header, {}).about["labels"], list)
