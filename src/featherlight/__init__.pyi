"""Featherlight as a library. Made of the settings classes by tests/helpers/api_stub.py; do not edit."""

# fmt: off
from os import PathLike
from typing import Literal

from featherlight.api import Result as Result
from featherlight.errors import UserError as UserError
from featherlight.inference.open import load as load

__all__ = ["Result", "UserError", "__version__", "distill", "evaluate", "finetune", "load", "pack", "prune",
           "quantize"]
__version__: str


def finetune(
    *, store: str | PathLike[str] = "runs", task: str | PathLike[str], model: str | PathLike[str],
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto", precision: Literal["auto", "fp32", "bf16"] = "auto",
    batch_tokens: int = 4096, compile: bool = False, data: str | PathLike[str] | None = None,
    text: str | None = None, text_pair: str | None = None, label: str | None = None,
    kind: Literal["auto", "classification", "regression"] = "auto", dev: str | PathLike[str] | None = None,
    positive: str | None = None, select_on: Literal["select", "dev"] = "select", drop_leaks: bool = False,
    examples: int | None = None, seed: int = 1, max_length: int = 128, epochs: int = 3, batch_size: int = 32,
    optimizer: Literal["adamw", "adamw_8bit", "adam", "adadelta", "adafactor", "sgd"] = "adamw",
    learning_rate: float = 5e-05, schedule: Literal["linear", "cosine", "constant", "1cycle"] = "linear",
    warmup: float = 0.06, weight_decay: float = 0.01, clip: float = 1.0, epsilon: float = 1e-08,
    betas: tuple[float, float] = (0.9, 0.999), evaluate_every: int = 0, patience: int = 0,
    select_metric: str | None = None, class_weights: Literal["none", "balanced"] = "none", refit: bool = False,
    checkpoint_seconds: float = 60.0, track: Literal["mlflow", "wandb", "tensorboard", "trackio"] | None = None,
    revision: str | None = None, trust_remote_code: bool = False,
    attention: Literal["auto", "eager", "sdpa"] = "auto", checkpointing: bool = False,
    method: Literal["full", "head", "lora", "dora", "ia3", "prompt_tuning", "houlsby", "pfeiffer"] = "full",
    rank: int = 32, lora_alpha: float = 32.0, lora_dropout: float = 0.0, targets: str | None = None,
    reduction: int = 16, adapter_activation: Literal["gelu", "swish"] = "gelu", virtual_tokens: int = 20,
    frozen_precision: Literal["fp32", "bf16"] = "fp32",
) -> Result:
    """Fine-tune a pre-trained encoder on a task.

    In: `task`, a name or the path of a file, and `model`. Out: a Hugging Face folder in the store.

        teacher = featherlight.finetune(task="reviews.csv", model="minilm", epochs=2)
    """


def distill(
    *, teacher: str | PathLike[str], store: str | PathLike[str] = "runs", task: str | PathLike[str],
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto", precision: Literal["auto", "fp32", "bf16"] = "auto",
    batch_tokens: int = 16384, compile: bool = False, data: str | PathLike[str] | None = None,
    text: str | None = None, text_pair: str | None = None, label: str | None = None,
    kind: Literal["auto", "classification", "regression"] = "auto", dev: str | PathLike[str] | None = None,
    positive: str | None = None, select_on: Literal["select", "dev"] = "select", drop_leaks: bool = False,
    examples: int | None = None, seed: int = 1, max_length: int = 128, epochs: int = 8, batch_size: int = 50,
    optimizer: Literal["adamw", "adamw_8bit", "adam", "adadelta", "adafactor", "sgd"] = "adam",
    learning_rate: float = 0.001, schedule: Literal["linear", "cosine", "constant", "1cycle"] = "linear",
    warmup: float = 0.06, weight_decay: float = 0.0, clip: float = 1.0, epsilon: float = 1e-08,
    betas: tuple[float, float] = (0.9, 0.999), evaluate_every: int = 0, patience: int = 0,
    select_metric: str | None = None, class_weights: Literal["none", "balanced"] = "none", refit: bool = False,
    checkpoint_seconds: float = 60.0, track: Literal["mlflow", "wandb", "tensorboard", "trackio"] | None = None,
    sparsity: float | None = None, sparsity_embedding: float | None = None, sparsity_recurrent: float | None = None,
    sparsity_linear: float | None = None, threshold: float | None = None,
    scope: Literal["local", "global"] = "local", parts: str | None = None, pattern: str = "2:4",
    mask: Literal["hard", "soft"] = "hard", ramp: float = 0.5, student: Literal["bilstm", "rnn", "bag"] = "bilstm",
    preset: Literal["own", "published"] = "own",
    embedding: Literal["wordpiece", "bpe", "char", "byte", "hash"] = "wordpiece",
    start: Literal["teacher", "random"] = "teacher", vectors: str | PathLike[str] | None = None,
    unlabelled: str | PathLike[str] | None = None, dim: int = 25, vocabulary: int = 5000, hidden: int | None = None,
    classifier: int | None = None, pooling: Literal["last", "last_as_published", "max", "mean"] = "last",
    dropout: float = 0.1, alpha: float = 0.5, loss: Literal["auto", "mse", "kl", "ce", "soft_mse"] = "auto",
    temperature: float = 2.0, prune: Literal["magnitude", "topv", "movement", "random", "nm"] | None = None,
) -> Result:
    """Train a small model to imitate a teacher.

    In: `task`, and the folder of a model that was fine-tuned on it. Out: the student's folder.

        student = featherlight.distill(teacher=teacher, task="reviews.csv", student="bag", dim=25)
    """


def prune(
    model: str | PathLike[str], *, store: str | PathLike[str] = "runs", task: str | PathLike[str] | None = None,
    method: Literal["magnitude", "topv", "movement", "random", "nm", "heads", "neurons", "layers", "units",
    "columns", "vocabulary"], device: Literal["auto", "cpu", "cuda", "mps"] = "auto",
    precision: Literal["auto", "fp32", "bf16"] = "auto", batch_tokens: int = 4096, compile: bool = False,
    data: str | PathLike[str] | None = None, text: str | None = None, text_pair: str | None = None,
    label: str | None = None, kind: Literal["auto", "classification", "regression"] = "auto",
    dev: str | PathLike[str] | None = None, positive: str | None = None,
    select_on: Literal["select", "dev"] = "select", drop_leaks: bool = False, examples: int | None = None,
    sparsity: float | None = None, sparsity_embedding: float | None = None, sparsity_recurrent: float | None = None,
    sparsity_linear: float | None = None, threshold: float | None = None,
    scope: Literal["local", "global"] = "local", parts: str | None = None, pattern: str = "2:4",
    mask: Literal["hard", "soft"] = "hard", ramp: float = 0.5, score: Literal["magnitude", "taylor"] = "magnitude",
    epochs: int = 0, learning_rate: float | None = None, batch_size: int | None = None, seed: int = 1,
    checkpoint_seconds: float = 60.0,
) -> Result:
    """Zero weights of a model, or remove parts of it; `epochs` of recovery mend it.

    In: a model's folder. Out: a folder of the same kind; its record has the scores before and after.

        sparse = featherlight.prune(student, method="topv", sparsity=0.5, epochs=1)
    """


def quantize(
    model: str | PathLike[str], *, store: str | PathLike[str] = "runs", task: str | PathLike[str] | None = None,
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto", precision: Literal["auto", "fp32", "bf16"] = "auto",
    batch_tokens: int = 4096, compile: bool = False, data: str | PathLike[str] | None = None,
    text: str | None = None, text_pair: str | None = None, label: str | None = None,
    kind: Literal["auto", "classification", "regression"] = "auto", dev: str | PathLike[str] | None = None,
    positive: str | None = None, select_on: Literal["select", "dev"] = "select", drop_leaks: bool = False,
    examples: int | None = None, mode: Literal["auto", "weights", "aware", "dynamic", "static"] = "auto",
    bits: int | Literal["8", "5", "4", "3", "2", "ternary", "fp16"] = "8",
    bits_embedding: int | Literal["8", "5", "4", "3", "2", "ternary", "fp16"] | None = None,
    bits_recurrent: int | Literal["8", "5", "4", "3", "2", "ternary", "fp16"] | None = None,
    bits_linear: int | Literal["8", "5", "4", "3", "2", "ternary", "fp16"] | None = None,
    codebook: Literal["uniform", "kmeans"] = "uniform", scales: Literal["auto", "tensor", "row"] = "auto",
    groups: int | None = None, budget: str | None = None, calibration: int = 1000, epochs: int | None = None,
    learning_rate: float | None = None, seed: int = 1, checkpoint_seconds: float = 60.0,
) -> Result:
    """Store a student's weights in fewer bits; or compute an encoder in int8.

    In: a model's folder. Out: a folder with fewer bytes; its record has the scores before and after.

        small = featherlight.quantize(student, bits=4)
    """


def pack(
    model: str | PathLike[str], *, out: str | PathLike[str] | None = None, store: str | PathLike[str] = "runs",
    task: str | PathLike[str] | None = None, device: Literal["auto", "cpu", "cuda", "mps"] = "auto",
    precision: Literal["auto", "fp32", "bf16"] = "auto", batch_tokens: int = 4096, compile: bool = False,
    data: str | PathLike[str] | None = None, text: str | None = None, text_pair: str | None = None,
    label: str | None = None, kind: Literal["auto", "classification", "regression"] = "auto",
    dev: str | PathLike[str] | None = None, positive: str | None = None,
    select_on: Literal["select", "dev"] = "select", drop_leaks: bool = False,
) -> Result:
    """Make one small file of a student: tokenizer and labels included, it runs without torch.

    In: a student's folder. Out: a folder that holds `model.light`. out: where a copy of that file goes.

        packed = featherlight.pack(small, out="model.light")
    """


def evaluate(
    model: str | PathLike[str], *, store: str | PathLike[str] = "runs", task: str | PathLike[str] | None = None,
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto", precision: Literal["auto", "fp32", "bf16"] = "auto",
    batch_tokens: int = 4096, compile: bool = False, data: str | PathLike[str] | None = None,
    text: str | None = None, text_pair: str | None = None, label: str | None = None,
    kind: Literal["auto", "classification", "regression"] = "auto", dev: str | PathLike[str] | None = None,
    positive: str | None = None, select_on: Literal["select", "dev"] = "select", drop_leaks: bool = False,
    split: str = "reported", whole: bool = False,
) -> Result:
    """Score a model; without `task`, on the task that it was trained on.

    In: a folder or a .light file. Out: a folder with a record and the predictions.

        featherlight.evaluate("model.light", task="more-reviews.csv").scores["accuracy"]["value"]
    """
