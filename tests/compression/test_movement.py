import pytest
import torch
from torch import nn

from featherlight.compression.movement import Movement
from featherlight.compression.parts import Part, zeros
from featherlight.compression.unstructured import Sparsity


def pruned(soft: bool = False, scope: str = "local", steps: int = 40) -> nn.Parameter:
    """Eight equal weights; the loss pulls the first half towards zero and the second half away from it."""
    torch.manual_seed(0)
    weight = nn.Parameter(torch.tensor([[1.0, -1, 1, -1, 1, -1, 1, -1]]))
    pull = torch.tensor([[1.0, -1, 1, -1, -1, 1, -1, 1]])
    hook = Movement([Part("a", "linear", weight)], Sparsity("movement", 0.5, scope=scope, soft=soft))
    optimizer = torch.optim.SGD([weight], lr=0.01)
    for step in range(steps):
        weight.grad = pull.clone()
        hook.before_update(step, steps, optimizer)
        optimizer.step()
    return weight


@pytest.mark.parametrize(("soft", "scope"), [(False, "local"), (False, "global"), (True, "global")])
def test_weights_that_the_loss_pulls_to_zero_go_and_equally_large_ones_stay(soft, scope):
    weight = pruned(soft, scope)
    assert (weight != 0).tolist() == [[False] * 4 + [True] * 4]


def test_a_weight_that_sleeps_wakes_with_its_old_value_once_its_gradient_asks_for_it():
    values = torch.tensor([[0.95, 1.0, 1.05, 1.1]])
    weight = nn.Parameter(values.clone())
    hook = Movement([Part("a", "linear", weight)], Sparsity("movement", 0.5, ramp=0.9))
    optimizer = torch.optim.SGD([weight], lr=0.0)
    states = []
    for step in range(20):
        towards_zero = 1.0 if step < 5 else -3.0
        weight.grad = torch.tensor([[towards_zero, 0, 0, 0]])
        hook.before_update(step, 20, optimizer)
        states.append(weight.detach().clone())
    assert any(state[0, 0] == 0 for state in states) and states[-1][0, 0] == values[0, 0]
    assert zeros(weight) == 2


def test_by_movement_other_weights_go_than_by_size():
    torch.manual_seed(0)
    values, pull = torch.randn(30, 40), torch.randn(30, 40)
    weight = nn.Parameter(values.clone())
    hook = Movement([Part("a", "linear", weight)], Sparsity("movement", 0.5))
    for step in range(60):
        weight.grad = pull.clone()
        hook.before_update(step, 60, torch.optim.SGD([weight], lr=0.0))
    assert zeros(weight) == 600
    leaving, entering = (values * pull > 0), (values * pull < 0)  # towards and away from zero
    assert (weight[leaving] != 0).float().mean() < (weight[entering] != 0).float().mean() - 0.3
