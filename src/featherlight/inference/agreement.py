"""Two predictors and some texts in; how far their logits are apart out."""

from collections.abc import Iterator

import numpy as np

from featherlight.data.task import Examples
from featherlight.inference.predictor import Predictor

_SHAPES = ((1, 0), (1, 1), (2, 1), (3, 7), (7, 3), (5, 40), (2, 600))  # texts, words of the longest


def agreement(before: Predictor, after: Predictor, examples: Examples) -> tuple[float, float]:
    """(worst difference between two models' logits, largest logit) over real texts and random shapes.

    The shapes are made of the words of the real texts in random order: no word at all, one, and more than most models
    read; one text, few and several of unequal length. A logit that is not finite counts as an infinite difference.
    """
    worst = largest = 0.0
    for texts in (examples, *shaped(examples)):
        logits = before.logits(before.tokens(texts))
        differences = np.abs(logits - after.logits(after.tokens(texts)))
        worst = max(worst, float(differences.max()) if np.isfinite(differences).all() else np.inf)
        largest = max(largest, float(np.abs(logits).max()))
    return worst, largest


def shaped(examples: Examples) -> Iterator[Examples]:
    """Texts of random words in each of SHAPES; one of them is as long as its shape says."""
    generator = np.random.default_rng(0)
    words = np.array(sorted({word for text in [*examples.first, *(examples.second or ())] for word in text.split()}))

    def texts(count: int, most: int) -> list[str]:
        lengths = [most, *generator.integers(0, most + 1, size=count - 1)]
        return [" ".join(generator.choice(words, size=length)) for length in lengths]

    for count, most in _SHAPES:
        second = None if examples.second is None else texts(count, most)[::-1]
        yield Examples(texts(count, most), second, None, np.arange(count))
