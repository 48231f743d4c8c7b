"""Weights that are set to zero while a model is trained, or at once; for `prune` and `distill`."""

from typing import Any

from featherlight.compression import unstructured
from featherlight.compression.movement import Movement
from featherlight.compression.parts import Part, changed, parts_of, share_of_zeros, zeros_by_name
from featherlight.compression.unstructured import Masks, Sparsity, asked, prunable
from featherlight.stages.settings import UNSTRUCTURED, SparsitySettings


class Pruning:
    """Weights of a model that are set to zero, while it is trained or at once, and what became of them; or nothing.

    how: what is asked for; None prunes nothing. parts: kinds or names of the parts that are pruned, with commas.
    """

    def __init__(self, model: Any, how: Sparsity | None, *, parts: str | None):
        self.model, self.how = model, how
        self.parts: list[Part] = []
        if self.how is not None:
            names = tuple(name.strip() for name in parts.split(",")) if parts else ()
            self.parts = prunable(parts_of(model, names), self.how)
        self.before = zeros_by_name(self.parts)

    def hook(self) -> Masks | None:
        """What goes along with a training."""
        if self.how is None:
            return None
        return (Movement if self.how.method == unstructured.MOVEMENT else Masks)(self.parts, self.how)

    def at_once(self) -> None:
        """Prune without training."""
        assert self.how is not None
        unstructured.prune(self.parts, self.how)

    @property
    def title(self) -> str:
        """What a table adds to the model's name."""
        if self.how is None:
            return ""
        share = asked(self.parts, self.how)
        return f", {self.how.method} " + (f"{share:.0%}" if share is not None else f"under {self.how.threshold:g}")

    def record(self) -> dict[str, Any]:
        """The record's part: zeros reached and asked for over the matrices that may be pruned, and which changed."""
        if self.how is None:
            return {}
        return {
            "zeros": share_of_zeros(self.parts),
            "zeros_asked": asked(self.parts, self.how),
            "parts_changed": changed(self.before, self.parts),
        }


def sparsity_of(method: str | None, settings: SparsitySettings, *, seed: int) -> Sparsity | None:
    """What a method of unstructured pruning is asked for; None of any other method, or of none."""
    if method not in UNSTRUCTURED:
        return None
    keep, of = (int(number) for number in settings.pattern.split(":"))
    share = 1 - keep / of if method == unstructured.PATTERN else settings.sparsity or 0.0
    soft = settings.mask == "soft"
    return Sparsity(method, share, settings.wanted_kinds(), "global" if soft else settings.scope, settings.threshold,
                    (keep, of), soft, settings.ramp, seed)  # fmt: skip
