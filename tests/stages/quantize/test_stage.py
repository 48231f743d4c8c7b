import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from featherlight.inference.onnx_predictor import OnnxPredictor
from featherlight.inference.torch_predictor import TorchPredictor
from featherlight.runtime.packed import decoded, read_packed
from helpers.commands import call

TEXTS = ["a great film", "the plot was dull", ""]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return tmp_path_factory.mktemp("store")


def record_of(shown):
    return json.loads(Path(shown["folder"], "record.json").read_text())


@pytest.mark.parametrize("student", ["bag", "rnn", "bilstm"])
@pytest.mark.parametrize("options", [("--bits", 8), ("--bits", "ternary"), ("--bits", 4, "--codebook", "kmeans")])
def test_the_folder_computes_with_the_stored_weights_and_says_what_changed(capsys, students, store, student, options):
    code, shown = call(capsys, "quantize", students[student], "--store", store, *options)
    assert code == 0
    whole = load_file(students[student] / "model.safetensors")
    packed = read_packed(Path(shown["folder"], "model.light").read_bytes())
    state = TorchPredictor(Path(shown["folder"])).model.state_dict()
    for name, tensor in state.items():
        stored, used = decoded(packed.tensors[name]), tensor.numpy()
        if name == "embedding.weight":  # the file has its pieces in another order
            stored, used = (rows[np.lexsort(rows.T)] for rows in (stored, used))
        assert np.array_equal(used, stored)
    record = record_of(shown)
    matrices = {name for name in whole if "bias" not in name}
    assert set(record["parts_changed"]) == matrices
    for name in matrices:
        error = np.linalg.norm(whole[name] - state[name].numpy()) / np.linalg.norm(whole[name])
        assert record["parts_changed"][name]["error"] == pytest.approx(error, rel=1e-4)
    zeros = sum((state[name] == 0).sum().item() for name in matrices) / sum(whole[name].size for name in matrices)
    assert shown["zeros"] == pytest.approx(zeros)
    assert shown["after"]["packed_bytes"] < shown["before"]["packed_bytes"]


def test_flips_are_the_predictions_that_differ(capsys, students, store, sentiment):
    _, shown = call(capsys, "quantize", students["bilstm"], "--store", store, "--bits", 2)
    texts = [line.rpartition(",")[0] for line in (sentiment / "dev.csv").read_text().splitlines()[1:]]
    labels = [line.rpartition(",")[2] for line in (sentiment / "dev.csv").read_text().splitlines()[1:]]
    before, after = (TorchPredictor(Path(folder)) for folder in (students["bilstm"], shown["folder"]))
    one, two = (predictor(texts).argmax(1) for predictor in (before, after))
    assert shown["flips"] == (one != two).sum()
    right = np.mean([before.labels[guess] == label for guess, label in zip(one, labels, strict=True)])
    assert shown["before"]["metrics"]["accuracy"]["value"] == pytest.approx(right)


def test_widths_can_differ_by_part(capsys, students, store):
    _, shown = call(capsys, "quantize", students["rnn"], "--store", store, "--bits-embedding", 3, "--bits-linear", 5)
    packed = read_packed(Path(shown["folder"], "model.light").read_bytes())
    levels = {name: encoded.levels for name, encoded in packed.tensors.items() if encoded.levels}
    assert levels["embedding.weight"] == 8 and levels["classifier.out.weight"] == 32
    assert levels["body.network.weight_hh_l0"] == 256


def test_a_budget_is_kept_and_wide_parts_are_where_they_matter(capsys, students, store):
    _, whole = call(capsys, "quantize", students["bilstm"], "--store", store, "--bits", 8)
    _, least = call(capsys, "quantize", students["bilstm"], "--store", store, "--bits", "ternary")
    wanted = (whole["after"]["packed_bytes"] + least["after"]["packed_bytes"]) // 2
    code, shown = call(
        capsys, "quantize", students["bilstm"], "--store", store, "--budget", wanted, "--calibration", 50
    )
    assert code == 0 and shown["after"]["packed_bytes"] <= wanted
    widths = {part["width"] for part in record_of(shown)["parts_changed"].values()}
    assert len(widths) > 1


def test_training_with_two_bits_beats_rounding_to_two_bits(capsys, students, store):
    options = ("quantize", students["rnn"], "--store", store, "--bits", "ternary")
    _, rounded = call(capsys, *options)
    _, trained = call(capsys, *options, "--mode", "aware", "--epochs", 6, "--learning-rate", "5e-3")
    score = [shown["after"]["metrics"]["accuracy"]["value"] for shown in (rounded, trained)]
    assert score[1] >= score[0]
    record = record_of(trained)
    assert "label-" in record["recovery"]["from"]
    losses = [epoch["train"]["loss"] for epoch in record["curves"]["epochs"]]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize(
    ("model", "mode"), [("teacher", "auto"), ("teacher", "static"), ("bilstm", "dynamic"), ("bag", "dynamic")]
)
def test_onnxruntime_computes_in_int8_nearly_the_same(capsys, students, store, model, mode):
    options = ("--mode", mode, "--calibration", 50)
    code, shown = call(capsys, "quantize", students[model], "--store", store, "--precision", "fp32", *options)
    assert code == 0 and shown["after"]["packed_bytes"] is None
    folder = Path(shown["folder"])
    assert not (folder / "calibration.npz").exists()
    before, after = TorchPredictor(students[model])(TEXTS), OnnxPredictor(folder)(TEXTS)
    assert 0 < np.abs(before - after).max() < 0.3 * np.abs(before).max()


def test_what_has_no_part_in_the_result_changes_no_address(capsys, students, store):
    folders = [
        call(capsys, "quantize", students["bag"], "--store", store, *more)[1]["folder"]
        for more in ((), ("--examples", 60), ("--calibration", 20), ("--mode", "weights"))
    ]
    assert len(set(folders)) == 1


MISTAKES = {
    "twice": (lambda s, q: ("quantize", q, "--bits", 4), "is quantized or packed already"),
    "encoder": (lambda s, q: ("quantize", s["teacher"], "--bits", 4), "an encoder is quantized to 8 bits only"),
    "static student": (lambda s, q: ("quantize", s["bilstm"], "--mode", "static"), "Use --mode dynamic"),
    "width": (lambda s, q: ("quantize", s["bag"], "--bits", 7), "--bits '7'"),
    "part": (lambda s, q: ("quantize", s["bag"], "--bits-recurrent", 4), "this student has no recurrent weights"),
    "budget": (lambda s, q: ("quantize", s["bag"], "--budget", "a lot"), "write a size like 100KB"),
    "too small": (lambda s, q: ("quantize", s["bag"], "--budget", "10B"), "bytes at least"),
    "both": (lambda s, q: ("quantize", s["bag"], "--budget", "1KB", "--bits", 4), "budget chooses the widths"),
    "groups": (lambda s, q: ("quantize", s["bag"], "--groups", 3), "Use: 1, 2, 4, 8"),
    "no folder": (lambda s, q: ("quantize", "nowhere"), "no such folder"),
    "idle": (lambda s, q: ("quantize", s["bag"], "--epochs", 2), "has no effect without training"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_gets_one_clear_message(capsys, students, store, case):
    _, quantized = call(capsys, "quantize", students["bag"], "--store", store)
    make, message = MISTAKES[case]
    code, shown = call(capsys, *make(students, quantized["folder"]), "--store", store)
    assert code == 2 and message in shown["error"]


def test_a_step_that_changes_nothing_is_an_error(capsys, students, store, tmp_path):
    from safetensors.numpy import save_file

    folder = tmp_path / "model"
    shutil.copytree(students["bag"], folder)
    weights = load_file(folder / "model.safetensors")
    whole = {name: np.sign(array) * 0.5 if "bias" not in name else array for name, array in weights.items()}
    save_file({name: array.astype("f4") for name, array in whole.items()}, folder / "model.safetensors")
    code, shown = call(capsys, "quantize", folder, "--bits", 8, "--codebook", "kmeans", "--store", store)
    assert code == 2 and "no weight changed" in shown["error"]
