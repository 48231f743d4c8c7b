import subprocess
import sys

import numpy as np
import onnx
import pytest

from featherlight.data.task import Examples
from featherlight.errors import UserError
from featherlight.export.onnx import write_float
from featherlight.inference.onnx_predictor import OnnxPredictor
from featherlight.inference.torch_predictor import TorchPredictor
from featherlight.kinds import MODEL
from helpers.tiny_encoders import SENTENCES
from helpers.tiny_students import save_student


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """The folder of a student, and the one that was made of it."""
    folder = save_student(tmp_path_factory.mktemp("student"), "bilstm")
    out = tmp_path_factory.mktemp("out")
    write_float(TorchPredictor(folder, device="cpu"), folder, out)
    return folder, out


def test_rows_come_back_in_their_order_however_small_the_batches_are(exported):
    folder, out = exported
    texts = [" ".join(sentence.split()[: 1 + i % 7]) for i, sentence in enumerate(SENTENCES)]
    wanted = TorchPredictor(folder, device="cpu")(texts)
    for batch_tokens in (1, 10, 10_000):
        assert np.allclose(OnnxPredictor(out, threads=1, batch_tokens=batch_tokens)(texts), wanted, atol=1e-6)


def test_one_text_none_and_an_empty_one(exported):
    folder, out = exported
    predictor, wanted = OnnxPredictor(out, threads=1), TorchPredictor(folder, device="cpu")
    assert predictor([]).shape == (0, 2)
    for text in (SENTENCES[0], "", "x" * 1_000_000):
        assert np.allclose(predictor([text]), wanted([text]), atol=1e-6)


def test_a_regression_gives_one_number_each(tmp_path):
    folder = save_student(tmp_path / "student", "bag", labels=())
    (tmp_path / "out").mkdir()
    write_float(TorchPredictor(folder, device="cpu"), folder, tmp_path / "out")
    predictor = OnnxPredictor(tmp_path / "out")
    assert predictor.labels == () and predictor(SENTENCES[:3]).shape == (3,) and predictor(SENTENCES[:1]).shape == (1,)


def test_a_model_of_one_text_refuses_two(exported):
    with pytest.raises(UserError, match="reads one text per example and was given two"):
        OnnxPredictor(exported[1])(["a"], ["b"])


def test_a_text_that_is_none_is_refused(exported):
    with pytest.raises(UserError, match="text 1 is a int, not a string"):
        OnnxPredictor(exported[1])(["a", 3])
    with pytest.raises(UserError, match="surrogate"):
        OnnxPredictor(exported[1])(["\ud800"])


@pytest.mark.parametrize("how", [{"device": "cuda"}, {"precision": "bf16"}, {"compiled": True}])
def test_what_an_exported_model_cannot_do_is_said(exported, how):
    with pytest.raises(UserError, match="Leave --"):
        OnnxPredictor(exported[1], **how)


def test_a_damaged_file_and_a_strangers_are_refused(exported, tmp_path):
    data = (exported[1] / MODEL).read_bytes()
    (tmp_path / MODEL).write_bytes(data[: len(data) // 2])
    with pytest.raises(UserError, match="onnxruntime cannot load it"):
        OnnxPredictor(tmp_path)
    model = onnx.load(exported[1] / MODEL)
    del model.metadata_props[:]
    onnx.save(model, tmp_path / MODEL)
    with pytest.raises(UserError, match="was not written by `featherlight export`"):
        OnnxPredictor(tmp_path)


def test_without_onnxruntime_the_extra_is_named(exported, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UserError, match=r"pip install 'featherlight\[onnx\]'"):
        OnnxPredictor(exported[1])


def test_prediction_needs_neither_torch_nor_transformers(exported):
    program = (
        "import sys; sys.modules['torch'] = sys.modules['transformers'] = None\n"
        "from pathlib import Path; from featherlight.inference.onnx_predictor import OnnxPredictor\n"
        f"print(OnnxPredictor(Path({str(exported[1])!r}))([{SENTENCES[0]!r}]).tolist()[0][0])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert float(done.stdout) == pytest.approx(float(TorchPredictor(exported[0])(SENTENCES[:1])[0, 0]), abs=1e-5)


def test_tokens_of_a_split_are_those_of_the_model(exported):
    folder, out = exported
    some = Examples(SENTENCES, None, None, np.arange(len(SENTENCES)))
    wanted, found = TorchPredictor(folder, device="cpu").tokens(some), OnnxPredictor(out).tokens(some)
    assert np.array_equal(wanted.columns["input_ids"].values, found.columns["input_ids"].values)
