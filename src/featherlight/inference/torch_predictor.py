"""Model and texts in, logits out: for whole splits, and text by text as a user would ask.

Knows no task: what the logits are worth is `metrics`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from featherlight.data.task import Examples, Target
from featherlight.data.tokens.batches import Tokens, within_budget
from featherlight.data.tokens.tokenise import tokenise
from featherlight.measurement import footprint
from featherlight.measurement.metrics import SCORING
from featherlight.models.attention import use_short_attention
from featherlight.models.compiled import compile_in_place
from featherlight.models.device import (
    autocast,
    in_full_precision,
    is_encoder,
    keep_freed_memory,
    model_precision,
    resolve_device,
)
from featherlight.models.heads import output_layer
from featherlight.models.load import load_checkpoint
from featherlight.progress import track
from featherlight.runtime.text import check_pair, checked_sides


@torch.inference_mode()
def logits_of(
    model: Any, tokens: Tokens, *, device: str, precision: str, batch_tokens: int, label: str = "predict"
) -> np.ndarray:
    """Logits of every example, in their order: float32 [N, C], or [N] for a regression.

    Batches are sorted by length and hold at most batch_tokens padded tokens. model: on the device and in evaluation
    mode; seeing to that here would take a twelfth of the time of a single text.
    """
    keep_freed_memory()
    out = np.zeros((len(tokens), model.config.num_labels), dtype=np.float32)
    with track(label, len(tokens), unit="texts") as advance, autocast(device, precision):
        for part in within_budget(tokens.lengths, np.arange(len(tokens)), tokens=batch_tokens):
            inputs = {name: tensor.to(device) for name, tensor in tokens.batch(part).items()}
            out[part] = model(**inputs).logits.float().cpu().numpy()
            advance(len(part))
    return out[:, 0] if model.config.problem_type == "regression" else out


class TorchPredictor:
    """A model folder as a function of texts: `predictor(first, second)` -> logits."""

    def __init__(
        self,
        folder: Path,
        *,
        device: str = "auto",
        precision: str = "auto",
        batch_tokens: int = 4096,
        compiled: bool = False,
        trust_remote_code: bool = False,
    ):
        self.model, self.tokenizer = load_checkpoint(folder, trust_remote_code=trust_remote_code)
        self.device = resolve_device(device)
        self.precision = model_precision(self.model, precision, self.device)
        self.batch_tokens = batch_tokens
        self.model.to(self.device).eval()
        use_short_attention(self.model)
        if not self.labels:
            in_full_precision(output_layer(self.model))
        if compiled:
            compile_in_place(self.model, self.device)

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names in the order of the logits; empty for a regression."""
        if self.model.config.problem_type == "regression":
            return ()
        return tuple(self.model.config.id2label[i] for i in range(self.model.config.num_labels))

    @property
    def parameters(self) -> int:
        """The number of its trained numbers."""
        return footprint.parameters(self.model)

    @property
    def pair(self) -> bool:
        """Whether the model reads two texts per example, where it says so."""
        return bool(getattr(self.model.config, "pair", False))

    @property
    def positive(self) -> str | None:
        """The class of two whose F1 its training scored."""
        return getattr(self.model.config, "positive", None)

    def tokens(self, examples: Examples) -> Tokens:
        """The texts as this model's tokens, cut to the length that it was trained with."""
        self.check_pair(examples.second is not None)
        return tokenise(
            self.tokenizer, examples, max_length=self.tokenizer.model_max_length, apart=not is_encoder(self.model)
        )

    def check_pair(self, given: bool) -> None:
        """A student knows whether it reads one text or two; an encoder reads whatever it is given."""
        check_pair(getattr(self.model.config, "pair", given), given)

    def predict(self, first: Sequence[str], second: Sequence[str] | None = None) -> list[dict[str, Any]]:
        """{"label", "probability", "probabilities"} per text, or {"value"} for a regression. second: of pairs."""
        return SCORING[Target.of(self.labels)].answers(self(first, second), self.labels)

    def __call__(self, first: Sequence[str], second: Sequence[str] | None = None) -> np.ndarray:
        """Logits float32 [N, C], or values [N] for a regression."""
        firsts, seconds = checked_sides(first, second)
        return self.logits(self.tokens(Examples(firsts, seconds, None, np.arange(len(firsts)))))

    def logits(self, tokens: Tokens, *, label: str = "predict") -> np.ndarray:
        """Logits of tokens that this predictor's tokenizer made."""
        return logits_of(
            self.model,
            tokens,
            device=self.device,
            precision=self.precision,
            batch_tokens=self.batch_tokens,
            label=label,
        )
