"""The settings of commands that are no stage. Imports no torch."""

from pathlib import Path
from typing import Literal, Self

from pydantic import model_validator

from featherlight.config import Settings, free, setting
from featherlight.stages.settings import Device, Optimizer, Precision


class MemorySettings(Settings):
    """A training whose memory is asked for: a model by name or by its sizes, a batch, and how it is trained."""

    model: str | None = setting(None, "A hub name, a local folder, or `minilm`; or give --layers, --hidden ...")
    layers: int | None = setting(None, "Layers of an encoder like BERT.", ge=1)
    hidden: int | None = setting(None, "Its width.", ge=1)
    heads: int | None = setting(None, "Its attention heads; a head for each 64 of the width.", ge=1)
    ffn: int | None = setting(None, "Width of its feed-forward part; 4 times the width.", ge=1)
    vocab: int | None = setting(None, "Words in its vocabulary; 30522.", ge=1)
    labels: int = setting(2, "Classes; 1 for a regression.", ge=1)
    batch: int | None = setting(None, "Examples in one forward pass; 32.", ge=1)
    length: int = setting(128, "Tokens per example.", ge=1)
    fit: str | None = setting(None, "Find the largest batch whose training fits into this: 16GB.")
    method: Literal["full", "head", "lora", "houlsby", "pfeiffer"] = setting(
        "full", "What is trained, as in `finetune`."
    )
    rank: int | None = setting(None, "lora: rank of an update; 32.", ge=1)
    lora_dropout: float | None = setting(None, "lora: dropout before an update; 0.", ge=0, lt=1)
    bottleneck: int | None = setting(
        None, "houlsby, pfeiffer: width of a bottleneck; a sixteenth of the encoder's.", ge=1
    )
    frozen_precision: Literal["fp32", "bf16"] = setting("fp32", "lora, houlsby, pfeiffer: as in `finetune`.")
    optimizer: Optimizer = setting("adamw", "Update rule.")
    precision: Precision = setting("fp32", "auto, fp32 or bf16.")
    checkpointing: bool = setting(False, "Compute each layer a second time rather than store what it needs.")
    attention: Literal["auto", "eager", "sdpa"] = setting("auto", "As in `finetune`.")
    device: Device = free("cpu", "Where to train.")
    as_published: bool = setting(False, "The published formula of a RoBERTa in fp32 with AdamW, and nothing else.")
    measure: bool = setting(
        False, "Train for three steps in a process of its own and measure beside it; with fit, as often as it takes."
    )

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
        for name, methods in {
            "rank": ("lora",),
            "lora_dropout": ("lora",),
            "bottleneck": ("houlsby", "pfeiffer"),
        }.items():
            if getattr(self, name) is not None and self.method not in methods:
                raise ValueError(f"{name}: belongs to method {' or '.join(methods)}, not to {self.method}")
        if self.frozen_precision != "fp32" and self.method in ("full", "head"):
            raise ValueError(f"frozen_precision: belongs to lora, houlsby and pfeiffer, not to {self.method}")
        return self

    @model_validator(mode="after")
    def as_published_is_one_case(self) -> Self:
        """The published formulas know full fine-tuning and Houlsby's adapters, in fp32 with AdamW."""
        others = {
            *(() if self.method == "houlsby" else ("method",)),
            "optimizer",
            "frozen_precision",
            "precision",
            "checkpointing",
            "attention",
            "measure",
            "fit",
        }
        changed = sorted(n for n in others if getattr(self, n) != type(self).model_fields[n].default)
        if self.as_published and changed:
            raise ValueError(f"{changed[0]}: the published formula does not know it; leave as_published out")
        return self


class AnalyzeSettings(Settings):
    """Which columns and rows to study, and how."""

    response: str = setting(..., "Column of times to explain.")
    factors: str = setting(..., "Columns that may explain them: model,task,batch_size.")
    reference: tuple[str, ...] = setting(
        (), "FACTOR=LEVEL that its others are compared with, once per factor; else the most frequent level."
    )
    where: tuple[str, ...] = setting(
        (), "FACTOR=LEVEL,LEVEL: only such rows; FACTOR!=LEVEL,LEVEL: all others. Several times: all must hold."
    )
    numeric: str | None = setting(None, "Factors that are numbers, where the guess is wrong.")
    categorical: str | None = setting(None, "Factors that are levels though they look like numbers.")
    accuracy: str | None = setting(None, "Column to set beside the times; it may have gaps.")
    drop_missing: bool = setting(False, "Leave out rows without a time or a factor's level.")
    forest: bool = setting(True, "Importance by random forest, which takes longest.")
    forest_seed: int = setting(0, "Seed of the random forest.", ge=0, lt=2**31)


class CompareSettings(Settings):
    """What to compare and when to believe it."""

    metric: str | None = setting(None, "Score to compare; else the task's first.")
    alpha: float = setting(0.05, "Level of the tests; intervals are of 1 - alpha.", gt=0, lt=0.5)
    margin: float = setting(1.0, "Points within which models count as equivalent; 0: do not ask.", ge=0, le=100)
    resamples: int = setting(10000, "Of the bootstrap and of the permutation test.", ge=100, le=1_000_000)
    factors: str | None = setting(
        None, "Settings that tell the models apart (model,method): they name them, and share out the scatter of scores."
    )
    within: str | None = setting(None, "Compare only models that are alike in these of the factors.")
    resample_seed: int = setting(0, "Seed of the bootstrap and of the permutation test.", ge=0, lt=2**31)


class QuickstartSettings(Settings):
    """What `quickstart` lets one change."""

    device: Device = free("auto", "Where to compute; auto takes the fastest there is.")
    precision: Precision = setting("auto", "auto: bf16 for the encoder where the device has it.")
    examples: int = setting(11000, "Rows of train that are used, stratified.", ge=100)
    seed: int = setting(1, "Seed of everything.", ge=0, lt=2**31)


class RecipeSettings(Settings, extra="allow"):
    """Settings of the command line for all stages of a recipe or sweep; `--set` takes any setting of any stage."""

    data: Path | None = free(None, "Root folder of local data sets.")
    device: Device | None = free(None, "Where to compute.")
    precision: Precision | None = setting(None, "auto, fp32 or bf16.")
    examples: int | None = setting(None, "Cut train down to this many rows.", ge=2)
