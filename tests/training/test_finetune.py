import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight

from featherlight.training.finetune import NO_CLASS, NO_SCORE, balanced_weights, label_loss

LOGITS = torch.tensor([[1.0, 0.0, -2.0], [0.5, 0.5, 3.0], [0.0, 1.0, 0.0]])
LABELS = torch.tensor([0, 2, 1])


def test_balanced_weights_are_those_of_scikit_learn():
    labels = np.array([0, 0, 0, 0, 1, 2, 2])
    expected = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    assert balanced_weights(labels, 3) == pytest.approx(expected)
    assert balanced_weights(np.array([0, 0, 2]), 3)[1] == 1.0  # a class without rows


def test_with_balanced_weights_every_class_weighs_the_same():
    labels = np.array([0] * 90 + [1] * 10)
    weights = torch.from_numpy(balanced_weights(labels, 2))
    logits = torch.zeros(100, 2, requires_grad=True)
    label_loss(logits, torch.from_numpy(labels), weights).backward()
    assert logits.grad[:90].sum(0).tolist() == pytest.approx((-logits.grad[90:].sum(0)).tolist(), abs=1e-6)


def test_the_parts_of_a_batch_add_up_to_the_whole_with_weights_too():
    weights = torch.tensor([3.0, 0.5, 1.0])
    whole = label_loss(LOGITS, LABELS, weights)
    parts = label_loss(LOGITS[:1], LABELS[:1], weights, rows=3) + label_loss(LOGITS[1:], LABELS[1:], weights, rows=3)
    assert whole.item() == pytest.approx(parts.item())
    assert label_loss(LOGITS, LABELS).item() == pytest.approx(torch.nn.CrossEntropyLoss()(LOGITS, LABELS).item())


def test_a_text_without_a_label_adds_nothing():
    known = label_loss(LOGITS[:2], LABELS[:2]) * 2 / 3
    assert label_loss(LOGITS, torch.tensor([0, 2, NO_CLASS])).item() == pytest.approx(known.item())
    scores = torch.zeros(2, 1, requires_grad=True)
    loss = label_loss(scores, torch.tensor([2.0, NO_SCORE]))
    loss.backward()
    assert loss.item() == 2.0 and scores.grad[:, 0].tolist() == [-2.0, 0.0]
