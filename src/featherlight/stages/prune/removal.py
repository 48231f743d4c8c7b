"""Parts of a model that are taken out for real."""

from typing import Any

from featherlight.compression.families import touched
from featherlight.compression.parts import parts_of, zeros
from featherlight.compression.structured import gradients_of, shrink
from featherlight.compression.unstructured import Masks
from featherlight.compression.vocabulary import shrink_vocabulary
from featherlight.data.tokens.tokenise import tokenise
from featherlight.models.device import is_encoder, resolve_device
from featherlight.models.families import HEADS, LAYERS
from featherlight.stages.prune.settings import PruneSettings
from featherlight.stages.recovery import RecoveryTarget
from featherlight.training.objective import TrainingSet


class Removal:
    """Parts of a model that are taken out for real; `model` and `tokenizer` are what is left."""

    def __init__(self, model: Any, tokenizer: Any, settings: PruneSettings, target: RecoveryTarget | None):
        self.settings, self.tokenizer = settings, tokenizer
        self.kept: dict[str, Any] = {}
        self.before = _sizes_of(model)
        if settings.method == "vocabulary":
            assert target
            table = model.get_input_embeddings().weight
            self.touched = [name for name, weight in model.named_parameters() if weight is table]
            texts = [*target.rows.first, *(target.rows.second or ())]
            self.model, self.tokenizer = shrink_vocabulary(model, tokenizer, texts, settings.sparsity)
            return
        assert settings.sparsity is not None
        self.touched = touched(model, settings.method)
        gradients = None
        if settings.score == "taylor":
            assert target
            apart = not is_encoder(model)
            tokens = tokenise(tokenizer, target.rows, max_length=tokenizer.model_max_length, apart=apart)
            examples = TrainingSet(tokens, target.targets["train"])
            device = resolve_device(settings.device)
            gradients = gradients_of(model, target.objective, examples, device=device, seed=settings.seed)
        self.model, kept = shrink(model, settings.method, settings.sparsity, gradients=gradients)
        self.kept = {"kept": kept} if settings.method in (HEADS, LAYERS) else {}

    def hook(self) -> Masks | None:
        """What was pruned to zero before stays zero while the rest recovers."""
        parts = [part for part in parts_of(self.model) if zeros(part.weight)]
        return Masks(parts, None) if parts else None

    def at_once(self) -> None:
        """It is done already."""

    @property
    def title(self) -> str:
        """What a table adds to the model's name."""
        share = "unused" if self.settings.sparsity is None else f"{self.settings.sparsity:.0%}"
        return f", {share} {self.settings.method} removed"

    def record(self) -> dict[str, Any]:
        """The record's part. zeros: the share that is gone, of the tensors from which the method takes."""
        now = _sizes_of(self.model)
        left = sum(now.get(name, 0) for name in self.touched)
        return {
            "zeros": 1 - left / sum(self.before[name] for name in self.touched),
            "zeros_asked": self.settings.sparsity,
            "parts_changed": {
                name: {"zeros": 0, "parameters": now.get(name, 0), "parameters_before": size}
                for name, size in self.before.items()
                if now.get(name) != size
            },
            **self.kept,
        }


def _sizes_of(model: Any) -> dict[str, int]:
    return {name: weight.numel() for name, weight in model.named_parameters()}
