"""The frozen settings of every stage: name, type, default, meaning and bound, each declared once.

The command line, recipes, addresses and records all read these classes. Imports no torch.
"""

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import model_validator

from featherlight.config import Settings, added, free, setting
from featherlight.pipeline.sparsity import SparsitySettings, check_sparsity

Device = Literal["auto", "cpu", "cuda", "mps"]
Precision = Literal["auto", "fp32", "bf16"]
Optimizer = Literal["adamw", "adamw_8bit", "adam", "adadelta", "adafactor", "sgd"]


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
    compile: bool = setting(
        False, "Run the model through torch.compile: a minute to start; it pays on a GPU, if at all."
    )


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
    optimizer: Optimizer = setting("adamw", "Update rule.")
    learning_rate: float = setting(5e-5, "Peak learning rate.", gt=0)
    schedule: Literal["linear", "cosine", "constant", "1cycle"] = setting("linear", "Learning rate over the steps.")
    warmup: float = setting(0.06, "Share of the steps in which the learning rate rises.", ge=0, lt=1)
    weight_decay: float = setting(0.01, "Decay of weight matrices; biases and norms have none.", ge=0)
    clip: float = setting(1.0, "Largest norm of the gradient; 0 clips nothing.", ge=0)
    epsilon: float = added(1e-8, "What adamw and adam add to the root of the second moment.", gt=0)
    patience: int = setting(0, "Stop after this many epochs without a better select score; 0 never stops.", ge=0)
    select_metric: str | None = setting(None, "Score that picks the best epoch; the task's first metric if not given.")
    class_weights: Literal["none", "balanced"] = setting("none", "balanced: every class of train weighs the same.")
    refit: bool = setting(False, "Fit once more on train and select together, for the best number of epochs.")
    checkpoint_seconds: float = free(60.0, "Time between checkpoints inside an epoch.", gt=0)
    track: Literal["mlflow", "wandb", "tensorboard", "trackio"] | None = free(
        None, "Show losses and scores there, too; the record is the truth."
    )

    @model_validator(mode="after")
    def epsilon_is_adams(self) -> Self:
        """Other rules have another epsilon, or none."""
        if not self.optimizer.startswith("adam") and "epsilon" in self.model_fields_set:
            raise ValueError(f"epsilon: {self.optimizer} has no such setting here; only adamw and adam do")
        return self

    @model_validator(mode="after")
    def refit_needs_select(self) -> Self:
        """A refit adds the rows of select to train; where dev was selected on, there are none."""
        if self.refit and self.select_on == "dev":
            raise ValueError("refit fits on train and select together; with select_on dev there is no select split")
        return self


# Lan et al. 2020 (arXiv:1909.11942), A.4, as table 1 of the thesis on timing has them.
LEARNING_RATES = {
    "cola": 1e-5, "stsb": 2e-5, "sst2": 1e-5, "mnli": 3e-5, "qnli": 1e-5, "qqp": 5e-5, "rte": 3e-5, "mrpc": 2e-5,
    "wnli": 2e-5,
}  # fmt: skip


HEAD_RATE = 1e-3  # one or two layers on fixed vectors
SMALL_LAYERS_RATE = 5e-4  # of LoRA and adapters in the report on parameter-efficient fine-tuning
PROMPT_RATE = 1e-2  # best of 5e-4, 1e-2, 3e-2 and 1e-1 on select: MiniLM, 1,000 examples of SST-2, three epochs
SMALL_LAYERS = ("lora", "dora", "ia3", "prompt_tuning", "houlsby", "pfeiffer")
BELONGS = {
    "virtual_tokens": ("prompt_tuning",),
    "frozen_precision": SMALL_LAYERS,
    **dict.fromkeys(("rank", "lora_alpha", "lora_dropout"), ("lora", "dora")),
    "targets": ("lora", "dora", "ia3"),
    **dict.fromkeys(("reduction", "adapter_activation"), ("houlsby", "pfeiffer")),
}


class FinetuneSettings(TrainSettings):
    """Settings of one fine-tuning of an encoder on one task."""

    learning_rate: float = setting(
        5e-5, "Peak learning rate. GLUE: 1e-5 to 5e-5 by task; small layers: 5e-4, head: 1e-3, prompts: 1e-2.", gt=0
    )
    model: str = setting(..., "A hub name, a local folder or `minilm`; `minilm:3`: its first 3 layers.")
    revision: str | None = setting(None, "Branch, tag or commit of a hub model.")
    trust_remote_code: bool = setting(False, "Run code that comes with the model; only if you trust its author.")
    attention: Literal["auto", "eager", "sdpa"] = added(
        "auto",
        "eager: the model's own; sdpa: a fused kernel that stores no matrix of tokens by tokens, on a processor "
        "without dropout in it. auto: the fastest for short texts.",
    )
    checkpointing: bool = added(False, "Compute each layer a second time rather than store what its gradient needs.")
    method: Literal["full", "head", "lora", "dora", "ia3", "prompt_tuning", "houlsby", "pfeiffer"] = added(
        "full", "What is trained: everything, the head alone, or small layers beside a frozen encoder."
    )
    rank: int = added(32, "lora, dora: rank of an update.", ge=1)
    lora_alpha: float = added(32.0, "lora, dora: an update is scaled by this over the rank.", gt=0)
    lora_dropout: float = added(0.0, "lora, dora: dropout before an update.", ge=0, lt=1)
    targets: str | None = added(None, "lora, dora, ia3: endings of layers' names, with commas. [query and value]")
    reduction: int = added(16, "houlsby, pfeiffer: width of the encoder by width of a bottleneck.", ge=1)
    adapter_activation: Literal["gelu", "swish"] = added("gelu", "houlsby, pfeiffer: between down and up.")
    virtual_tokens: int = added(20, "prompt_tuning: vectors that every text is read with.", ge=1)
    frozen_precision: Literal["fp32", "bf16"] = added(
        "fp32",
        "Small layers: what the frozen matrices are held in; bf16, with --precision bf16, takes half the memory.",
    )

    @model_validator(mode="before")
    @classmethod
    def fill_in(cls, given: Any) -> Any:
        """The learning rate that suits a method or a GLUE task, where none was asked for."""
        if not isinstance(given, dict):
            return given
        if given.get("method", "full") != "full":
            own = {"head": HEAD_RATE, "prompt_tuning": PROMPT_RATE}
            return {"learning_rate": own.get(given["method"], SMALL_LAYERS_RATE), **given}
        if given.get("task") not in LEARNING_RATES:
            return given
        return {"learning_rate": LEARNING_RATES[given["task"]], **given}

    @model_validator(mode="after")
    def settings_belong_to_the_method(self) -> Self:
        """A setting of another method would be read and never used."""
        for name, methods in BELONGS.items():
            if name in self.model_fields_set and self.method not in methods:
                raise ValueError(f"{name}: belongs to method {' or '.join(methods)}, not to {self.method}")
        if self.targets is not None and not self.targets.strip(" ,"):
            raise ValueError("targets: names no layer; leave it out for query and value")
        if self.method == "head" and self.checkpointing:
            raise ValueError("checkpointing: has no effect with method head, whose frozen layers keep nothing")
        if self.trust_remote_code and self.method not in ("full", "head"):
            raise ValueError("trust_remote_code: an adapter's folder is loaded again without it; use method full")
        return self


class LabelSettings(RowSettings, RunSettings):
    """Settings of the stage that stores a teacher's logits for the texts of a task."""

    seed: int = setting(1, "Seed of the cut of --examples.", ge=0, lt=2**31)
    unlabelled: Path | None = free(None, "More texts without labels, one a line or a table, for the teacher to label.")


# Chosen on the select split of SST-2; the temperature agrees with section 6.1.3 of the thesis on featherweight models.
SUITED: dict[str, dict[str, Any]] = {
    "bilstm": {"learning_rate": 3e-3},  # select 87.7 against 87.0 with 1e-3; docs: 53.9 against 47.8
    "bag": {"temperature": 3.0, "learning_rate": 3e-3, "batch_size": 100},
}
SPELLED = {"start": "random", "max_length": 512}  # a text is five times as many letters as pieces
NO_PIECES: dict[str, dict[str, Any]] = {"char": SPELLED, "byte": SPELLED, "hash": {"start": "random"}}
ADADELTA_RATE = 1.0  # as its paper has it (Zeiler 2012, arXiv:1212.5701): the rule finds its own step

# Table 6.1 and sections 6.1.3 to 6.1.5 of the thesis on featherweight models. Its byte pairs came with vectors from
# Wikipedia (BPEmb), which no package here brings: byte pairs of the task and random vectors stand in for them.
PUBLISHED_ALL: dict[str, Any] = {
    "embedding": "bpe", "start": "random", "vocabulary": 5000, "batch_size": 50, "dropout": 0.1, "weight_decay": 0.0,
    "schedule": "constant", "warmup": 0.0, "clip": 0.0, "loss": "mse", "pooling": "last_as_published",
}  # fmt: skip
PUBLISHED: dict[str, dict[str, Any]] = {
    "bilstm": {"optimizer": "adadelta", "learning_rate": 1.0},
    "rnn": {"optimizer": "adam", "learning_rate": 1e-4, "weight_decay": 1e-5},
    "bag": {"optimizer": "adam", "learning_rate": 1e-4, "dropout": 0.2, "loss": "soft_mse", "temperature": 3.0},
}
PUBLISHED_LARGE = {("qqp", "bilstm"), ("mnli", "bilstm"), ("qqp", "rnn"), ("mnli", "rnn")}  # batches of 256


class DistillSettings(SparsitySettings, TrainSettings):
    """Settings of one distillation of a teacher into a student on one task."""

    student: Literal["bilstm", "rnn", "bag"] = setting("bilstm", "Architecture of the student.")
    preset: Literal["own", "published"] = free("own", "published: the thesis on featherweight models, table 6.1.")
    embedding: Literal["wordpiece", "bpe", "char", "byte", "hash"] = setting(
        "wordpiece", "Teacher's vocabulary cut down, own byte pairs, a to z and signs, bytes, or hashed words."
    )
    start: Literal["teacher", "random"] = setting(
        "teacher", "Embeddings start from the teacher's vectors or at random. char, byte, hash: random."
    )
    vectors: Path | None = free(None, "Start from these word vectors instead (text of word2vec or GloVe).")
    unlabelled: Path | None = free(None, "More texts without labels, one a line or a table, for the teacher to label.")
    dim: int = setting(25, "Width of the embeddings.", ge=1)
    vocabulary: int = setting(5000, "Number of pieces or hash buckets; padding comes on top.", ge=10)
    hidden: int | None = setting(None, "Hidden units per direction; 150 (rnn 100), doubled for pairs.", ge=1)
    classifier: int | None = setting(None, "Classifier's hidden units; 200 (rnn, bag 100), doubled for pairs.", ge=1)
    pooling: Literal["last", "last_as_published", "max", "mean"] = setting(
        "last", "How a recurrent student sums up its states; as published, the backward half has read one token."
    )
    dropout: float = setting(0.1, "Dropout on embeddings and in the classifier.", ge=0, lt=1)
    alpha: float = setting(0.5, "Weight of the labels; the teacher gets the rest.", ge=0, le=1)
    loss: Literal["auto", "mse", "kl", "ce", "soft_mse"] = setting(
        "auto", "Distance between the logits of student and teacher; auto: kl for a bag that classifies, else mse."
    )
    temperature: float = setting(2.0, "Softening of the distributions for kl, ce, soft_mse; 1: none. A bag: 3.", gt=0)

    prune: Literal["magnitude", "topv", "movement", "random", "nm"] | None = setting(
        None, "Prune while distilling, as `featherlight prune` does."
    )

    epochs: int = setting(8, "Passes over train.", ge=1)
    batch_size: int = setting(50, "Examples per optimiser step. A bag: 100.", ge=1)
    batch_tokens: int = setting(16384, "Most padded tokens in one forward pass.", ge=1)
    optimizer: Optimizer = setting("adam", "Update rule.")
    learning_rate: float = setting(1e-3, "Peak learning rate. A bilstm or bag: 3e-3; adadelta: 1.", gt=0)
    weight_decay: float = setting(0.0, "Decay of weight matrices; biases and norms have none.", ge=0)

    @model_validator(mode="before")
    @classmethod
    def fill_in(cls, given: Any) -> Any:
        """What suits student, embedding and optimiser, or was published, where nothing else was asked for."""
        if not isinstance(given, dict):
            return given
        student, embedding = str(given.get("student", "bilstm")), str(given.get("embedding"))
        suited = dict(SUITED.get(student, {}))
        if given.get("preset") == "published":
            suited = PUBLISHED_ALL | PUBLISHED.get(student, {})
            if student == "bag":
                suited.pop("pooling")  # it has no states
            suited |= {"batch_size": 256} if (given.get("task"), student) in PUBLISHED_LARGE else {}
        rule = given.get("optimizer")
        if rule is not None and rule != suited.get("optimizer", "adam"):  # the rate was chosen for another rule
            suited.pop("learning_rate", None)
        if rule == "adadelta":
            suited["learning_rate"] = ADADELTA_RATE
        return {**suited, **NO_PIECES.get(embedding, {}), **given}

    @model_validator(mode="after")
    def bags_have_no_states(self) -> Self:
        """A bag is the mean of its embeddings, with nothing hidden to choose from."""
        if self.student == "bag" and (self.hidden is not None or self.pooling != "last"):
            raise ValueError("hidden, pooling: a bag has no hidden states; leave them out, or use bilstm or rnn")
        return self

    @model_validator(mode="after")
    def start_exists(self) -> Self:
        """Starting vectors need pieces that the teacher, or a file, knows."""
        if self.start == "teacher" and self.vectors is None and self.embedding in ("byte", "hash"):
            raise ValueError(f"start teacher: the teacher has no vectors for embedding {self.embedding}; use random")
        if self.vectors is not None and self.embedding in ("byte", "hash"):
            raise ValueError(f"vectors: embedding {self.embedding} has no pieces that a file could know; use wordpiece")
        return self

    @model_validator(mode="after")
    def teacher_labels_count(self) -> Self:
        """A text without a label teaches nothing to a student that listens to labels only."""
        if self.unlabelled is not None and self.alpha == 1:
            raise ValueError("unlabelled: with alpha 1 the teacher has no part in the loss; use a smaller alpha")
        return self

    @model_validator(mode="after")
    def pruning_fits(self) -> Self:
        """What says how to prune needs a method, and must fit it."""
        if self.prune is not None:
            check_sparsity(self, self.prune)
            if self.optimizer == "adamw_8bit":
                raise ValueError(
                    "optimizer: the rounded momentum of adamw_8bit moves pruned weights; use adam or adamw"
                )
        elif unused := [name for name in SparsitySettings.model_fields if self.given(name)]:
            raise ValueError(f"{unused[0]}: has no effect without prune; add --prune topv, for example")
        return self


class EvaluateSettings(TaskSettings, RunSettings):
    """Settings of one evaluation of a model folder."""

    split: str = setting("reported", "Split to score; `reported`: the one, or those, that the task reports.")
    whole: bool = setting(False, "Own file: score all its rows, rather than the dev split cut off it.")


class ExportSettings(TaskSettings):
    """Settings of one export to another engine."""

    format: str = setting("onnx", "What to write: onnx.")
    int8: bool = setting(False, "Round weights to int8, and compute in it where the engine can.")
    per_tensor: bool = setting(
        False, "int8: one scale for each tensor, not for each channel. Smaller by little, worse."
    )
    tolerate: float = setting(1.0, "int8: most points of the task's first metric that may be lost.", ge=0)


class QuickstartSettings(Settings):
    """What `quickstart` lets one change."""

    device: Device = free("auto", "Where to compute; auto takes the fastest there is.")
    precision: Precision = setting("auto", "auto: bf16 for the encoder where the device has it.")
    examples: int = setting(11000, "Rows of train that are used, stratified.", ge=100)
    seed: int = setting(1, "Seed of everything.", ge=0, lt=2**31)
