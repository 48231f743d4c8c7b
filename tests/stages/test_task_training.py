"""What finetune and distill share goes on where memory is out, with the same scores."""

import json

import pytest

import featherlight
from featherlight.cli.main import main
from featherlight.errors import UserError
from featherlight.inference import torch_predictor
from featherlight.inference.torch_predictor import logits_of
from featherlight.planning.jobs import jobs_of
from featherlight.planning.recipe import plan_recipe
from featherlight.stages import task_training
from featherlight.stages.finetune.stage import FINETUNE
from featherlight.stages.task_training import FIT
from featherlight.store.layout import DRAFT
from featherlight.training.memory import write_batch_halvings


@pytest.fixture
def passes(monkeypatch):
    """(most tokens of a pass that fits; those of the passes that were tried)."""
    most, seen = [10**9], []

    def cramped(*given, batch_tokens, logits_of=logits_of, **more):
        seen.append(batch_tokens)
        if batch_tokens > most[0]:
            raise MemoryError
        return logits_of(*given, batch_tokens=batch_tokens, **more)

    monkeypatch.setattr(task_training, "logits_of", cramped)
    monkeypatch.setattr(torch_predictor, "logits_of", cramped)
    return most, seen


def finetuning(store, model, task):
    settings = {"task": str(task), "model": str(model), "epochs": 1, "max_length": 20, "device": "cpu",
                "precision": "fp32", "batch_tokens": 400, "learning_rate": 2e-3, "refit": True}  # fmt: skip
    (job,) = jobs_of(FINETUNE, settings, {}, store=store, where="a test")
    return job


def scores(job):
    record = json.loads((job.run() / "record.json").read_text())
    return record, [record["metrics"]["dev"]["scores"], record["curves"]["epochs"]]


def test_texts_are_scored_in_smaller_passes_where_memory_is_out(tmp_path, tiny_encoder, sentiment, passes):
    most, seen = passes
    record, whole = scores(finetuning(tmp_path / "whole", tiny_encoder, sentiment))
    assert set(seen) == {400} and "batch_halvings" not in record
    most[0] = 100
    seen.clear()
    record, cramped = scores(finetuning(tmp_path / "cramped", tiny_encoder, sentiment))
    assert record["batch_halvings"] == 2 and seen[:3] == [400, 200, 100] and set(seen[3:]) == {100}
    assert cramped[0] == whole[0]
    for one, other in zip(cramped[1], whole[1], strict=True):
        assert one["select"] == pytest.approx(other["select"], rel=1e-4)


def test_passes_that_score_are_as_small_as_a_killed_run_needed_them(tmp_path, tiny_encoder, sentiment, passes):
    job = finetuning(tmp_path, tiny_encoder, sentiment)
    draft = tmp_path / (DRAFT + job.folder.name)
    write_batch_halvings(draft / FIT, 3)
    record, _ = scores(job)
    assert set(passes[1]) == {50} and record["batch_halvings"] == 3


def test_what_does_not_fit_at_all_is_not_halved_for_ever(tmp_path, tiny_encoder, sentiment, passes):
    passes[0][0] = 0
    with pytest.raises(MemoryError):
        finetuning(tmp_path, tiny_encoder, sentiment).run()


def test_betas_and_scores_between_epochs_reach_a_run_from_the_command_line(capsys, tmp_path, tiny_encoder, sentiment):
    common = ["--task", sentiment, "--model", tiny_encoder, "--epochs", 2, "--batch-size", 50, "--max-length", 20,
              "--device", "cpu", "--precision", "fp32", "--learning-rate", "2e-3", "--store", tmp_path,
              "--json"]  # fmt: skip

    def record(*more):
        assert main([*map(str, ["finetune", *common, *more])]) == 0
        return json.loads(capsys.readouterr().out)["records"][0]

    usual, chosen = record(), record("--betas", "0.5,0.8", "--evaluate-every", 4, "--refit")
    assert usual["curves"]["loss"][0] == chosen["curves"]["loss"][0] != chosen["curves"]["loss"][3]
    assert usual["curves"]["loss"][3] != chosen["curves"]["loss"][3]
    assert record("--betas", "0.9,0.999", "--set", "evaluate_every=0")["address"] == usual["address"]
    steps = [point["step"] for point in chosen["curves"]["epochs"]]
    last = chosen["curves"]["step"][-1]
    assert steps == [*range(4, last, 4), last] and chosen["settings"]["betas"] == [0.5, 0.8]
    won = next(point["step"] for point in chosen["curves"]["epochs"] if point["epoch"] == chosen["best"]["epoch"])
    again = chosen["refit"]
    assert len(again["curves"]["step"]) == round(won / (last / 2) * -(-again["rows"] // 50))


def test_betas_in_a_recipe_are_one_value_and_several_are_several_runs(tmp_path, tiny_encoder, sentiment):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        f"stages:\n  teacher: {{stage: finetune, task: {sentiment}, model: {tiny_encoder}, "
        "betas: ['0.9,0.98', '0.8,0.9'], evaluate_every: 7}\n"
    )
    jobs = [job for job in plan_recipe(recipe, store=tmp_path, common={}) if job.stage is FINETUNE]
    assert [job.settings.betas for job in jobs] == [(0.9, 0.98), (0.8, 0.9)]
    assert {job.settings.evaluate_every for job in jobs} == {7}


def test_rows_of_one_class_are_not_fitted(tmp_path, tiny_encoder):
    rows = [f"text {n},{'fraud' if n == 7 else 'ok'}\n" for n in range(90)]
    (tmp_path / "train.csv").write_text("text,label\n" + "".join(rows))
    (tmp_path / "dev.csv").write_text("text,label\n" + "".join([rows[7], "other,ok\n"]))
    with pytest.raises(UserError, match=r"all 81 rows to fit on are 'ok'\. Add rows of other classes"):
        featherlight.finetune(task=tmp_path, model=str(tiny_encoder), drop_leaks=True, store=tmp_path / "runs")
