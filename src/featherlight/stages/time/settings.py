"""The settings of the stage `time`."""

from typing import Literal, Self

from pydantic import model_validator

from featherlight.config import setting
from featherlight.stages.settings import Device, RowSettings

Runtime = Literal["torch", "compiled", "bf16", "onnx", "int8", "light"]


class TimeSettings(RowSettings):
    """Settings of one timed cell: a model at one batch size and length."""

    what: Literal["inference", "finetune"] = setting("inference", "Seconds a batch; or seconds an epoch of train.")
    model: str = setting(..., "A hub name, a local folder, `minilm`, `minilm:3`, `random:2x128`, or a model made here.")
    runtime: Runtime = setting("torch", "Backend: torch is float32, onnx and int8 are onnxruntime, light is numpy.")
    length: int = setting(128, "Most tokens per text (encoders: per example); the rest is cut off.", ge=4)
    batch: int = setting(32, "Batch size.", ge=1)
    pad: Literal["max", "longest"] = setting(
        "longest", "longest: to the longest text of a batch, as one would ship it; max: to --length, as was published."
    )
    threads: int = setting(1, "Number of threads.", ge=1)
    device: Device = setting("auto", "Where to compute.")
    repeats: int | None = setting(None, "Samples; 20 of inference, 3 of fine-tuning.", ge=1)
    seconds: float = setting(
        20.0, "inference: stop after this many seconds, but take at least 5 samples (3 of slow calls).", gt=0
    )
    seed: int = setting(1, "Seed of a new head, of the order of rows, and of the cut of --examples.", ge=0, lt=2**31)
    learning_rate: float = setting(5e-5, "finetune: learning rate.", gt=0)
    weight_decay: float = setting(0.01, "finetune: weight decay of matrices.", ge=0)
    epsilon: float = setting(1e-8, "finetune: epsilon of AdamW.", gt=0)

    @model_validator(mode="after")
    def runtime_trains(self) -> Self:
        """Only torch trains."""
        if self.what == "finetune" and self.runtime not in ("torch", "bf16"):
            raise ValueError(f"runtime {self.runtime}: nothing is trained there; use torch or bf16")
        if self.runtime == "light" and self.pad == "max":
            raise ValueError("pad max: a packed model reads each text by itself and pads nothing; use longest")
        return self
