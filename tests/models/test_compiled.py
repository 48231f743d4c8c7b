import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from featherlight.cli.main import main
from featherlight.errors import UserError
from featherlight.models import compiled
from featherlight.models.compiled import compile_in_place, missing_tool

QUICK = ("--epochs", "1", "--batch-size", "50", "--max-length", "20", "--learning-rate", "1e-3", "--device", "cpu")
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # by torch, about torch


def without_dropout(encoder: Path) -> None:
    """Compiled dropout draws other numbers, so losses can only be compared without it."""
    config = json.loads((encoder / "config.json").read_text())
    config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    (encoder / "config.json").write_text(json.dumps(config))


def test_a_missing_compiler_is_named_with_the_way_to_get_it():
    from torch._inductor import config, cpp_builder

    cpp_builder.cpp_compiler_search.cache_clear()
    with (
        config.patch({"cpp.cxx": (None, "no-such-compiler")}),
        pytest.raises(UserError, match=r"no C\+\+ compiler.*apt install g\+\+"),
    ):
        compile_in_place(torch.nn.Linear(2, 3), "cpu")


def test_missing_headers_are_named_by_their_path(monkeypatch, tmp_path):
    if missing_tool("cpu"):
        pytest.skip("no C++ compiler here")
    monkeypatch.setattr(compiled.sysconfig, "get_path", lambda name: str(tmp_path))
    with pytest.raises(UserError, match=r"Python\.h is missing.*python3-dev"):
        compile_in_place(torch.nn.Linear(2, 3), "cpu")


def test_the_weights_keep_their_names(tmp_path):
    if missing_tool("cpu"):
        pytest.skip("no C++ compiler here")
    model = torch.nn.Sequential(torch.nn.Linear(2, 3))
    before = list(model.state_dict())
    compile_in_place(model, "cpu")
    assert list(model.state_dict()) == before == ["0.weight", "0.bias"]


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_compiled_run_has_the_losses_and_the_files_of_another(
    capsys, tiny_encoder, sentiment, tmp_path, precision, monkeypatch
):
    if missing_tool("cpu"):
        pytest.skip("no C++ compiler here")
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))
    encoder = Path(shutil.copytree(tiny_encoder, tmp_path / "encoder"))
    without_dropout(encoder)
    found = {}
    for option in ("--no-compile", "--compile"):
        command = ["finetune", "--model", str(encoder), "--task", str(sentiment), "--store", str(tmp_path / "store")]
        assert main([*command, *QUICK, "--precision", precision, option, "--json"]) == 0
        found[option] = json.loads(capsys.readouterr().out)
    plain, fast = (found[option]["records"][0] for option in found)
    folders = [Path(found[option]["folders"][0]) for option in found]
    assert folders[0] != folders[1], "compiling changes the rounding, so it belongs to the address"
    assert np.allclose(plain["curves"]["loss"], fast["curves"]["loss"], atol=1e-5 if precision == "fp32" else 5e-3)
    assert sorted(path.name for path in folders[0].iterdir()) == sorted(path.name for path in folders[1].iterdir())
    weights = [load_file(folder / "model.safetensors") for folder in folders]
    assert {name: tensor.shape for name, tensor in weights[0].items()} == {
        name: tensor.shape for name, tensor in weights[1].items()
    }
