"""Means over a whole step, however it is cut; what an objective brings along; rows that are made anew in each epoch."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from featherlight.data.tokens.batches import shuffled_batches
from featherlight.distillation.task_specific import TaskDistillation
from featherlight.seeds import numpy_generator
from featherlight.training.finetune import LabelObjective
from featherlight.training.loop import train
from featherlight.training.objective import TrainingSet
from helpers.trainings import Toy, WordObjective, context, options, toy_data, weights


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
