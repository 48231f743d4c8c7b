import numpy as np
import pytest

from featherlight.data.task import Examples
from featherlight.export.onnx import write_float
from featherlight.inference.onnx_reader import FileReader, RuntimeReader, reader_of
from featherlight.inference.torch_predictor import TorchPredictor
from helpers.tiny_encoders import SENTENCES
from helpers.tiny_students import MAX_LENGTH, TOKENIZERS, save_student
from helpers.toys import GOOD

ODD = ["", " ", "[PAD] good [UNK]", "Äthiopia's naïve ﬁlms — don't!", "一部 good", "x" * 200, "good\tfilm\u00a0bad\r\n"]
LONG = ["good film " * 30_000, "film" * 20_000, ("bad, " * 999) + "good"]
TEXTS = [*SENTENCES[:5], *ODD, *LONG, *GOOD]


@pytest.mark.parametrize("pair", [False, True])
@pytest.mark.parametrize("embedding", TOKENIZERS)
def test_a_students_texts_are_read_as_transformers_reads_them(tmp_path, embedding, pair):
    folder = save_student(tmp_path / "student", "bag", embedding, pair=pair)
    (tmp_path / "out").mkdir()
    source = TorchPredictor(folder, device="cpu")
    write_float(source, folder, tmp_path / "out")
    reader = reader_of(tmp_path / "out", student=True, max_length=MAX_LENGTH)
    assert isinstance(reader, FileReader if embedding == "unigram" else RuntimeReader)
    first, second = TEXTS, TEXTS[::-1] if pair else None
    wanted = source.tokens(Examples(first, second, None, np.arange(len(first)))).columns
    together = reader(first, second)
    for name, ragged in wanted.items():
        for row, ids in enumerate(together[name]):
            assert np.array_equal(ids, ragged.rows(np.array([row])))
        for row in range(len(first)):
            alone = reader([first[row]], None if second is None else [second[row]])
            assert alone[name] == [together[name][row]]
