import numpy as np
import pytest

from commands import call
from featherlight.cli import main
from results import guesses, write_result

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
        (["--alpha", "0.7"], "alpha = 0.7"), (["--margin", "-1"], "margin = -1"), (["--resamples", "5"], "resamples"),
        (["--metric", "matthew"], "no metric called 'matthew'"),
    ],
)  # fmt: skip
def test_bad_options_are_refused(capsys, tmp_path, options, told):
    code, found = call(capsys, "compare", *store_of(tmp_path), *options)
    assert code == 2 and told in found["error"]


def test_one_folder_is_not_enough(capsys, tmp_path):
    code, found = call(capsys, "compare", tmp_path)
    assert code == 2 and "takes 2 to 100" in found["error"]


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
