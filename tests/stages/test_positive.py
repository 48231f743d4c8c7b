"""The class whose F1 is scored is fixed when a model is trained, goes with it and is named where the score stands."""

import json

import pytest

import featherlight
from helpers.commands import call
from helpers.toys import sentences

SMALL = {"epochs": 1, "max_length": 16, "precision": "fp32"}


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    """A quarter of the rows is "fraud"; the other class comes after it in the alphabet."""
    folder = tmp_path_factory.mktemp("fraud")
    rows = sentences(320, seed=3)
    bad = [text for text, label in rows if label == "negative"][:60]
    good = [text for text, label in rows if label == "positive"][:140]
    for split, (some, others) in {"train": (bad[10:], good[30:]), "dev": (bad[:10], good[:30])}.items():
        lines = [f"{text},{name}\n" for name, texts in (("fraud", some), ("ok", others)) for text in texts]
        (folder / f"{split}.csv").write_text("text,label\n" + "".join(lines))
    return folder


@pytest.fixture(scope="module")
def models(task, tiny_encoder, tmp_path_factory):
    """A teacher, a student, a packed file and an exported folder."""
    store = tmp_path_factory.mktemp("store")
    teacher = featherlight.finetune(task=task, model=str(tiny_encoder), store=store, **SMALL)
    student = featherlight.distill(teacher=teacher.folder, task=task, student="bag", dim=4, store=store, **SMALL)
    packed = featherlight.pack(student.folder, store=store)
    return {"teacher": teacher.folder, "student": student.folder, "packed": packed.folder / "model.light"}


def test_the_rarer_class_is_scored_and_named(capsys, models, tmp_path):
    record = json.loads((models["teacher"] / "record.json").read_text())
    dev = record["metrics"]["dev"]
    assert dev["positive"] == "fraud"
    assert dev["scores"]["f1_of_first"]["value"] == pytest.approx(dev["details"]["per_class"]["fraud"]["f1"])
    from featherlight.cli.main import main

    assert main(["report", str(models["teacher"].parent)]) == 0
    assert "F1 of fraud" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["teacher", "student", "packed", "exported"])
def test_whatever_is_made_of_a_model_keeps_its_positive_class(capsys, models, tmp_path, name):
    if name == "exported":
        code, answer = call(capsys, "export", models["student"], "--store", tmp_path, "-o", tmp_path / "out")
        assert code == 0, answer
    model = tmp_path / "out" if name == "exported" else models[name]
    other = tmp_path / "other.csv"  # where "ok" is the rarer class
    other.write_text("text,label\n" + "a bad film,fraud\nan awful plot,fraud\na sad actor,fraud\na good film,ok\n")
    code, answer = call(capsys, "evaluate", model, "--task", other, "--store", tmp_path)
    assert code == 0 and answer["positive"] == "fraud" and "f1_of_first" in answer["metrics"]
    code, answer = call(capsys, "evaluate", model, "--task", other, "--store", tmp_path, "--positive", "ok")
    assert code == 0 and answer["positive"] == "ok" and "f1" in answer["metrics"]


def test_the_metric_that_selects_may_be_called_f1_whichever_class_it_is_of(task, tiny_encoder, tmp_path):
    result = featherlight.finetune(task=task, model=str(tiny_encoder), store=tmp_path, select_metric="f1", **SMALL)
    assert result.record["best"]["metric"] == "f1_of_first"
