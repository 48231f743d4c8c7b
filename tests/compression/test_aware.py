import numpy as np
import pytest
import torch
from torch import nn

from featherlight.compression.aware import QuantizationAware, Rounding
from featherlight.compression.parts import parts_of
from featherlight.compression.quantize import kmeans, scheme, uniform
from featherlight.runtime.packed import decoded


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize(
    "make",
    [
        lambda w: uniform(w, levels=16, per_row=True),
        lambda w: uniform(w, levels=3, per_row=False),
        lambda w: kmeans(w, levels=8),
    ],
)
def test_rounding_is_what_the_scheme_does_and_rounding_twice_is_rounding_once(make):
    weight = normal(30, 20)
    encoded = make(weight)
    rounding = Rounding(encoded)
    found = rounding(torch.from_numpy(weight))
    nearer = np.abs(decoded(encoded) - weight).sum() * 1.001
    assert np.abs(found.numpy() - weight).sum() <= nearer  # the scale was fitted after its codes: nearest is as near
    assert torch.equal(rounding(found), found)
    assert np.array_equal(decoded(rounding.encode(found)), found.numpy())


def stepped(steps: int):
    """A linear layer of 2-bit weights after some steps of plain gradient descent on a target."""
    torch.manual_seed(0)
    layer = nn.Linear(6, 4)
    layer.weight.data[0] = 0.0
    start = layer.weight.detach().clone()
    parts = [part for part in parts_of(layer) if part.name == "weight"]
    aware = QuantizationAware(parts, {"weight": scheme("2")})
    aware.start(torch.device("cpu"))
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.05)
    inputs, target = torch.randn(64, 6), torch.randn(64, 4)
    gradients = []
    for step in range(steps):
        optimizer.zero_grad()
        nn.functional.mse_loss(layer(inputs), target).backward()
        gradients.append(layer.weight.grad.clone())
        aware.before_update(step, steps, optimizer)
        optimizer.step()
        aware.after_update()
    return layer, aware, start, gradients


def test_the_precise_weights_move_by_the_gradients_of_the_rounded_ones():
    layer, aware, start, gradients = stepped(5)
    moved = start - 0.05 * torch.stack(gradients).sum(0)
    assert torch.allclose(aware.precise[0][1:], moved[1:], atol=1e-6)
    assert all(len(np.unique(row)) <= 4 for row in layer.weight.detach().numpy())


def test_what_was_pruned_stays_zero():
    layer, _, _, _ = stepped(20)
    assert (layer.weight[0] == 0).all() and (layer.weight[1:] != 0).any()


def test_what_is_stored_is_what_was_trained():
    layer, aware, _, _ = stepped(3)
    assert np.array_equal(decoded(aware.encoded()["weight"]), layer.weight.detach().numpy())
