import pytest
import torch
from torch import nn

from featherlight.models.dropout import Dropout, keep_mask, use_cheap_dropout


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_a_share_p_is_dropped_and_the_mean_stays(p):
    torch.manual_seed(0)
    out = Dropout(p)(torch.ones(400, 1000))
    dropped = (out == 0).double().mean().item()
    assert dropped == pytest.approx(p, abs=5 * (p * (1 - p) / 400_000) ** 0.5)  # five standard errors
    assert out[out != 0].unique().tolist() == pytest.approx([1 / (1 - p)], rel=1e-4)


def test_elements_are_dropped_independently_of_their_neighbours():
    torch.manual_seed(0)
    dropped = (keep_mask(torch.empty(1000, 1000), 0.3) == 0).double()
    for lag in (1, 2, 3, 4, 1000):  # four neighbours share one draw
        together = (dropped.flatten()[:-lag] * dropped.flatten()[lag:]).mean().item()
        assert together == pytest.approx(0.09, abs=0.002)


def test_the_gradient_takes_the_way_of_the_forward_pass():
    torch.manual_seed(0)
    given = torch.randn(7, 5, requires_grad=True)
    out = Dropout(0.4)(given)
    out.sum().backward()
    assert torch.allclose(given.grad, (out / given).detach())


def test_the_seed_decides():
    masks = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        masks.append(keep_mask(torch.empty(50, 50), 0.5))
    assert torch.equal(masks[0], masks[1]) and not torch.equal(masks[0], masks[2])


def test_nothing_is_dropped_in_evaluation_or_with_p_0():
    given = torch.randn(9, 9)
    assert torch.equal(Dropout(0.5).eval()(given), given) and torch.equal(Dropout(0.0)(given), given)


def test_the_edges_of_p():
    assert not Dropout(1.0)(torch.ones(99)).any()
    assert Dropout(0.5)(torch.ones(0, 4)).shape == (0, 4)


def test_a_models_dropouts_are_replaced_and_nothing_else():
    model = nn.Sequential(nn.Linear(3, 3), nn.Sequential(nn.Dropout(0.2)), nn.AlphaDropout(0.1)).eval()
    keys = list(model.state_dict())
    use_cheap_dropout(model)
    assert type(model[1][0]) is Dropout and model[1][0].p == 0.2 and not model[1][0].training
    assert type(model[2]) is nn.AlphaDropout and list(model.state_dict()) == keys
