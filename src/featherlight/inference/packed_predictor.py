"""A packed model as a function of texts, in numpy alone."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from featherlight.data.task import Examples
from featherlight.runtime.model import load


class PackedPredictor:
    """A packed file behind the interface of `Predictor`; it computes in numpy, on the processor, in float32."""

    device, precision = "cpu", "fp32"

    def __init__(self, file: Path):
        self.model = load(file)
        self.labels, self.parameters, self.pair = self.model.labels, self.model.parameters, self.model.pair
        self.positive: str | None = self.model.packed.about.get("positive")

    def tokens(self, examples: Examples) -> Examples:
        """The texts themselves: the packed model brings its tokenizer."""
        return examples

    def check_pair(self, given: bool) -> None:
        """UserError if the model reads two texts and was given one, or the other way round."""
        self.model.check_pair(given)

    def predict(self, first: Sequence[str], second: Sequence[str] | None = None) -> list[dict[str, Any]]:
        """{"label", "probability", "probabilities"} per text, or {"value"} for a regression. second: of pairs."""
        return self.model.predict(first, second)

    def __call__(self, first: Sequence[str], second: Sequence[str] | None = None) -> np.ndarray:
        """Logits float32 [N, C], or values [N] for a regression."""
        return self.model(first, second)

    def logits(self, examples: Examples, *, label: str = "predict") -> np.ndarray:
        """The same of a split."""
        return self(examples.first, examples.second)
