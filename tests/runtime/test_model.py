import ast
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from featherlight.compression.quantize import WIDTHS, is_quantized, product, scheme
from featherlight.errors import UserError
from featherlight.inference.torch_predictor import TorchPredictor
from featherlight.models.students.recurrent import POOLINGS
from featherlight.packing.folder import describe, pack_folder
from featherlight.packing.writer import write_packed
from featherlight.runtime import load
from featherlight.runtime import model as runtime_model
from featherlight.runtime.model import LightModel, class_answers, number_answers
from featherlight.runtime.packed import Encoded, Packed, decoded, read_packed
from helpers.toy_students import ONE, PAIR, TASKS, TOKENIZERS, VALUE, tiny_student
from helpers.toys import sentences

TEXTS = [text for text, _ in sentences(40, seed=9)] + [
    "", " ", "a", "Ünknown wörds, 中文 & sïgns!?", "the film " * 30, "x" * 300, "\x00\x00", "THE FILM WAS GOOD", "\n\t",
]  # fmt: skip
CLOSE = 1e-5  # the promise is 1e-4, on real students


def light(folder):
    return LightModel(read_packed(pack_folder(folder)))


def sides(task, texts=TEXTS):
    return (texts, texts[::-1]) if task == PAIR else (texts,)


def assert_same(model, folder, task, close=CLOSE):
    expected, found = TorchPredictor(folder)(*sides(task)), model(*sides(task))
    assert found.dtype == np.float32 and found.shape == expected.shape
    assert np.ptp(expected, axis=0).min() > 0.01  # texts differ
    assert np.abs(found - expected).max() < close


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("kind", ["wordpiece", "hash"])
@pytest.mark.parametrize(
    ("body", "pooling"), [("bag", None), *((body, pooling) for body in ("bilstm", "rnn") for pooling in POOLINGS)]
)
def test_the_numbers_are_those_of_the_student_in_torch(tmp_path, body, pooling, kind, task):
    folder = tiny_student(tmp_path, body, kind, task=task, **({} if pooling is None else {"pooling": pooling}))
    assert_same(light(folder), folder, task)


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_every_tokenizer_is_packed_with_its_student(tmp_path, kind):
    folder = tiny_student(tmp_path, "rnn", kind)
    assert_same(light(folder), folder, ONE)


SCHEMES = {
    **{f"{width} {book}": scheme(width, codebook=book) for width in WIDTHS for book in ("uniform", "kmeans")},
    "one scale": scheme("4", per_row=False),
    "product": lambda weights: product(weights, groups=5, levels=16) if weights.shape[1] == 5 else scheme("8")(weights),
}


@pytest.mark.parametrize("kind", ["wordpiece", "hash"])
@pytest.mark.parametrize("name", SCHEMES)
def test_quantized_students_compute_the_same_in_torch_and_here(tmp_path, name, kind):
    folder = tiny_student(tmp_path, "bilstm", kind)
    whole = describe(folder)
    tensors = {part: SCHEMES[name](decoded(encoded)) if is_quantized(part) else encoded
               for part, encoded in whole.tensors.items()}  # fmt: skip
    before = TorchPredictor(folder)(TEXTS)
    (folder / "model.light").write_bytes(write_packed(whole.about, tensors))
    (folder / "model.safetensors").unlink()
    assert_same(light(folder), folder, ONE)
    assert_same(load(folder / "model.light"), folder, ONE)
    assert np.abs(before - TorchPredictor(folder)(TEXTS)).max() > 1e-6  # something was quantized


def test_pruned_students_compute_the_same(tmp_path):
    folder = tiny_student(tmp_path)
    whole = describe(folder)
    draw = np.random.default_rng(0)
    tensors = {
        name: Encoded("float32", part.shape, {"values": part.parts["values"] * (draw.random(part.size) < 0.1)})
        for name, part in whole.tensors.items()
    }
    tensors["classifier.hidden.bias"].parts["values"][:] = 0  # a tensor of nothing but zeros
    (folder / "model.light").write_bytes(write_packed(whole.about, tensors))
    (folder / "model.safetensors").unlink()
    expected = TorchPredictor(folder)(TEXTS)
    assert np.abs(light(folder)(TEXTS) - expected).max() < CLOSE


def test_a_text_has_its_logits_in_whatever_company(tmp_path, monkeypatch):
    for pooling in POOLINGS:
        model = light(tiny_student(tmp_path, pooling=pooling))
        together = model(TEXTS)
        alone = np.concatenate([model([text]) for text in TEXTS])
        with monkeypatch.context() as patch:
            patch.setattr(runtime_model, "TOKENS_AT_ONCE", 7)  # texts of up to 24 tokens are read in stretches
            few = model(TEXTS)
        assert np.abs(alone - together).max() < CLOSE and np.abs(few - together).max() < CLOSE


@pytest.mark.parametrize("task", TASKS)
def test_no_texts_give_no_answers(tmp_path, task):
    model = light(tiny_student(tmp_path, task=task))
    assert model.predict(*sides(task, [])) == []
    assert model(*sides(task, [])).shape == ((0,) if task == VALUE else (0, 3))


def test_probabilities_are_the_softmax_of_the_logits():
    found = class_answers(np.log(np.float32([[1, 2, 5], [8, 1, 1]])) + 1000, ("a", "b", "c"))
    assert [row["label"] for row in found] == ["c", "a"]
    assert found[0]["probability"] == pytest.approx(0.625, abs=1e-4)
    assert found[0]["probabilities"] == pytest.approx({"a": 0.125, "b": 0.25, "c": 0.625}, abs=1e-4)
    assert number_answers(np.float32([1.5, -2]), ()) == [{"value": 1.5}, {"value": -2.0}]


def test_logits_of_any_size_have_probabilities():
    largest = np.finfo(np.float32).max
    found = class_answers(np.float32([[largest, -largest], [-largest, -largest]]), ("a", "b"))
    assert [row["probabilities"] for row in found] == [{"a": 1, "b": 0}, {"a": 0.5, "b": 0.5}]


def test_equal_answers_go_to_the_first_label():
    assert class_answers(np.zeros((1, 2), dtype=np.float32), ("a", "b"))[0]["label"] == "a"


MEGABYTE = {"words": "the film was good " * 55_556, "no space": "x" * 1_000_000, "signs": ".," * 500_000,
            "chinese": "中" * 1_000_000, "spaces": " " * 1_000_000}  # fmt: skip


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_a_text_of_a_megabyte_takes_a_second(tmp_path, kind):
    folder = tiny_student(tmp_path, kind=kind)
    model = light(folder)
    for text in MEGABYTE.values():
        start = time.perf_counter()
        found = model([text])
        seconds = time.perf_counter() - start
        assert np.isfinite(found).all() and seconds < 2  # one on a machine with nothing else to do
    expected = TorchPredictor(folder)([MEGABYTE["words"], MEGABYTE["signs"]])
    assert np.abs(model([MEGABYTE["words"], MEGABYTE["signs"]]) - expected).max() < CLOSE


@pytest.mark.parametrize(
    ("texts", "match"),
    [
        ("one text", "give a list of texts"), (None, "give a list of texts"), (7, "give a list of texts"),
        ([None], "text 0 is a NoneType"), (["a", 3], "text 1 is a int"), (["\udcff"], "half of a surrogate pair"),
        ([["a", "b"]], "text 0 is a list"),
    ],
)  # fmt: skip
def test_what_is_no_list_of_texts_is_refused(tmp_path, texts, match):
    model = light(tiny_student(tmp_path, "bag"))
    for call in (model, model.predict):
        with pytest.raises(UserError, match=match):
            call(texts)


def test_pairs_need_as_many_texts_on_both_sides_and_only_pairs_have_two(tmp_path):
    pair, one = light(tiny_student(tmp_path / "pair", task=PAIR)), light(tiny_student(tmp_path / "one"))
    with pytest.raises(UserError, match="reads two texts per example and was given one"):
        pair(["a"])
    with pytest.raises(UserError, match="reads one text per example and was given two"):
        one(["a"], ["b"])
    with pytest.raises(UserError, match="2 first texts and 1 second ones"):
        pair(["a", "b"], ["c"])
    with pytest.raises(UserError, match="give a list of texts"):
        pair(["a"], "b")


# --- files


def test_load_says_which_file_and_what_is_wrong(tmp_path, monkeypatch):
    file = tmp_path / "model.light"
    with pytest.raises(UserError, match="light: No such file"):
        load(file)
    with pytest.raises(UserError, match=f"{tmp_path}: Is a directory"):
        load(tmp_path)
    file.write_bytes(b"something else")
    with pytest.raises(UserError, match="light: it is not a"):
        load(file)
    data = pack_folder(tiny_student(tmp_path / "folder"))
    file.write_bytes(data[:-1])
    with pytest.raises(UserError, match="light: it is damaged"):
        load(str(file))
    file.write_bytes(data)
    assert load(file).parameters == sum(part.size for part in describe(tmp_path / "folder").tensors.values())
    monkeypatch.setattr(runtime_model, "MOST_FILE", len(data) - 1)
    with pytest.raises(UserError, match="light: it is larger than"):
        load(file)


@pytest.fixture(scope="module", params=["bilstm wordpiece", "bag hash"])
def sound(request, tmp_path_factory):
    """A sound file as header and tensors."""
    folder = tiny_student(tmp_path_factory.mktemp("sound"), *request.param.split())
    return describe(folder)


def refused(packed, match="damaged"):
    with pytest.raises(UserError, match=match) as caught:
        LightModel(packed)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    "change",
    [
        {"labels": None}, {"labels": "ab"}, {"labels": ["a", 3, "c"]}, {"labels": ["a"]}, {"labels": []},
        {"labels": [["a"], "b", "c"]}, {"labels": ["a", "b", "a"]}, {"max_length": 0}, {"max_length": -1},
        {"max_length": 2**62}, {"max_length": 12.5}, {"max_length": True}, {"max_length": None},
        {"architecture": None}, {"architecture": []}, {"tokenizer": None}, {"tokenizer": {}},
        {"tokenizer": {"kind": "byte"}}, {"tokenizer": {"kind": "char"}},
        {"tokenizer": {"kind": "hash", "buckets": 52}}, {"tokenizer": {"kind": "hash", "buckets": 530}},
    ],
    ids=str,
)  # fmt: skip
def test_a_header_with_one_wrong_field_is_refused(sound, change):
    refused(Packed({**sound.about, **change}, sound.tensors))


@pytest.mark.parametrize(
    "change",
    [
        {"body": "gru"}, {"body": None}, {"body": ["lstm"]}, {"body": "rnn"}, {"embedding": "tree"}, {"embedding": 3},
        {"pooling": "sum"}, {"pooling": None}, {"pooling": {}}, {"pair": 1}, {"pair": None}, {"pair": True},
    ],
    ids=str,
)  # fmt: skip
def test_an_architecture_with_one_wrong_field_is_refused(sound, change):
    refused(Packed({**sound.about, "architecture": {**sound.about["architecture"], **change}}, sound.tensors))


def zeros(*shape):
    return Encoded("float32", shape, {"values": np.zeros(int(np.prod(shape)), dtype=np.float32)})


def test_a_tensor_of_another_shape_is_refused(sound):
    for name, encoded in sound.tensors.items():
        shape = encoded.shape
        for wrong in ((*shape, 1), (1, *shape), (shape[0] + 1, *shape[1:]), (*shape[:-1], shape[-1] + 1), (1,)):
            refused(Packed(sound.about, {**sound.tensors, name: zeros(*wrong)}), "do not fit together")
        refused(Packed(sound.about, {other: part for other, part in sound.tensors.items() if other != name}))
    refused(Packed(sound.about, {**sound.tensors, "more": zeros(1)}))
    refused(Packed(sound.about, {}))


def test_an_answer_that_is_no_number_is_no_answer(sound):
    huge = {name: Encoded("float32", part.shape, {"values": np.full(part.size, 3e38, dtype=np.float32)})
            for name, part in sound.tensors.items()}  # fmt: skip
    with pytest.raises(UserError, match="not finite"):
        LightModel(Packed(sound.about, huge)).predict(["a text"])


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["wordpiece", "hash"])
@pytest.mark.parametrize("body", ["bag", "bilstm", "rnn"])
def test_ten_thousand_real_texts_have_logits_within_a_ten_thousandth(tmp_path, real_data, body, kind):
    rows = (real_data / "glue" / "SST-2" / "train.tsv").read_text(encoding="utf-8").splitlines()[1:8001]
    texts = [row.split("\t")[0] for row in rows]
    with (real_data / "agnews" / "test.csv").open(encoding="utf-8") as file:
        texts += [line.strip() for _, line in zip(range(2000), file, strict=False)]
    folder = tiny_student(tmp_path, body, kind, max_length=128)
    found, expected = light(folder)(texts), TorchPredictor(folder)(texts)
    assert len(found) == 10_000 and np.abs(found - expected).max() < 1e-4


def test_the_runtime_needs_numpy_and_nothing_else():
    allowed = {*sys.stdlib_module_names, "numpy", "featherlight.errors"}
    files = list(Path(runtime_model.__file__).parent.glob("*.py"))
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                assert name in allowed or name.split(".")[0] in allowed or name.startswith("featherlight.runtime"), name
    assert sum(len(file.read_text().splitlines()) for file in files) < 1000
