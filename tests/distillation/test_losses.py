import math

import pytest
import torch

from featherlight.distillation.losses import kl_divergence, logits_mse, soft_cross_entropy, soft_mse
from featherlight.distillation.task_specific import TaskDistillation, check_loss_fits
from featherlight.errors import UserError
from featherlight.training.objective import Batch

STUDENT = torch.tensor([[1.0, 0.0, -2.0], [0.5, 0.5, 3.0]])
TEACHER = torch.tensor([[2.0, -1.0, 0.0], [0.0, 1.0, 1.0]])


def test_soft_cross_entropy_is_the_teachers_entropy_when_both_agree():
    logits = torch.tensor([[0.0, math.log(3)]])  # probabilities 1/4 and 3/4
    loss = soft_cross_entropy(logits, logits, temperature=1.0)
    assert loss.item() == pytest.approx(0.562335, abs=1e-6)  # ln 4 - 3/4 ln 3, in nats


def test_kl_is_zero_when_both_agree_and_takes_the_teacher_first():
    assert kl_divergence(STUDENT, STUDENT, temperature=3.0).item() == pytest.approx(0.0, abs=1e-6)
    student, teacher = torch.tensor([[0.0, 0.0]]), torch.tensor([[0.0, math.log(3)]])
    # KL((1/4, 3/4) || (1/2, 1/2)) = ln 2 - H(1/4, 3/4)
    assert kl_divergence(student, teacher, temperature=1.0).item() == pytest.approx(math.log(2) - 0.562335, abs=1e-6)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_kl_and_cross_entropy_have_one_gradient(temperature):
    gradients = []
    for loss in (kl_divergence, soft_cross_entropy):
        student = STUDENT.clone().requires_grad_()
        loss(student, TEACHER, temperature=temperature).backward()
        gradients.append(student.grad)
    assert torch.allclose(*gradients, atol=1e-6)


def test_a_high_temperature_turns_kl_into_the_mse_of_centred_logits():
    """Hinton et al. 2015, section 2.1: T^2 KL tends to sum((s - t)^2) / 2C for logits of mean zero."""
    student, teacher = (logits - logits.mean(1, keepdim=True) for logits in (STUDENT, TEACHER))
    limit = ((student - teacher) ** 2).sum(1).mean() / (2 * 3)
    assert kl_divergence(student.double(), teacher.double(), temperature=1e3).item() == pytest.approx(
        limit.item(), rel=1e-2
    )


def test_mse_is_the_mean_over_all_logits():
    assert logits_mse(torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 2.0]])).item() == 2.0


def test_soft_mse_is_the_mean_over_all_softened_probabilities():
    # softmax((0, 3 ln 3) / 3) = (1/4, 3/4) against (1/2, 1/2)
    loss = soft_mse(torch.zeros(1, 2), torch.tensor([[0.0, 3 * math.log(3)]]), temperature=3.0)
    assert loss.item() == pytest.approx(1 / 16)


def test_a_text_without_a_label_has_the_teachers_part_alone():
    batch = Batch({}, {"labels": torch.tensor([0, -100]), "teacher": TEACHER}, {"rows": 2})
    loss, _ = TaskDistillation(alpha=0.3, loss="mse", temperature=1.0)(Fixed(), batch)
    hard = -STUDENT.log_softmax(1)[0, 0] / 2
    assert loss.item() == pytest.approx((0.3 * hard + 0.7 * ((STUDENT - TEACHER) ** 2).mean()).item())


@pytest.mark.parametrize("loss", [logits_mse, kl_divergence, soft_cross_entropy, soft_mse])
def test_the_shares_of_rows_add_up_to_the_mean_over_all(loss):
    shares = [loss(STUDENT[row : row + 1], TEACHER[row : row + 1], temperature=2.0, rows=2) for row in (0, 1)]
    assert float(sum(shares)) == pytest.approx(float(loss(STUDENT, TEACHER, temperature=2.0)))


def test_no_gradient_reaches_the_teacher():
    teacher = TEACHER.clone().requires_grad_()
    for loss in (logits_mse, kl_divergence, soft_cross_entropy, soft_mse):
        loss(STUDENT.clone().requires_grad_(), teacher, temperature=2.0).backward()
    assert teacher.grad is None


class Fixed(torch.nn.Module):
    def forward(self):
        return type("Output", (), {"logits": STUDENT})


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_alpha_weighs_the_labels(alpha):
    labels = torch.tensor([0, 2])
    batch = Batch({}, {"labels": labels, "teacher": TEACHER}, {"rows": 2})
    loss, parts = TaskDistillation(alpha=alpha, loss="mse", temperature=1.0)(Fixed(), batch)
    hard = -(STUDENT.log_softmax(1)[0, 0] + STUDENT.log_softmax(1)[1, 2]) / 2
    soft = ((STUDENT - TEACHER) ** 2).mean()
    assert loss.item() == pytest.approx((alpha * hard + (1 - alpha) * soft).item())
    assert parts["labels"].item() == pytest.approx(hard.item())


def test_a_regression_has_no_distribution_to_soften():
    with pytest.raises(UserError, match="Use --loss mse"):
        check_loss_fits("kl", regression=True)
    check_loss_fits("mse", regression=True)
