import pytest
import torch
from transformers import get_scheduler

from featherlight.training.schedules import factor

TOTAL = 40


def rates(scheduler, optimizer) -> list[float]:
    found = []
    for _ in range(TOTAL):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


@pytest.mark.parametrize("kind", ["linear", "cosine", "constant"])
def test_schedules_agree_with_those_of_transformers(kind):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    name = "constant_with_warmup" if kind == "constant" else kind
    reference = rates(get_scheduler(name, optimizer, num_warmup_steps=10, num_training_steps=TOTAL), optimizer)
    assert [factor(kind, step, TOTAL, warmup=0.25) for step in range(TOTAL)] == pytest.approx(reference)


def test_one_cycle_agrees_with_that_of_torch():
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1.0, total_steps=TOTAL, pct_start=0.25, cycle_momentum=False)
    found = []
    for step in range(TOTAL):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if step < TOTAL - 1:
            cycle.step()
    assert [factor("1cycle", step, TOTAL, warmup=0.25) for step in range(TOTAL)] == pytest.approx(found)


@pytest.mark.parametrize("kind", ["linear", "cosine", "constant", "1cycle"])
@pytest.mark.parametrize("total", [1, 2, 3])
def test_the_shortest_runs_have_a_rate(kind, total):
    assert all(0 <= factor(kind, step, total, warmup=0.06) <= 1 for step in range(total))
    assert sum(factor(kind, step, total, warmup=0.06) for step in range(total)) > 0
