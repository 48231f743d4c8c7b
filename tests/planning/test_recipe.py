import re
from pathlib import Path

import pytest

from featherlight.errors import UserError
from featherlight.files import read_json
from featherlight.kinds import kind_of
from featherlight.planning.jobs import run_jobs
from featherlight.planning.recipe import plan_recipe
from featherlight.stages.table import STAGES
from featherlight.store.address import address
from featherlight.store.layout import ADDRESS
from helpers.commands import call


@pytest.fixture
def plan(tmp_path, tiny_encoder, sentiment):
    """The jobs of a recipe text, in which MODEL and TASK stand for tiny ones."""

    def make(text: str, **common):
        path = tmp_path / "recipe.yaml"
        path.write_text(text.replace("MODEL", str(tiny_encoder)).replace("TASK", str(sentiment)))
        return plan_recipe(path, store=tmp_path / "runs", common=common)

    return make


CHAIN = """
common: {task: TASK, max_length: 20}
stages:
  teacher: {stage: finetune, model: MODEL, seeds: [1, 2]}
  student: {stage: distill, teacher: teacher, student: [bilstm, bag], dim: [3, 4, 5]}
  check: {stage: evaluate, model: student, split: select}
"""


def test_lists_multiply_and_stages_take_every_folder_of_an_earlier_one(plan):
    counts: dict[str, int] = {}
    for job in plan(CHAIN):
        counts[job.stage.name] = counts.get(job.stage.name, 0) + 1
    assert counts == {"finetune": 2, "label": 2, "distill": 2 * 2 * 3, "evaluate": 12}


def test_inputs_come_before_what_needs_them_and_nothing_twice(plan):
    seen: set[Path] = set()
    for job in plan(CHAIN):
        assert set(job.inputs.values()) <= seen and job.folder not in seen
        assert ADDRESS.fullmatch(job.folder.name) and job.state == "to do"
        seen.add(job.folder)


def test_planning_writes_nothing(plan, tmp_path):
    plan(CHAIN)
    assert not (tmp_path / "runs").exists()


def test_seeds_may_stand_under_common(plan):
    jobs = plan("common: {task: TASK, max_length: 20, seeds: [1, 2, 3]}\nstages: {t: {stage: finetune, model: MODEL}}")
    assert [job.settings.seed for job in jobs] == [1, 2, 3]


def test_the_command_line_goes_before_the_recipe(plan):
    recipe = "stages: {t: {stage: finetune, model: MODEL, task: TASK, max_length: 20, examples: 50}}"
    assert plan(recipe, examples=40)[0].settings.examples == 40


def test_a_distillation_from_labels_alone_asks_no_teacher_for_logits(plan):
    recipe = CHAIN.replace("dim: [3, 4, 5]", "alpha: 1").replace("seeds: [1, 2]", "seed: 1")
    assert not [job for job in plan(recipe) if job.stage.name == "label"]


def test_settings_without_a_part_in_the_result_do_not_change_the_address(plan):
    recipe = "stages: {t: {stage: finetune, model: MODEL, task: TASK, max_length: 20, CHANGE}}"
    assert len({plan(recipe.replace("CHANGE", c))[0].folder for c in ("seed: 1", "checkpoint_seconds: 5")}) == 1
    assert len({plan(recipe.replace("CHANGE", c))[0].folder for c in ("seed: 1", "seed: 2", "clip: 2")}) == 3


MISTAKES = [
    ("stages: {t: {stage: finetun, model: MODEL, task: TASK}}", r"stages\.t: no stage called 'finetun'\. Did you mean"),
    ("stages: {t: {stage: finetune, modle: MODEL, task: TASK}}", r"stages\.t: .*'modle'\. Did you mean 'model'"),
    ("stages: {t: {stage: finetune, model: MODEL, task: TASK, epochs: 0}}", r"stages\.t: epochs = 0"),
    ("stages: {t: {stage: distill, task: TASK}}", r"stages\.t: teacher is missing"),
    ("stages: {t: {stage: distill, task: TASK, teacher: x}}", r"'x' is no earlier stage and no folder"),
    ("stages: {t: {stage: distill, task: TASK, teacher: {a: b}}}", r"is no earlier stage and no folder"),
    ("stages: {t: {stage: finetune, model: MODEL, task: TASK, seed: 1, seeds: [2]}}", r"Keep one"),
    ("stages: {t: {stage: finetune, model: MODEL, task: TASK, seeds: []}}", r"seed is an empty list"),
    ("stages: {t: {stage: finetune, model: MODEL, task: TASK, refit: true, select_on: dev}}", r"no select split"),
    ("common: {epoch: 1}\nstages: {t: {stage: finetune, model: MODEL, task: TASK, max_length: 20}}", r"'epoch'"),
    ("stages: []", r"needs `stages:`"),
    ("stage: {}", r"needs `stages:`"),
    ("stages: {t: 5}", r"key: value"),
]  # fmt: skip


@pytest.mark.parametrize(("recipe", "said"), MISTAKES)
def test_a_mistake_is_named_with_file_and_key(plan, recipe, said):
    with pytest.raises(UserError, match=r"recipe\.yaml: .*" + said):
        plan(recipe)


def test_all_mistakes_of_a_recipe_are_named_at_once(plan):
    with pytest.raises(UserError) as error:
        plan("""
stages:
  teacher: {stage: finetune, model: MODEL, task: TASK, max_length: 20, epochs: 0}
  student: {stage: distill, teacher: teechr, task: TASK, student: [bilstm, bga], alpha: [0, 1.5]}
  nothing: {stage: bake}
  check: {stage: evaluate, model: nothing, task: TASK}
""")
    lines = str(error.value).splitlines()
    assert [re.findall(r"recipe\.yaml: stages\.(\w+)", line) for line in lines] == [
        ["teacher"], ["student"], ["student"], ["nothing"],
    ]  # fmt: skip
    for part, line in zip(("epochs = 0", "Did you mean 'teacher'", "alpha = 1.5", "'bake'"), lines, strict=True):
        assert part in line
    assert lines[2].count("alpha") == 1 and "student = 'bga'" in lines[2]


EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.yaml"))
each_example = pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
# a list of encoders, not one of stages, which `model` may name too
TINY = {r"model: (minilm|\[[^]]*(?:minilm|/)[^]]*\]|\w+/[\w-]+)": "model: MODEL",
        r"task: (\w+|\[[^]]*\])": "task: TASK",
        r"epochs: \d+": "epochs: 1", r"max_length: \d+": "max_length: 20",
        r"examples: \d+": "examples: 50"}  # fmt: skip


def tiny_recipe(example: Path, folder: Path, *, model: Path, task: Path) -> Path:
    """The recipe with a tiny task and encoder in place of its own."""
    text = example.read_text()
    for own, tiny in TINY.items():
        text = re.sub(own, tiny, text)
    text = text.replace("common: {", "common: {max_length: 20, " if "max_length" not in text else "common: {")
    text = text.replace("MODEL", str(model)).replace("TASK", str(task))
    (folder / example.name).write_text(text)
    return folder / example.name


@each_example
def test_each_example_plans(example, tmp_path, tiny_encoder, sentiment):
    recipe = tiny_recipe(example, tmp_path, model=tiny_encoder, task=sentiment)
    assert len(plan_recipe(recipe, store=tmp_path / "runs", common={})) >= 3


@pytest.mark.slow
@each_example
def test_each_example_runs(example, tmp_path, tiny_encoder, sentiment):
    recipe = tiny_recipe(example, tmp_path, model=tiny_encoder, task=sentiment)
    jobs = plan_recipe(recipe, store=tmp_path / "runs", common={"examples": 60, "dim": 8})
    folders = run_jobs(jobs)
    assert folders and all((folder / "record.json").exists() for folder in folders)


EVERY_STAGE = """
common: {task: TASK, max_length: 20, device: cpu, batch_size: 25}
stages:
  teacher: {stage: finetune, model: MODEL, epochs: 1}
  adapted: {stage: finetune, model: MODEL, epochs: 1, method: lora}
  merged: {stage: merge, model: adapted}
  heads: {stage: prune, model: merged, method: heads, sparsity: 0.5}
  student: {stage: distill, teacher: teacher, student: bag, dim: 4, vocabulary: 60, epochs: 1}
  half: {stage: prune, model: student, method: topv, sparsity: 0.5}
  bits: {stage: quantize, model: [student, half, heads]}
  learned: {stage: quantize, model: half, bits: 4, mode: aware, epochs: 1}
  packed: {stage: pack, model: [student, learned]}
  onnx: {stage: export, model: [teacher, student, packed]}
  copy: {stage: distill, teacher: [teacher, half], student: bag, dim: 3, vocabulary: 60, epochs: 1,
         start: random}
  scores: {stage: evaluate, model: [teacher, heads, student, half, bits, learned, packed, onnx, copy]}
"""


@pytest.mark.parametrize("teacher", ["onnx", "packed"])
def test_a_teacher_that_is_packed_or_exported_is_refused_before_it_is_there(plan, teacher):
    with pytest.raises(UserError, match=r"is packed or exported\. Distil from the model that it was made of"):
        plan(EVERY_STAGE.replace("teacher: [teacher, half]", f"teacher: {teacher}"))


def test_an_exported_model_is_not_pruned(plan):
    with pytest.raises(UserError, match="is an exported model"):
        plan(EVERY_STAGE.replace("model: student, method: topv", "model: int8, method: topv").replace(
            "  half:", "  int8: {stage: export, model: student}\n  half:"))  # fmt: skip


@pytest.mark.parametrize("bf16", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_what_a_plan_says_of_folders_to_come_is_true_when_they_are_there(plan, monkeypatch, bf16):
    monkeypatch.setattr("featherlight.models.device.has_bf16", lambda device: bf16)
    jobs = plan(EVERY_STAGE)
    run_jobs(jobs)
    assert {job.stage.name for job in jobs} == set(STAGES) - {"time"}
    for job in jobs:
        assert kind_of(job.folder) is job.kind
        assert address(
            job.stage, job.stage.work(job.settings, job.inputs, {r: kind_of(f) for r, f in job.inputs.items()})
        ) == (job.folder.name)  # its inputs are there now


FEW_STAGES = """
common: {task: TASK, max_length: 20, device: cpu, batch_size: 25}
stages:
  teacher: {stage: finetune, model: MODEL, epochs: 1}
  student: {stage: distill, teacher: teacher, student: bag, dim: 4, vocabulary: 60, epochs: 1}
  bits: {stage: quantize, model: [student, teacher]}
  scores: {stage: evaluate, model: bits}
"""


@pytest.mark.slow
def test_a_process_for_each_result_finds_the_results_that_were_planned(plan, tmp_path, capsys):
    plan(FEW_STAGES)
    code, printed = call(capsys, "run", tmp_path / "recipe.yaml", "--isolate", "--store", tmp_path / "runs")
    assert code == 0 and [record["stage"] for record in printed["records"]] == [
        "finetune", "distill", "quantize", "quantize", "evaluate", "evaluate"
    ]  # fmt: skip


CONTINUED = """
common: {task: TASK, max_length: 20, device: cpu, batch_size: 25, epochs: 1}
stages:
  first: {stage: finetune, model: MODEL, learning_rate: 2e-3}
  heads: {stage: prune, model: first, method: heads, sparsity: 0.5, epochs: 0}
  on: {stage: finetune, model: [first, heads, MODEL], learning_rate: 1e-12}
"""


def test_a_model_may_be_an_earlier_stage_whose_weights_are_trained_on(plan):
    jobs = plan(CONTINUED)
    first, heads, *further = jobs
    run_jobs(jobs)
    accuracy = [read_json(job.folder / "record.json")["metrics"]["dev"]["scores"]["accuracy"]["value"] for job in jobs]
    assert [dict(job.inputs) for job in further] == [{"model": first.folder}, {"model": heads.folder}, {}]
    assert accuracy[2] == accuracy[0] and accuracy[3] == accuracy[1], "a rate of 1e-12 moves nothing"
    record = read_json(further[0].folder / "record.json")
    assert record["inputs"] == {"model": first.folder.name} and "model" not in record["sources"]


def test_an_encoder_that_a_stage_is_called_by_stays_that_encoder(plan, tiny_encoder):
    recipe = "common: {task: TASK, max_length: 20}\nstages:\n  MODEL: {stage: finetune, model: MODEL}\n"
    jobs = plan(recipe + "  two: {stage: finetune, model: MODEL, seed: 2}\n")
    assert [dict(job.inputs) for job in jobs] == [{}, {}] and jobs[1].settings.model == str(tiny_encoder)


@pytest.mark.parametrize(("stage", "said"), [
    ("{stage: distill, teacher: first, student: bag, dim: 3, vocabulary: 60}", "holds no encoder .* student"),
    ("{stage: export, model: first}", "holds no encoder .* onnx"),
])  # fmt: skip
def test_what_is_no_encoder_is_not_fine_tuned_on(plan, stage, said):
    recipe = CONTINUED.replace("model: [first, heads, MODEL]", "model: other").replace(", epochs: 1}", "}")
    with pytest.raises(UserError, match=said):
        plan(recipe.replace("  on:", f"  other: {stage}\n  on:"))


def test_a_lora_is_merged_before_it_is_trained_on(plan):
    recipe = CONTINUED.replace("[first, heads, MODEL]", "first").replace("  heads", "  # heads")
    with pytest.raises(UserError, match="featherlight merge"):
        run_jobs(plan(recipe.replace("MODEL, learning_rate: 2e-3", "MODEL, method: lora")))
