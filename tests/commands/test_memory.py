import json
import re

import pytest

from featherlight.cli.main import main
from featherlight.costs.memory_probe import Rehearsal, rehearse
from featherlight.errors import UserError
from helpers.commands import call

SIZES = ("--layers", 2, "--hidden", 64, "--heads", 2, "--ffn", 96, "--vocab", 700)


def test_the_object_for_programs_has_every_key(capsys):
    code, found = call(capsys, "memory", *SIZES, "--batch", 4, "--length", 32)
    assert code == 0
    assert {"total_bytes", "terms", "parameters", "trainable_parameters"} <= found.keys()
    assert list(found["terms"]) == ["parameters", "gradients", "optimizer", "activations", "workspace"]
    assert found["total_bytes"] == sum(found["terms"].values())
    assert found["terms"]["parameters"] == 4 * found["parameters"]


def test_as_published_is_the_published_number_of_bytes(capsys):
    sizes = ("--layers", 64, "--hidden", 1920, "--heads", 32, "--ffn", 7680, "--vocab", 50000)
    code, found = call(capsys, "memory", *sizes, "--batch", 2, "--length", 100, "--as-published")
    parameters = 50000 * 1920 + 64 * (4 * 1920**2 + 2 * 1920 * 7680 + 4 * 1920)
    kept = 64 * (34 * 200 * 1920 + 9 * 2 * 32 * 100**2 + 8 * 200 * 7680)
    assert (code, found["total_bytes"]) == (0, 16 * parameters + kept)


def test_the_largest_batch_that_fits_is_found(capsys):
    _, found = call(capsys, "memory", *SIZES, "--length", 32, "--fit", "500MB")
    _, more = call(capsys, "memory", *SIZES, "--length", 32, "--batch", found["batch"] + 1)
    assert found["total_bytes"] <= 500 * 10**6 < more["total_bytes"]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--layers", 2, "--hidden", 512, "--fit", "50MB"), "a single example of 128 tokens needs .* Try --checkpoint"),
        (("--layers", 2, "--hidden", 512, "--fit", "lots"), "write a size like 100KB"),
        (("--layers", 2, "--hidden", 512, "--fit", "1GB", "--batch", 3), "fit finds the batch"),
        (("--layers", 2), "model is missing: give --model, or --layers and --hidden"),
        ((*SIZES, "--model", "minilm"), "give a model or its sizes, not both"),
        ((*SIZES, "--batch", 0), "--batch 0"),
        ((*SIZES, "--optimizer", "lamb"), "--optimizer 'lamb'"),
        ((*SIZES, "--method", "adapter"), "--method 'adapter'"),
        ((*SIZES, "--as-published", "--precision", "bf16"), "precision: the published formula"),
        ((*SIZES, "--method", "head", "--checkpointing"), "has no effect with --method head"),
        (("--layers", 2, "--hidden", 100, "--heads", 3), "each head takes the same share"),
        ((*SIZES, "--method", "houlsby", "--bottleneck", 7, "--measure"), "for --measure, it must divide the width"),
        (("--model", "no/such/folder"), "no such folder"),
    ],
)
def test_each_mistake_is_a_sentence(capsys, arguments, complaint):
    assert main(["memory", *map(str, arguments)]) == 2
    assert re.search(complaint, capsys.readouterr().err)


def test_a_model_folder_is_read(capsys, tiny_encoder):
    code, found = call(capsys, "memory", "--model", tiny_encoder, "--batch", 2, "--length", 48)
    weights = json.loads((tiny_encoder / "config.json").read_text())
    assert code == 0 and found["parameters"] > weights["vocab_size"] * 20
    assert main(["memory", "--model", str(tiny_encoder), "--length", "49"]) == 2
    assert "--length 49: this model reads at most 48" in capsys.readouterr().err


@pytest.mark.slow
def test_a_training_that_dies_is_told_with_its_reason():
    with pytest.raises(UserError, match="did not come through"):
        rehearse(Rehearsal(1, 8, config={"model_type": "no-such-type"}))
    with pytest.raises(UserError, match=r"^--measure: model .* no such folder"):
        rehearse(Rehearsal(1, 8, model="no/such/folder/at/all"))


@pytest.mark.slow
@pytest.mark.parametrize("more", [(), ("--checkpointing",), ("--attention", "sdpa", "--precision", "bf16")])
def test_the_prediction_is_near_what_a_training_takes(capsys, more):
    sizes = ("--layers", 3, "--hidden", 256, "--heads", 4, "--vocab", 20000)
    code, found = call(capsys, "memory", *sizes, "--batch", 8, "--length", 128, "--measure", *more)
    measured = found["measured"]
    assert code == 0
    assert measured["total_bytes"] == measured["resident_peak"] - measured["resident_before"]
    assert found["total_bytes"] == pytest.approx(measured["total_bytes"], rel=0.2)
