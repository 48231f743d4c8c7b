"""A toy model, its rows, and how it is trained."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from featherlight.data.tokens.batches import Tokens
from featherlight.data.tokens.ragged import Ragged
from featherlight.training.loop import RunContext
from featherlight.training.objective import Objective, TrainingSet
from featherlight.training.optimizers import OptimizerOptions

ROWS = 23
LARGE = 80_000  # times 13 rows: a table that is trained lazily


class Toy(nn.Module):
    """Mean of embeddings and a linear layer; `drop` is the dropout between them. LARGE is trained lazily."""

    def __init__(self, drop: float = 0.0, width: int = 5):
        super().__init__()
        torch.manual_seed(0)
        self.embedding, self.drop, self.out = nn.Embedding(13, width), nn.Dropout(drop), nn.Linear(width, 3)

    def get_input_embeddings(self):
        return self.embedding

    def forward(self, input_ids, attention_mask):
        kept = attention_mask.unsqueeze(-1).float()
        mean = (self.embedding(input_ids) * kept).sum(1) / kept.sum(1)
        return SimpleNamespace(logits=self.out(self.drop(mean)))


class WordObjective(Objective):
    """Guess each text's label from each of its words: a mean over real tokens."""

    def __call__(self, model, batch):
        guesses = model.out(model.embedding(batch.inputs["input_ids"]))
        labels = batch.targets["labels"][:, None].expand(guesses.shape[:2])
        losses = F.cross_entropy(guesses.flatten(0, 1), labels.flatten(), reduction="none")
        loss = (losses * batch.inputs["attention_mask"].flatten()).sum() / batch.totals["tokens"]
        return loss, {"words": loss}


def toy_data() -> TrainingSet:
    generator = np.random.default_rng(1)
    rows = [generator.integers(1, 13, size=generator.integers(1, 9)).tolist() for _ in range(ROWS)]
    labels = generator.integers(3, size=ROWS)
    return TrainingSet(Tokens({"input_ids": Ragged.of(rows)}, {"input_ids": 0}), {"labels": labels})


def options(**changed) -> OptimizerOptions:
    settings = {
        "optimizer": "adamw", "learning_rate": 0.05, "schedule": "linear", "warmup": 0.1, "weight_decay": 0.01,
        "clip": 1.0, "epochs": 3, "batch_size": 7, "batch_tokens": 10_000, "patience": 0, "seed": 4,
    }  # fmt: skip
    return OptimizerOptions(**{**settings, **changed})


def context(folder: Path) -> RunContext:
    return RunContext("cpu", "fp32", folder)


def weights(model: nn.Module) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])
