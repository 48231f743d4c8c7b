"""Encoders of every family, and students, as onnxruntime computes them beside torch."""

import json
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from transformers import AlbertConfig, AlbertForSequenceClassification

from featherlight.data.task import Examples
from featherlight.errors import UserError
from featherlight.export import onnx as export
from featherlight.export.onnx import write_float, write_int8
from featherlight.inference.agreement import agreement, shaped
from featherlight.inference.onnx_predictor import ABOUT, OnnxPredictor, cuts_off_bytes
from featherlight.inference.torch_predictor import TorchPredictor
from featherlight.kinds import MODEL
from featherlight.models.load import load_encoder
from helpers.onnx_logits import EMULATOR, logits, on_haswell
from helpers.tiny_encoders import ENCODERS, MAX_LENGTH, SENTENCES, albert_tokenizer, save_encoder
from helpers.tiny_students import save_student

QUICK = ("bert uncased", "roberta", "mpnet", "distilbert", "albert", "xlnet", "modernbert", "deberta v3")
FAMILIES = [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in ENCODERS]
TEXTS = Examples(SENTENCES[:6], None, None, np.arange(6))
PAIRS = Examples(SENTENCES[:6], SENTENCES[6:12], None, np.arange(6))


def save_classifier(name: str, folder: Path) -> Path:
    """An encoder with a head, as `finetune` saves it."""
    model, tokenizer = load_encoder(str(save_encoder(name, folder)), labels=("a", "b", "c"), max_length=MAX_LENGTH)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def export_of(folder: Path, out: Path) -> tuple[TorchPredictor, OnnxPredictor]:
    """The model in torch, and what was written of it."""
    out.mkdir()
    source = TorchPredictor(folder, device="cpu", precision="fp32")
    write_float(source, folder, out)
    return source, OnnxPredictor(out, threads=1)


@pytest.mark.parametrize("name", FAMILIES)
def test_an_encoder_gives_the_same_tokens_and_logits_for_texts_and_pairs_of_every_shape(tmp_path, name):
    source, exported = export_of(save_classifier(name, tmp_path / "model"), tmp_path / "out")
    for examples in (TEXTS, PAIRS):
        for some in (examples, *shaped(examples)):
            wanted, found = source.tokens(some), exported.tokens(some)
            assert wanted.left == found.left
            for column, ragged in wanted.columns.items():
                assert np.array_equal(ragged.values, found.columns[column].values)
                assert np.array_equal(ragged.offsets, found.columns[column].offsets)
                assert wanted.pads[column] == found.pads[column]
        worst, largest = agreement(source, exported, examples)
        assert worst < 1e-5 * max(largest, 1)
    assert exported.labels == ("a", "b", "c") and exported.precision == "fp32"
    assert {node.domain for node in onnx.load(tmp_path / "out" / MODEL).graph.node} == {""}, "not ONNX's own operators"
    assert exported.parameters == sum(weight.numel() for weight in source.model.parameters())


def test_an_encoder_that_says_that_it_reads_pairs_is_exported_with_them(tmp_path):
    folder = save_classifier("bert uncased", tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "pair": True}))
    source, exported = export_of(folder, tmp_path / "out")
    worst, largest = agreement(source, exported, PAIRS)
    assert exported.pair and worst < 1e-5 * max(largest, 1)
    write_int8(source, folder, tmp_path / "out", per_channel=True)
    assert agreement(source, OnnxPredictor(tmp_path / "out", threads=1), PAIRS)[0] < 0.1 * largest


def test_shared_weights_are_written_once(tmp_path):
    tokenizer = albert_tokenizer()
    tokenizer.model_max_length = 20
    config = AlbertConfig(vocab_size=len(tokenizer), embedding_size=9, hidden_size=24, num_attention_heads=4,
                          intermediate_size=50, num_hidden_layers=12, max_position_embeddings=20)  # fmt: skip
    torch.manual_seed(0)
    AlbertForSequenceClassification(config).save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    source, _ = export_of(tmp_path / "model", tmp_path / "out")
    floats = stored(tmp_path / "out" / MODEL)
    assert sum(np.prod(array.dims) for array in floats) < 1.02 * source.parameters
    write_int8(source, tmp_path / "model", tmp_path / "out", per_channel=True)
    whole = [array for array in stored(tmp_path / "out" / MODEL) if array.data_type == onnx.TensorProto.INT8]
    matrices = sum(weight.numel() for weight in source.model.parameters() if weight.ndim == 2)
    assert 0.9 * matrices < sum(np.prod(array.dims) for array in whole) < 1.02 * matrices


def stored(file: Path) -> list[onnx.TensorProto]:
    """The arrays that a file holds."""
    return list(onnx.load(file).graph.initializer)


@pytest.mark.parametrize("per_channel", [True, False])
def test_an_encoder_in_int8_is_near_itself_in_float_and_says_so(tmp_path, per_channel):
    source, exported = export_of(save_classifier("minilm", tmp_path / "model"), tmp_path / "out")
    write_int8(source, tmp_path / "model", tmp_path / "out", per_channel=per_channel)
    found = OnnxPredictor(tmp_path / "out", threads=1)
    wanted = exported.logits(exported.tokens(TEXTS))
    apart = np.abs(found.logits(found.tokens(TEXTS)) - wanted).max()
    assert 0 < apart < 0.15 * np.abs(wanted).max()
    assert found.precision == "int8" and found.parameters == source.parameters
    assert sorted(path.name for path in (tmp_path / "out").glob("*.onnx")) == [MODEL]


STUDENTS = [("bilstm", "wordpiece"), ("rnn", "unigram"), ("bag", "hash"), ("bilstm", "byte"), ("bag", "bpe")]


@pytest.mark.parametrize("pair", [False, True])
@pytest.mark.parametrize(("student", "embedding"), STUDENTS)
def test_a_student_gives_the_same_logits_in_float_and_nearly_so_in_int8(tmp_path, student, embedding, pair):
    folder = save_student(tmp_path / "student", student, embedding, pair=pair)
    source, exported = export_of(folder, tmp_path / "out")
    examples = PAIRS if pair else TEXTS
    worst, largest = agreement(source, exported, examples)
    assert worst < 1e-5 * max(largest, 1) and exported.pair == pair
    write_int8(source, folder, tmp_path / "out", per_channel=True)
    worst, largest = agreement(source, OnnxPredictor(tmp_path / "out", threads=1), examples)
    assert 0 < worst < 0.1 * largest


@pytest.mark.parametrize(
    ("dies", "said"),
    [
        ("import os; os.abort()", "ended by SIGABRT"),
        ("raise SystemExit('no such operator')", "no such operator"),
        ("import os; os.kill(os.getpid(), 9)", "ended by SIGKILL"),
    ],
)
def test_a_quantizer_that_dies_takes_only_itself_along_and_leaves_no_file(tmp_path, monkeypatch, dies, said):
    folder = save_student(tmp_path / "student", "bag")
    source, _ = export_of(folder, tmp_path / "out")
    monkeypatch.setattr(export, "QUANTIZER", (sys.executable, "-c", dies))
    with pytest.raises(UserError, match=f"cannot compute this model in int8 .{said}.*without --int8"):
        write_int8(source, folder, tmp_path / "out", per_channel=True)
    assert not list((tmp_path / "out").glob("*.onnx"))


def test_a_wrong_weight_shows_and_so_does_a_logit_that_is_no_number(tmp_path):
    source, exported = export_of(save_student(tmp_path / "student", "rnn"), tmp_path / "out")
    assert agreement(source, exported, TEXTS)[0] < 1e-5
    with torch.no_grad():
        source.model.classifier.out.bias[1] += 0.01
        assert agreement(source, exported, TEXTS)[0] == pytest.approx(0.01, abs=1e-4)
        source.model.classifier.out.bias[1] = float("nan")
    assert agreement(source, exported, TEXTS)[0] == np.inf


def test_random_shapes_reach_from_no_word_to_more_than_most_models_read():
    found = [[len(text.split()) for text in some.first] for some in shaped(PAIRS)]
    assert [len(lengths) for lengths in found] == [1, 1, 2, 3, 7, 5, 2]
    assert [max(lengths) for lengths in found] == [0, 1, 1, 7, 3, 40, 600]
    assert any(0 < lengths.count(0) < len(lengths) for lengths in found), "no empty text beside another"
    assert all(len(some.second) == len(some.first) for some in shaped(PAIRS))


@pytest.mark.slow
@pytest.mark.skipif(EMULATOR is None, reason="needs qemu-x86_64 (Debian: qemu-user)")
@pytest.mark.parametrize("mode", ["dynamic", "static"])
def test_an_encoder_in_int8_answers_alike_on_a_processor_without_vnni(tmp_path, mode):
    folder = save_classifier("minilm", tmp_path / "model")
    source, exported = export_of(folder, tmp_path / "out")
    write_int8(source, folder, tmp_path / "out", per_channel=True, calibration=TEXTS if mode == "static" else None)
    exported = OnnxPredictor(tmp_path / "out", threads=1)
    columns = exported.tokens(TEXTS).arrays(np.arange(3))
    inputs = {name: columns[name] for name in exported.inputs}
    here, there = logits(tmp_path / "out" / MODEL, inputs), on_haswell(tmp_path / "out" / MODEL, inputs)
    assert np.abs(here - there).max() <= 0.01 * np.abs(here).max()


@pytest.mark.parametrize(("processor", "cuts"), [("flags: avx2 fma", True), ("flags: avx512_vnni", False),
                                                 ("flags: avx_vnni", False)])  # fmt: skip
def test_a_processor_without_vnni_is_known_by_what_the_system_says_of_it(monkeypatch, processor, cuts):
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    assert cuts_off_bytes(processor) is cuts
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    assert not cuts_off_bytes(processor)


def test_an_int8_model_of_eight_bits_is_doubted_where_its_products_are_cut_off(tmp_path, monkeypatch, caplog):
    folder = save_classifier("minilm", tmp_path / "model")
    source, _ = export_of(folder, tmp_path / "out")
    write_int8(source, folder, tmp_path / "out", per_channel=True)
    monkeypatch.setattr("featherlight.inference.onnx_predictor.cuts_off_bytes", lambda: True)
    caplog.set_level("INFO", "featherlight")
    OnnxPredictor(tmp_path / "out")
    assert "Export the model again" not in caplog.text
    model = onnx.load(tmp_path / "out" / MODEL)
    entry = next(entry for entry in model.metadata_props if entry.key == ABOUT)
    entry.value = json.dumps({name: fact for name, fact in json.loads(entry.value).items() if name != "weight_bits"})
    onnx.save(model, tmp_path / "out" / MODEL)
    old = OnnxPredictor(tmp_path / "out", threads=1)
    assert "Export the model again" in caplog.text
    assert np.isfinite(old(SENTENCES[:2])).all()
