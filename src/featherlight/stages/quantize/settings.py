"""The settings of a quantization. Imports no torch."""

from typing import Any, Literal, Self

from pydantic import model_validator

from featherlight.config import free, setting
from featherlight.stages.settings import RowSettings, RunSettings

Width = Literal["8", "5", "4", "3", "2", "ternary", "fp16"]


class QuantizeSettings(RowSettings, RunSettings):
    """Settings of one quantization of a model."""

    mode: Literal["auto", "weights", "aware", "dynamic", "static"] = setting(
        "auto",
        "weights: stored in fewer bits; aware: trained on with such weights. dynamic, static: computed in int8 by "
        "onnxruntime, with ranges of each call or of --calibration. auto: weights; an encoder: dynamic.",
    )
    bits: Width = setting("8", "Bits of a weight; ternary: three values; fp16: half precision.")
    bits_embedding: Width | None = setting(None, "The same for the embeddings alone.")
    bits_recurrent: Width | None = setting(None, "The same for the recurrent weights alone.")
    bits_linear: Width | None = setting(None, "The same for the classifier alone.")
    codebook: Literal["uniform", "kmeans"] = setting("uniform", "Equally spaced values, or the best ones for a tensor.")
    scales: Literal["auto", "tensor", "row"] = setting(
        "auto", "uniform: one scale per tensor or per row; auto: per row, but one for the embeddings."
    )
    groups: int | None = setting(None, "Product quantization of the embeddings: a code per row and group.", ge=1)
    budget: str | None = setting(None, "Choose the width of each tensor so that the packed file has this size: 100KB.")
    calibration: int = setting(
        1000, "budget: rows of train on which widths are compared; static: on which ranges are found.", ge=10
    )
    epochs: int | None = setting(None, "aware: passes over train, as in the model's own training; 2.", ge=1)
    learning_rate: float | None = setting(None, "aware: peak learning rate; a tenth of the training's own.", gt=0)
    seed: int = setting(1, "Seed of cuts of train, of order, dropout and product codes.", ge=0, lt=2**31)
    checkpoint_seconds: float = free(60.0, "Seconds between checkpoints within an epoch.", gt=0)

    @model_validator(mode="before")
    @classmethod
    def widths_are_names(cls, given: Any) -> Any:
        """8 means "8": YAML reads it as a number."""
        if not isinstance(given, dict):
            return given
        return {name: str(value) if name.startswith("bits") and isinstance(value, int) else value
                for name, value in given.items()}  # fmt: skip

    @model_validator(mode="after")
    def a_budget_chooses(self) -> Self:
        """With a budget the widths are found, not given."""
        chosen = {"bits", "bits_embedding", "bits_recurrent", "bits_linear", "groups"} & self.model_fields_set
        if self.budget is not None and chosen:
            raise ValueError(f"budget chooses the widths; leave out {', '.join(sorted(chosen))}")
        if self.groups is not None and self.bits_embedding is not None:
            raise ValueError("groups and bits_embedding both say how embeddings are stored; keep one")
        if self.mode == "aware":
            widths = {self.bits, self.bits_embedding, self.bits_recurrent, self.bits_linear}
            if self.groups is not None or self.budget is not None or "fp16" in widths:
                raise ValueError("mode aware trains with levels of 2 to 8 bits; leave groups, budget and fp16 out")
        else:
            for name in ("epochs", "learning_rate"):
                if getattr(self, name) is not None:
                    raise ValueError(f"{name}: has no effect without training; add --mode aware")
        if self.mode in ("dynamic", "static"):
            own = {"bits", "scales", "seed", "mode", "calibration"} | set(RowSettings.model_fields)
            idle = self.model_fields_set - own - set(RunSettings.model_fields)
            if self.bits != "8" or idle:
                what = ", ".join(sorted(idle)) or "bits"
                raise ValueError(f"mode {self.mode} computes in 8 bits throughout; leave {what} out")
        if self.codebook == "kmeans" and self.scales != "auto":
            raise ValueError("scales: a codebook has none; leave it out, or use codebook uniform")
        return self
