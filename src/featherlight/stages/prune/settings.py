"""The settings of a pruning. Imports no torch."""

from typing import Literal, Self

from pydantic import model_validator

from featherlight.config import free, setting
from featherlight.stages.settings import RowSettings, RunSettings, SparsitySettings, check_sparsity


class PruneSettings(SparsitySettings, RowSettings, RunSettings):
    """Settings of one pruning of a trained model, with or without recovery epochs."""

    method: Literal[
        "magnitude", "topv", "movement", "random", "nm",
        "heads", "neurons", "layers", "units", "columns", "vocabulary",
    ] = setting(..., "The first five set weights to zero; the others remove parts of the model.")  # fmt: skip
    score: Literal["magnitude", "taylor"] = setting(
        "magnitude",
        "heads, neurons ...: rank by size of the weights, or by the effect on the loss (first-order Taylor).",
    )
    epochs: int = setting(0, "Recovery: passes over train, as in the model's own training.", ge=0)
    learning_rate: float | None = setting(None, "Peak learning rate of the recovery; the training's own.", gt=0)
    batch_size: int | None = setting(None, "Examples per step of the recovery; the training's own.", ge=1)
    seed: int = setting(1, "Seed of random scores, order, dropout and the cut of --examples.", ge=0, lt=2**31)
    checkpoint_seconds: float = free(60.0, "Seconds between checkpoints within an epoch.", gt=0)

    @property
    def reads_train(self) -> bool:
        """Whether the rows of train are looked at."""
        return self.epochs > 0 or self.score == "taylor" or self.method == "vocabulary"

    @model_validator(mode="after")
    def method_fits(self) -> Self:
        """What has no effect with a method, or without recovery, is a mistake."""
        check_sparsity(self, self.method)
        if self.method == "movement" and not self.epochs:
            raise ValueError("epochs: movement learns in training which weights go; give it at least --epochs 1")
        for name in ("ramp", "learning_rate"):
            if not self.epochs and self.given(name):
                raise ValueError(f"{name}: has no effect without recovery epochs; add --epochs 1")
        return self
