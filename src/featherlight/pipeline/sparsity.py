"""The settings that say how much is pruned and where: part of those of `prune` and of `distill`. Imports no torch."""

from typing import Literal

from featherlight.config import Settings, setting

UNSTRUCTURED = ("magnitude", "topv", "movement", "random", "nm")
SCORED = ("heads", "neurons", "layers", "units", "columns")
FOR_METHODS: dict[str, tuple[str, ...]] = {  # settings that only some methods read
    "sparsity_embedding": ("magnitude", "topv", "movement", "random"),
    "sparsity_recurrent": ("magnitude", "topv", "movement", "random", "nm"),
    "sparsity_linear": ("magnitude", "topv", "movement", "random", "nm"),
    "scope": ("magnitude", "topv", "movement", "random"),
    "threshold": ("magnitude",),
    "parts": UNSTRUCTURED,
    "pattern": ("nm",),
    "mask": ("movement",),
    "ramp": ("magnitude", "topv", "movement", "random"),
    "score": SCORED,
}


class SparsitySettings(Settings):
    """How much is pruned, and where."""

    sparsity: float | None = setting(None, "Share of the weights that become zero; or of the heads ... that go.",
                                     ge=0, lt=1)  # fmt: skip
    sparsity_embedding: float | None = setting(None, "Another share for embeddings.", ge=0, lt=1)
    sparsity_recurrent: float | None = setting(None, "Another share for recurrent layers.", ge=0, lt=1)
    sparsity_linear: float | None = setting(None, "Another share for all other matrices.", ge=0, lt=1)
    threshold: float | None = setting(None, "magnitude: every weight up to this goes, whatever share that is.", gt=0)
    scope: Literal["local", "global"] = setting("local", "Compare the weights of each matrix, or of all together.")
    parts: str | None = setting(None, "Prune these alone: embedding, recurrent, linear, or names, with commas.")
    pattern: str = setting("2:4", "nm: how many of how many neighbours in a row stay.", pattern=r"^[1-9]\d*:[1-9]\d*$")
    mask: Literal["hard", "soft"] = setting("hard", "movement: keep the highest scores, or those above a threshold.")
    ramp: float = setting(0.5, "Share of a training in which the sparsity rises; the rest is recovery.", ge=0, lt=1)

    def wanted_kinds(self) -> dict[str, float]:
        """The kinds of part that have a share of their own."""
        shares = {kind: getattr(self, f"sparsity_{kind}") for kind in ("embedding", "recurrent", "linear")}
        return {kind: share for kind, share in shares.items() if share is not None}

    def given(self, name: str) -> bool:
        """Whether a setting was given another value than its default."""
        return bool(getattr(self, name) != type(self).model_fields[name].default)


def check_sparsity(settings: SparsitySettings, method: str) -> None:
    """ValueError for what does not fit the method of pruning."""
    for name, methods in FOR_METHODS.items():
        if name in type(settings).model_fields and method not in methods and settings.given(name):
            raise ValueError(f"{name}: has no effect with method {method}, only with {', '.join(methods)}")
    kinds = settings.wanted_kinds()
    if kinds and (settings.scope == "global" or settings.mask == "soft"):
        where = "scope global" if settings.scope == "global" else "mask soft"
        raise ValueError(f"sparsity_{next(iter(kinds))}: {where} weighs all parts together; leave one of both out")
    keep, of = map(int, settings.pattern.split(":"))
    if keep >= of:
        raise ValueError(f"pattern {settings.pattern}: the first number must be smaller, as in 2:4")
    if method == "nm" and settings.sparsity not in (None, 1 - keep / of):
        raise ValueError(f"sparsity: pattern {settings.pattern} zeroes {1 - keep / of:g}; leave sparsity out")
    if settings.threshold is not None:
        if settings.sparsity is not None or kinds or settings.scope == "global":
            raise ValueError("threshold says which weights go; leave sparsity and scope out")
    elif settings.sparsity is None and not kinds and method not in ("nm", "vocabulary"):
        raise ValueError("sparsity is missing: which share is to go, for example 0.5")
    if settings.sparsity == 0 and not any(kinds.values()):
        raise ValueError("sparsity 0 changes nothing; give a share between 0 and 1")
