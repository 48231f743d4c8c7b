import numpy as np
import pytest
import torch
from torch import nn

from featherlight.training.lazy_rows import LazyRows, lazy_table

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


def plainly(weight_decay: float, scales: list[float]) -> torch.Tensor:
    table = new_table()
    optimizer = torch.optim.AdamW(table.parameters(), weight_decay=weight_decay)
    for step, ids in enumerate(batches()):
        optimizer.param_groups[0]["lr"] = rate_at(step)
        loss_of(table, ids, step).backward()
        table.weight.grad /= scales[step]
        optimizer.step()
        optimizer.zero_grad()
    return table.weight.detach()


def lazily(weight_decay: float, scales: list[float], settle_at: tuple[int, ...] = ()) -> torch.Tensor:
    table = new_table().train()
    lazy = LazyRows(table, weight_decay=weight_decay)
    for step, ids in enumerate(batches()):
        lazy.ready(ids)
        loss_of(table, ids, step).backward()
        lazy.step(rate_at(step), torch.tensor(scales[step]))
        if step in settle_at:
            lazy.settle()
    lazy.release()
    return table.weight.detach()


@pytest.mark.parametrize("weight_decay", [0.0, 0.3])
@pytest.mark.parametrize("settle_at", [(), (3, 150, 151)])
def test_the_table_ends_as_plain_adamw_leaves_it(weight_decay, settle_at):
    scales = [1.0 + step % 4 for step in range(STEPS)]
    expected, found = plainly(weight_decay, scales), lazily(weight_decay, scales, settle_at)
    assert not torch.allclose(expected, new_table().weight, atol=0.01)
    assert torch.allclose(found, expected, atol=3e-6)


def test_in_evaluation_the_table_is_read_as_it_stands():
    table = new_table()
    lazy = LazyRows(table, weight_decay=0.0)
    table.eval()
    assert torch.equal(table(torch.tensor([[3, 0]])), table.weight[[3, 0]][None])
    lazy.release()
    assert "forward" not in vars(table) and table.weight.requires_grad


class Model(nn.Module):
    def __init__(self, table: nn.Module, tied: bool = False):
        super().__init__()
        self.table, self.out = table, nn.Linear(1000, 1000, bias=False)
        if tied:
            self.out.weight = table.weight

    def get_input_embeddings(self) -> nn.Module:
        return self.table


def lazily_trained(model: nn.Module, optimizer: str = "adamw", learning_rate: float = 1e-3, weight_decay: float = 0.1):
    return lazy_table(model, optimizer=optimizer, learning_rate=learning_rate, weight_decay=weight_decay)


def test_what_cannot_be_trained_lazily_is_left_alone():
    large = nn.Embedding(1000, 1000)
    assert lazily_trained(Model(large)) is large
    assert lazily_trained(Model(large), "adam", weight_decay=0.0) is large
    assert lazily_trained(Model(large), "adam") is None  # a decay that enters the averages
    assert lazily_trained(Model(large), "adadelta", weight_decay=0.0) is None
    assert lazily_trained(Model(large), learning_rate=2.0, weight_decay=0.5) is None
    assert lazily_trained(Model(large, tied=True)) is None
    assert lazily_trained(Model(nn.Embedding(9, 9))) is None
    assert lazily_trained(Model(nn.Embedding(1000, 1000, max_norm=1.0))) is None
    assert lazily_trained(nn.Linear(3, 3)) is None


def test_an_id_that_is_not_ready_is_an_error_and_no_other_row():
    table = new_table().train()
    lazy = LazyRows(table, weight_decay=0.0)
    lazy.ready(np.array([5, 7]))
    with pytest.raises(IndexError):
        table(torch.tensor([3]))
