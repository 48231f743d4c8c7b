"""The settings of commands that are not a stage. Imports no torch."""

from pathlib import Path
from typing import Literal, Self

from pydantic import model_validator

from featherlight.config import Settings, free, setting
from featherlight.stages.settings import Device, Optimizer, Precision


class MemorySettings(Settings):
    """A training whose memory is predicted: a model by name or by its sizes, a batch, and how it is trained."""

    model: str | None = setting(None, "A hub name, a local folder, or `minilm`. Else give --layers and --hidden.")
    layers: int | None = setting(None, "Layers of an encoder like BERT, where no model is named.", ge=1)
    hidden: int | None = setting(None, "Its width.", ge=1)
    heads: int | None = setting(None, "Its attention heads; default: the width / 64.", ge=1)
    ffn: int | None = setting(None, "Width of its feed-forward layers; default: 4 times the width.", ge=1)
    vocab: int | None = setting(None, "Size of its vocabulary; default: 30522.", ge=1)
    labels: int = setting(2, "Classes; 1 for a regression.", ge=1)
    batch: int | None = setting(None, "Examples in one forward pass; default: 32.", ge=1)
    length: int = setting(128, "Tokens per example.", ge=1)
    fit: str | None = setting(None, "Find the largest batch that fits into this much memory: 16GB.")
    method: Literal["full", "head", "lora", "houlsby", "pfeiffer"] = setting("full", "What is trained.")
    rank: int | None = setting(None, "lora: rank of an update; default: 32.", ge=1)
    lora_dropout: float | None = setting(None, "lora: dropout before an update; default: 0.", ge=0, lt=1)
    bottleneck: int | None = setting(None, "houlsby, pfeiffer: adapter width; default: the encoder's / 16.", ge=1)
    frozen_precision: Literal["fp32", "bf16"] = setting(
        "fp32", "lora, houlsby, pfeiffer: precision of the frozen weights."
    )
    optimizer: Optimizer = setting("adamw", "Update rule.")
    precision: Precision = setting("fp32", "auto, fp32 or bf16.")
    checkpointing: bool = setting(False, "Gradient checkpointing: recompute activations to save memory.")
    attention: Literal["auto", "eager", "sdpa"] = setting("auto", "Attention kernel, as in `finetune`.")
    device: Device = free("cpu", "Where to train.")
    as_published: bool = setting(False, "Use the published formula of a RoBERTa in fp32 with AdamW instead.")
    measure: bool = setting(False, "Also measure three training steps in a new process; with --fit, repeatedly.")

    @model_validator(mode="after")
    def one_model(self) -> Self:
        """A name or sizes, not both; a batch to ask about or room to fill, not both."""
        sizes = [name for name in ("layers", "hidden", "heads", "ffn", "vocab") if getattr(self, name) is not None]
        if self.model is not None and sizes:
            raise ValueError(f"model and {sizes[0]}: give a model or its sizes, not both")
        if self.model is None and (self.layers is None or self.hidden is None):
            raise ValueError("model is missing: give --model, or --layers and --hidden")
        if self.fit is not None and self.batch is not None:
            raise ValueError("batch and fit: fit finds the batch; leave one of them out")
        return self

    @model_validator(mode="after")
    def sizes_belong_to_the_method(self) -> Self:
        """A size of another method would be read and never used."""
        owners = {"rank": ("lora",), "lora_dropout": ("lora",), "bottleneck": ("houlsby", "pfeiffer")}
        for name, methods in owners.items():
            if getattr(self, name) is not None and self.method not in methods:
                raise ValueError(f"{name}: belongs to method {' or '.join(methods)}, not to {self.method}")
        if self.frozen_precision != "fp32" and self.method in ("full", "head"):
            raise ValueError(f"frozen_precision: belongs to lora, houlsby and pfeiffer, not to {self.method}")
        return self

    @model_validator(mode="after")
    def as_published_is_one_case(self) -> Self:
        """The published formulas know full fine-tuning and Houlsby's adapters, in fp32 with AdamW."""
        names = ("attention", "checkpointing", "fit", "frozen_precision", "measure", "method", "optimizer", "precision")
        changed = [name for name in names if getattr(self, name) != type(self).model_fields[name].default
                   and (name, self.method) != ("method", "houlsby")]  # fmt: skip
        if self.as_published and changed:
            raise ValueError(f"{changed[0]}: the published formula has no such term; leave as_published out")
        return self


class AnalyzeSettings(Settings):
    """Which columns and rows to study, and how."""

    response: str = setting(..., "Column of times to explain.")
    factors: str = setting(..., "Columns that may explain them: model,task,batch_size.")
    reference: tuple[str, ...] = setting((), "FACTOR=LEVEL to compare with; default: a factor's most frequent level.")
    where: tuple[str, ...] = setting((), "FACTOR=LEVEL,LEVEL: keep these rows; FACTOR!=LEVEL,LEVEL: leave them out.")
    numeric: str | None = setting(None, "Factors to treat as numbers, where the guess is wrong.")
    categorical: str | None = setting(None, "Factors to treat as levels, though they look like numbers.")
    accuracy: str | None = setting(None, "Column of scores to show beside the times; it may have gaps.")
    drop_missing: bool = setting(False, "Leave out rows that lack a time or a factor.")
    forest: bool = setting(True, "Compute importances with a random forest, the slowest part.")
    forest_seed: int = setting(0, "Seed of the random forest.", ge=0, lt=2**31)


class CompareSettings(Settings):
    """What to compare, and the tests."""

    metric: str | None = setting(None, "Score to compare; default: the task's first.")
    alpha: float = setting(0.05, "Significance level of the tests; intervals have level 1 - alpha.", gt=0, lt=0.5)
    margin: float = setting(
        1.0, "Difference in points below which models count as equivalent; 0: no test.", ge=0, le=100
    )
    resamples: int = setting(10000, "Resamples of the bootstrap and of the permutation test.", ge=100, le=1_000_000)
    factors: str | None = setting(None, "Settings that tell the models apart: model,method. Adds their variance.")
    within: str | None = setting(None, "Compare only models that agree in these of the factors.")
    resample_seed: int = setting(0, "Seed of the bootstrap and of the permutation test.", ge=0, lt=2**31)


class QuickstartSettings(Settings):
    """Settings of `quickstart`."""

    device: Device = free("auto", "Where to compute; auto: the fastest device there is.")
    precision: Precision = setting("auto", "auto: bf16 for the encoder where the device supports it.")
    examples: int = setting(11000, "Rows of train to use, stratified by label.", ge=100)
    seed: int = setting(1, "Seed of everything.", ge=0, lt=2**31)


class RecipeSettings(Settings, extra="allow"):
    """Settings of the command line for all stages of a recipe or sweep; `--set` takes any setting of any stage."""

    data: Path | None = free(None, "Root folder of local data sets.")
    device: Device | None = free(None, "Where to compute.")
    precision: Precision | None = setting(None, "auto, fp32 or bf16.")
    examples: int | None = setting(None, "Cut train down to this many rows.", ge=2)
