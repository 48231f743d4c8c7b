"""A number is predicted as well in one unit as in another, by whatever is made of a model."""

import random
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

import featherlight
from helpers.toys import FILLERS

pytestmark = pytest.mark.slow
UNIT, ZERO = 900.0, 35_000.0  # of the second file: its labels are ZERO + UNIT times those of the first
SMALL = {"max_length": 16, "precision": "fp32", "kind": "regression", "batch_size": 8}
WORDS = [word for word in FILLERS if len(word) > 1]


def write(folder: Path, unit: float, zero: float) -> Path:
    generator = random.Random(7)
    folder.mkdir()
    for split, count in (("train", 240), ("dev", 40)):
        lines = ["text,score"]
        for _ in range(count):
            good = generator.randint(0, 6)
            words = ["good"] * good + ["bad"] * (6 - good) + generator.sample(WORDS, 2)
            generator.shuffle(words)
            lines.append(f"{' '.join(words)},{zero + unit * (good / 2 + 0.25)}")
        (folder / f"{split}.csv").write_text("\n".join(lines) + "\n")
    return folder


class Pair:
    """The same done to a task in both units."""

    def __init__(self, folder: Path):
        self.store = folder / "store"
        self.tasks = [write(folder / "small", 1.0, 0.0), write(folder / "large", UNIT, ZERO)]

    def both(self, step, models=(None, None), learned=True, **settings):
        """The results of a step, which must answer alike up to the unit."""
        common = {"store": self.store, **settings}
        if step in (featherlight.finetune, featherlight.distill):
            roles = [{"task": task} | ({} if model is None else {"teacher": model.folder})
                     for task, model in zip(self.tasks, models, strict=True)]  # fmt: skip
            results = [step(**role, **SMALL, **common) for role in roles]
        else:
            results = [step(model.folder, **common) for model in models]
        check_alike([result.folder for result in results], self.tasks[0], learned=learned)
        return results


def answers(model: Path, task: Path) -> np.ndarray:
    texts = [line.rsplit(",", 1)[0] for line in (task / "dev.csv").read_text().splitlines()[1:]]
    return np.array([answer["value"] for answer in featherlight.load(model).predict(texts)])


def check_alike(models: list[Path], task: Path, *, learned: bool = True) -> None:
    small, large = (answers(model, task) for model in models)
    assert 0.5 < small.mean() < 3 and (np.std(small) > 0.05 or not learned)
    assert np.abs((large - ZERO) / UNIT - small).max() < 0.03


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    return Pair(tmp_path_factory.mktemp("units"))


@pytest.fixture(scope="module")
def teachers(pair, tiny_encoder):
    return pair.both(featherlight.finetune, model=str(tiny_encoder), epochs=8, learning_rate=3e-3)


@pytest.fixture(scope="module")
def bags(pair, teachers):
    return pair.both(featherlight.distill, teachers, student="bag", dim=6, epochs=6, vocabulary=60)


def test_scores_do_not_depend_on_the_unit_and_errors_are_in_it(teachers):
    small, large = (result.record["metrics"]["dev"] for result in teachers)
    assert large["scores"]["pearson"]["value"] == pytest.approx(small["scores"]["pearson"]["value"], abs=1e-3)
    for error in ("mean_absolute_error", "root_mean_squared_error"):
        assert large["details"][error] == pytest.approx(UNIT * small["details"][error], rel=0.03)


def test_curves_are_scores_of_the_restored_numbers_and_the_loss_is_in_deviations(teachers):
    small, large = (result.record["curves"] for result in teachers)
    assert large["loss"] == pytest.approx(small["loss"], rel=0.02)
    last = large["epochs"][-1]["select"]
    assert last["loss"] == pytest.approx(small["epochs"][-1]["select"]["loss"], rel=0.02)


@pytest.mark.parametrize("method", ["lora", "head", "prompt_tuning"])
def test_a_small_part_of_an_encoder_learns_in_any_unit(pair, tiny_encoder, method):
    pair.both(featherlight.finetune, model=str(tiny_encoder), method=method, epochs=1, learned=False)


def test_a_model_that_was_trained_here_is_trained_on_in_its_unit(pair, teachers):
    again = [featherlight.finetune(task=task, model=str(teacher.folder), epochs=1, store=pair.store, **SMALL)
             for task, teacher in zip(pair.tasks, teachers, strict=True)]  # fmt: skip
    check_alike([result.folder for result in again], pair.tasks[0])
    before, after = (np.mean(result.record["curves"]["loss"][:3]) for result in (teachers[1], again[1]))
    assert after < before, "it goes on from what it knew"


def test_students_steps_and_files_answer_in_the_unit_of_the_labels(pair, bags):
    pair.both(featherlight.prune, bags, method="magnitude", sparsity=0.3, scope="global")
    pruned = pair.both(featherlight.prune, bags, method="magnitude", sparsity=0.3, epochs=1)
    packed = pair.both(featherlight.pack, pruned)
    assert load_file(packed[0].folder / "predictions.safetensors")["dev.labels"].max() < 4
    pair.both(featherlight.quantize, bags, bits=8)
    pair.both(featherlight.quantize, bags, bits=8, mode="aware", epochs=1)


def test_a_student_of_labels_alone_learns_in_any_unit(pair, teachers):
    pair.both(featherlight.distill, teachers, student="bilstm", dim=6, hidden=5, alpha=1, epochs=4, vocabulary=60)
