"""The frozen settings of every stage: name, type, default, meaning and bound, each declared once.

The command line, recipes, addresses and records all read these classes. Imports no torch.
"""

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import field_validator, model_validator

from featherlight.config import Settings, added, free, setting

Device = Literal["auto", "cpu", "cuda", "mps"]
Precision = Literal["auto", "fp32", "bf16"]
Optimizer = Literal["adamw", "adamw_8bit", "adam", "adadelta", "adafactor", "sgd"]
UNSTRUCTURED = ("magnitude", "topv", "movement", "random", "nm")
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
    "score": ("heads", "neurons", "layers", "units", "columns"),
}


class TaskSettings(Settings):
    """Which rows a stage sees."""

    task: str = setting(..., "A name from `featherlight tasks`, or the path of a file (CSV, JSONL, ...) or folder.")
    data: Path | None = free(None, "Root folder of local data sets; without it, named tasks come from the hub.")
    text: str | None = setting(None, "Own file: the column that holds the text.")
    text_pair: str | None = setting(None, "Own file: the column that holds the second text.")
    label: str | None = setting(None, "Own file: the column that holds the label or score.")
    kind: Literal["auto", "classification", "regression"] = setting("auto", "Own file: what the label column is.")
    dev: Path | None = free(None, "Own file: the file that holds the dev split; without it one is cut off.")
    positive: str | None = added(None, "Own file of two classes: the one whose F1 is scored; else the rarer in train.")
    select_on: Literal["select", "dev"] = setting("select", "The split on which choices are made.")
    drop_leaks: bool = setting(False, "Remove rows from train whose texts are in another split, too.")


class RunSettings(Settings):
    """Where and how exactly numbers are computed."""

    device: Device = free("auto", "Where to compute; auto: the fastest device available.")
    precision: Precision = setting("auto", "auto: bf16 for encoders where the device has it, fp32 for students.")
    batch_tokens: int = free(4096, "Most padded tokens in one forward pass.", ge=1)
    compile: bool = setting(
        False, "Run the model through torch.compile: a minute to start; it pays on a GPU, if at all."
    )


class RowSettings(TaskSettings):
    """Which rows of train a stage sees."""

    examples: int | None = setting(None, "Cut train down to this many rows, stratified, by seed.", ge=2)


class TrainSettings(RowSettings, RunSettings):
    """Settings of the training loop."""

    batch_tokens: int = setting(
        4096, "Most padded tokens in one forward pass; gradients of larger batches are accumulated.", ge=1
    )
    seed: int = setting(1, "Seed of initial weights, order, dropout and the cut of --examples.", ge=0, lt=2**31)
    max_length: int = setting(128, "Most tokens per text (encoders: per example); the rest is cut off.", ge=4)
    epochs: int = setting(3, "Passes over train.", ge=1)
    batch_size: int = setting(32, "Examples per optimiser step.", ge=1)
    optimizer: Optimizer = setting("adamw", "Optimiser.")
    learning_rate: float = setting(5e-5, "Peak learning rate.", gt=0)
    schedule: Literal["linear", "cosine", "constant", "1cycle"] = setting("linear", "Learning-rate schedule.")
    warmup: float = setting(0.06, "Share of the steps over which the learning rate rises to its peak.", ge=0, lt=1)
    weight_decay: float = setting(0.01, "Weight decay of matrices; biases and norms have none.", ge=0)
    clip: float = setting(1.0, "Clip the gradient to this norm; 0: no clipping.", ge=0)
    epsilon: float = added(1e-8, "What adamw and adam add to the root of the second moment.", gt=0)
    betas: tuple[float, float] = added(
        (0.9, 0.999), "adamw, adam: how slowly means of gradients and of their squares forget, as 0.9,0.98."
    )
    evaluate_every: int = added(0, "Steps between scores on select; 0: at the end of each epoch.", ge=0)
    patience: int = setting(
        0, "Stop after this many epochs, or scores of --evaluate-every, without a better select score; 0: never.", ge=0
    )
    select_metric: str | None = setting(None, "Score that picks the best epoch; the task's first metric if not given.")
    class_weights: Literal["none", "balanced"] = setting("none", "balanced: every class of train weighs the same.")
    refit: bool = setting(False, "Train once more on train and select together, for the best number of epochs.")
    checkpoint_seconds: float = free(60.0, "Seconds between checkpoints within an epoch.", gt=0)
    track: Literal["mlflow", "wandb", "tensorboard", "trackio"] | None = free(
        None, "Log losses and scores to this tracker, too."
    )

    @field_validator("betas", mode="before")
    @classmethod
    def two_numbers(cls, given: Any) -> Any:
        """A pair is spelled as text where a list means several values: on the command line, and in recipes."""
        try:
            pair = tuple(map(float, given.split(",") if isinstance(given, str) else given))
        except (TypeError, ValueError):
            pair = ()
        if len(pair) != 2 or not all(0 <= number < 1 for number in pair):
            raise ValueError(f"betas {given}: give two numbers from 0 to below 1 with a comma, for example 0.9,0.98")
        return pair

    @model_validator(mode="after")
    def epsilon_and_betas_are_adams(self) -> Self:
        """Other rules have others, or none."""
        for name in ("epsilon", "betas"):
            if not self.optimizer.startswith("adam") and getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"{name}: {self.optimizer} has no such setting here; only adamw and adam do")
        return self

    @model_validator(mode="after")
    def refit_needs_select(self) -> Self:
        """A refit adds the rows of select to train; where dev was selected on, there are none."""
        if self.refit and self.select_on == "dev":
            raise ValueError("refit fits on train and select together; with select_on dev there is no select split")
        return self


class SparsitySettings(Settings):
    """How much is pruned, and where."""

    sparsity: float | None = setting(
        None, "Share of the weights to set to zero, or of the heads, neurons ... to remove.", ge=0, lt=1
    )
    sparsity_embedding: float | None = setting(None, "Sparsity of the embeddings, if it differs.", ge=0, lt=1)
    sparsity_recurrent: float | None = setting(None, "Sparsity of the recurrent layers, if it differs.", ge=0, lt=1)
    sparsity_linear: float | None = setting(None, "Sparsity of all other matrices, if it differs.", ge=0, lt=1)
    threshold: float | None = setting(
        None, "magnitude: prune every weight up to this size, whatever share that is.", gt=0
    )
    scope: Literal["local", "global"] = setting(
        "local", "Compare weights within each matrix (local) or across all of them (global)."
    )
    parts: str | None = setting(
        None, "Prune only these: embedding, recurrent, linear, or names of modules, with commas."
    )
    pattern: str = setting("2:4", "nm: keep so many of so many neighbours in a row.", pattern=r"^[1-9]\d*:[1-9]\d*$")
    mask: Literal["hard", "soft"] = setting("hard", "movement: keep the highest scores, or those above a threshold.")
    ramp: float = setting(
        0.5, "Share of the training steps over which the sparsity rises; the rest is recovery.", ge=0, lt=1
    )

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
        raise ValueError("sparsity is missing: give the share to prune, for example 0.5")
    if settings.sparsity == 0 and not any(kinds.values()):
        raise ValueError("sparsity 0 changes nothing; give a share between 0 and 1")
