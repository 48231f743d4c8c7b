"""The recurrent students, BiLSTM and Elman RNN. B examples, T tokens, D width, H hidden units per direction."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from featherlight.models.students.recurrence import both_directions
from featherlight.models.students.student import Student, StudentConfig

POOLINGS = ("last", "last_as_published", "max", "mean")


class _RecurrentConfig(StudentConfig):
    """What both have. hidden: units per direction. pooling: see `Recurrent`."""

    def __init__(self, hidden: int = 150, pooling: str = "last", **common: Any):
        self.hidden, self.pooling = hidden, pooling
        super().__init__(**common)


class BiLSTMConfig(_RecurrentConfig):
    """Config of `BiLSTMForSequenceClassification`."""

    model_type = "featherlight-bilstm"

    def __init__(self, **frame: Any):  # without one, transformers 5 generates an __init__ that drops the frame's
        super().__init__(**frame)


class RNNConfig(_RecurrentConfig):
    """Config of `RNNForSequenceClassification`."""

    model_type = "featherlight-rnn"

    def __init__(self, hidden: int = 100, **frame: Any):
        super().__init__(hidden=hidden, **frame)


def fused(vectors: Tensor) -> bool:
    """Whether `models.students.recurrence` has a faster way: for gradients on a processor."""
    return torch.is_grad_enabled() and vectors.device.type == "cpu"


class Recurrent(nn.Module):
    """One bidirectional layer whose states are summed up by `pooling`.

    last: the state of each direction after it has read the whole text (the backward one ends at
    the first token). last_as_published: both states at the last token, where the backward direction
    has read that one token alone, as in the program behind the thesis on featherweight models.
    max, mean: over the states at all real tokens. Training on a processor takes the way of
    `models.students.recurrence`, everything else PyTorch's own; both give the same numbers but for rounding.
    """

    def __init__(self, network: nn.LSTM | nn.RNN, pooling: str):
        super().__init__()
        assert pooling in POOLINGS
        self.network, self.pooling = network, pooling

    def forward(self, vectors: Tensor, attention_mask: Tensor) -> Tensor:
        """[B, T, D], [B, T] (padding on the right) -> [B, 2H]; an empty row is read as one token of padding."""
        lengths = attention_mask.sum(1).clamp(min=1)
        if self.training and fused(vectors):
            with torch.autocast("cpu", enabled=False):  # states stay in fp32
                return self.pooled(both_directions(self.network, vectors.float(), lengths), lengths)
        lengths = lengths.cpu()
        packed = pack_padded_sequence(vectors, lengths, batch_first=True, enforce_sorted=False)
        states, last = self.network(packed)
        if self.pooling == "last":
            final = last[0] if isinstance(last, tuple) else last  # an LSTM's state is a pair
            return torch.cat([final[0], final[1]], dim=-1)
        padded, _ = pad_packed_sequence(states, batch_first=True)
        if self.pooling == "last_as_published":
            return padded[torch.arange(len(padded)), lengths.to(padded.device) - 1]
        real = (torch.arange(padded.shape[1]) < lengths[:, None]).unsqueeze(-1).to(padded.device)
        if self.pooling == "max":
            return padded.masked_fill(~real, float("-inf")).max(dim=1).values
        return padded.sum(1) / real.sum(1)

    def pooled(self, states: Tensor, lengths: Tensor) -> Tensor:
        """States [2, T, B, H] of `both_directions` -> [B, 2H]; the backward ones stand in the order of reading."""
        ends, rows = lengths - 1, torch.arange(len(lengths))
        if self.pooling in ("last", "last_as_published"):
            backward_ends = ends if self.pooling == "last" else torch.zeros_like(ends)
            return torch.cat([states[0, ends, rows], states[1, backward_ends, rows]], dim=-1)
        real = (torch.arange(states.shape[1])[:, None] < lengths).unsqueeze(-1)
        if self.pooling == "max":
            sums = states.masked_fill(~real, float("-inf")).amax(dim=1)
        else:
            sums = (states * real).sum(dim=1) / lengths.unsqueeze(-1)
        return torch.cat([sums[0], sums[1]], dim=-1)


class BiLSTMForSequenceClassification(Student):
    """Single-layer BiLSTM with a one-layer classifier (Tang et al. 2019, arXiv:1903.12136)."""

    config_class = BiLSTMConfig

    def __init__(self, config: BiLSTMConfig):
        network = nn.LSTM(config.dim, config.hidden, batch_first=True, bidirectional=True)
        super().__init__(config, body=Recurrent(network, config.pooling), width=2 * config.hidden)


class RNNForSequenceClassification(Student):
    """Single-layer bidirectional RNN with tanh (Elman 1990) and a one-layer classifier."""

    config_class = RNNConfig

    def __init__(self, config: RNNConfig):
        network = nn.RNN(config.dim, config.hidden, batch_first=True, bidirectional=True)
        super().__init__(config, body=Recurrent(network, config.pooling), width=2 * config.hidden)
