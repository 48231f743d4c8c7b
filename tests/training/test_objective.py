"""Means over a whole step, however it is cut; what an objective brings along; rows that are made anew in each epoch."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from featherlight.data.tokens.batches import shuffled_batches
from featherlight.distillation.task_specific import TaskDistillation
from featherlight.seeds import numpy_generator
from featherlight.training.checkpoint import CHECKPOINT
from featherlight.training.finetune import LabelObjective
from featherlight.training.loop import train
from featherlight.training.objective import Objective, Rows, TrainingSet
from helpers.trainings import LARGE, Toy, WordObjective, context, options, toy_data, weights


def word_loss(model, data: TrainingSet, rows) -> torch.Tensor:
    """The same in plain PyTorch: every word with its label, no padding."""
    texts = data.tokens.columns["input_ids"]
    words = torch.from_numpy(texts.rows(rows))
    labels = torch.from_numpy(np.repeat(data.targets["labels"][rows], texts.lengths[rows]))
    return F.cross_entropy(model.out(model.embedding(words)), labels)


@pytest.mark.parametrize("batch_tokens", [10_000, 9])
def test_a_mean_over_tokens_is_that_of_plain_torch_however_the_batch_is_cut(batch_tokens, tmp_path):
    data, model, reference = toy_data(), Toy(), Toy()
    assert len(set(data.lengths)) > 3
    changed = {"optimizer": "sgd", "learning_rate": 0.5, "schedule": "constant", "warmup": 0.0, "weight_decay": 0.0,
               "clip": 0.0, "epochs": 1, "batch_tokens": batch_tokens}  # fmt: skip
    progress = train(model, WordObjective(), data, None, options=options(**changed), context=context(tmp_path))
    losses = []
    for batch in shuffled_batches(data.lengths, 7, numpy_generator(4, "order", 0)):
        loss = word_loss(reference, data, batch)
        reference.zero_grad()
        loss.backward()
        with torch.no_grad():
            for weight in reference.parameters():
                weight -= 0.5 * weight.grad
        losses.append(loss.item())
    assert progress.loss == pytest.approx(losses, rel=1e-6)
    assert torch.allclose(weights(model), weights(reference), atol=1e-6)


def distilled(folder, **changed):
    """A toy that learns from labels and a teacher's logits; what it went through."""
    data, model = toy_data(), Toy()
    teacher = np.random.default_rng(2).normal(size=(len(data.lengths), 3)).astype(np.float32)
    rows = TrainingSet(data.tokens, {**data.targets, "teacher": teacher})
    objective = TaskDistillation(alpha=0.3, loss="kl", temperature=2.0)
    progress = train(
        model, objective, rows, lambda *_: (0.0, {"select": {"loss": 0.0}}),
        options=options(learning_rate=1e-30, **changed), context=context(folder),
    )  # fmt: skip
    return progress, model, rows


def test_the_parts_of_a_loss_stand_beside_the_scores_as_means_over_the_steps(tmp_path):
    """Nothing is learned here, so that plain PyTorch on each batch gives the parts of every step."""
    progress, model, rows = distilled(tmp_path)
    for epoch, point in enumerate(progress.epochs):
        labels, teacher = [], []
        for batch in shuffled_batches(rows.lengths, 7, numpy_generator(4, "order", epoch)):
            logits = model(**rows.tokens.batch(batch)).logits.detach()
            labels.append(F.cross_entropy(logits, torch.from_numpy(rows.targets["labels"][batch])))
            soft = (torch.from_numpy(rows.targets["teacher"][batch]) / 2).log_softmax(-1)
            teacher.append(4 * F.kl_div((logits / 2).log_softmax(-1), soft, reduction="batchmean", log_target=True))
        expected = {"labels": float(sum(labels) / 4), "teacher": float(sum(teacher) / 4)}
        assert point["loss_parts"] == pytest.approx(expected, rel=1e-5)
    assert len(progress.epochs) == 3


def test_parts_add_up_to_the_loss_in_a_cut_batch_too(tmp_path):
    for folder, tokens in (("whole", 10_000), ("cut", 9)):
        progress, _, _ = distilled(tmp_path / folder, batch_tokens=tokens)
        parts = progress.epochs[0]["loss_parts"]
        assert 0.3 * parts["labels"] + 0.7 * parts["teacher"] == pytest.approx(np.mean(progress.loss[:4]), rel=1e-6)


def test_a_loss_of_one_part_has_no_parts(tmp_path):
    progress = train(
        Toy(), LabelObjective(), toy_data(), lambda *_: (0.0, {}), options=options(), context=context(tmp_path)
    )
    assert all(set(point) == {"epoch", "step"} for point in progress.epochs)


class Interrupted(Exception):
    """Stands for a kill."""


class Projected(Objective):
    """A narrow model whose words are pulled, by a projection that is learned, to a wide teacher's."""

    def __init__(self, *, stop_at: int = 0, width: int = 5):
        torch.manual_seed(1)
        self.trained = nn.Sequential(nn.Dropout(0.2), nn.Linear(width, 7, bias=False))
        self.teacher, self.stop_at, self.calls, self.started = nn.Embedding(13, 7), stop_at, 0, []

    def start(self, device, precision):
        self.started.append((device, precision))
        self.teacher.to(device)

    def __call__(self, model, batch):
        self.calls += 1
        if self.calls == self.stop_at:
            raise Interrupted
        ids, kept = batch.inputs["input_ids"], batch.inputs["attention_mask"]
        off = self.trained(model.embedding(ids)) - self.teacher(ids).detach()
        loss = (off.square().sum(-1) * kept).sum() / batch.totals["tokens"]
        return loss, {"words": loss}


def test_what_an_objective_trains_beside_the_model_is_learned_and_its_teacher_is_not(tmp_path):
    objective = Projected()
    before, teacher = objective.trained[1].weight.clone(), objective.teacher.weight.clone()
    progress = train(
        Toy(), objective, toy_data(), None, options=options(epochs=40, schedule="constant"), context=context(tmp_path)
    )
    assert np.mean(progress.loss[-4:]) < 0.5 * np.mean(progress.loss[:4])
    assert not torch.equal(objective.trained[1].weight, before) and torch.equal(objective.teacher.weight, teacher)
    assert objective.started == [(torch.device("cpu"), "fp32")]


@pytest.mark.parametrize("width", [5, LARGE])
@pytest.mark.parametrize("stop_at", [2, 4, 7])
def test_a_run_that_was_cut_off_finds_what_was_trained_beside_the_model(stop_at, width, tmp_path):
    """Bit for bit, dropout of the projection included."""

    def evaluate(model, epoch):
        return float(weights(model).sum()), {}

    whole, cut = Toy(width=width), Toy(width=width)
    objectives = [Projected(width=width), Projected(stop_at=stop_at, width=width), Projected(width=width)]
    often = replace(context(tmp_path / "cut"), checkpoint_seconds=0.0)
    first = train(whole, objectives[0], toy_data(), evaluate, options=options(), context=context(tmp_path / "whole"))
    with pytest.raises(Interrupted):
        train(Toy(width=width), objectives[1], toy_data(), evaluate, options=options(), context=often)
    assert (tmp_path / "cut" / CHECKPOINT).exists()
    last = train(cut, objectives[2], toy_data(), evaluate, options=options(), context=often)
    assert torch.equal(weights(whole), weights(cut)) and first.loss == last.loss
    assert torch.equal(weights(objectives[0].trained), weights(objectives[2].trained))


def test_a_table_that_what_is_trained_beside_the_model_shares_is_trained_as_a_whole(tmp_path):
    """Gradients reach it by way of the model and beside it; plain AdamW is the reference."""

    class Tied(Objective):
        def __init__(self, table):
            self.trained = nn.ModuleList([table])

        def __call__(self, model, batch):
            ids = batch.inputs["input_ids"]
            loss = (model.embedding(ids[:, :1]).square().sum() + self.trained[0].weight[5].square().sum()) / 1e3
            return loss, {"size": loss}

    data, model, reference = toy_data(), Toy(width=LARGE), Toy(width=LARGE)
    changed = {"weight_decay": 0.0, "clip": 0.0, "schedule": "constant", "warmup": 0.0, "epochs": 1, "batch_size": 23}
    train(model, Tied(model.embedding), data, None, options=options(**changed), context=context(tmp_path))
    ids = data.tokens.batch(shuffled_batches(data.lengths, 23, numpy_generator(4, "order", 0))[0])["input_ids"]
    optimizer = torch.optim.AdamW(reference.parameters(), lr=0.05, weight_decay=0.0)
    weight = reference.embedding.weight
    ((weight[ids[:, 0]].square().sum() + weight[5].square().sum()) / 1e3).backward()
    optimizer.step()
    assert torch.allclose(model.embedding.weight, weight, atol=1e-6)


@dataclass(frozen=True)
class Masked(Rows):
    """Texts of which other words are hidden in each epoch: id 12 stands for them, and -100 for what is not asked."""

    texts: TrainingSet
    seed: int = 1

    @property
    def lengths(self):
        return self.texts.lengths

    def hidden(self, row, epoch):
        return numpy_generator(self.seed, "mask", epoch, int(row)).random(self.lengths[row]) < 0.5

    def batch(self, indices, epoch):
        batch = self.texts.batch(indices)
        ids, asked = batch.inputs["input_ids"].clone(), torch.full_like(batch.inputs["input_ids"], -100)
        for place, row in enumerate(indices):
            where = np.flatnonzero(self.hidden(row, epoch))
            asked[place, where] = ids[place, where] % 3
            ids[place, where] = 12
        return replace(batch, inputs={**batch.inputs, "input_ids": ids}, targets={"asked": asked},
                       totals=self.totals(indices, epoch))  # fmt: skip

    def totals(self, indices, epoch):
        hidden = sum(int(self.hidden(row, epoch).sum()) for row in indices)
        return {**super().totals(indices, epoch), "hidden": max(hidden, 1)}


class HiddenWords(Objective):
    """A mean over the words that are hidden."""

    def __init__(self):
        self.seen = []

    def __call__(self, model, batch):
        self.seen.append(batch.inputs["input_ids"])
        guesses = model.out(model.embedding(batch.inputs["input_ids"]))
        loss = F.cross_entropy(guesses.flatten(0, 1), batch.targets["asked"].flatten(), reduction="sum")
        loss = loss / batch.totals["hidden"]
        return loss, {"hidden": loss}


def test_rows_may_be_others_in_each_epoch_and_a_mean_over_what_they_count_is_exact(tmp_path):
    rows = Masked(toy_data())
    found = {}
    for name, tokens in (("whole", 10_000), ("cut", 9)):
        objective, model = HiddenWords(), Toy()
        changed = options(epochs=2, batch_size=23, batch_tokens=tokens)
        found[name] = train(model, objective, rows, None, options=changed, context=context(tmp_path / name)), model
        if name == "whole":
            first, second = (sorted(map(tuple, seen.tolist())) for seen in objective.seen)
            assert first != second and len(first) == len(second) == 23
    assert found["whole"][0].loss == pytest.approx(found["cut"][0].loss, rel=1e-6)
    assert torch.allclose(weights(found["whole"][1]), weights(found["cut"][1]), atol=1e-6)
    every = np.arange(23)
    batch = rows.batch(every, 0)
    guesses = Toy().out(Toy().embedding(batch.inputs["input_ids"])).flatten(0, 1)
    assert found["whole"][0].loss[0] == pytest.approx(F.cross_entropy(guesses, batch.targets["asked"].flatten()).item())
