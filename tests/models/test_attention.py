import pytest
import torch
from torch import nn
from transformers import AutoModel, BertConfig, XLNetConfig

from featherlight.errors import UserError
from featherlight.models.attention import NAME, choose_attention, short_attention, short_attention_in


def one_by_one(query, key, value, mask, scaling):
    """Softmax attention, a head and a token at a time."""
    out = torch.zeros_like(query).transpose(1, 2)
    for b, h, t in torch.cartesian_prod(*(torch.arange(n) for n in query.shape[:3])).tolist():
        scores = (key[b, h] @ query[b, h, t]) * scaling
        seen = mask[b, 0, t]
        out[b, t, h] = scores[seen].softmax(0) @ value[b, h][seen]
    return out


@pytest.mark.parametrize("scaling", [None, 0.7])
def test_attention_is_the_softmax_over_the_tokens_that_may_be_seen(scaling):
    torch.manual_seed(0)
    query, key, value = (torch.randn(2, 3, 5, 4, dtype=torch.double, requires_grad=True) for _ in range(3))
    mask = torch.ones(2, 1, 5, 5, dtype=torch.bool)
    mask[1, :, :, 3:] = False
    module = nn.Module().train()
    module.is_causal = False
    found, _ = short_attention(module, query, key, value, mask, scaling=scaling)
    assert torch.allclose(found, one_by_one(query, key, value, mask, scaling or 0.5))
    assert torch.autograd.gradcheck(
        lambda *qkv: short_attention(module, *qkv, mask, scaling=scaling)[0], (query, key, value)
    )


def test_dropout_takes_a_share_of_the_attention():
    torch.manual_seed(0)
    module = nn.Module().train()
    module.is_causal = False
    query = torch.zeros(50, 4, 20, 8)
    found, _ = short_attention(module, query, query, torch.ones_like(query), None, dropout=0.3)
    assert found.mean().item() == pytest.approx(1.0, abs=0.02)  # 1/20 each, a share dropped, the rest scaled up
    assert found.std().item() == pytest.approx((0.3 / 0.7 / 20) ** 0.5, rel=0.05)


def tiny_bert() -> nn.Module:
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=50, hidden_size=24, num_hidden_layers=2, num_attention_heads=3, intermediate_size=20,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    return AutoModel.from_config(config)


def test_a_model_computes_the_same_with_it_and_gets_its_own_back():
    model = tiny_bert().train()
    ids, mask = torch.randint(1, 50, (4, 6)), torch.tensor([[1] * 6, [1] * 4 + [0] * 2, [1] * 6, [1] + [0] * 5])
    before = model(ids, attention_mask=mask).last_hidden_state
    with short_attention_in(model):
        assert model.config._attn_implementation == NAME
        within = model(ids, attention_mask=mask).last_hidden_state
    assert model.config._attn_implementation == "sdpa"
    assert torch.allclose(before[mask.bool()], within[mask.bool()], atol=1e-5)


def test_a_model_without_the_interface_is_left_alone():
    with short_attention_in(nn.Linear(2, 2)):
        pass
    eager = tiny_bert()
    eager.set_attn_implementation("eager")
    with short_attention_in(eager):
        assert eager.config._attn_implementation == "eager"


def saved_sizes(model: nn.Module, ids: torch.Tensor, mask: torch.Tensor) -> set[int]:
    """Element counts of what a forward pass keeps for the backward pass."""
    sizes = set()

    def keep(tensor):
        sizes.add(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model(ids, attention_mask=mask)
    return sizes


@pytest.mark.parametrize("drop", [0.0, 0.1])
def test_only_the_fused_attention_keeps_no_matrix_of_tokens_by_tokens(drop):
    ids, mask = torch.randint(1, 50, (2, 35)), torch.ones(2, 35, dtype=torch.int64)
    mask[1, 30:] = 0
    found = {}
    for name in ("auto", "eager", "sdpa"):
        model = tiny_bert().train()
        for part in model.modules():
            if isinstance(part, nn.Dropout):
                part.p = drop
        choose_attention(model, name)
        with short_attention_in(model):
            found[name] = 2 * 3 * 35 * 35 in saved_sizes(model, ids, mask)
    assert found == {"auto": True, "eager": True, "sdpa": False}


@pytest.mark.parametrize("name", ["eager", "sdpa"])
def test_a_chosen_attention_gives_the_same_numbers_and_stays_in_training(name):
    model = tiny_bert().train()
    ids, mask = torch.randint(1, 50, (2, 6)), torch.tensor([[1] * 6, [1] * 4 + [0] * 2])
    before = model(ids, attention_mask=mask).last_hidden_state
    choose_attention(model, name)
    chosen = model.config._attn_implementation
    with short_attention_in(model):
        assert model.config._attn_implementation == chosen != NAME
        assert torch.allclose(model(ids, attention_mask=mask).last_hidden_state, before, atol=1e-5)


def test_a_model_with_one_attention_says_so():
    model = AutoModel.from_config(XLNetConfig(d_model=16, n_layer=1, n_head=4, d_inner=28, vocab_size=50))
    with pytest.raises(UserError, match="--attention sdpa: xlnet"):
        choose_attention(model, "sdpa")
