import csv
import itertools
import json
import shutil

import numpy as np
import pytest

from featherlight.cli.main import main
from helpers.commands import call
from helpers.results import guesses, write_result

LABELS = np.random.default_rng(0).integers(2, size=500)
KEYS = {"difference", "low", "high", "p", "p_holm", "equivalent", "flips"}


def store_of(folder, *, tasks=("toy",)):
    """Folders of three models, the first of two seeds, on each task."""
    return [
        write_result(folder, f"distill-{task}-{name}{seed}", LABELS, guesses(LABELS, right, seed=seed + place),
                     name=name, seed=seed, task=task)
        for place, task in enumerate(tasks)
        for name, right, seed in (("bag", 0.7, 1), ("bag", 0.7, 2), ("rnn", 0.8, 3), ("minilm", 0.95, 1))
    ]  # fmt: skip


def test_a_program_gets_every_pair_in_one_object(capsys, tmp_path):
    code, found = call(capsys, "compare", *store_of(tmp_path), "--resamples", 500)
    assert code == 0 and len(found["pairs"]) == 3 and not any(KEYS - set(pair) for pair in found["pairs"])
    assert [(pair["first"], pair["second"]) for pair in found["pairs"]] == [
        ("bag", "rnn"), ("bag", "minilm"), ("rnn", "minilm")]  # fmt: skip
    assert [model["seeds"] for model in found["models"]] == [[1, 2], [3], [1]]
    assert found["verdict"].startswith("minilm scores highest on dev of toy") and found["doubts"]


def test_people_get_the_sentence_and_the_table_under_it(capsys, tmp_path):
    assert main(["compare", *map(str, store_of(tmp_path)[2:])]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith("minilm is better than rnn on dev of toy by ")
    assert "second - first" in printed[5] and any("McNemar's exact test" in line for line in printed)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--alpha", "0.7"], "--alpha 0.7"), (["--margin", "-1"], "--margin -1"), (["--resamples", "5"], "resamples"),
        (["--metric", "matthew"], "no metric called 'matthew'"),
    ],
)  # fmt: skip
def test_bad_options_are_refused(capsys, tmp_path, options, told):
    code, found = call(capsys, "compare", *store_of(tmp_path), *options)
    assert code == 2 and told in found["error"]


def test_one_folder_is_not_enough(capsys, tmp_path):
    code, found = call(capsys, "compare", store_of(tmp_path)[0])
    assert code == 2 and "a single result. compare needs at least two" in found["error"]
    code, found = call(capsys, "compare", tmp_path / "nowhere")
    assert code == 2 and "nowhere: no such folder" in found["error"]
    (tmp_path / "empty").mkdir()
    code, found = call(capsys, "compare", tmp_path / "empty")
    assert code == 2 and "no record.json in it" in found["error"]


@pytest.fixture(scope="module")
def grid(tmp_path_factory):
    """A store of two models x three methods x three seeds on two tasks, as fine-tuning would leave it."""
    store = tmp_path_factory.mktemp("grid")
    rights = {"full": 0.9, "lora": 0.9, "head": 0.7}
    for task, (name, better), (method, right), seed in itertools.product(
        ("x", "y"), (("large", 0.06), ("small", 0.0)), rights.items(), (1, 2, 3)
    ):
        draw = np.random.default_rng([seed, len(name), len(method), ord(task)])
        points = right + better + draw.normal(scale=0.01)
        epochs = [{"epoch": number, "select": {"accuracy": points - 0.1 / number}} for number in (1, 2, 3)]
        more = {
            "trained_parameters": 100 if method != "full" else 5000, "parameters": 5000, "peak_memory_bytes": 10**8,
            "memory_before_bytes": 10**7, "earlier_runs": 0,
            "seconds": {"train": 10.0 * seed}, "best": {"epoch": 3, "metric": "accuracy"}, "curves": {"epochs": epochs},
        }  # fmt: skip
        predicted = guesses(LABELS, points, seed=draw.integers(99))
        write_result(store, f"finetune-{task}{name}{method}{seed}", LABELS, predicted,
                     name=name, task=task, seed=seed, stage="finetune", metrics=("accuracy", "macro_f1", "micro_f1"),
                     settings={"model": name, "method": method, "learning_rate": 1e-3 if method == "head" else 1e-4},
                     more=more)  # fmt: skip
    return store


def test_a_study_is_one_report(capsys, grid, tmp_path):
    out = tmp_path / "study"
    code, found = call(capsys, "compare", grid, "--factors", "model,method", "--within", "model", "--resamples", 500,
                       "--out", out)  # fmt: skip
    assert code == 0 and len(found["pairs"]) == 2 * 2 * 3, "three pairs of methods for each model and task"
    assert {(pair["first"].split(" + ")[0], pair["second"].split(" + ")[0]) for pair in found["pairs"]} == {
        ("large", "large"), ("small", "small")}  # fmt: skip
    said = (out / "report.md").read_text()
    assert (
        f"featherlight compare {grid.name} --resamples 500 --factors model,method --within model" in said
        and str(grid) not in said
    )
    assert "Micro-F1 equals accuracy" in said and "micro-F1 mean" not in said

    def table(name):
        return list(csv.DictReader((out / "tables" / f"{name}.csv").read_text().splitlines()))

    scores = table("scores-on-dev-of-x")
    first = next(row for row in scores if row["model"] == "large + full")
    own = [json.loads((grid / f"finetune-xlargefull{seed}" / "record.json").read_text())["metrics"]["dev"]["scores"]
           for seed in (1, 2, 3)]  # fmt: skip
    accuracies = [100 * score["accuracy"]["value"] for score in own]
    assert float(first["accuracy mean"]) == pytest.approx(np.mean(accuracies), abs=0.006)
    assert float(first["accuracy sd"]) == pytest.approx(np.std(accuracies, ddof=1), abs=0.006)
    cost = {row["model"]: row for row in table("cost-on-x")}
    assert cost["small + head"]["trained parameters"] == "100" and cost["small + head"]["training s, mean"] == "20.0"
    assert cost["small + full"]["sd"] == "10.0" and cost["small + full"]["memory MB, most"] == "90"
    scatter = table("scatter-of-accuracy-on-dev-of-x")
    assert [row["from"] for row in scatter] == ["model", "method", "model x method", "seed"]
    shares = [float(row["% of all squares"]) for row in scatter]
    assert sum(shares) == pytest.approx(100, abs=0.3) and max(shares) == shares[1], "the head alone is far worse"
    assert {path.name for path in (out / "figures").glob("learning*")} == {
        f"learning-curves-on-{task}-of-{model}.svg" for task in "xy" for model in ("large", "small")}  # fmt: skip
    names = [row["model"] for row in scores]
    assert names == sorted(names) == [row["model"] for row in table("scores-on-dev-of-y")], "alike on every data set"
    code, _ = call(capsys, "compare", grid, "--resamples", 500, "--factors", "model,method", "--out", out)
    assert {path.name for path in (out / "figures").glob("learning*")} == {
        f"learning-curves-on-{task}.svg" for task in "xy"}, "an older report goes"  # fmt: skip


def test_a_data_set_without_pairs_shows_its_scores(capsys, grid, tmp_path):
    for folder in grid.iterdir():
        if not folder.name.startswith("finetune-y") or folder.name[10:].startswith(("largefull", "smallfull")):
            shutil.copytree(folder, tmp_path / folder.name)
    assert main(["compare", str(tmp_path), "--resamples", "200", "--factors", "model,method", "--within", "model"]) == 0
    printed = capsys.readouterr().out
    assert "y: no two models are alike in model." in printed and printed.count("small + full") >= 4


def test_factors_must_tell_the_models_apart(capsys, grid):
    code, found = call(capsys, "compare", grid, "--factors", "model")
    assert code == 2 and "have the same levels, but differ in learning_rate, method. Name that" in found["error"]
    code, found = call(capsys, "compare", grid, "--factors", "modle,method")
    assert code == 2 and "no setting called 'modle'" in found["error"]
    code, found = call(capsys, "compare", grid, "--factors", "model,method,seed")
    assert code == 2 and "runs that differ in their seed are one model" in found["error"]
    code, found = call(capsys, "compare", grid, "--factors", "model,method,model")
    assert code == 2 and "model is given twice" in found["error"]
    code, found = call(capsys, "compare", grid, "--within", "model")
    assert code == 2 and "names some of --factors, which are missing" in found["error"]
    code, found = call(capsys, "compare", grid, "--factors", "model,method", "--within", "seed")
    assert code == 2 and "no factor called 'seed'" in found["error"]
    code, found = call(capsys, "compare", grid, "--factors", "model,method", "--within", "model,method")
    assert code == 2 and "no two models are alike in it" in found["error"]


def test_several_data_sets_give_ranks_and_a_diagram(capsys, tmp_path):
    folders = store_of(tmp_path / "store", tasks=("x", "y", "z"))
    figure = tmp_path / "cd.svg"
    code, found = call(capsys, "compare", *folders, "--resamples", 200, "--figure", figure)
    assert code == 0 and found["ranks"]["models"] == ["minilm", "rnn", "bag"] and len(found["pairs"]) == 9
    assert set(found["verdicts"]) == {"x", "y", "z"} and found["verdict"].startswith("Over 3 data sets minilm")
    assert "<svg" in figure.read_text()
    assert main(["compare", *map(str, folders), "--resamples", "200"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("Over 3 data sets minilm") and "3 data sets are few" in printed


def test_a_diagram_of_one_data_set_is_refused_before_it_is_drawn(capsys, tmp_path):
    code, found = call(capsys, "compare", *store_of(tmp_path), "--figure", tmp_path / "cd.svg")
    assert code == 2 and "No ranks over data sets" in found["error"] and not (tmp_path / "cd.svg").exists()
