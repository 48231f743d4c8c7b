import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from featherlight.models.students.recurrence import both_directions

LENGTHS = torch.tensor([6, 3, 1, 5])
MASK = (torch.arange(6) < LENGTHS[:, None]).unsqueeze(-1)
NETWORKS = pytest.mark.parametrize("kind", [nn.LSTM, nn.RNN])


def network_and_texts(kind) -> tuple[nn.Module, torch.Tensor]:
    torch.manual_seed(0)
    network = kind(5, 7, batch_first=True, bidirectional=True).double()
    return network, torch.randn(4, 6, 5, dtype=torch.double, requires_grad=True)


def as_pytorch_orders_them(states: torch.Tensor) -> torch.Tensor:
    """[2, T, B, H] -> [B, T, 2H], zeros at padding."""
    turned = (LENGTHS[:, None] - 1 - torch.arange(6)).clamp(min=0).unsqueeze(-1).expand(-1, -1, states.shape[-1])
    forward, backward = states.transpose(1, 2)
    return torch.cat([forward, backward.gather(1, turned)], dim=-1) * MASK


@NETWORKS
def test_states_and_gradients_are_those_of_pytorch_on_packed_texts(kind):
    network, texts = network_and_texts(kind)
    weights = torch.randn(4, 6, 14, dtype=torch.double)
    packed = pack_padded_sequence(texts, LENGTHS, batch_first=True, enforce_sorted=False)
    expected, _ = pad_packed_sequence(network(packed)[0], batch_first=True)
    (expected * weights).sum().backward()
    gradients = [texts.grad, *(parameter.grad for parameter in network.parameters())]
    texts.grad = None
    network.zero_grad()
    found = as_pytorch_orders_them(both_directions(network, texts, LENGTHS))
    (found * weights).sum().backward()
    assert torch.allclose(found, expected)
    for ours, theirs in zip([texts.grad, *(p.grad for p in network.parameters())], gradients, strict=True):
        assert torch.allclose(ours, theirs)


@NETWORKS
def test_gradients_agree_with_finite_differences(kind):
    network, texts = network_and_texts(kind)

    def states(texts, *_):
        return as_pytorch_orders_them(both_directions(network, texts, LENGTHS))

    assert torch.autograd.gradcheck(states, (texts, *network.parameters()))


@NETWORKS
def test_what_stands_in_the_padding_does_not_matter(kind):
    network, texts = network_and_texts(kind)
    other = torch.where(MASK, texts, 1e3)
    found = [as_pytorch_orders_them(both_directions(network, given, LENGTHS)) for given in (texts, other)]
    assert torch.equal(*found)


@NETWORKS
def test_a_single_token_is_enough(kind):
    network, texts = network_and_texts(kind)
    states = both_directions(network, texts[:, :1], torch.ones(4, dtype=torch.long))
    assert torch.allclose(torch.cat([*states[:, 0]], dim=-1), network(texts[:, :1])[0][:, 0])
    states.sum().backward()
    assert torch.isfinite(texts.grad).all()


@NETWORKS
def test_under_bf16_the_states_stay_in_fp32(kind):
    from featherlight.models.students.recurrent import Recurrent

    network = kind(5, 7, batch_first=True, bidirectional=True)
    body = Recurrent(network, "last").train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = body(torch.randn(4, 6, 5).bfloat16(), MASK.squeeze(-1).long())
    found.sum().backward()
    assert found.dtype == torch.float32 and torch.isfinite(network.weight_hh_l0.grad).all()
