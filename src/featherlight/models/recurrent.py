"""The BiLSTM student. House shapes: B examples, T tokens, D width, H hidden units per direction."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from featherlight.models.student import Student, StudentConfig

POOLINGS = ("last", "max", "mean")


class BiLSTMConfig(StudentConfig):
    """Config of `BiLSTMForSequenceClassification`. hidden: units per direction. pooling: see `BiLSTM`."""

    model_type = "featherlight-bilstm"

    def __init__(self, hidden: int = 150, pooling: str = "last", **common: Any):
        self.hidden, self.pooling = hidden, pooling
        super().__init__(**common)


class BiLSTM(nn.Module):
    """One bidirectional layer whose states are summed up by `pooling`.

    last: the state of each direction after it has read the whole text (the backward one ends at
    the first token). max, mean: over the states at all real tokens.
    """

    def __init__(self, width: int, hidden: int, pooling: str):
        super().__init__()
        assert pooling in POOLINGS
        self.pooling = pooling
        self.lstm = nn.LSTM(width, hidden, batch_first=True, bidirectional=True)

    def forward(self, vectors: Tensor, attention_mask: Tensor) -> Tensor:
        """[B, T, D], [B, T] (padding on the right) -> [B, 2H]; an empty row is read as one token of padding."""
        lengths = attention_mask.sum(1).clamp(min=1).cpu()
        packed = pack_padded_sequence(vectors, lengths, batch_first=True, enforce_sorted=False)
        states, (last, _) = self.lstm(packed)
        if self.pooling == "last":
            return torch.cat([last[0], last[1]], dim=-1)
        padded, _ = pad_packed_sequence(states, batch_first=True)
        real = (torch.arange(padded.shape[1]) < lengths[:, None]).unsqueeze(-1).to(padded.device)
        if self.pooling == "max":
            return padded.masked_fill(~real, float("-inf")).max(dim=1).values
        return padded.sum(1) / real.sum(1)


class BiLSTMForSequenceClassification(Student):
    """Single-layer BiLSTM with a one-layer classifier (Tang et al. 2019, arXiv:1903.12136)."""

    config_class = BiLSTMConfig

    def __init__(self, config: BiLSTMConfig):
        super().__init__(config, body=BiLSTM(config.dim, config.hidden, config.pooling), width=2 * config.hidden)
