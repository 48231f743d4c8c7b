import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from featherlight.analysis.predictions import gather
from featherlight.errors import UserError
from helpers.results import guesses, write_result

LABELS = np.random.default_rng(0).integers(2, size=80)


def put(store, address, *, seed=1, labels=LABELS, **more):
    return write_result(store, address, labels, guesses(labels, 0.8, seed=seed), seed=seed, **more)


def test_runs_that_differ_in_their_seed_alone_are_one_model(tmp_path):
    folders = [put(tmp_path, f"distill-{seed}", seed=seed) for seed in (3, 1, 2)]
    (data,) = gather([*folders, put(tmp_path, "distill-x", name="rnn")], metric=None).data
    bag, rnn = data.models
    assert (bag.name, bag.seeds, rnn.name, rnn.seeds) == ("bag", (1, 2, 3), "rnn", (1,))
    assert bag.predicted["dev"].shape == (3, 80)
    assert (bag.predicted["dev"][0] == guesses(LABELS, 0.8, seed=1)).all()


def test_the_seed_of_a_step_is_that_of_the_training_behind_it(tmp_path):
    for seed in (1, 2):
        put(tmp_path, f"distill-{seed}", seed=seed)
        write_result(tmp_path, f"pack-{seed}", LABELS, guesses(LABELS, 0.8, seed=seed), seed=None, stage="pack",
                     name="bag, packed", inputs={"model": f"distill-{seed}"})  # fmt: skip
    folders = [tmp_path / name for name in ("pack-1", "pack-2", "distill-1", "distill-2")]
    (data,) = gather(folders, metric=None).data
    assert [(model.name, model.seeds) for model in data.models] == [("bag, packed", (1, 2)), ("bag", (1, 2))]


def test_runs_of_one_name_whose_seeds_are_unknown_are_two_models(tmp_path):
    folders = [write_result(tmp_path, f"evaluate-{n}", LABELS, LABELS, seed=None, stage="evaluate") for n in (1, 2)]
    (data,) = gather(folders, metric=None).data
    assert [model.name for model in data.models] == ["bag (evaluate-1)", "bag (evaluate-2)"]


def test_select_is_compared_only_if_there_is_nothing_else(tmp_path):
    folders = [put(tmp_path, "distill-a"), put(tmp_path, "distill-b", name="rnn")]
    for folder in folders:
        logits = np.eye(2, dtype=np.float32)[LABELS]
        arrays = {f"{split}.{what}": part for split in ("dev", "select")
                  for what, part in (("logits", logits), ("labels", LABELS))}  # fmt: skip
        save_file(arrays, folder / "predictions.safetensors")
    assert list(gather(folders, metric=None).data[0].labels) == ["dev"]
    only = [put(tmp_path, f"evaluate-{name}", name=name, split="select") for name in "cd"]
    assert list(gather(only, metric=None).data[0].labels) == ["select"]


def test_several_data_sets_come_apart(tmp_path):
    folders = [put(tmp_path, f"distill-{task}{name}", task=task, name=name) for task in "xy" for name in ("bag", "rnn")]
    assert [(data.task, len(data.models)) for data in gather(folders, metric=None).data] == [("x", 2), ("y", 2)]


def edit(folder, change):
    path = folder / "record.json"
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda one, other: (other / "predictions.safetensors").unlink(),
         "b: no predictions in it .*featherlight evaluate"),
        (lambda one, other: (other / "record.json").unlink(), "no record.json in it"),
        (lambda one, other: (other / "record.json").write_text("{"), "not valid JSON"),
        (lambda one, other: (other / "predictions.safetensors").write_bytes(b"short"), "cannot be read"),
        (lambda one, other: edit(other, lambda record: record["task"].update(fingerprint="0" * 64)),
         "distill-b: its data of task toy differ from those of .*distill-a .fingerprint 000000000000, not fffffffffff"),
        (lambda one, other: edit(other, lambda record: record["task"].update(labels=["a", "b"])), "label names"),
        (lambda one, other: edit(other, lambda record: record.update(task="toy")), "does not say on which rows"),
        (lambda one, other: edit(other, lambda record: record["task"].update(name="else")), "the only result on task"),
        (lambda one, other: edit(other, lambda record: record.update(metrics={})), "no scores in its record"),
        (lambda one, other: edit(other, lambda record: record.update(address="distill-a")), "named 2 times"),
    ],
)  # fmt: skip
def test_what_cannot_be_compared_is_named(tmp_path, spoil, told):
    folders = [put(tmp_path, "distill-a"), put(tmp_path, "distill-b", name="rnn")]
    spoil(*folders)
    with pytest.raises(UserError, match=told):
        gather(folders, metric=None)


def test_other_labels_other_splits_and_other_classes_are_refused(tmp_path):
    one = put(tmp_path, "distill-a")
    with pytest.raises(UserError, match=r"distill-b: the labels of its dev differ from those of .*distill-a"):
        gather([one, put(tmp_path, "distill-b", labels=1 - LABELS)], metric=None)
    with pytest.raises(UserError, match="no split has predictions in every folder"):
        gather([one, put(tmp_path, "distill-c", split="test")], metric=None)
    odd = put(tmp_path, "distill-d")
    save_file(
        {"dev.logits": np.eye(3, dtype=np.float32)[LABELS], "dev.labels": LABELS}, odd / "predictions.safetensors"
    )
    with pytest.raises(UserError, match=r"distill-d: logits of shape \[80, 3\] on dev, .*distill-a has \[80, 2\]"):
        gather([one, odd], metric=None)
    save_file({"dev.logits": np.full((80, 2), np.nan, dtype=np.float32), "dev.labels": LABELS},
              odd / "predictions.safetensors")  # fmt: skip
    with pytest.raises(UserError, match="distill-d: the model's output for row 0 is not finite"):
        gather([one, odd], metric=None)


def test_with_nothing_but_seeds_of_one_model_each_is_a_model(tmp_path):
    (data,) = gather([put(tmp_path, f"distill-{seed}", seed=seed) for seed in (2, 1)], metric=None).data
    assert [(model.name, model.seeds) for model in data.models] == [("bag, seed 1", (1,)), ("bag, seed 2", (2,))]


def test_a_file_and_a_store_are_told_from_results(tmp_path):
    one = put(tmp_path, "distill-a")
    with pytest.raises(UserError, match="a store with 1 trained models"):
        gather([one, tmp_path], metric=None)
    with pytest.raises(UserError, match="is a file"):
        gather([one, one / "record.json"], metric=None)


@pytest.mark.parametrize(("metric", "told"), [("acuracy", "no metric called 'acuracy'"), ("pearson", "scores numbers")])
def test_a_metric_must_be_known_and_fit(tmp_path, metric, told):
    with pytest.raises(UserError, match=told):
        gather([put(tmp_path, "distill-a"), put(tmp_path, "distill-b", name="rnn")], metric=metric)
