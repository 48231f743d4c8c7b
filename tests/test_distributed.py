"""Several processes that a launcher starts train as one does. They are real processes, talking over gloo."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from safetensors.torch import load_file

from helpers import word_training

pytestmark = pytest.mark.slow
LAUNCH = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1",
          "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0", "-m"]  # fmt: skip
HERE = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


@pytest.fixture(scope="module")
def recipe(tiny_encoder, sentiment, tmp_path_factory):
    """A teacher without dropout, and a student of it; batches of 25 do not halve."""
    from transformers import AutoModel, AutoTokenizer

    folder = tmp_path_factory.mktemp("processes")
    model = AutoModel.from_pretrained(tiny_encoder, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    model.save_pretrained(folder / "still")
    AutoTokenizer.from_pretrained(tiny_encoder).save_pretrained(folder / "still")
    common = {
        "task": str(sentiment),
        "max_length": 20,
        "device": "cpu",
        "batch_size": 25,
        "epochs": 2,
        "precision": "fp32",
    }
    stages = {
        "teacher": {"stage": "finetune", "model": str(folder / "still"), "learning_rate": 2e-3},
        "student": {"stage": "distill", "teacher": "teacher", "student": "bag", "dropout": 0.0, "dim": 8,
                    "vocabulary": 60, "classifier": 12},
    }  # fmt: skip
    (folder / "recipe.yaml").write_text(yaml.safe_dump({"common": common, "stages": stages}, sort_keys=False))
    return folder


def run(command, recipe, store):
    """Run the recipe; the records by stage, and what was printed."""
    call = [sys.executable, *command, "run", str(recipe / "recipe.yaml"), "--store", str(store), "--json"]
    done = subprocess.run(call, capture_output=True, text=True, env=HERE, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.strip().splitlines()) == 1  # the first process alone speaks
    return {path.parent.name.split("-")[0]: path.parent for path in store.glob("*/record.json")}


@pytest.fixture(scope="module")
def both(recipe):
    """The folders of one process, and of two."""
    return run(["-m", "featherlight"], recipe, recipe / "one"), run([*LAUNCH, "featherlight"], recipe, recipe / "two")


@pytest.mark.parametrize("stage", ["finetune", "distill"])
def test_two_processes_end_with_the_weights_of_one(both, stage):
    one, two = (load_file(folders[stage] / "model.safetensors") for folders in both)
    assert one.keys() == two.keys()
    assert max((one[name] - two[name]).abs().max() for name in one) < 1e-5


@pytest.mark.parametrize("stage", ["finetune", "distill"])
def test_their_losses_are_those_of_one(both, stage):
    one, two = (json.loads((folders[stage] / "record.json").read_text()) for folders in both)
    assert two["curves"]["loss"] == pytest.approx(one["curves"]["loss"], abs=1e-5)
    assert (one["environment"]["processes"], two["environment"]["processes"]) == (1, 2)
    assert one["address"] == two["address"]


def test_what_is_done_is_not_done_again_by_several(both, recipe):
    before = {path: path.stat().st_mtime_ns for path in (recipe / "two").rglob("*") if path.is_file()}
    run([*LAUNCH, "featherlight"], recipe, recipe / "two")
    after = {path: path.stat().st_mtime_ns for path in (recipe / "two").rglob("*") if path.is_file()}
    assert {path: time for path, time in after.items() if ".locks" not in path.parts} == {
        path: time for path, time in before.items() if ".locks" not in path.parts
    }


def test_a_mean_over_words_is_that_of_one_process_though_each_has_other_lengths(tmp_path):
    tests = str(Path(__file__).parent)
    paths = os.pathsep.join([tests, *filter(None, [os.environ.get("PYTHONPATH")])])
    call = [sys.executable, *LAUNCH, "helpers.word_training", str(tmp_path)]
    done = subprocess.run(call, capture_output=True, text=True, timeout=300, check=False,
                          env={**HERE, "PYTHONPATH": paths})  # fmt: skip
    assert done.returncode == 0, done.stderr
    two, one = json.loads((tmp_path / "found.json").read_text()), word_training.main(tmp_path / "one")
    assert two["loss"] == pytest.approx(one["loss"], rel=1e-6)
    assert two["weights"] == pytest.approx(one["weights"], abs=1e-6)
