"""What CONTRIBUTING.md says of adding things, done: a task, a student and a stage that are not there otherwise."""

import json
import re
from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

from featherlight.config import Settings, setting
from featherlight.data.classification import TASKS, Hub, Row
from featherlight.data.task import Task
from featherlight.kinds import Kind
from featherlight.models import HashTokenizer
from featherlight.models.heads import head_options
from featherlight.models.students.student import Student, StudentConfig
from featherlight.stages.table import STAGES
from featherlight.store.stage import Stage
from helpers.commands import call
from helpers.toy_students import word_pieces
from helpers.toys import sentences

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "CONTRIBUTING.md").read_text()


def test_a_stage_is_at_most_five_files():
    section = re.search(r"## Add a stage\n(.*?)\n## ", TEXT, re.S).group(1)
    assert 1 <= len(re.findall(r"^\d\. ", section, re.M)) <= 5


def test_a_task_is_a_row(capsys, monkeypatch, students, tmp_path):
    rows = sentences(90, seed=7)
    (tmp_path / "data" / "Toy").mkdir(parents=True)
    for name, part in {"train.tsv": rows[:60], "dev.tsv": rows[60:]}.items():
        lines = ["line\tmood", *(f"{text}\t{'up' if label == 'positive' else 'down'}" for text, label in part)]
        (tmp_path / "data" / "Toy" / name).write_text("\n".join(lines) + "\n")
    row = Row(
        Task("toy", ("line",), ("negative", "positive"), ("accuracy",)),
        "Toy", ("line",), "mood", ("down", "up"), {"train": ("train.tsv",), "dev": ("dev.tsv",)}, Hub("nobody/toy"),
    )  # fmt: skip
    monkeypatch.setitem(TASKS, "toy", row)
    code, shown = call(capsys, "evaluate", students["bag"], "--task", "toy", "--data", tmp_path / "data", "--store",
                       tmp_path / "runs")  # fmt: skip
    assert code == 0 and shown["task"] == "toy" and shown["n"] == 30
    assert shown["metrics"]["accuracy"]["value"] > 0.75, "it learned these words elsewhere"


class _LoudestConfig(StudentConfig):
    model_type = "featherlight-loudest"

    def __init__(self, **common):
        super().__init__(**common)


class _Loudest(nn.Module):
    """The largest number of each dimension."""

    def forward(self, vectors, attention_mask):
        return vectors.masked_fill(attention_mask.unsqueeze(-1) == 0, -torch.inf).amax(1)


class _LoudestForSequenceClassification(Student):
    config_class = _LoudestConfig

    def __init__(self, config):
        super().__init__(config, body=_Loudest(), width=config.dim)


def test_a_student_is_a_config_and_a_body(capsys, sentiment, tmp_path):
    AutoConfig.register(_LoudestConfig.model_type, _LoudestConfig)
    AutoModelForSequenceClassification.register(_LoudestConfig, _LoudestForSequenceClassification)
    AutoTokenizer.register(_LoudestConfig, slow_tokenizer_class=HashTokenizer)
    tokenizer, labels = word_pieces(), ("negative", "positive")
    config = _LoudestConfig(vocab_size=len(tokenizer), dim=5, classifier=7, dropout=0.0, **head_options(labels))
    torch.manual_seed(0)
    model = _LoudestForSequenceClassification(config)
    model.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    where = ("--task", sentiment, "--store", tmp_path / "runs")
    code, shown = call(capsys, "evaluate", tmp_path / "model", *where)
    assert code == 0 and 0 <= shown["metrics"]["accuracy"]["value"] <= 1
    code, shown = call(capsys, "prune", tmp_path / "model", "--method", "magnitude", "--sparsity", 0.5, *where)
    assert code == 0 and shown["zeros"] == pytest.approx(0.5, abs=0.01)
    code, shown = call(capsys, "pack", tmp_path / "model", *where)
    assert code == 2 and "only students can be packed" in shown["error"]  # packing/folder.py knows no such body


class _WidthSettings(Settings):
    """Settings of a stage that tells how wide a student is."""

    unit: int = setting(1, "Dimensions of a unit.", ge=1)


def _run_width(work, out):
    width = json.loads((work.inputs["model"] / "config.json").read_text())["dim"]
    return {"name": "width", "task": {}, "units": width // work.settings.unit}


WIDTH = Stage(
    name="width",
    version=1,
    settings=_WidthSettings,
    sources=lambda work: {},
    identity=lambda work: work.settings.identity(),
    run=_run_width,
    makes=lambda settings, kinds: Kind.RECORD,
    inputs=("model",),
)


def test_a_stage_that_stands_in_the_table_runs_in_a_recipe(capsys, monkeypatch, students, tmp_path):
    monkeypatch.setitem(STAGES, "width", WIDTH)
    recipe, where = tmp_path / "recipe.yaml", ("--store", tmp_path / "runs")
    recipe.write_text(f"stages:\n  widths: {{stage: width, model: {students['bag']}, unit: [1, 3]}}\n")
    planned = call(capsys, "run", recipe, *where, "--dry-run")[1]["jobs"]
    code, shown = call(capsys, "run", recipe, *where)
    assert code == 0 and [Path(folder).name for folder in shown["folders"]] == [job["address"] for job in planned]
    assert all(re.fullmatch("width-[0-9a-f]{12}", job["address"]) for job in planned)
    assert [record["units"] for record in shown["records"]] == [8, 2]  # the student has 8 dimensions
    assert call(capsys, "run", recipe, *where)[1]["records"] == shown["records"], "it was computed again"
