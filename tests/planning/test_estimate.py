import json

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification, BertConfig, BertForSequenceClassification

from featherlight.commands import plan
from featherlight.costs import calibration, estimate
from featherlight.costs.architecture import architecture_of
from featherlight.costs.estimate import CostModel
from featherlight.costs.memory import predict_memory
from featherlight.costs.meta_models import Lengths
from featherlight.costs.seconds import COUNTED, MachineRates
from featherlight.measurement.energy import Factors
from featherlight.planning.estimate import estimates
from featherlight.planning.jobs import jobs_of, run_jobs
from featherlight.planning.recipe import plan_recipe
from featherlight.stages.finetune.stage import FINETUNE
from featherlight.stages.time.stage import TIME

pytestmark = pytest.mark.usefixtures("known_rates")


def finetunings(tiny_encoder, sentiment, store, **more):
    values = {"model": str(tiny_encoder), "task": str(sentiment), "max_length": 20, "device": "cpu", **more}
    return jobs_of(FINETUNE, values, {}, store=store, where="a test")


def estimated(job):
    return estimates([job])[job]


@pytest.fixture
def recipe(tmp_path, tiny_encoder, sentiment):
    path = tmp_path / "recipe.yaml"
    path.write_text(f"""
common: {{task: {sentiment}, max_length: 20}}
stages:
  teacher: {{stage: finetune, model: {tiny_encoder}}}
  student: {{stage: distill, teacher: teacher, student: [bilstm, bag], dim: 8, vocabulary: 60}}
  smaller: {{stage: prune, model: student, method: magnitude, sparsity: 0.5}}
  check: {{stage: evaluate, model: [teacher, smaller], split: select}}
""")
    return path


def test_nothing_needs_to_be_there_for_it_to_be_predicted(recipe, tmp_path):
    jobs = plan_recipe(recipe, store=tmp_path / "store", common={})
    for job, what in estimates(jobs).items():
        if job.stage.name in ("finetune", "distill", "label", "evaluate"):
            assert what.seconds > 0 and what.memory > 0 and what.disk > 0, job.name
        else:
            assert what.seconds is None and "prune is not predicted" in what.why
    assert not (tmp_path / "store").exists()


def test_an_evaluation_is_predicted_for_the_split_that_it_scores(recipe, tmp_path):
    def bytes_of(split):
        text = recipe.read_text().replace("split: select", f"split: {split}").replace("[teacher, smaller]", "teacher")
        recipe.with_name(f"{split}.yaml").write_text(text)
        jobs = plan_recipe(recipe.with_name(f"{split}.yaml"), store=tmp_path / "store", common={})
        return estimates(jobs)[jobs[-1]].disk

    assert bytes_of("train") > bytes_of("reported") > bytes_of("select"), "270, 60 and 30 rows"


def test_twice_the_epochs_take_twice_the_training(tiny_encoder, sentiment, tmp_path):
    jobs = finetunings(tiny_encoder, sentiment, tmp_path, epochs=[1, 2, 4])
    one, two, four = (found.seconds for found in estimates(jobs).values())  # tokenising is timed once for all
    assert four - two == pytest.approx(2 * (two - one)) and two > one


def test_settings_that_forbid_to_train_a_table_by_rows_are_predicted_to_take_longer_and_more_memory():
    config = BertConfig(vocab_size=20_000, hidden_size=64, num_hidden_layers=8, num_attention_heads=2,
                        intermediate_size=256)  # fmt: skip
    with torch.device("meta"):
        model = estimate.MetaModel(BertForSequenceClassification(config), None, 16)
    where, shapes = estimate.Where("cpu", "fp32", 1), (np.array([2]), np.array([8]))
    usual, other = estimate.Update(learning_rate=1e-5), estimate.Update(learning_rate=1e-5, epsilon=1e-6)
    costs = CostModel()
    memory = [costs.training_memory(model, where, how, estimate.Trained(), shapes) for how in (usual, other)]
    assert memory[1] - memory[0] > 4 * 8 * 4 * 64**2, "gradients of table and layers are there at the same time"
    assert [estimate._sizes(model, where, how).dense for how in (usual, other)] == [
        model.weights - 20_000 * 64, model.weights,
    ]  # fmt: skip


def test_a_finished_folder_has_the_bytes_that_were_predicted(tiny_encoder, sentiment, tmp_path):
    (job,) = finetunings(tiny_encoder, sentiment, tmp_path, epochs=1)
    told = estimated(job).disk
    folder = run_jobs([job])[0]
    weights = sum((folder / name).stat().st_size for name in ("model.safetensors", "tokenizer.json"))
    assert told == pytest.approx(weights, rel=0.1)


def test_the_shapes_are_those_of_the_batches_that_are_made(tiny_encoder, sentiment, tmp_path, monkeypatch):
    from featherlight.training.objective import TrainingSet

    (job,) = finetunings(tiny_encoder, sentiment, tmp_path, epochs=1, batch_tokens=200)
    seen = []
    own = TrainingSet.batch
    monkeypatch.setattr(
        TrainingSet, "batch", lambda self, rows, device: seen.append(own(self, rows, device)) or seen[-1]
    )
    run_jobs([job])
    made = sum(batch.inputs["input_ids"].numel() for batch in seen)
    model = job.stage.sketch(job.work, CostModel(), None)
    rows, longest = estimate.parts_of(estimate.lengths_of(model, job.data, "train").of(270), 32, 200)
    assert (rows * longest).sum() == pytest.approx(made, rel=0.03) and rows.sum() == 270
    assert (rows * longest).max() <= 200


def test_few_rows_are_spread_over_a_sample_that_is_ordered():
    sample = Lengths(np.arange(2000)[:, None], 0.0)
    assert sample.of(20).mean() == pytest.approx(999.5, rel=0.01)
    assert sample.of(4000).mean() == pytest.approx(999.5) and len(sample.of(4001)) == 4001


def test_a_pair_read_apart_is_two_texts(students, tmp_path):
    lengths = np.array([[3, 9], [5, 2]])
    rows, longest = estimate._shapes_of([np.array([0, 1])], lengths)
    assert rows.tolist() == [2, 2] and longest.tolist() == [5, 9]


def test_sizes_of_a_student_are_those_of_its_model(students):
    from featherlight.models.load import load_checkpoint

    model, _ = load_checkpoint(students["bilstm"])
    sizes = calibration.sizes_of(model, lazy=False)
    assert (sizes.kind, sizes.width, sizes.inner) == ("bilstm", 9, 8)
    assert sizes.dense == sum(weight.numel() for weight in model.parameters())


def test_timed_cells_are_predicted_too(tiny_encoder, sentiment, tmp_path):
    values = {"model": str(tiny_encoder), "task": str(sentiment), "length": 20, "device": "cpu", "batch": [8, 16]}
    for what in ("inference", "finetune"):
        small, large = (estimated(job).seconds for job in
                        jobs_of(TIME, {**values, "what": what}, {}, store=tmp_path, where="a test"))  # fmt: skip
        assert small > 0 and large > 0
    light = jobs_of(TIME, {**values, "model": "bag", "runtime": "light"}, {}, store=tmp_path, where="a test")[0]
    assert "not predicted" in estimated(light).why


def test_a_whole_training_of_small_layers_takes_more_than_one_shape_and_reads_the_model_twice(
    tiny_encoder, sentiment, tmp_path, monkeypatch
):
    monkeypatch.setattr(estimate, "resident_bytes", lambda: 0)
    architecture = architecture_of(AutoConfig.from_pretrained(tiny_encoder))
    shape = {"batch": 64, "length": 6}  # that all texts reach
    job = {"batch_size": 64, "max_length": 6, "batch_tokens": 384, "precision": "fp32"}
    (full,) = finetunings(tiny_encoder, sentiment, tmp_path, **job)
    assert estimated(full).memory == predict_memory(architecture, **shape).total_bytes
    (small,) = finetunings(tiny_encoder, sentiment, tmp_path, method="lora", rank=4, **job)
    one_shape = predict_memory(architecture, method="lora", rank=4, **shape)
    weights = 4 * sum(weight.numel() for weight in AutoModelForSequenceClassification.from_pretrained(
        tiny_encoder).parameters())  # fmt: skip
    assert estimated(small).memory > one_shape.total_bytes + weights


def test_the_memory_of_a_timed_cell_is_that_of_its_batch(tiny_encoder, sentiment, tmp_path, monkeypatch):
    monkeypatch.setattr(estimate, "resident_bytes", lambda: 0)  # which grows as libraries are imported
    values = {"model": str(tiny_encoder), "task": str(sentiment), "length": 20, "device": "cpu", "pad": "max"}

    def memory(**more):
        (job,) = jobs_of(TIME, {**values, **more}, {}, store=tmp_path, where="a test")
        return estimated(job).memory

    config = AutoConfig.from_pretrained(tiny_encoder)
    trained = predict_memory(architecture_of(config), batch=64, length=20).total_bytes
    assert memory(what="finetune", batch=64) == trained
    (finetuning,) = finetunings(tiny_encoder, sentiment, tmp_path, method="head", batch_size=64)
    small, large = (memory(batch=batch) for batch in (8, 64))
    weights = 4 * sum(weight.numel() for weight in AutoModelForSequenceClassification.from_config(config).parameters())
    assert weights < small < large < trained and large < estimated(finetuning).memory, "no heap has holes of gradients"
    assert memory(batch=8, runtime="onnx") is None


def test_a_dry_run_adds_up_what_is_to_do_and_compares_what_is_done(recipe, tmp_path, capsys):
    store = tmp_path / "store"
    jobs = plan_recipe(recipe, store=store, common={})
    run_jobs(jobs[:1])
    jobs = plan_recipe(recipe, store=store, common={})
    plan.show_plan(jobs, Factors(100, 0.5, 200), as_json=True)
    found = json.loads(capsys.readouterr().out)
    first, *others = found["jobs"]
    record = json.loads((jobs[0].folder / "record.json").read_text())
    assert first["state"] == "done" and first["took_seconds"] == pytest.approx(sum(record["seconds"].values()))
    assert first["took_memory_bytes"] == record["peak_memory_bytes"] and others[0]["took_memory_bytes"] is None
    left = [job for job in others if job["seconds"]]
    assert found["to_do"]["seconds"] == pytest.approx(sum(job["seconds"] for job in left))
    assert found["to_do"]["memory_bytes"] == max(job["memory_bytes"] for job in left)
    kilowatt_hours = found["to_do"]["seconds"] * 100 / 3.6e6
    assert found["to_do"]["money"] == pytest.approx(0.5 * kilowatt_hours)
    assert found["to_do"]["co2_grams"] == pytest.approx(200 * kilowatt_hours)
    plan.show_plan(jobs, Factors(), as_json=False)
    shown = capsys.readouterr().out
    assert "not predicted: prune is not predicted" in shown and shown.count("predicted against measured, 1 done") == 2
    assert "in brackets measured, where a job is done" in shown
    assert "65 W, 0.3 a kWh, 480 g CO2 a kWh" in shown


def test_money_and_co2_are_printed_without_powers_of_ten():
    assert [plan.with_grams(grams) for grams in (0.0123, 9.96, 99.6, 204.0, 999.6, 1234.0, 2.34e8)] == [
        "0.012 g", "10 g", "100 g", "200 g", "1,000 g", "1.2 kg", "230,000 kg"
    ]  # fmt: skip
    assert (plan.plain(1234.5, 3), plan.plain(123.4, 3)) == ("1,230", "123")


def test_rates_are_measured_once_and_a_bad_fit_is_not_kept(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("FEATHERLIGHT_CACHE", str(tmp_path))
    calls = []

    def measured(off):
        def measure(device, precision):
            calls.append(precision)
            return MachineRates({"bag": [1.0]}, {"bag": [2.0]}, {"bag training": off})

        return measure

    monkeypatch.setattr(calibration, "measure_rates", measured(0.5))
    for _ in range(2):
        calibration.rates_of.cache_clear()
        calibration.rates_of("cpu", "fp32", 1)
    assert len(calls) == 2, "a bad fit is measured again"
    monkeypatch.setattr(calibration, "measure_rates", measured(0.01))
    for threads in (1, 1, 2):
        calibration.rates_of.cache_clear()
        found = calibration.rates_of("cpu", "fp32", threads)
    assert len(calls) == 4 and found.train == {"bag": [2.0]}
    calibration.rates_of.cache_clear()
    assert torch.get_num_threads() >= 1


def test_less_that_is_trained_takes_less_time(tiny_encoder, sentiment, tmp_path, monkeypatch):
    forward, train = ({kind: [rate] * len(names) for kind, names in COUNTED.items()} for rate in (1e-6, 3e-6))
    monkeypatch.setattr(estimate, "rates_of", lambda *machine: MachineRates(forward, train, {}))
    monkeypatch.setattr(estimate, "resident_bytes", lambda: 0)  # which grows as libraries are imported
    how = {"epochs": 9, "batch_tokens": 64}  # scoring takes little
    full, lora, head = (estimated(finetunings(tiny_encoder, sentiment, tmp_path, **how, method=method)[0])
                        for method in ("full", "lora", "head"))  # fmt: skip
    assert full.seconds > 1.2 * lora.seconds > 1.4 * head.seconds
    assert full.memory > head.memory
