import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import featherlight
from featherlight.cli.main import main
from featherlight.inference.torch_predictor import TorchPredictor
from helpers.commands import call

TEXTS = ["a great film", "the plot was dull and sad", "", "lovely"]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return tmp_path_factory.mktemp("store")


@pytest.mark.parametrize("student", ["bag", "rnn", "bilstm"])
def test_one_file_predicts_what_the_folder_predicts(capsys, students, store, tmp_path, student):
    file = tmp_path / "model.light"
    code, shown = call(capsys, "pack", students[student], "-o", file, "--store", store)
    assert code == 0 and shown["file"] == str(file)
    assert shown["bytes"] == file.stat().st_size == sum(shown["parts"].values())
    model = featherlight.load(file)
    assert np.abs(model(TEXTS) - TorchPredictor(students[student])(TEXTS)).max() < 1e-5
    assert model.labels == ("negative", "positive")


def test_predict_and_evaluate_take_the_file_as_they_take_a_folder(capsys, students, store, tmp_path, sentiment):
    file, texts = tmp_path / "model.light", tmp_path / "texts.txt"
    call(capsys, "pack", students["bilstm"], "-o", file, "--store", store)
    texts.write_text("\n".join(text for text in TEXTS if text) + "\n")
    answers = []
    for model in (students["bilstm"], file):
        assert main(["predict", str(model), str(texts)]) == 0
        answers.append([json.loads(line) for line in capsys.readouterr().out.splitlines()])
    assert [row["label"] for row in answers[0]] == [row["label"] for row in answers[1]]
    for one, two in zip(*answers, strict=True):
        assert one["probabilities"] == pytest.approx(two["probabilities"], abs=1e-5)
    scored = [call(capsys, "evaluate", model, "--task", sentiment, "--store", store)[1]["metrics"]
              for model in (students["bilstm"], file)]  # fmt: skip
    assert scored[0] == scored[1]


def test_a_packed_file_is_loaded_and_used_without_torch(capsys, students, store, tmp_path):
    file = tmp_path / "model.light"
    call(capsys, "pack", students["rnn"], "-o", file, "--store", store)
    code = (
        "import sys, featherlight; model = featherlight.load(sys.argv[1]); "
        "print(model.predict(['the film was good'])[0]['label']); "
        "print(*sorted(m for m in ('torch', 'transformers', 'pandas', 'yaml', 'pydantic') if m in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(file)], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["positive", ""]


def test_predict_a_packed_file_loads_no_torch(capsys, students, store, tmp_path):
    file = tmp_path / "model.light"
    call(capsys, "pack", students["bag"], "-o", file, "--store", store)
    code = (
        "import sys; from featherlight.cli.main import main; main(['predict', sys.argv[1]]); "
        "print(*sorted(m for m in ('torch', 'transformers', 'pandas', 'datasets') if m in sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(file)], input="a great film\n", capture_output=True, text=True, check=True
    )
    first, last = done.stdout.splitlines()
    assert json.loads(first)["label"] == "positive" and last == ""


def test_what_cannot_be_packed_says_what_to_do_instead(capsys, students, store, tmp_path):
    code, shown = call(capsys, "pack", students["teacher"], "--store", store)
    assert code == 2 and "featherlight export" in shown["error"]
    code, shown = call(capsys, "pack", students["bag"], "-o", tmp_path, "--store", store)
    assert code == 2 and f"{tmp_path}: is a folder" in shown["error"]
    damaged = tmp_path / "model.light"
    damaged.write_bytes(b"no such thing")
    code, shown = call(capsys, "evaluate", damaged, "--task", Path("x.csv"), "--store", store)
    assert code == 2
    assert main(["predict", str(damaged)]) == 2
    assert "not a .light file" in capsys.readouterr().err


def test_a_chain_of_steps_is_one_recipe(capsys, tmp_path, tiny_encoder, sentiment):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(f"""
common: {{task: {sentiment}, max_length: 20, batch_size: 25, device: cpu, precision: fp32}}
stages:
  teacher: {{stage: finetune, model: {tiny_encoder}, epochs: 1}}
  student: {{stage: distill, teacher: teacher, student: bag, dim: 8, vocabulary: 60, epochs: 1}}
  pruned: {{stage: prune, model: student, method: topv, sparsity: 0.5, epochs: 1}}
  quantized: {{stage: quantize, model: pruned, bits: 4}}
  packed: {{stage: pack, model: [student, quantized]}}
""")
    store = tmp_path / "store"
    code, shown = call(capsys, "run", recipe, "--store", store)
    assert code == 0
    whole, last = [record for record in shown["records"] if record["stage"] == "pack"]
    assert last["bytes"] < whole["bytes"] / 3
    steps = [record["stage"] for record in shown["records"]]
    assert steps == ["finetune", "distill", "prune", "quantize", "pack", "pack"]
