"""Cells are timed in turns, on full batches of the shape that was asked for; what was measured before a kill counts."""

import json
from collections import Counter

import numpy as np
import pytest
import torch

from featherlight.cli.main import main
from featherlight.commands.time import best_throughputs, row_of
from featherlight.data.registry import load_task
from featherlight.errors import UserError
from featherlight.execution import turns
from featherlight.execution.turns import interleave, visit_all
from featherlight.measurement.latency import Sample
from featherlight.planning.jobs import jobs_of
from featherlight.search.sweep_file import plan_grid, read_sweep
from featherlight.stages.time import stage as time_stage
from featherlight.stages.time.backends import backend_for, model_folder
from featherlight.stages.time.cells import Cell, enough, is_noisy, new_cell, trainee_of
from featherlight.stages.time.policy import POLICY, TimingPolicy
from featherlight.stages.time.settings import TimeSettings
from featherlight.stages.time.stage import SAMPLES, TIME, read_samples
from featherlight.store.layout import DRAFT
from featherlight.training.stepper import TrainingStepper
from helpers.commands import call


def settings(task, model, **more) -> TimeSettings:
    return TimeSettings(task=str(task), model=str(model), device="cpu", **{"length": 20, "batch": 4, **more})


def jobs(store, task, model, **more):
    values = {"task": str(task), "model": str(model), "device": "cpu", "length": 20, "batch": 4, "repeats": 2, **more}
    return jobs_of(TIME, values, {}, store=store, where="a test")


def cell_of(chosen, **policy):
    return new_cell(chosen, load_task(chosen.task), TimingPolicy(**policy))


def test_max_pads_to_the_length_and_longest_to_the_longest_text(tiny_encoder, sentiment):
    widths = {}
    for pad in ("max", "longest"):
        chosen = settings(sentiment, tiny_encoder, pad=pad)
        engine = backend_for(model_folder(chosen, load_task(chosen.task)), "it", "torch", 1, "cpu")
        rows = load_task(chosen.task).splits["train"].take(np.arange(12))
        batches = engine.batches(rows, chosen)
        widths[pad] = [batch["input_ids"].shape for batch in batches]
        real = [int(batch["attention_mask"].sum(1).max()) for batch in batches]
        assert pad == "max" or [width for _, width in widths[pad]] == real
    assert widths["max"] == [(4, 20)] * 3
    assert all(width < 20 for _, width in widths["longest"])


@pytest.mark.parametrize("runtime", ["torch", "bf16", "onnx", "int8"])
def test_each_runtime_times_an_encoder(tiny_encoder, sentiment, runtime):
    cell = cell_of(settings(sentiment, tiny_encoder, runtime=runtime))
    assert cell.visit().seconds > 0 and cell.about["calls"] == 8 and cell.about["parameters"] > 1000


@pytest.mark.parametrize("runtime", ["torch", "onnx", "light"])
def test_a_student_is_timed_where_it_runs(students, sentiment, runtime):
    cell = cell_of(settings(sentiment, students["rnn"], runtime=runtime))
    assert cell.visit().seconds > 0 and cell.about["bytes"] > 1000


def test_a_student_can_be_timed_before_it_is_trained(sentiment):
    cell = cell_of(settings(sentiment, "bag"))
    assert cell.visit().seconds > 0


def test_an_epoch_has_full_batches_only(tiny_encoder, sentiment, monkeypatch):
    taken = []
    monkeypatch.setattr(TrainingStepper, "take_steps", lambda self, training, batches: taken.append(batches))
    cell = cell_of(settings(sentiment, tiny_encoder, what="finetune", batch=32))
    cell.call()
    warm, epoch = taken
    rows = cell.about["steps"] * 32
    assert len(warm) == POLICY.warm_steps
    assert all(len(batch) == 32 for batch in epoch) and len(epoch) == cell.about["steps"]
    assert 240 - 32 < rows <= 270, "train has 270 rows behind select"


def test_two_cells_of_one_model_share_its_optimiser(tiny_encoder, sentiment):
    found = [settings(sentiment, tiny_encoder, what="finetune", batch=batch, examples=40) for batch in (8, 16)]
    cells = [cell_of(one) for one in found]
    steps = trainee_of.cache_info()
    assert steps.hits >= 1 and cells[0].visit().seconds > 0 < cells[1].visit().seconds


def test_every_cell_is_visited_once_a_round_in_changing_order(monkeypatch, tmp_path):
    class Counted:
        def __init__(self, earlier=0):
            self.samples = [0.0] * earlier

        @property
        def done(self):
            return len(self.samples) >= 5

    class Named:
        def __init__(self, name):
            self.folder = tmp_path / name

    cells = {Named(str(i)): Counted() for i in range(6)}
    order = []

    def visited(cell, out):
        cell.samples.append(0.0)
        order.append(out.name)

    monkeypatch.setattr(turns, "take_sample", visited)
    visit_all(cells, tmp_path, np.random.default_rng(0))
    rounds = [tuple(order[i : i + 6]) for i in range(0, 30, 6)]
    assert all(Counter(one) == Counter(order[:6]) for one in rounds) and len(set(rounds)) > 1


def test_cells_that_a_killed_run_did_not_reach_come_first(monkeypatch, tmp_path):
    class Job:
        def __init__(self, name):
            self.folder = tmp_path / name

    class Counted:
        def __init__(self, earlier):
            self.samples = [0.0] * earlier

        @property
        def done(self):
            return len(self.samples) >= 3

    order = []
    monkeypatch.setattr(turns, "take_sample", lambda cell, out: (cell.samples.append(0.0), order.append(out.name)))
    visit_all({Job("seen"): Counted(2), Job("new"): Counted(0)}, tmp_path, np.random.default_rng(0))
    assert [name.removeprefix(".draft-") for name in order[:2]] == ["new", "new"]


def test_samples_from_before_a_kill_count_and_half_a_line_does_not(tmp_path, tiny_encoder, sentiment):
    (job,) = jobs(tmp_path, sentiment, tiny_encoder, repeats=3)
    draft = tmp_path / (DRAFT + job.folder.name)
    draft.mkdir()
    (draft / SAMPLES).write_text('{"seconds": 123.0, "share": 1.0}\n{"seconds": 124.0, "sha')
    assert read_samples(draft) == [Sample(123.0, 1.0)]
    assert interleave([job], store=tmp_path) == {}
    record = json.loads((job.folder / "record.json").read_text())
    first = record["first"]["samples"]
    assert first[0] == 123.0 and len(first) == 3 and record["first"]["noisy"], "one that is 123 s beside milliseconds"
    assert len(record["samples"]) == 3 and max(record["samples"]) < 10
    assert not list(job.folder.glob(".*"))


def test_each_cell_computes_with_its_own_threads(tiny_encoder, sentiment):
    before, seen = torch.get_num_threads(), []
    cells = [cell_of(settings(sentiment, tiny_encoder, threads=threads)) for threads in (1, 2)]
    try:
        for cell in cells:
            cell.call = lambda: seen.append(torch.get_num_threads())
            cell.visit()
            assert set(seen) == {cell.settings.threads}
            seen.clear()
    finally:
        torch.set_num_threads(before)


def test_noise_is_a_wide_middle_half_or_a_core_that_another_program_has():
    calm = [Sample(value, 0.99) for value in (1.0, 1.01, 1.02, 1.03, 5.0)]
    assert not is_noisy(calm), "one outlier is none of the middle half"
    assert is_noisy([Sample(value, 0.99) for value in (1.0, 1.2, 1.4, 1.6)])
    assert is_noisy([Sample(1.0, 0.6)] * 4)


def test_slow_cells_stop_at_five_samples():
    chosen, slow = settings("sst2", "minilm", seconds=1.0), [Sample(1.0, 1.0)]
    assert not enough(chosen, slow * 4, 1) and enough(chosen, slow * 5, 1)
    quick = [Sample(0.001, 1.0)]
    assert not enough(chosen, quick * 19, 1) and enough(chosen, quick * 20, 1)


def test_the_command_gives_programs_what_was_promised(capsys, tmp_path, tiny_encoder, sentiment):
    arguments = ("time", "inference", "--model", tiny_encoder, "--task", sentiment, "--length", 20, "--batch", "2,4",
                 "--repeats", 2, "--device", "cpu", "--store", tmp_path / "store")  # fmt: skip
    code, found = call(capsys, *arguments)
    assert code == 0 and [cell["batch"] for cell in found["cells"]] == [2, 4] and not found["failed"]
    promised = {"model", "task", "length", "batch", "pad", "runtime", "unit", "samples", "min", "median", "p90", "p99",
                "low", "high", "noisy"}  # fmt: skip
    for cell in found["cells"]:
        assert promised <= cell.keys() and cell["unit"] == "s/batch" and len(cell["samples"]) == 2
        assert min(cell["samples"]) == cell["min"] <= cell["low"] <= cell["median"] <= cell["high"]
        assert cell["median"] == pytest.approx(sum(cell["samples"]) / 2) and cell["p90"] <= cell["p99"]
    _, again = call(capsys, *arguments)
    assert again == found, "what is done is not measured again"


def test_a_batch_that_cannot_be_filled_fails_and_the_others_are_measured(capsys, tmp_path, tiny_encoder, sentiment):
    code, found = call(capsys, "time", "inference", "--model", tiny_encoder, "--task", sentiment, "--length", "20,99",
                       "--batch", "2,5000", "--repeats", 1, "--device", "cpu", "--store", tmp_path)  # fmt: skip
    assert code == 2 and len(found["cells"]) == 1 and len(found["failed"]) == 3, "a user can put all of it right"
    said = " ".join(cell["error"] for cell in found["failed"])
    assert "to fill it with" in said and "reads at most 48 tokens" in said


CRAMPED = RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried to")


@pytest.mark.parametrize("where", ["begun", "visited", "measured again"])
@pytest.mark.parametrize(("error", "code", "said"), [
    (CRAMPED, 2, "a batch of 4 x 20 tokens does not fit in memory. Take a smaller --batch"),
    (torch.OutOfMemoryError("CUDA out of memory."), 2, "a batch of 4 x 20 tokens does not fit in memory"),
    (ZeroDivisionError("by nothing"), 1, "ZeroDivisionError: by nothing"),
])  # fmt: skip
def test_a_cell_that_bursts_fails_by_name_and_the_others_are_measured(
    capsys, tmp_path, tiny_encoder, sentiment, monkeypatch, where, error, code, said
):
    make, visit = new_cell, Cell.visit
    begun = []

    def made(settings, *given):
        begun.append(settings.batch)
        if settings.batch == 4 and (where == "begun" or (where == "measured again" and begun.count(4) > 1)):
            raise error
        return make(settings, *given)

    def visited(cell):
        if cell.settings.batch == 4 and where == "visited":
            raise error
        return Sample(visit(cell).seconds, 0.5 if cell.settings.batch == 4 else 1.0)

    monkeypatch.setattr(time_stage, "new_cell", made)
    monkeypatch.setattr(Cell, "visit", visited)
    arguments = ("time", "inference", "--model", tiny_encoder, "--task", sentiment, "--length", 20, "--batch", "4,2,8",
                 "--repeats", 2, "--device", "cpu", "--store", tmp_path)  # fmt: skip
    for _ in range(2):  # a restart meets the same cell first, and ends the same way
        ended, found = call(capsys, *arguments)
        assert ended == code and [cell["batch"] for cell in found["cells"]] == [2, 8]
        (lost,) = found["failed"]
        assert said in lost["error"] and lost["settings"]["batch"] == 4
        assert where == "measured again" or not list(tmp_path.glob(".draft-*"))


def test_a_sweep_of_timed_cells_ends_with_its_lists_where_one_bursts(
    capsys, tmp_path, tiny_encoder, sentiment, monkeypatch
):
    visit = Cell.visit

    def visited(cell):
        if cell.settings.batch == 4:
            raise CRAMPED
        return visit(cell)

    monkeypatch.setattr(Cell, "visit", visited)
    file = tmp_path / "sweep.yaml"
    file.write_text(
        f"program: time\nmethod: grid\nparameters:\n  model: {{value: {tiny_encoder}}}\n"
        f"  task: {{value: {sentiment}}}\n  length: {{value: 20}}\n  batch: {{values: [4, 2]}}\n"
        "  repeats: {value: 2}\n  device: {value: cpu}\n"
    )
    code, found = call(capsys, "sweep", file, "--store", tmp_path / "store")
    assert code == 1 and len(found["done"]) == 1 and not found["not_run"]
    assert "does not fit in memory" in found["failed"][0]["error"]


def test_a_timed_cell_that_crashed_in_three_calls_is_tried_again_only_if_asked(
    capsys, tmp_path, tiny_encoder, sentiment, monkeypatch
):
    tried = []

    def visited(cell):
        tried.append(cell)
        raise RuntimeError("boom")

    monkeypatch.setattr(Cell, "visit", visited)
    file = tmp_path / "sweep.yaml"
    file.write_text(
        f"program: time\nmethod: grid\nparameters:\n  model: {{value: {tiny_encoder}}}\n"
        f"  task: {{value: {sentiment}}}\n  length: {{value: 20}}\n  batch: {{value: 2}}\n  device: {{value: cpu}}\n"
    )
    for calls, more in ((1, ()), (2, ()), (3, ()), (3, ()), (4, ("--retry",))):
        code, found = call(capsys, "sweep", file, "--store", tmp_path / "store", *more)
        assert code == 1 and "boom" in found["failed"][0]["error"] and len(tried) == calls


def test_what_was_measured_before_a_failure_is_kept(tmp_path, tiny_encoder, sentiment):
    (job,) = jobs(tmp_path, sentiment, tiny_encoder, batch=5000)
    draft = tmp_path / (DRAFT + job.folder.name)
    draft.mkdir()
    (draft / SAMPLES).write_text('{"seconds": 1.0, "share": 1.0}\n')
    failed = interleave([job], store=tmp_path)
    assert failed[job].users and "to fill it with" in failed[job].error and read_samples(draft) == [Sample(1.0, 1.0)]


def test_a_training_batch_that_does_not_fit_is_timed_in_parts_and_the_record_says_so(
    tmp_path, tiny_encoder, sentiment, monkeypatch
):
    from featherlight.training.loop import TrainingRun

    summed, room = TrainingRun.summed, [10**6]

    def cramped(run, parts, rows):
        if max(map(len, parts)) > room[0]:
            raise CRAMPED
        return summed(run, parts, rows)

    def visited(cell, visit=Cell.visit):
        room[0] = 8 if len(cell.samples) == 1 else room[0]  # memory runs out when a sample is there already
        return visit(cell)

    monkeypatch.setattr(TrainingRun, "summed", cramped)
    monkeypatch.setattr(Cell, "visit", visited)
    cells = jobs(tmp_path, sentiment, tiny_encoder, what="finetune", batch=[16, 8], examples=48, pad="max", repeats=3)
    assert interleave(cells, store=tmp_path) == {}
    whole, small = (json.loads((job.folder / "record.json").read_text()) for job in cells)
    assert whole["batch_halvings"] == 1 and "batch_halvings" not in small, "though both share one optimiser"
    assert len(whole["samples"]) == len(small["samples"]) == 3
    assert row_of(whole)["batch_halvings"] == 1


@pytest.mark.parametrize(("changed", "said"), [
    ({"what": "finetune", "runtime": "onnx"}, "nothing is trained there"),
    ({"runtime": "light", "pad": "max"}, "pads nothing"),
    ({"epochs": 1}, "Extra inputs are not permitted"),
])  # fmt: skip
def test_what_cannot_be_timed_is_refused(changed, said):
    with pytest.raises(ValueError, match=said):
        settings("sst2", "minilm", **changed)


def test_an_encoder_is_no_packed_file(tiny_encoder, sentiment):
    with pytest.raises(UserError, match="only students run as packed files"):
        cell_of(settings(sentiment, tiny_encoder, runtime="light"))


def test_a_sweep_that_repeats_a_fine_tuning_times_it_as_its_trainer_did(tmp_path, tiny_encoder, sentiment):
    file = tmp_path / "sweep.yaml"
    file.write_text(
        f"program: run_glue.py\nmethod: grid\nparameters:\n  model_name_or_path: {{value: {tiny_encoder}}}\n"
        f"  task_name: {{value: {sentiment}}}\n  finetuning_iters: {{value: 5}}\n"
        "  max_seq_length: {values: [8, 16]}\n  per_device_train_batch_size: {values: [8, 16]}\n"
        "  num_train_epochs: {value: 1}\n"
    )
    planned = plan_grid(read_sweep(file), store=tmp_path, common={}, yes=False)
    chosen = [job.settings for job in planned]
    assert len(chosen) == 4 and {one.what for one in chosen} == {"finetune"} and {one.pad for one in chosen} == {"max"}
    assert {(one.length, one.batch, one.repeats) for one in chosen} == {(8, 8, 5), (8, 16, 5), (16, 8, 5), (16, 16, 5)}


def test_the_parts_of_a_step_add_up_to_it(tiny_encoder, sentiment):
    cell = cell_of(settings(sentiment, tiny_encoder, what="finetune", batch=32))
    parts = cell.about["phases"]
    assert set(parts) == {"batch", "forward", "backward", "update"} and min(parts.values()) > 0
    step = min(cell.visit().seconds for _ in range(3)) / cell.about["steps"]
    assert 0.5 * step < sum(parts.values()) < 4 * step


def test_the_table_of_steps_tells_paddings_apart(capsys, tmp_path, tiny_encoder, sentiment):
    arguments = ["time", "finetune", "--model", tiny_encoder, "--task", sentiment, "--length", 20, "--batch", 16,
                 "--pad", "max,longest", "--examples", 48, "--repeats", 1, "--device", "cpu", "--store",
                 tmp_path]  # fmt: skip
    assert main([str(word) for word in arguments]) == 0
    cells, steps = capsys.readouterr().out.split("a step")
    for table in (cells, steps):
        assert table.count("16 x 20") == 2 and table.count("16 x 20 at most") == 1


def test_a_run_is_as_it_was_after_its_parts_were_clocked(tiny_encoder, sentiment):
    from featherlight.training.finetune import LabelObjective
    from featherlight.training.objective import TrainingSet

    cell_of(settings(sentiment, tiny_encoder, what="finetune", batch=32))
    cached = trainee_of.__wrapped__
    trainee, _, _ = cached(str(tiny_encoder), ("a", "b"), "torch", "cpu", 1, 1e-3, 0.0, 1e-8, 1)
    assert "update" not in vars(trainee.run) and isinstance(trainee.run.objective, LabelObjective)
    assert isinstance(trainee.run.data, TrainingSet)


def test_a_long_call_is_a_sample_at_once_and_a_short_one_is_warmed_up(tiny_encoder, sentiment):
    counts = []
    for long_seconds in (1.0, -1.0):
        cell = cell_of(settings(sentiment, tiny_encoder, batch=8), long_seconds=long_seconds)
        calls = []
        cell.call = lambda calls=calls: calls.append(0)
        cell.visit()
        counts.append(len(calls))
    assert counts[1] == 1 < counts[0]


def test_the_best_throughput_is_that_of_the_batch_with_most_examples_a_second():
    same = {"model": "m", "task": "t", "runtime": "torch", "what": "inference", "length": 8, "pad": "max"}
    rows = [
        {**same, "batch": batch, "examples_per_second": rate} for batch, rate in ((1, 50.0), (8, 220.0), (32, 210.0))
    ]
    (line,) = best_throughputs(rows)
    assert "220, m on t in torch, 8 at a time" in line
    assert best_throughputs(rows[:1]) == [], "one batch size has nothing to be the best of"


def test_three_samples_of_a_slow_call_are_enough():
    long = TimeSettings(task="sst2", model="minilm", seconds=20)
    slow, quick = [Sample(8.0, 1.0)] * 3, [Sample(4.5, 1.0)] * 5
    assert enough(long, slow, 1) and not enough(long, slow[:2], 1)
    assert enough(long, quick, 1) and not enough(long, quick[:4], 1)
