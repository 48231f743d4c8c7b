"""Models that are there, or that a job will make: their sizes and tokenizers without their weights, and how long a
task's texts are for them.
"""

import functools
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoConfig, AutoTokenizer

from featherlight.data.task import Examples, TaskData
from featherlight.data.tokens.batches import Tokens
from featherlight.data.tokens.tokenise import tokenise
from featherlight.models.device import is_encoder
from featherlight.models.heads import CLASSES, HEADS, head_options
from featherlight.models.load import LONGEST
from featherlight.models.source import offline_options, quiet_transformers, source_of

_SAMPLE = 2000  # texts whose lengths are seen


@dataclass(frozen=True)
class MetaModel:
    """A model that is there or will be. model: without weights in memory (on the device "meta"). longest: in tokens."""

    model: Any
    tokenizer: Any
    longest: int

    @property
    def weights(self) -> int:
        """How many it has."""
        return sum(weight.numel() for weight in self.model.parameters())


@dataclass(frozen=True)
class Lengths:
    """Tokens of texts, seen on a sample: [examples, texts that are read apart]; seconds: of tokenising an example."""

    sample: np.ndarray
    seconds: float

    def of(self, rows: int) -> np.ndarray:
        """[rows, texts]: tokens of so many examples like them; fewer than the sample has are spread over it."""
        places = np.arange(rows) % len(self.sample)
        if rows < len(self.sample):  # data sets are ordered: the first rows may be the short ones
            places = np.linspace(0, len(self.sample) - 1, rows).astype(int)
        lengths: np.ndarray = self.sample[places]
        return lengths


def meta_model_of_encoder(name: str, revision: str | None, labels: tuple[str, ...], longest: int) -> MetaModel:
    """A pre-trained encoder with a new head."""
    source = source_of(name)
    options = {"revision": revision, **offline_options(source.folder)}
    with quiet_transformers():
        config = source.config(**options, **head_options(labels))
        tokenizer = AutoTokenizer.from_pretrained(source.where, **options)
    return MetaModel(_without_weights(config), tokenizer, longest)


def meta_model_of_folder(folder: Path) -> MetaModel:
    """A model that is there."""
    with quiet_transformers():
        model = _without_weights(AutoConfig.from_pretrained(folder, local_files_only=True))
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    return MetaModel(model, tokenizer, min(tokenizer.model_max_length, LONGEST))


def _without_weights(config: Any) -> Any:
    with torch.device("meta"):
        return HEADS[CLASSES].model.from_config(config)


def lengths_of(model: MetaModel, data: TaskData, split: str) -> Lengths:
    """How long the texts of a split are for a model; those of train for a split that is cut from it."""
    known = split if split in data.splits else "train"
    return _seen_lengths(
        _Key(model.tokenizer, data.fingerprint, data), known, model.longest, not is_encoder(model.model)
    )


@dataclass(frozen=True)
class _Key:
    """What lengths are remembered by: a tokenizer, the very one, and the rows of a task."""

    tokenizer: Any
    fingerprint: str
    data: TaskData = field(compare=False)


@functools.lru_cache(maxsize=256)
def _seen_lengths(key: _Key, split: str, most: int, apart: bool) -> Lengths:
    rows: Examples = key.data.splits[split]
    sample = rows.take(np.linspace(0, len(rows) - 1, min(len(rows), _SAMPLE)).astype(int))
    start = time.perf_counter()
    tokens: Tokens = tokenise(key.tokenizer, sample, max_length=most, apart=apart)
    seconds = (time.perf_counter() - start) / max(len(sample), 1)
    texts = [column.lengths for name, column in tokens.columns.items() if name.endswith("input_ids")]
    return Lengths(np.stack(texts, axis=1), seconds)


def tokenizer_bytes(tokenizer: Any) -> int:
    """Bytes of tokenizer.json, which holds its pieces."""
    return len(tokenizer.backend_tokenizer.to_str()) if getattr(tokenizer, "is_fast", False) else 0
