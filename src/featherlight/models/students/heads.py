"""Heads on top of text vectors. House shapes: B examples, D width, C classes."""

import torch
from torch import Tensor, nn

from featherlight.models.dropout import Dropout


class Classifier(nn.Module):
    """One hidden layer with ReLU: [B, D] -> logits [B, C] (Tang et al. 2019, arXiv:1903.12136, section 3.1)."""

    def __init__(self, width: int, hidden: int, classes: int, dropout: float):
        super().__init__()
        self.hidden = nn.Linear(width, hidden)
        self.dropout = Dropout(dropout)
        self.out = nn.Linear(hidden, classes)

    def forward(self, vectors: Tensor) -> Tensor:
        """Logits, one per class."""
        logits: Tensor = self.out(self.dropout(torch.relu(self.hidden(vectors))))
        return logits


def compare(first: Tensor, second: Tensor) -> Tensor:
    """[u; v; |u - v|; u * v]: two text vectors [B, D] as one [B, 4D] (Wang et al. 2019, arXiv:1804.07461)."""
    return torch.cat([first, second, (first - second).abs(), first * second], dim=-1)
