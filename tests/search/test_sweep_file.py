"""A sweep file is the plan of a recipe with lists; what has no counterpart is an error, what is dropped is said."""

import itertools
import json
import logging
from pathlib import Path

import pytest
from transformers import AutoModel, BertConfig, DistilBertConfig, RobertaConfig

from featherlight.errors import UserError
from featherlight.search.sweep_file import plan_grid, read_sweep
from helpers.commands import call
from helpers.tiny_encoders import ENCODERS, SMALL, roberta_tokenizer

AUTHORS = """
program: run_glue.py
method: grid
metric: {name: eval_loss, goal: minimize}
project: transformers-examples_text-classification
parameters:
  model_name_or_path: {values: [ENCODER, ENCODER]}
  task_name: {value: TASK}
  data_dir: {value: ./glue_data/RTE}
  output_dir: {value: ./out}
  do_train: {value: true}
  max_seq_length: {values: [8, 16]}
  per_device_train_batch_size: {values: [8, 16, 32]}
  num_train_epochs: {value: 1.0}
  learning_rate: {value: 3e-5}
  weight_decay: {value: 0.01}
  adam_epsilon: {value: 1e-6}
  save_steps: {value: -1}
"""


def written(folder, text):
    file = folder / "sweep.yaml"
    file.write_text(text)
    return file


def authors(folder, encoder, sentiment, more=""):
    return written(folder, AUTHORS.replace("ENCODER", str(encoder)).replace("TASK", str(sentiment)) + more)


def test_an_old_trainers_sweep_becomes_cells_of_ours(tmp_path, tiny_encoder, sentiment, caplog):
    with caplog.at_level(logging.INFO, "featherlight"):
        sweep = read_sweep(authors(tmp_path, tiny_encoder, sentiment))
    jobs = plan_grid(sweep, store=tmp_path / "store", common={}, yes=False)
    assert sweep.cells == 12 and len(jobs) == 6, "two equal models are one"
    chosen = {(job.settings.max_length, job.settings.batch_size) for job in jobs}
    assert chosen == {(length, batch) for length in (8, 16) for batch in (8, 16, 32)}
    one = jobs[0].settings
    assert (one.epochs, one.learning_rate, one.epsilon, one.task) == (1, 3e-5, 1e-6, str(sentiment).lower())
    for dropped in ("project", "data_dir", "output_dir", "do_train", "save_steps"):
        assert sum(f"{dropped} is left out" in message for message in caplog.messages) == 1


def test_the_command_line_goes_before_the_file(tmp_path, tiny_encoder, sentiment):
    sweep = read_sweep(authors(tmp_path, tiny_encoder, sentiment))
    jobs = plan_grid(sweep, store=tmp_path, common={"max_length": 12, "student": "none of this stage"}, yes=False)
    assert {job.settings.max_length for job in jobs} == {12} and len(jobs) == 3


@pytest.mark.parametrize(("text", "said"), [
    ("program: finetune\nparametres: {}", "Did you mean 'parameters'"),
    ("program: finetune\nparameters: {}", "parameters is empty"),
    ("program: finetune\nparameters: {task: {values: []}}", "a list of at least one value"),
    ("program: finetune\nparameters: {tusk: {value: sst2}}", "Did you mean 'task'"),
    ("program: finetune\nparameters: {task: {value: sst2}, task_name: {value: rte}}", "given twice"),
    ("program: finetune\nparameters: {fp16: {value: true}}", "only False is supported"),
    ("program: finetune\nparameters: {num_train_epochs: {value: 1.5}}", "epochs are whole numbers"),
    ("program: finetune\nparameters: {lr_scheduler_type: {value: polynomial}}", "no schedule called 'polynomial'"),
    ("program: train.py\nparameters: {task: {value: sst2}}", "Name the stage with --stage"),
    ("program: finetune\nmethod: gird\nparameters: {task: {value: sst2}}", "Did you mean 'grid'"),
    ("program: finetune\nparameters: {clip: {min: 0, max: 1}}", "a grid needs values"),
    ("program: finetune\nmethod: random\nparameters: {clip: {min: 1, max: 0}}", "must be a number below max"),
    ("program: finetune\nmethod: random\nparameters: {clip: {min: 0, max: 1, distribution: log_uniform_values}}",
     "must be above 0"),
    ("program: finetune\nmethod: random\nparameters: {clip: {min: 0, max: 1, distribution: unifrom}}", "'uniform'"),
    ("program: finetune\nmethod: bayes\nparameters: {clip: {min: 0, max: 1}}", "bayes needs a metric"),
    ("program: finetune\nparameters: {clip: {valeus: [1]}}", "Did you mean 'values'"),
    ("program: finetune\nrun_cap: 0\nparameters: {clip: {value: 1}}", "above 0"),
    ("- a list", "a sweep needs"),
])  # fmt: skip
def test_a_file_that_cannot_be_meant_is_refused(tmp_path, text, said):
    file = written(tmp_path, text)
    with pytest.raises(UserError, match=said) as raised:
        read_sweep(file)
    assert str(raised.value).startswith(str(file))


def test_a_million_cells_are_asked_for_twice(tmp_path, sentiment):
    hundred = ", ".join(map(str, range(1, 101)))
    three = "".join(f"  {name}: {{values: [{hundred}]}}\n" for name in ("epochs", "seed", "batch_size"))
    sweep = read_sweep(written(tmp_path, f"program: finetune\nparameters:\n  task: {{value: {sentiment}}}\n{three}"))
    with pytest.raises(UserError, match=r"1,000,000 cells.*--yes"):
        plan_grid(sweep, store=tmp_path, common={}, yes=False)


def test_stage_goes_before_the_program(tmp_path, sentiment):
    text = f"program: train.py\nparameters: {{task: {{value: {sentiment}}}, model: {{value: minilm}}}}"
    assert read_sweep(written(tmp_path, text), stage="finetune").stage.name == "finetune"


@pytest.mark.usefixtures("known_rates")
def test_a_dry_run_prints_the_cells_and_makes_nothing(capsys, tmp_path, tiny_encoder, sentiment):
    store = tmp_path / "store"
    _, found = call(capsys, "sweep", authors(tmp_path, tiny_encoder, sentiment), "--dry-run", "--store", store)
    assert [job["state"] for job in found["jobs"]] == ["to do"] * 6 and not store.exists()
    json.dumps(found)


@pytest.mark.parametrize("file", sorted((Path(__file__).parents[2] / "examples" / "sweeps").glob("*.yaml")), ids=str)
def test_each_example_is_read(file):
    sweep = read_sweep(file)
    assert sweep.cells in (36, 27) if sweep.method == "grid" else sweep.cap == 20


@pytest.mark.usefixtures("known_rates")
def test_inputs_can_be_set_on_the_command_line(capsys, tmp_path, students, sentiment):
    text = f"program: distill\nparameters: {{task: {{value: {sentiment}}}, student: {{value: bag}}, dim: {{value: 8}}}}"
    command = ("sweep", written(tmp_path, text), "--dry-run", "--store", tmp_path / "store")
    code, found = call(capsys, *command)
    assert code == 2 and "teacher is missing" in found["error"]
    code, found = call(capsys, *command, "--set", "teacher=nowhere")
    assert code == 2 and "'nowhere' is no earlier stage and no folder" in found["error"]
    _, found = call(capsys, *command, "--set", f"teacher={students['teacher']}")
    assert len(found["jobs"]) == 2


@pytest.mark.slow
def test_the_authors_sweep_runs_as_it_is(capsys, tmp_path, real_data, monkeypatch):
    """With tiny encoders under the names of the published ones, which a folder of that name stands for."""
    monkeypatch.chdir(tmp_path)
    long = {"max_position_embeddings": 514}
    named = {
        "bert-base-uncased": (ENCODERS["bert uncased"][0], lambda tokenizer: BertConfig(**SMALL, **long)),
        "roberta-base": (roberta_tokenizer, lambda tokenizer: RobertaConfig(**SMALL, **long, type_vocab_size=1)),
        "distilbert-base-uncased": (
            ENCODERS["distilbert"][0],
            lambda tokenizer: DistilBertConfig(dim=16, n_layers=2, n_heads=4, hidden_dim=28, **long),
        ),
    }
    for name, (new_tokenizer, new_config) in named.items():
        tokenizer = new_tokenizer()
        config = new_config(tokenizer)
        config.vocab_size, config.pad_token_id = len(tokenizer), tokenizer.pad_token_id
        AutoModel.from_config(config).save_pretrained(name)
        tokenizer.save_pretrained(name)
    file = Path(__file__).parents[2] / "examples" / "sweeps" / "finetuning-times.yaml"
    code, found = call(capsys, "sweep", file, "--data", real_data, "--set", "examples=32", "--store", "runs")
    assert code == 0 and len(found["done"]) == 27 and not found["failed"] and not found["not_run"]
    records = [json.loads((tmp_path / "runs" / name / "record.json").read_text()) for name in found["done"]]
    cells = {(record["name"], record["settings"]["length"], record["settings"]["batch"]) for record in records}
    assert cells == set(itertools.product(named, (128, 256, 512), (8, 16, 32)))
    assert all(len(record["samples"]) == 5 and record["settings"]["pad"] == "max" for record in records)
