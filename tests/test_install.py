"""The base installation in an empty environment: what a machine has that only runs a packed model."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from featherlight.cli.main import main

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_the_base_installation_runs_a_packed_model_without_torch(tmp_path, students):
    file, python = tmp_path / "model.light", tmp_path / "env" / "bin" / "python"
    assert main(["pack", str(students["bilstm"]), "-o", str(file), "--store", str(tmp_path / "store"), "--json"]) == 0
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "env")], check=True)
    install = [python, "-m", "pip", "install", "--quiet", "-c", str(ROOT / "constraints.txt"), str(ROOT)]
    subprocess.run(install, check=True, timeout=600)
    listed = subprocess.run([python, "-m", "pip", "list", "--format", "json"], capture_output=True, check=True)
    names = {package["name"].lower() for package in json.loads(listed.stdout)}
    assert {"featherlight", "numpy"} <= names and not names & {"torch", "transformers", "tokenizers", "pandas"}
    installed = {path.name for path in (tmp_path / "env").glob("lib/*/site-packages/featherlight/*")}
    assert {"py.typed", "__init__.pyi"} <= installed
    command = [python.parent / "featherlight", "predict", str(file)]
    done = subprocess.run(command, input="a great film\n", capture_output=True, text=True, check=True, cwd=tmp_path)
    answer = json.loads(done.stdout)
    assert answer["label"] == "positive" and sum(answer["probabilities"].values()) == pytest.approx(1)
    refused = subprocess.run([*command[:2], str(students["bag"])], capture_output=True, text=True, cwd=tmp_path)
    assert refused.returncode == 2 and "featherlight[train]" in refused.stderr and "Traceback" not in refused.stderr
