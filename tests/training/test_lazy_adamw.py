import numpy as np
import pytest
import torch
from torch import nn

from featherlight.training.lazy_adamw import (
    LazyAdamW,
    gradient_of,
    gradients_of,
    lazy_table,
    moment_of,
    release,
    settle,
)

ROWS, WIDTH, STEPS = 40, 6, 300


def batches() -> list[np.ndarray]:
    """Row 0 in every batch, low rows often, high rows hardly ever, the last never."""
    generator = np.random.default_rng(0)
    return [np.append((generator.random(7) ** 3 * (ROWS - 1)).astype(np.int64), 0) for _ in range(STEPS)]


def rate_at(step: int) -> float:
    return 0.02 * min(step / 5, 1) * (1 - step / STEPS)  # the first is 0


def new_table() -> nn.Embedding:
    torch.manual_seed(0)
    return nn.Embedding(ROWS, WIDTH, padding_idx=0)


def loss_of(table: nn.Embedding, ids: np.ndarray, step: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(step)
    target = torch.randn(len(ids), WIDTH, generator=generator)
    return ((table(torch.from_numpy(ids)) - target) ** 2).sum() / 3


def lazily(table: nn.Embedding, **options) -> LazyAdamW:
    return LazyAdamW([{"params": [table.weight], **options}], table)


def trained(
    make, *, scaled: bool = False, settle_at: tuple[int, ...] = (), start: int = 0, end: int = STEPS, table=None
) -> nn.Embedding:
    """The table after some steps. make: table -> optimiser. scaled: gradients are divided by 1, 2, 3, 4 in turns."""
    table = new_table() if table is None else table
    optimizer = make(table)
    for step, ids in list(enumerate(batches()))[start:end]:
        optimizer.param_groups[0]["lr"] = optimizer.param_groups[-1]["lr"] = rate_at(step)
        loss_of(table, ids, step).backward()
        if scaled:
            torch._foreach_div_(gradients_of(optimizer, [table.weight]), 1.0 + step % 4)
        optimizer.step()
        optimizer.zero_grad()
        if step in settle_at:
            settle(optimizer)
    settle(optimizer)
    return table


@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.8, 0.95)])
@pytest.mark.parametrize("weight_decay", [0.0, 0.3])
@pytest.mark.parametrize("settle_at", [(), (3, 150, 151)])
def test_the_table_ends_as_plain_adamw_leaves_it(weight_decay, settle_at, betas):
    options = {"weight_decay": weight_decay, "betas": betas}
    plain = trained(lambda table: torch.optim.AdamW(table.parameters(), **options), scaled=True)
    lazy = trained(lambda table: lazily(table, **options), scaled=True, settle_at=settle_at)
    assert not torch.allclose(plain.weight, new_table().weight, atol=0.01)
    assert torch.allclose(lazy.weight, plain.weight, atol=3e-6)


def test_the_scale_of_a_fused_step_divides_the_gradients_of_rows_too():
    def halved(table):
        optimizer = lazily(table)
        optimizer.grad_scale = torch.tensor(2.0)
        return optimizer

    unscaled, scaled = (trained(make, end=3).weight for make in (lazily, halved))
    by_hand = trained(lambda table: lazily(table, eps=2e-8), end=3).weight  # g / 2 over s / 2 + e is g over s + 2 e
    assert not torch.equal(scaled, unscaled) and torch.allclose(scaled, by_hand, atol=1e-7)


def test_a_batch_in_parts_and_a_text_read_twice_move_rows_as_one_look_up_does():
    """Three look-ups: two in one backward pass, as of a pair of texts, one in another."""
    once, parts = new_table(), new_table()
    optimizers = [lazily(once, lr=0.1), lazily(parts, lr=0.1)]
    ids = torch.tensor([7, 3, 3, 9, 0, 7])
    pull = torch.randn(6, WIDTH, generator=torch.Generator().manual_seed(1))
    (once(ids) * pull).sum().backward()
    ((parts(ids[:2]) * pull[:2]).sum() + (parts(ids[2:4]) * pull[2:4]).sum()).backward()
    (parts(ids[4:]) * pull[4:]).sum().backward()
    (gradient, rows), (summed, same) = (
        gradient_of(optimizer, table.weight) for optimizer, table in zip(optimizers, (once, parts), strict=True)
    )
    assert rows.tolist() == same.tolist() == [0, 3, 7, 9] and torch.equal(gradient, summed)
    assert torch.allclose(gradient[1], pull[1] + pull[2]) and not gradient[0].any()  # row 0 is padding
    for optimizer in optimizers:
        optimizer.step()
    assert torch.equal(once.weight, parts.weight) and not torch.equal(once.weight, new_table().weight)


def test_what_a_hook_takes_from_the_gradient_and_the_momentum_does_not_move():
    table = new_table()
    optimizer = lazily(table, lr=0.1, weight_decay=0.0)
    for _ in range(3):
        table(torch.tensor([5, 7])).sum().backward()
        gradient, rows = gradient_of(optimizer, table.weight)
        gradient[rows == 5] = 0.0
        moment_of(optimizer, table.weight)[5] = 0.0
        optimizer.step()
    settle(optimizer)
    still = (table.weight == new_table().weight).all(1)
    assert still[5] and not still[7] and still.sum() == ROWS - 1


def test_another_optimiser_is_asked_with_the_same_words():
    layer = nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(layer.parameters(), lr=0.1)
    layer(torch.ones(1, 3)).sum().backward()
    gradient, rows = gradient_of(optimizer, layer.weight)
    assert gradient is layer.weight.grad and torch.equal(layer.weight[rows], layer.weight)
    assert moment_of(optimizer, layer.weight) is None
    optimizer.step()
    assert torch.allclose(moment_of(optimizer, layer.weight), torch.full((2, 3), 0.1))  # 1 - beta_1, of a gradient of 1
    assert moment_of(torch.optim.SGD(layer.parameters()), layer.weight) is None
    settle(optimizer)
    release(optimizer)


def test_it_goes_on_from_its_state_with_the_same_bits():
    whole = new_table()
    optimizer = lazily(whole, weight_decay=0.3)

    def go(table, optimizer, steps):
        for step in steps:
            optimizer.param_groups[-1]["lr"] = rate_at(step)
            loss_of(table, batches()[step], step).backward()
            optimizer.step()
            optimizer.zero_grad()

    go(whole, optimizer, range(20))
    cut = new_table()
    cut.weight.data.copy_(whole.weight)
    second = lazily(cut, weight_decay=0.3)
    state = {name: value.clone() if torch.is_tensor(value) else value for name, value in
             optimizer.state[whole.weight].items()}  # fmt: skip
    second.load_state_dict({"state": {0: state}, "param_groups": second.state_dict()["param_groups"]})
    for table, chosen in ((whole, optimizer), (cut, second)):
        go(table, chosen, range(20, 40))
        release(chosen)
    assert torch.equal(whole.weight, cut.weight)


def test_in_evaluation_the_table_is_read_as_it_stands():
    table = new_table()
    optimizer = lazily(table)
    table.eval()
    assert torch.equal(table(torch.tensor([[3, 0]])), table.weight[[3, 0]][None])
    release(optimizer)
    assert "forward" not in vars(table) and table.weight.requires_grad


class Model(nn.Module):
    def __init__(self, table: nn.Module, tied: bool = False):
        super().__init__()
        self.table, self.out = table, nn.Linear(1000, 1000, bias=False)
        if tied:
            self.out.weight = table.weight

    def get_input_embeddings(self) -> nn.Module:
        return self.table


def lazily_trained(model: nn.Module, optimizer: str = "adamw", **changed):
    return lazy_table(model, optimizer=optimizer, **{"learning_rate": 1e-3, "weight_decay": 0.1, **changed})


def test_what_cannot_be_trained_lazily_is_left_alone():
    large = nn.Embedding(1000, 1000)
    assert lazily_trained(Model(large)) is large
    assert lazily_trained(Model(large), "adam", weight_decay=0.0) is large
    assert lazily_trained(Model(large), "adam") is None  # a decay that enters the averages
    assert lazily_trained(Model(large), "adadelta", weight_decay=0.0) is None
    assert lazily_trained(Model(large), learning_rate=2.0, weight_decay=0.5) is None
    assert lazily_trained(Model(large), epsilon=1e-6) is None
    assert lazily_trained(Model(large), betas=(0.9, 0.81)) is None  # a gradient would never be forgotten
    assert lazily_trained(Model(large), betas=(0.0, 0.99)) is large
    assert lazily_trained(Model(large, tied=True)) is None
    assert lazily_trained(Model(nn.Embedding(9, 9))) is None
    assert lazily_trained(Model(nn.Embedding(1000, 1000, max_norm=1.0))) is None
    assert lazily_trained(nn.Linear(3, 3)) is None
