"""What stages state of themselves, held against the command line, the folders and each other."""

from pathlib import Path

import pytest

import featherlight.stages
from featherlight.cli.main import app
from featherlight.errors import UserError
from featherlight.planning.jobs import jobs_of
from featherlight.planning.recipe import check_overrides, plan_recipe
from featherlight.stages.quantize.settings import QuantizeSettings
from featherlight.stages.table import STAGES


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_is_a_folder_with_settings_and_a_stage_of_its_name(name):
    folder = Path(featherlight.stages.__file__).parent / name
    assert (folder / "settings.py").exists() and (folder / "stage.py").exists() and STAGES[name].name == name


def test_every_stage_that_is_a_result_of_its_own_has_a_command():
    commands = {command.name or command.callback.__name__ for command in app.registered_commands}
    assert {name for name, stage in STAGES.items() if stage.listed} <= commands
    assert [name for name, stage in STAGES.items() if not stage.listed] == ["label"]


def test_the_command_line_of_a_recipe_can_set_what_any_stage_has():
    check_overrides(["evaluate_every", "tolerate", "repeats", "bits", "teacher"])
    with pytest.raises(
        UserError, match=r"--set evaluate_evry: no setting called 'evaluate_evry'\. Did you mean 'evaluate_every'"
    ):
        check_overrides(["evaluate_evry"])


def test_nothing_runs_beside_what_is_timed():
    assert [name for name, stage in STAGES.items() if stage.alone] == ["time"]


def test_a_quantization_trains_only_where_it_is_aware():
    aware, at_once = (QuantizeSettings(task="sst2", mode=mode) for mode in ("aware", "weights"))
    quantize = STAGES["quantize"]
    assert quantize.trains(aware) and not quantize.trains(at_once)
    assert quantize.inherits(aware) == ("labels",) and not quantize.inherits(at_once)


def test_a_task_is_loaded_once_for_all_jobs_of_a_plan(tmp_path, tiny_encoder, sentiment):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        f"common: {{task: {sentiment}, max_length: 20}}\nstages:\n"
        f"  teacher: {{stage: finetune, model: {tiny_encoder}, seeds: [1, 2]}}\n"
        "  student: {stage: distill, teacher: teacher, student: bag, dim: 3, vocabulary: 60}\n"
        "  scores: {stage: evaluate, model: student}\n"
    )
    jobs = plan_recipe(recipe, store=tmp_path / "runs", common={})
    assert len(jobs) == 8 and len({id(job.data) for job in jobs}) == 1


def test_nothing_of_a_task_is_kept_behind_the_back_of_who_plans(tmp_path, tiny_encoder, sentiment):
    values = {"task": str(sentiment), "model": str(tiny_encoder), "max_length": 20}
    first, second = (jobs_of(STAGES["finetune"], values, {}, store=tmp_path, where="a test")[0] for _ in range(2))
    assert first.data is not second.data and first.folder == second.folder
