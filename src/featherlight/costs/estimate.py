"""What a model will do, as named values, in; the seconds, memory and bytes on disk that it will take out.

Seconds come from the shapes of the very batches that will be made of the task's texts (their lengths are seen on a
sample), from the model's sizes, and from this machine's rates. Knows no stage and no settings.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from featherlight.costs.activations import SMALL
from featherlight.costs.architecture import architecture_of
from featherlight.costs.calibration import rates_of, sizes_of
from featherlight.costs.memory import predict_inference, predict_memory
from featherlight.costs.meta_models import MetaModel, lengths_of, tokenizer_bytes
from featherlight.costs.optimizer_state import FP32, RULES
from featherlight.costs.seconds import MachineRates, ModelSizes
from featherlight.data.task import TaskData
from featherlight.data.tokens.batches import shuffled_batches, within_budget
from featherlight.errors import UserError
from featherlight.measurement.footprint import resident_bytes
from featherlight.models.adapters import WHOLE
from featherlight.models.attention import LONGEST
from featherlight.models.device import is_encoder, model_precision, resolve_device
from featherlight.training.lazy_adamw import BETAS, EPSILON, lazy_table

_START = 0.4  # seconds that every stage takes for itself: reading rows and weights, writing its folder
_STEP_BYTES = 45  # of a step in a record's curves
Splits = Sequence[tuple[str, int]]  # names, and how many rows are predicted of each
Shapes = tuple[np.ndarray, np.ndarray]  # rows and padded lengths of what is computed at a time


@dataclass(frozen=True)
class Estimate:
    """What a job will take. None: not predicted, `why` says the reason. disk: of the finished folder.

    memory: of the whole process at its peak; scratch: bytes of checkpoints, until it is done.
    """

    seconds: float | None = None
    memory: int | None = None
    disk: int | None = None
    scratch: int = 0
    why: str = ""


@dataclass(frozen=True)
class Where:
    """Where and how exactly a model computes. precision: as a user asks for it. threads: 0: all of the process."""

    device: str = "auto"
    precision: str = "auto"
    threads: int = 0


@dataclass(frozen=True)
class Update:
    """An update rule and what decides whether it can train a table by its rows; see `training.lazy_adamw`."""

    optimizer: str = "adamw"
    learning_rate: float = 0.0
    weight_decay: float = 0.0
    epsilon: float = EPSILON
    betas: tuple[float, float] = BETAS


@dataclass(frozen=True)
class Trained:
    """What of a model is trained, and what its layers keep meanwhile; see `models.adapters.Method`.

    weights: how many are trained; None: all. varied: whether batches differ in length.
    """

    method: str = "full"
    weights: int | None = None
    rank: int = 0
    lora_dropout: float = 0.0
    reduction: int = 1
    frozen: str = "fp32"
    virtual_tokens: int = 0
    checkpointing: bool = False
    attention: str = "auto"
    varied: bool = True


class CostModel:
    """Predictions for this machine. Models and lengths of texts are looked at once."""

    def __init__(self) -> None:
        self._models: dict[Any, MetaModel] = {}
        self.resident = resident_bytes()

    def remembered(self, key: Any, make: Callable[[], MetaModel]) -> MetaModel:
        """Each model once."""
        if key not in self._models:
            self._models[key] = make()
        return self._models[key]

    def rates(self, model: MetaModel, where: Where) -> MachineRates:
        """This machine's, where and how the model will compute."""
        device = resolve_device(where.device)
        precision = model_precision(model.model, where.precision, device)
        return rates_of(device, precision, where.threads or torch.get_num_threads())

    def training(
        self,
        model: MetaModel,
        data: TaskData,
        where: Where,
        update: Update,
        trained: Trained,
        *,
        rows: int,
        batch_size: int,
        batch_tokens: int,
        epochs: int,
        refit: bool,
        evaluate_every: int,
        scored: Splits,
        timed_texts: int,
    ) -> Estimate:
        """A training with its evaluations.

        evaluate_every: steps from one scoring to the next; 0: an epoch's. scored: (split, rows), select first.
        """
        rates, sizes = self.rates(model, where), _sizes(model, where, update)
        lengths = lengths_of(model, data, "train")
        step = parts_of(lengths.of(rows), batch_size, batch_tokens)
        reported = [(name, len(data.splits[name])) for name in data.task.reported]

        def forward(splits: Splits) -> float:
            return _forward_seconds(model, rates, sizes, data, splits, batch_tokens)

        step = (step[0], step[1] + trained.virtual_tokens)
        training, passing = (rates.seconds(sizes, *step, training=learns) for learns in (True, False))
        if trained.method != "full":  # frozen weights need no gradients of their own
            training = passing + (0.0 if trained.method == "head" else (training - passing) / 2)
        if trained.checkpointing:
            training += passing
        means = lengths.sample.mean(axis=0)
        single = rates.seconds(sizes, np.ones_like(means), means, training=False) + lengths.seconds
        texts = rows + sum(count for _, count in [scored[0], *reported])
        steps = -(-rows // batch_size) * epochs
        scorings = -(-steps // evaluate_every) if evaluate_every else epochs
        seconds = training * epochs * (2 if refit else 1) + scorings * forward(scored) + forward(reported)
        seconds += _START + lengths.seconds * texts + timed_texts * single
        moving = model.weights if trained.weights is None else trained.weights
        kept = model.weights if trained.method in WHOLE else moving
        disk = FP32 * kept + tokenizer_bytes(model.tokenizer) + _STEP_BYTES * steps
        memory = self.training_memory(model, where, update, trained, step, batch_tokens=batch_tokens)
        return Estimate(seconds, memory, disk, 4 * FP32 * moving)

    def predictions(
        self, model: MetaModel, data: TaskData, where: Where, *, splits: Splits, batch_tokens: int
    ) -> Estimate:
        """Predictions for rows of these splits."""
        rates, sizes = self.rates(model, where), _sizes(model, where, Update())
        seconds = _forward_seconds(model, rates, sizes, data, splits, batch_tokens)
        count = sum(count for _, count in splits)
        lengths = lengths_of(model, data, "train")
        longest = int(lengths.sample.sum(axis=1).max())
        held = FP32 * model.weights + _forward_bytes(model, max(batch_tokens // longest, 1), longest)
        disk = FP32 * count * max(model.model.config.num_labels, 1)
        return Estimate(_START + seconds + count * lengths.seconds, self.resident + held, disk)

    def batches_seconds(
        self, model: MetaModel, where: Where, update: Update, shapes: Shapes, *, training: bool
    ) -> float:
        """Seconds of some batches, computed or trained on."""
        return self.rates(model, where).seconds(_sizes(model, where, update), *shapes, training=training)

    def inference_memory(self, model: MetaModel, where: Where, shapes: Shapes) -> int | None:
        """Bytes of a process that predicts: weights, and what one layer has in flight; None without formulas."""
        rows, longest = _largest(shapes)
        device = resolve_device(where.device)
        try:
            architecture = architecture_of(model.model.config)
        except UserError:
            return None
        fused = longest > LONGEST and not architecture.keeps.attention  # see models.attention
        precision = model_precision(model.model, where.precision, device)
        attention = "sdpa" if fused else "auto"
        return self.resident + predict_inference(
            architecture, batch=rows, length=longest, precision=precision, device=device, attention=attention
        )

    def training_memory(
        self, model: MetaModel, where: Where, update: Update, trained: Trained, shapes: Shapes, *, batch_tokens: int = 0
    ) -> int | None:
        """Bytes of the whole process at the peak of a training; None for a family without formulas."""
        rows, longest = _largest(shapes)
        if not is_encoder(model.model):
            moments = RULES[update.optimizer].state([tuple(weight.shape) for weight in model.model.parameters()])
            kept = 3 * _forward_bytes(model, rows, longest)  # inputs, states and gates of each token, and gradients
            return self.resident + 2 * FP32 * model.weights + moments + kept
        if trained.method not in (*WHOLE, *SMALL):
            return None
        device = resolve_device(where.device)
        options: dict[str, Any] = {
            "method": trained.method, "optimizer": update.optimizer, "checkpointing": trained.checkpointing,
            "attention": trained.attention, "varied": trained.varied,
            "lazy": lazy_table(model.model, **vars(update)) is not None,
        }  # fmt: skip
        place: dict[str, Any] = {
            "length": longest, "precision": model_precision(model.model, where.precision, device), "device": device,
        }  # fmt: skip
        try:
            architecture = architecture_of(model.model.config)
            if trained.method in SMALL:
                options |= {"rank": trained.rank, "lora_dropout": trained.lora_dropout, "frozen": trained.frozen,
                            "bottleneck": max(architecture.width // trained.reduction, 1)}  # fmt: skip
            training = predict_memory(architecture, batch=rows, **place, **options).total_bytes
            in_a_pass = max(batch_tokens // longest, 1)
            scoring = predict_memory(architecture, batch=in_a_pass, method="head", **place).total_bytes
        except UserError:
            return None
        # the saved model is read to be scored beside the trained one; what a full training frees has room for it
        saved = FP32 * model.weights
        return self.resident + max(training + (0 if trained.method == "full" else saved), scoring + saved)


def _forward_seconds(
    model: MetaModel, rates: MachineRates, sizes: ModelSizes, data: TaskData, splits: Splits, batch_tokens: int
) -> float:
    seconds = 0.0
    for name, count in splits:
        lengths = lengths_of(model, data, name).of(count)
        parts = within_budget(lengths.sum(axis=1), np.arange(count), tokens=batch_tokens)
        seconds += rates.seconds(sizes, *_shapes_of(parts, lengths), training=False)
    return seconds


def _forward_bytes(model: MetaModel, rows: int, length: int) -> int:
    """Bytes of a layer's results for a batch, about: the widest thing that a forward pass makes."""
    config = model.model.config
    wide = 4 * getattr(config, "hidden_size", 0) + getattr(config, "intermediate_size", 0)
    wide += 10 * getattr(config, "hidden", 0) + getattr(config, "dim", 0)
    return FP32 * rows * length * wide


def _sizes(model: MetaModel, where: Where, update: Update) -> ModelSizes:
    table = lazy_table(model.model, **vars(update))
    return sizes_of(model.model, lazy=resolve_device(where.device) == "cpu" and table is not None)


def _largest(shapes: Shapes) -> tuple[int, int]:
    """Rows and length of the part with the most tokens."""
    place = int(np.argmax(shapes[0] * shapes[1]))
    return int(shapes[0][place]), int(shapes[1][place])


def parts_of(lengths: np.ndarray, batch_size: int, budget: int) -> Shapes:
    """Rows and padded lengths of what an epoch computes at a time."""
    total = lengths.sum(axis=1)
    batches = shuffled_batches(total, batch_size, np.random.default_rng(0))
    return _shapes_of([part for batch in batches for part in within_budget(total, batch, tokens=budget)], lengths)


def full_batches(lengths: np.ndarray, batch: int) -> Shapes:
    """Rows and padded lengths of an epoch's batches without the last, smaller one."""
    batches = shuffled_batches(lengths[:, 0], batch, np.random.default_rng(0))
    return _shapes_of([part for part in batches if len(part) == batch], lengths)


def _shapes_of(parts: Sequence[np.ndarray], lengths: np.ndarray) -> Shapes:
    """Rows, and tokens of the longest, of each part; of each text where two are read apart."""
    longest = [lengths[part].max(axis=0) for part in parts]
    return np.repeat([len(part) for part in parts], lengths.shape[1]), np.concatenate(longest)
