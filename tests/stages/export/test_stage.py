"""`featherlight export` as a person or a program calls it."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from onnx import load as load_onnx
from onnx.numpy_helper import to_array

from featherlight.cli.main import main
from featherlight.compression.quantize import scheme
from featherlight.export import graph, onnx
from featherlight.inference.torch_predictor import TorchPredictor
from featherlight.models.load import load_encoder
from featherlight.packing.folder import describe, pack_folder
from featherlight.packing.writer import write_packed
from featherlight.runtime.model import load
from featherlight.runtime.packed import decoded
from helpers.tiny_encoders import save_encoder
from helpers.tiny_students import LABELS, save_student
from helpers.toys import write_csv

TEXTS = ["a lovely film", "dull plot and awful music was it", "the"]


def call(capsys, *arguments: object) -> dict:
    """The JSON object that a command prints."""
    code = main([*(str(argument) for argument in arguments), "--json"])
    found = json.loads(capsys.readouterr().out)
    assert code == 0, found
    return found


def error(capsys, *arguments: object) -> str:
    """The message of a command that must fail as the user's mistake."""
    code = main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    assert code == 2 and captured.out == "" and "Traceback" not in captured.err
    return captured.err


def predicted(capsys, model: Path, texts: Path) -> list[list[float]]:
    """The probabilities of each line of a file."""
    assert main(["predict", str(model), str(texts)]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    return [[line["probabilities"][label] for label in LABELS] for line in lines]


@pytest.fixture(scope="module")
def student(tmp_path_factory) -> Path:
    return save_student(tmp_path_factory.mktemp("student"), "bilstm")


@pytest.fixture
def texts(tmp_path) -> Path:
    (tmp_path / "texts.txt").write_text("\n".join(TEXTS) + "\n")
    return tmp_path / "texts.txt"


@pytest.mark.parametrize("int8", [False, True])
def test_an_exported_student_predicts_and_is_scored_like_its_folder(capsys, student, sentiment, tmp_path, texts, int8):
    out, store = tmp_path / "out", tmp_path / "store"
    more = ("--int8", "--tolerate", "100") if int8 else ()
    found = call(capsys, "export", student, "--task", sentiment, "-o", out, "--store", store, *more)
    assert found["file"] == str(out / "model.onnx") and set(found) == {"file", "bytes", "worst_difference", "metrics"}
    sizes = {path.name: path.stat().st_size for path in out.iterdir()}
    assert found["bytes"] == sum(size for name, size in sizes.items() if not name.startswith(("record", "predictions")))
    assert (found["worst_difference"] < 1e-6) != int8 and found["worst_difference"] < 0.05
    record = json.loads((out / "record.json").read_text())
    assert record["latency"]["threads"] == 1 and record["precision"] == ("int8" if int8 else "fp32")
    assert ("flips" in record) == int8 and record["environment"]["onnxruntime"]
    assert json.loads((out / "config.json").read_text())["id2label"] == {"0": "negative", "1": "positive"}
    wanted = predicted(capsys, student, texts)
    assert np.allclose(predicted(capsys, out, texts), wanted, atol=0.02 if int8 else 1e-6)
    again = call(capsys, "evaluate", out, "--store", store)
    assert again["metrics"] == found["metrics"]
    plain = call(capsys, "evaluate", student, "--task", sentiment, "--store", store)
    assert int8 or again["metrics"] == plain["metrics"]


def test_an_encoder_is_exported_in_int8_and_evaluated(capsys, sentiment, tmp_path):
    folder = save_encoder("minilm", tmp_path / "model")
    model, tokenizer = load_encoder(str(folder), labels=LABELS, max_length=24)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    command = ("export", folder, "--task", sentiment, "--store", tmp_path / "store", "--int8", "--tolerate", "100")
    found = call(capsys, *command)
    record = json.loads((Path(found["file"]).parent / "record.json").read_text())
    assert record["worst_difference_float"] < 1e-5 < record["worst_difference"] == found["worst_difference"]
    scores = [record[side]["metrics"]["accuracy"]["value"] for side in ("before", "after")]
    assert record["tests"]["bootstrap"]["value"] == pytest.approx(scores[1] - scores[0])
    again = call(capsys, "evaluate", Path(found["file"]).parent, "--store", tmp_path / "store")
    assert again["metrics"] == found["metrics"]


@pytest.mark.parametrize("width", [None, "8", "4"])
def test_a_packed_file_is_exported_with_its_codes(capsys, student, sentiment, tmp_path, texts, width):
    whole, file = describe(student), tmp_path / "model.light"
    chosen = scheme(width) if width else lambda weights: None
    tensors = {
        name: encoded if width is None or "bias" in name else chosen(decoded(encoded))
        for name, encoded in whole.tensors.items()
    }
    file.write_bytes(write_packed(whole.about, tensors) if width else pack_folder(student))
    command = ("export", file, "--task", sentiment, "--store", tmp_path / "store")
    found = call(capsys, *command, "-o", tmp_path / "out")
    assert found["worst_difference"] < 1e-5
    assert np.allclose(predicted(capsys, tmp_path / "out", texts), predicted(capsys, file, texts), atol=1e-5)
    seen = {}
    before = graph.Graph.constant

    def constant(self, name, values):
        seen[name] = values
        return before(self, name, values)

    graph.Graph.constant = constant
    try:
        call(capsys, *command, "--int8", "--tolerate", "100")
    finally:
        graph.Graph.constant = before
    if width:  # int8 in int8: the very codes of the file
        codes = load(file).packed.tensors["embedding.weight"].parts["codes"].astype(int) - 2 ** int(width) // 2
        assert np.array_equal(seen["embedding.weight"].ravel(), codes)


def test_a_quantized_folder_is_exported_with_its_codes(capsys, student, sentiment, tmp_path, texts):
    store = ("--task", sentiment, "--store", tmp_path / "store")
    folder = call(capsys, "quantize", student, "--bits", "5", "--set", "scales=row", *store)["folder"]
    assert call(capsys, "export", folder, "-o", tmp_path / "out", *store)["worst_difference"] < 1e-5
    assert np.allclose(predicted(capsys, tmp_path / "out", texts), predicted(capsys, folder, texts), atol=1e-5)
    stored = {array.name: array for array in load_onnx(tmp_path / "out" / "model.onnx").graph.initializer}
    codes = to_array(stored["embedding.weight"])
    assert codes.dtype == np.int8 and 8 < len(np.unique(codes)) <= 32


def test_a_graph_that_computes_something_else_is_never_kept(capsys, student, sentiment, tmp_path, monkeypatch):
    weights = onnx.student_weights

    def wrong(folder):
        found = weights(folder)
        return {**found, "classifier.out.bias": found["classifier.out.bias"] + np.float32(0.01)}

    monkeypatch.setattr(onnx, "student_weights", wrong)
    command = ("export", student, "--task", sentiment, "-o", tmp_path / "out", "--store", tmp_path / "store")
    assert "differ from the model's by up to 0.01" in error(capsys, *command)
    assert not (tmp_path / "out").exists() and not (tmp_path / "store").exists()


def test_a_loss_beyond_what_is_tolerated_leaves_no_file(capsys, student, sentiment, tmp_path, monkeypatch):
    for split in ("train", "dev"):  # nine of ten rows are what the student says of all of them
        texts = [line.rsplit(",", 1)[0] for line in (sentiment / f"{split}.csv").read_text().splitlines()[1:]]
        assert not TorchPredictor(student, device="cpu")(texts).argmax(axis=1).any()
        write_csv(tmp_path / f"{split}.csv", [(text, LABELS[row % 10 == 0]) for row, text in enumerate(texts)])

    def other_class(weights, *, per_channel):
        return {**weights, "classifier.out.bias": np.array([-100, 100], dtype=np.float32)}

    monkeypatch.setattr(graph, "rounded_weights", other_class)
    command = ("export", student, "--task", tmp_path, "--int8", "-o", tmp_path / "out", "--store", tmp_path / "store")
    assert "loses 80.00 points of accuracy on dev, more than --tolerate 1: no file" in error(capsys, *command)
    assert not (tmp_path / "out").exists() and not (tmp_path / "store").exists()
    assert call(capsys, *command, "--tolerate", "80.1")["metrics"]["accuracy"]["value"] == pytest.approx(0.1)


def test_bad_input_ends_in_one_sentence(capsys, student, sentiment, tmp_path, monkeypatch):
    store = ("--task", sentiment, "--store", tmp_path / "store")
    assert "no format called 'onxx'. Did you mean 'onnx'?" in error(
        capsys, "export", student, "--format", "onxx", *store
    )
    assert "no such folder" in error(capsys, "export", tmp_path / "absent", *store)
    (tmp_path / "empty").mkdir()
    assert "no config.json" in error(capsys, "export", tmp_path / "empty", *store)
    full = shutil.copytree(student, tmp_path / "full")
    said = error(capsys, "export", student, "-o", full, *store)
    assert "is not empty, and nothing is overwritten. Name a new folder" in said
    assert "is a file" in error(capsys, "export", student, "-o", full / "config.json", *store)
    assert "has no effect without --int8" in error(capsys, "export", student, "--per-tensor", *store)
    (tmp_path / "model.light").write_bytes(pack_folder(student))
    for model in (student, tmp_path / "model.light"):
        assert "Name the task with --task" in error(capsys, "export", model, "--store", tmp_path / "store")
    found = call(capsys, "export", student, "-o", tmp_path / "empty", *store)
    assert "is an exported model already" in error(capsys, "export", tmp_path / "empty", *store)
    assert Path(found["file"]).parent == tmp_path / "empty", "an empty folder is as good as none"
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert "pip install 'featherlight[onnx]'" in error(capsys, "export", student, "--int8", *store)


@pytest.mark.usefixtures("known_rates")
def test_a_recipe_exports_what_an_earlier_stage_made(capsys, student, sentiment, tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        f"common: {{task: {sentiment}}}\nstages:\n  exported: {{stage: export, model: {student}}}\n"
        "  again: {stage: evaluate, model: exported}\n"
    )
    found = call(capsys, "run", recipe, "--store", tmp_path / "store")
    exported, again = found["records"]
    assert again["inputs"]["model"] == exported["address"] and again["metrics"] == exported["metrics"]
    planned = call(capsys, "run", recipe, "--store", tmp_path / "store", "--dry-run")
    assert [job["state"] for job in planned["jobs"]] == ["done", "done"], "an address changed when its input came to be"
