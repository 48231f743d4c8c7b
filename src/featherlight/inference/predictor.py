"""What can be asked of a model, whatever computes it: tokens, logits, answers."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from featherlight.data.task import Examples


class Predictor(Protocol):
    """A model as a function of texts, however it computes: what stages score, time and compare."""

    device: str
    precision: str

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

    def tokens(self, examples: Examples) -> Any:
        """The texts as `logits` wants them."""
        ...

    def check_pair(self, given: bool) -> None:
        """UserError if the model reads two texts and was given one, or the other way round."""
        ...

    def __call__(self, first: Sequence[str], second: Sequence[str] | None = None) -> np.ndarray:
        """Logits float32 [N, C], or values [N] for a regression."""
        ...

    def logits(self, tokens: Any, *, label: str = "predict") -> np.ndarray:
        """The same of what `tokens` gave."""
        ...
