"""What can be asked of a model, whatever computes it: tokens, logits, answers."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from featherlight.data.task import Examples


class Model(Protocol):
    """A model that answers: what `featherlight.load` opens, whatever computes it."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names in the order of the logits; empty for a regression."""
        ...

    @property
    def pair(self) -> bool:
        """Whether it reads two texts per example, where it says so."""
        ...

    @property
    def parameters(self) -> int:
        """The number of its trained numbers."""
        ...

    def predict(self, first: Sequence[str], second: Sequence[str] | None = None) -> list[dict[str, Any]]:
        """{"label", "probability", "probabilities"} per text, or {"value"} for a regression. second: of pairs."""
        ...

    def __call__(self, first: Sequence[str], second: Sequence[str] | None = None) -> np.ndarray:
        """Logits float32 [N, C], or values [N] for a regression."""
        ...


class Predictor(Model, Protocol):
    """A model that stages score, time and compare: its tokens can be had apart from its logits."""

    device: str
    precision: str

    @property
    def positive(self) -> str | None:
        """The class of two whose F1 its training scored; None where it does not say so."""
        ...

    def tokens(self, examples: Examples) -> Any:
        """The texts as `logits` wants them."""
        ...

    def check_pair(self, given: bool) -> None:
        """UserError if the model reads two texts and was given one, or the other way round."""
        ...

    def logits(self, tokens: Any, *, label: str = "predict") -> np.ndarray:
        """The same of what `tokens` gave."""
        ...
