"""A published encoder of another family than BERT, from a folder through every stage; of its twelve layers three."""

from pathlib import Path

import pytest
from safetensors import safe_open

from helpers.commands import call
from helpers.toys import sentences, write_csv

pytestmark = pytest.mark.slow
WIDTH, INNER, HEADS, WORDS, POSITIONS = 768, 3072, 12, 30527, 514


@pytest.fixture(scope="module")
def task(tmp_path_factory) -> Path:
    folder, rows = tmp_path_factory.mktemp("task"), sentences(80, seed=5)
    write_csv(folder / "train.csv", rows[:60])
    write_csv(folder / "dev.csv", rows[60:])
    return folder


def test_mpnet_is_tuned_predicted_pruned_exported_and_taught(capsys, mpnet, task, tmp_path):
    def done(*command):
        code, found = call(capsys, *command)
        assert code == 0, found
        return found

    quick = ("--epochs", "1", "--max-length", "24", "--batch-size", "10", "--store", tmp_path)
    model = f"{mpnet}:1,6,12"
    record = done("finetune", "--model", model, "--task", task, *quick)["records"][0]
    folder = tmp_path / record["address"]
    layer = 4 * (WIDTH**2 + WIDTH) + 2 * WIDTH * INNER + INNER + WIDTH + 4 * WIDTH
    rest = (WORDS + POSITIONS) * WIDTH + 2 * WIDTH + 32 * HEADS
    head = WIDTH**2 + WIDTH + 2 * WIDTH + 2
    assert record["layers"] == [1, 6, 12] and record["parameters"] == 3 * layer + rest + head
    with (
        safe_open(mpnet / "model.safetensors", "pt") as published,
        safe_open(folder / "model.safetensors", "pt") as own,
    ):
        for place, number in enumerate((0, 5, 11)):
            key = "encoder.layer.{}.attention.attn.q.weight"
            before = published.get_tensor(key.format(number))
            after = own.get_tensor(f"mpnet.{key.format(place)}")
            assert 0 < (after - before).abs().max() < 0.01, "a step moves a weight by about the learning rate"

    assert done("memory", "--model", model, "--length", "24")["parameters"] == record["parameters"]
    pruned = Path(done("prune", folder, "--method", "heads", "--sparsity", "0.25", "--store", tmp_path)["folder"])
    kept = record["parameters"] - 3 * HEADS // 4 * (4 * WIDTH * WIDTH // HEADS + 3 * WIDTH // HEADS)
    parts = done("inspect", pruned)
    assert parts["parameters"] == kept
    assert parts["parts"]["embedding"]["parameters"] == (WORDS + POSITIONS) * WIDTH + 2 * WIDTH
    for source in (folder, pruned):
        written = done("export", source, "--int8", "--store", tmp_path)
        assert written["bytes"] < 0.35 * 4 * record["parameters"]
    done("distill", "--teacher", pruned, "--task", task, "--student", "bag", *quick)
