"""The functions of the package: they find what the commands made, and say what is wrong as the commands do."""

import ast
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

import featherlight
from featherlight.stages.distill.settings import DistillSettings
from helpers import api_stub
from helpers.commands import call
from helpers.toys import sentences, write_csv

ROOT = Path(__file__).parents[1]
TEXTS = ["a great film", "the plot was dull and sad", "", "lovely"]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return tmp_path_factory.mktemp("store")


def test_importing_the_package_loads_nothing_and_shows_its_names():
    code = (
        "import sys, featherlight; print(*dir(featherlight)); "
        "print(*(m for m in ('numpy', 'torch', 'pydantic', 'yaml') if m in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    names, heavy = done.stdout.splitlines()
    wanted = "Result UserError __version__ distill evaluate finetune load pack prune quantize"
    assert names == wanted and heavy == ""


def test_training_functions_find_what_the_commands_computed(students, tiny_encoder, sentiment):
    common = {"task": sentiment, "max_length": 20, "device": "cpu", "precision": "fp32", "batch_size": 25}
    store = students["teacher"].parent
    teacher = featherlight.finetune(**common, model=tiny_encoder, epochs=2, learning_rate=2e-3, store=store)
    small = {"dim": 8, "vocabulary": 60, "classifier": 12, "epochs": 6, "learning_rate": 1e-2}
    student = featherlight.distill(teacher=teacher, **common, **small, student="bag", hidden=None, store=str(store))
    assert (teacher.folder, student.folder) == (students["teacher"], students["bag"])
    accuracy = teacher.scores["accuracy"]
    assert accuracy == teacher.record["metrics"]["dev"]["scores"]["accuracy"]
    assert accuracy["low"] <= accuracy["value"] <= accuracy["high"]


@pytest.mark.parametrize(
    ("name", "settings", "options"),
    [
        ("prune", {"method": "topv", "sparsity": 0.5}, ["--method", "topv", "--sparsity", 0.5]),
        ("prune", {"method": "topv", "sparsity": 0.5, "epochs": 1},
         ["--method", "topv", "--sparsity", 0.5, "--epochs", 1]),
        ("quantize", {"bits": 4}, ["--bits", 4]),
        ("evaluate", {"split": "select"}, ["--split", "select"]),
    ],
)  # fmt: skip
def test_a_function_finds_what_its_command_made(capsys, students, store, name, settings, options):
    made = call(capsys, name, students["bag"], *options, "--store", store)[1]["folder"]
    before = sorted(store.iterdir())
    assert getattr(featherlight, name)(students["bag"], **settings, store=store).folder == Path(made)
    assert sorted(store.iterdir()) == before


def test_whatever_was_made_of_a_model_answers_alike(capsys, students, store, tmp_path):
    student, file = students["bag"], tmp_path / "model.light"
    packed = featherlight.pack(student, out=file, store=store)
    call(capsys, "export", student, "-o", tmp_path / "onnx", "--store", store)
    wanted = featherlight.load(student, device="cpu").predict(TEXTS)
    assert [answer["label"] for answer in wanted[:2]] == ["positive", "negative"]
    for model in (file, packed, tmp_path / "onnx", str(tmp_path / "onnx" / "model.onnx")):
        opened = featherlight.load(model)
        assert opened.labels == ("negative", "positive") and not opened.pair
        for answer, expected in zip(opened.predict(TEXTS), wanted, strict=True):
            assert answer["probabilities"] == pytest.approx(expected["probabilities"], abs=1e-5)
        assert np.argmax(opened(TEXTS), axis=1).tolist()[:2] == [1, 0]


@pytest.mark.parametrize("kind", ["teacher", "bag"])
def test_a_single_text_is_not_taken_for_a_list_of_letters(students, kind):
    with pytest.raises(featherlight.UserError, match="give a list of texts"):
        featherlight.load(students[kind]).predict("a great film")


def test_first_and_second_texts_are_as_many(students):
    with pytest.raises(featherlight.UserError, match="2 first texts and 1 second"):
        featherlight.load(students["teacher"]).predict(["one", "two"], ["three"])


def test_no_model_is_said(tmp_path):
    with pytest.raises(featherlight.UserError, match=re.escape(f"{tmp_path / 'none.light'}: No such file")):
        featherlight.load(tmp_path / "none.light")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epoch": 2}, "finetune(): no setting called 'epoch'. Did you mean 'epochs'?"),
        ({"epochs": 0}, "finetune(): epochs = 0: input should be greater than or equal to 1"),
        ({"seed": [1, 2]}, "finetune(): seed is a list, and one call makes one result. Call it once for each value."),
        ({"task": None}, "finetune(): task is missing"),
    ],
)
def test_a_wrong_setting_is_said_in_the_words_of_python(tmp_path, settings, message):
    with pytest.raises(featherlight.UserError, match=re.escape(message)):
        featherlight.finetune(**{"task": "docs", "model": "minilm", "store": tmp_path / "store", **settings})
    assert not (tmp_path / "store").exists()


def test_without_torch_the_extra_that_brings_it_is_named(students):
    code = (
        "import sys, featherlight; sys.modules['torch'] = None\n"
        "for call in (lambda: featherlight.load(sys.argv[1]), lambda: featherlight.evaluate(sys.argv[1])):\n"
        "    try: call()\n"
        "    except featherlight.UserError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, students["bag"]], capture_output=True, text=True, check=True)
    assert done.stdout.count("pip install 'featherlight[train]'") == 2


def test_help_describes_every_setting():
    text = featherlight.distill.__doc__
    assert [name for name in DistillSettings.model_fields if f"\n        {name}: " not in text] == []


# --- what editors see


def test_the_stub_is_that_of_todays_settings():
    written = api_stub.STUB.read_text(encoding="utf-8")
    assert written == api_stub.stub(), "settings have changed: PYTHONPATH=src:tests python -m helpers.api_stub"


def test_the_stub_names_all_that_a_function_takes_and_nothing_else():
    tree = ast.parse(api_stub.STUB.read_text(encoding="utf-8"))
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    taken = [argument.arg for argument in functions["distill"].args.kwonlyargs]
    assert sorted(taken) == sorted(["store", "teacher", *DistillSettings.model_fields])
    assert sorted(functions) == sorted(set(featherlight.__all__) - {"load", "Result", "UserError", "__version__"})


@pytest.mark.slow
def test_mypy_finds_a_setting_that_does_not_exist_and_a_value_that_cannot_be(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        "from pathlib import Path\nimport featherlight\n"
        'student = featherlight.distill(teacher=Path("t"), task="docs", student="bag", alpha=1)\n'
        "small: featherlight.Result = featherlight.quantize(student, bits=4)\n"
        'answers: list[str] = [a["label"] for a in featherlight.load(small).predict(["x"])]\n'
        'featherlight.distill(teacher="t", task="docs", student="bug")\n'
        'featherlight.prune(student, method="topv", sparcity=0.5)\n'
    )
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), str(program)]
    environment = {**os.environ, "MYPYPATH": str(ROOT / "src")}
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    found = [line for line in done.stdout.splitlines() if "error" in line and "program.py" in line]
    assert [int(re.search(r"py:(\d+)", line).group(1)) for line in found] == [6, 7], done.stdout


def test_the_stub_and_the_mark_of_types_are_shipped():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    patterns = project["tool"]["setuptools"]["package-data"]["featherlight"]
    shipped = {path.name for pattern in patterns for path in (ROOT / "src" / "featherlight").glob(pattern)}
    assert shipped == {"py.typed", "__init__.pyi"}


@pytest.mark.slow
def test_the_lines_of_the_readme_run(tmp_path, monkeypatch, capsys):
    lines = re.search(r"```python\n(import featherlight\n\nteacher.*?)```", (ROOT / "README.md").read_text(), re.S)
    write_csv(tmp_path / "reviews.csv", sentences(120, seed=3))
    monkeypatch.chdir(tmp_path)
    exec(lines.group(1), {})
    assert (tmp_path / "model.light").exists() and "'low'" in capsys.readouterr().out
