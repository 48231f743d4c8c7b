"""The bag student: mean of the embeddings, one hidden layer. Order is lost, speed is won."""

from typing import Any

import torch
from torch import Tensor, nn

from featherlight.models.students.student import Student, StudentConfig


class BagConfig(StudentConfig):
    """Config of `BagForSequenceClassification`; all of it is the common frame's."""

    model_type = "featherlight-bag"

    def __init__(self, **common: Any):  # without one, transformers 5 generates an __init__ that drops the frame's
        super().__init__(**common)


class _Mean(nn.Module):
    """Mean over the real tokens."""

    def forward(self, vectors: Tensor, attention_mask: Tensor) -> Tensor:
        """[B, T, D], [B, T] -> [B, D]; an empty row gives zeros."""
        kept = attention_mask.to(vectors.dtype)
        sums = torch.bmm(kept.unsqueeze(1), vectors).squeeze(1)  # half the time of a product and a sum
        return sums / kept.sum(1, keepdim=True).clamp(min=1)


class BagForSequenceClassification(Student):
    """Continuous bag of pieces (Wasserblat et al. 2020, arXiv:1910.06294: the CBOW-FFN student)."""

    config_class = BagConfig

    def __init__(self, config: BagConfig):
        super().__init__(config, body=_Mean(), width=config.dim)
