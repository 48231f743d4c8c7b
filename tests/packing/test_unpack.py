import numpy as np
import pytest

from featherlight.compression.quantize import scheme
from featherlight.errors import UserError
from featherlight.inference.torch_predictor import TorchPredictor
from featherlight.packing.folder import about, config_of, describe, pack_folder
from featherlight.packing.unpack import unpack
from featherlight.packing.writer import write_packed
from featherlight.runtime.model import load
from featherlight.runtime.packed import decoded
from helpers.tiny_encoders import SENTENCES
from helpers.tiny_students import save_student

STUDENTS = [("bilstm", "wordpiece"), ("rnn", "bpe"), ("bag", "char"), ("bag", "byte"), ("bilstm", "hash")]
TEXTS = [*SENTENCES[:3], "Äthiopia's 42 naïve ﬁlms — don't!", "", "x" * 120, "一部 good 电影 [PAD]"]


@pytest.mark.parametrize(("student", "embedding"), STUDENTS)
def test_an_unpacked_folder_says_and_computes_what_the_file_does(tmp_path, student, embedding):
    folder = save_student(tmp_path / "student", student, embedding)
    file = tmp_path / "model.light"
    file.write_bytes(pack_folder(folder))
    (tmp_path / "unpacked").mkdir()
    unpack(file, tmp_path / "unpacked")
    assert about(tmp_path / "unpacked", config_of(tmp_path / "unpacked")) == load(file).packed.about
    found = TorchPredictor(tmp_path / "unpacked", device="cpu")
    assert found.labels == ("negative", "positive") and found.model.config.architectures == [type(found.model).__name__]
    assert np.allclose(found(TEXTS), load(file)(TEXTS), atol=1e-5)
    assert np.allclose(found(TEXTS), TorchPredictor(folder, device="cpu")(TEXTS), atol=1e-6)


def test_a_quantized_pair_regression_keeps_its_codes(tmp_path):
    folder = save_student(tmp_path / "student", "rnn", "hash", labels=(), pair=True, pooling="max")
    whole = describe(folder)
    tensors = {
        name: encoded if "bias" in name else scheme("4")(decoded(encoded)) for name, encoded in whole.tensors.items()
    }
    file = tmp_path / "model.light"
    file.write_bytes(write_packed(whole.about, tensors))
    (tmp_path / "unpacked").mkdir()
    unpack(file, tmp_path / "unpacked")
    found = TorchPredictor(tmp_path / "unpacked", device="cpu")
    assert found.labels == () and found.pair
    assert np.allclose(found(TEXTS, TEXTS[::-1]), load(file)(TEXTS, TEXTS[::-1]), atol=1e-5)


def test_a_damaged_file_is_named(tmp_path):
    file = tmp_path / "model.light"
    file.write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"model\.light: "):
        unpack(file, tmp_path)
