"""The frozen settings of every stage: name, type, default, meaning and bound, each declared once.

The command line, recipes, addresses and records all read these classes. Imports no torch.
"""

from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from featherlight.config import RESULT, Settings

Device = Literal["auto", "cpu", "cuda", "mps"]
Precision = Literal["auto", "fp32", "bf16"]


def setting(default: Any, description: str, **bounds: Any) -> Any:
    """A setting that decides the result."""
    return Field(default, description=description, **bounds)


def free(default: Any, description: str, **bounds: Any) -> Any:
    """A setting that cannot change the result; it stays out of the address."""
    return Field(default, description=description, json_schema_extra=dict(RESULT), **bounds)


class TaskSettings(Settings):
    """Which rows a stage sees."""

    task: str = setting(..., "A name from `featherlight tasks`, or the path of a file (CSV, JSONL, ...) or folder.")
    data: Path | None = free(None, "Root folder of local data sets; without it, named tasks come from the hub.")
    text: str | None = setting(None, "Own file: the column that holds the text.")
    text_pair: str | None = setting(None, "Own file: the column that holds the second text.")
    label: str | None = setting(None, "Own file: the column that holds the label or score.")
    kind: Literal["auto", "classification", "regression"] = setting("auto", "Own file: what the label column is.")
    dev: Path | None = free(None, "Own file: the file that holds the dev split; without it one is cut off.")
    select_on: Literal["select", "dev"] = setting("select", "The split on which choices are made.")
    drop_leaks: bool = setting(False, "Take the rows out of train whose texts another split has too.")


class RunSettings(Settings):
    """Where and how exactly numbers are computed."""

    device: Device = free("auto", "Where to compute; auto takes the fastest there is.")
    precision: Precision = setting("auto", "auto: bf16 for encoders where the device has it, fp32 for students.")
    batch_tokens: int = free(4096, "Most padded tokens in one forward pass.", ge=1)


class RowSettings(TaskSettings):
    """Which rows of train a stage sees."""

    examples: int | None = setting(None, "Cut train down to this many rows, stratified, by seed.", ge=2)


class TrainSettings(RowSettings, RunSettings):
    """Settings of the training loop."""

    batch_tokens: int = setting(4096, "Most padded tokens in one forward pass; a batch above it is summed up.", ge=1)
    seed: int = setting(1, "Seed of initial weights, order, dropout and the cut of --examples.", ge=0, lt=2**31)
    max_length: int = setting(128, "Tokens per text (encoders: per example) that are kept.", ge=4)
    epochs: int = setting(3, "Passes over train.", ge=1)
    batch_size: int = setting(32, "Examples per optimiser step.", ge=1)
    optimizer: Literal["adamw", "adam", "adadelta"] = setting("adamw", "Update rule.")
    learning_rate: float = setting(5e-5, "Peak learning rate.", gt=0)
    schedule: Literal["linear", "cosine", "constant", "1cycle"] = setting("linear", "Learning rate over the steps.")
    warmup: float = setting(0.06, "Share of the steps in which the learning rate rises.", ge=0, lt=1)
    weight_decay: float = setting(0.01, "Decay of weight matrices; biases and norms have none.", ge=0)
    clip: float = setting(1.0, "Largest norm of the gradient; 0 clips nothing.", ge=0)
    patience: int = setting(0, "Stop after this many epochs without a better select score; 0 never stops.", ge=0)
    select_metric: str | None = setting(None, "Score that picks the best epoch; the task's first metric if not given.")
    refit: bool = setting(False, "Fit once more on train and select together, for the best number of epochs.")
    checkpoint_seconds: float = free(60.0, "Time between checkpoints inside an epoch.", gt=0)

    @model_validator(mode="after")
    def refit_needs_select(self) -> Self:
        """A refit adds the rows of select to train; where dev was selected on, there are none."""
        if self.refit and self.select_on == "dev":
            raise ValueError("refit fits on train and select together; with select_on dev there is no select split")
        return self


class FinetuneSettings(TrainSettings):
    """Settings of one fine-tuning of an encoder on one task."""

    model: str = setting(..., "A hub name, a local folder, or `minilm`.")
    revision: str | None = setting(None, "Branch, tag or commit of a hub model.")
    trust_remote_code: bool = setting(False, "Run code that comes with the model; only if you trust its author.")


class LabelSettings(RowSettings, RunSettings):
    """Settings of the stage that stores a teacher's logits for the texts of a task."""

    seed: int = setting(1, "Seed of the cut of --examples.", ge=0, lt=2**31)


# Chosen on the select split of SST-2; the temperature agrees with section 6.1.3 of the thesis on featherweight models.
BAG = {"temperature": 3.0, "learning_rate": 3e-3, "batch_size": 100}
ADADELTA_RATE = 1.0  # as its paper has it (Zeiler 2012, arXiv:1212.5701): the rule finds its own step


class DistillSettings(TrainSettings):
    """Settings of one distillation of a teacher into a student on one task."""

    student: Literal["bilstm", "bag"] = setting("bilstm", "Architecture of the student.")
    embedding: Literal["wordpiece", "bpe"] = setting("wordpiece", "Teacher's vocabulary cut down, or own byte pairs.")
    start: Literal["teacher", "random"] = setting(
        "teacher", "Embeddings start from the teacher's vectors or at random."
    )
    dim: int = setting(25, "Width of the embeddings.", ge=1)
    vocabulary: int = setting(5000, "Number of pieces.", ge=10)
    hidden: int | None = setting(None, "Hidden units per direction; 150 if not given, doubled for pairs.", ge=1)
    classifier: int | None = setting(None, "Hidden units of the classifier; 200 (bag 100), doubled for pairs.", ge=1)
    pooling: Literal["last", "max", "mean"] = setting("last", "How a recurrent student sums up its states.")
    dropout: float = setting(0.1, "Dropout on embeddings and in the classifier.", ge=0, lt=1)
    alpha: float = setting(0.5, "Weight of the labels; the teacher gets the rest.", ge=0, le=1)
    loss: Literal["auto", "mse", "kl", "ce"] = setting(
        "auto", "Distance between the logits of student and teacher; auto: kl for a bag that classifies, else mse."
    )
    temperature: float = setting(2.0, "Softening of both distributions for kl and ce; 1: none. A bag: 3.", gt=0)

    epochs: int = setting(8, "Passes over train.", ge=1)
    batch_size: int = setting(50, "Examples per optimiser step. A bag: 100.", ge=1)
    batch_tokens: int = setting(16384, "Most padded tokens in one forward pass.", ge=1)
    optimizer: Literal["adamw", "adam", "adadelta"] = setting("adam", "Update rule.")
    learning_rate: float = setting(1e-3, "Peak learning rate. A bag: 3e-3; adadelta: 1.", gt=0)
    weight_decay: float = setting(0.0, "Decay of weight matrices; biases and norms have none.", ge=0)

    @model_validator(mode="before")
    @classmethod
    def fill_in(cls, given: Any) -> Any:
        """What suits the student and the optimiser, where nothing else was asked for."""
        if not isinstance(given, dict):
            return given
        suited = dict(BAG) if given.get("student") == "bag" else {}
        if given.get("optimizer") == "adadelta":
            suited["learning_rate"] = ADADELTA_RATE
        return {**suited, **given}


class EvaluateSettings(TaskSettings, RunSettings):
    """Settings of one evaluation of a model folder."""

    split: str = setting("reported", "Split to score; `reported`: the one, or those, that the task reports.")
    whole: bool = setting(False, "Own file: score all its rows, rather than the dev split cut off it.")


class RecipeSettings(Settings):
    """What the command line may say over a recipe; `--set` takes any setting of any stage."""

    settable: ClassVar[tuple[str, ...]] = tuple(
        {
            **FinetuneSettings.model_fields,
            **LabelSettings.model_fields,
            **DistillSettings.model_fields,
            **EvaluateSettings.model_fields,
        }
    )

    data: Path | None = free(None, "Root folder of local data sets.")
    device: Device | None = free(None, "Where to compute.")
    precision: Precision | None = setting(None, "auto, fp32 or bf16.")
    examples: int | None = setting(None, "Cut train down to this many rows.", ge=2)


class QuickstartSettings(Settings):
    """What `quickstart` lets one change."""

    device: Device = free("auto", "Where to compute; auto takes the fastest there is.")
    precision: Precision = setting("auto", "auto: bf16 for the encoder where the device has it.")
    examples: int = setting(11000, "Rows of train that are used, stratified.", ge=100)
    seed: int = setting(1, "Seed of everything.", ge=0, lt=2**31)
