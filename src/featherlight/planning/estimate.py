"""Planned jobs in; what each will take, before it runs, out: seconds, memory and bytes on disk.

Seconds come from the shapes of the very batches that a stage will make of the task's texts (their lengths are seen on a
sample), from the model's sizes, and from this machine's rates (`costs.seconds`, `costs.calibration`).
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from featherlight.costs.activations import SMALL
from featherlight.costs.architecture import architecture_of
from featherlight.costs.calibration import rates_of, sizes_of
from featherlight.costs.memory import predict_inference, predict_memory
from featherlight.costs.optimizer_state import RULES
from featherlight.costs.seconds import MachineRates, ModelSizes
from featherlight.data.task import SELECT, TaskData
from featherlight.data.tokens.batches import shuffled_batches, within_budget
from featherlight.data.unlabelled import load_unlabelled
from featherlight.errors import UserError, shortened
from featherlight.kinds import Kind, kind_of
from featherlight.measurement.footprint import resident_bytes
from featherlight.models.adapters import PROMPT, WHOLE, adapt
from featherlight.models.attention import LONGEST
from featherlight.models.device import is_encoder, model_precision, resolve_device
from featherlight.planning.jobs import Job
from featherlight.planning.meta_models import (
    MetaModel,
    lengths_of,
    meta_model_of_encoder,
    meta_model_of_folder,
    meta_model_of_student,
    tokenizer_bytes,
)
from featherlight.stages.distill.settings import DistillSettings
from featherlight.stages.distill.stage import fitted_rows
from featherlight.stages.evaluate.stage import splits_named
from featherlight.stages.finetune.settings import FinetuneSettings
from featherlight.stages.finetune.stage import method_of
from featherlight.stages.rows import select_rows, task_data, train_rows
from featherlight.stages.scoring import TIMED_TEXTS
from featherlight.stages.task_training import train_rows_scored
from featherlight.stages.time.backends import STUDENTS
from featherlight.stages.time.cells import BATCHES, EPOCHS, FEWEST, FEWEST_SLOW, LEAST, SLOW, TEXTS, VISITS, WARM
from featherlight.stages.time.settings import TimeSettings
from featherlight.store.stage import Inputs
from featherlight.training.lazy_adamw import lazy_table

_FP32, _MOMENTS = 4, 2
_START = 0.4  # seconds that every stage takes for itself: reading rows and weights, writing its folder
_STEP_BYTES = 45  # of a step in a record's curves


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


class CostModel:
    """Estimates of jobs, some of which work on what others will make."""

    def __init__(self, jobs: Sequence[Job]):
        self.jobs = {job.folder: job for job in jobs}
        self.plans: dict[Any, MetaModel] = {}
        self.resident = resident_bytes()

    def estimate(self, job: Job) -> Estimate:
        """What a job will take; what cannot be predicted is left out, with the reason."""
        try:
            if isinstance(job.settings, TimeSettings):
                return self.timed(job.settings)
            if job.stage.name in ("finetune", "distill"):
                return self.fitted(job)
            if job.stage.name in ("label", "evaluate"):
                return self.applied(job)
        except UserError as error:
            return Estimate(why=shortened(str(error)))
        return Estimate(why=f"{job.stage.name} is not predicted")

    def plan_of(self, folder: Path) -> MetaModel:
        """The model in a folder, or in one that a job will fill."""
        job = self.jobs.get(folder)
        if (job.kind if job else kind_of(folder)) in (Kind.PACKED, Kind.ONNX):
            raise UserError("exported and packed models are not predicted")
        if folder.exists() or job is None:
            return self.remembered(folder, lambda: meta_model_of_folder(folder))
        if "model" in job.inputs:
            return self.plan_of(job.inputs["model"])
        return self.plan_of_job(job)

    def plan_of_job(self, job: Job) -> MetaModel:
        """The model that a job trains."""
        return self.trained(job.settings, job.inputs)

    def trained(self, settings: Any, inputs: Inputs) -> MetaModel:
        """The model that settings speak of."""
        if isinstance(settings, DistillSettings):
            teacher = self.plan_of(inputs["teacher"]).tokenizer
            shape = ("student", "embedding", "vocabulary", "dim", "hidden", "classifier", "max_length")
            rows = (task_data(settings).fingerprint, settings.examples, settings.examples and settings.seed)
            key = (*(getattr(settings, name) for name in shape), *rows, inputs["teacher"])
            return self.remembered(key, lambda: meta_model_of_student(settings, teacher))
        assert isinstance(settings, FinetuneSettings | TimeSettings)
        longest = settings.length if isinstance(settings, TimeSettings) else settings.max_length
        key = (settings.model, getattr(settings, "revision", None), task_data(settings).task.labels, longest)
        return self.remembered(key, lambda: meta_model_of_encoder(*key))

    def remembered(self, key: Any, make: Any) -> MetaModel:
        """Each model once."""
        if key not in self.plans:
            self.plans[key] = make()
        return self.plans[key]

    def rates(self, plan: MetaModel, settings: Any, *, threads: int) -> MachineRates:
        """This machine's, where and how the model will compute."""
        return rates_of(resolve_device(settings.device), _precision_of(plan, settings), threads)

    def fitted(self, job: Job) -> Estimate:
        """A training with its evaluations."""
        settings: Any = job.settings
        plan, data = self.plan_of_job(job), task_data(settings)
        rates = self.rates(plan, settings, threads=torch.get_num_threads())
        rows = fitted_rows(data, settings) if isinstance(settings, DistillSettings) else train_rows(
            data, settings.examples, settings.seed)  # fmt: skip
        sizes = _trained_sizes(plan.model, settings)
        lengths = lengths_of(plan, data, "train")
        seen = lengths.of(len(rows))
        step = parts_of(seen, settings.batch_size, settings.batch_tokens)
        select = len(select_rows(data))
        scored = [(select, SELECT), (train_rows_scored(len(rows), select), "train")]
        reported = [(len(data.splits[name]), name) for name in data.task.reported]

        def forward(splits: Sequence[tuple[int, str]]) -> float:
            return sum(self.forward(plan, rates, data, name, count, settings) for count, name in splits)

        method = getattr(settings, "method", "full")
        if method == PROMPT:
            step = (step[0], step[1] + settings.virtual_tokens)
        training, passing = (rates.seconds(sizes, *step, training=learns) for learns in (True, False))
        if method != "full":  # frozen weights need no gradients of their own
            training = passing + (0.0 if method == "head" else (training - passing) / 2)
        if getattr(settings, "checkpointing", False):
            training += passing
        passes = settings.epochs * (2 if settings.refit else 1)
        means = lengths.sample.mean(axis=0)
        single = rates.seconds(sizes, np.ones_like(means), means, training=False) + lengths.seconds
        texts = len(rows) + sum(count for count, _ in [scored[0], *reported])
        steps = -(-len(rows) // settings.batch_size) * settings.epochs
        scores = -(-steps // settings.evaluate_every) if settings.evaluate_every else settings.epochs
        seconds = training * passes + scores * forward(scored) + forward(reported)
        seconds += _START + lengths.seconds * texts + TIMED_TEXTS * single
        kept = plan.weights if method in WHOLE else _trained_of(plan, settings)
        moving = _trained_of(plan, settings) if isinstance(settings, FinetuneSettings) else plan.weights
        disk = _FP32 * kept + tokenizer_bytes(plan.tokenizer) + _STEP_BYTES * steps
        return Estimate(seconds, self.memory(plan, settings, step), disk, (2 + _MOMENTS) * _FP32 * moving)

    def forward(
        self, plan: MetaModel, rates: MachineRates, data: TaskData, split: str, count: int, settings: Any
    ) -> float:
        """Seconds of predicting so many rows of a split."""
        lengths = lengths_of(plan, data, split).of(count)
        parts = within_budget(lengths.sum(axis=1), np.arange(count), tokens=settings.batch_tokens)
        return rates.seconds(_trained_sizes(plan.model, settings), *shapes_of(parts, lengths), training=False)

    def applied(self, job: Job) -> Estimate:
        """Predictions of a model that is there or will be."""
        settings: Any = job.settings
        plan, data = self.plan_of(job.inputs["teacher" if job.stage.name == "label" else "model"]), task_data(settings)
        rates = self.rates(plan, settings, threads=torch.get_num_threads())
        if job.stage.name == "label":
            splits = [("train", len(train_rows(data, settings.examples, settings.seed))),
                      (SELECT, len(select_rows(data)))]  # fmt: skip
            if settings.unlabelled is not None:
                splits.append(("train", len(load_unlabelled(settings.unlabelled, data.task))))
        elif settings.whole:
            return Estimate(why="evaluating a whole file is not predicted")
        else:
            splits = [(name, len(data.splits[name])) for name in splits_named(data, settings.split)]
        seconds = sum(self.forward(plan, rates, data, name, count, settings) for name, count in splits)
        count = sum(count for _, count in splits)
        lengths = lengths_of(plan, data, "train")
        seconds += _START + count * lengths.seconds
        longest = int(lengths.sample.sum(axis=1).max())
        rows = max(settings.batch_tokens // longest, 1)
        held = _FP32 * plan.weights + _forward_bytes(plan, rows, longest)
        return Estimate(seconds, self.resident + held, _FP32 * count * max(plan.model.config.num_labels, 1))

    def timed(self, settings: TimeSettings) -> Estimate:
        """A cell of the stage `time`."""
        if settings.runtime not in ("torch", "bf16"):
            return Estimate(why=f"runtime {settings.runtime} is not predicted")
        if settings.model in STUDENTS or (Path(settings.model) / "record.json").exists():
            return Estimate(why=f"{settings.model}: only cells of pre-trained encoders are predicted")
        seconds = self.call_seconds(settings)
        if settings.what == "finetune":
            visits, warm = settings.repeats or EPOCHS, WARM / max(len(self.batches(settings)[0]), 1)
        else:
            wanted = settings.repeats or VISITS
            visits = max(min(wanted, int(settings.seconds / seconds)),
                         min(wanted, FEWEST_SLOW if seconds > SLOW else FEWEST))  # fmt: skip
            seconds, warm = max(seconds, LEAST), 1
        return Estimate(seconds * (visits + warm), self.memory_of_cell(settings), _STEP_BYTES * visits)

    def memory_of_cell(self, settings: TimeSettings) -> int | None:
        """Bytes of a process with this cell alone; None for a family without formulas.

        Training as in `finetune`. Inference: weights, and what one layer has in flight where nothing is kept.
        """
        plan = self.trained(settings, {})
        step = self.batches(settings)
        if settings.what == "finetune":
            return self.memory(plan, settings, step)
        largest = int(np.argmax(step[0] * step[1]))
        rows, longest = int(step[0][largest]), int(step[1][largest])
        device, precision = resolve_device(settings.device), _precision_of(plan, settings)
        try:
            architecture = architecture_of(plan.model.config)
        except UserError:
            return None
        fused = longest > LONGEST and not architecture.family.attention  # see models.attention
        how = {"precision": precision, "device": device, "attention": "sdpa" if fused else "auto"}
        return self.resident + predict_inference(architecture, batch=rows, length=longest, **how)

    def batches(self, settings: TimeSettings) -> tuple[np.ndarray, np.ndarray]:
        """Rows and padded lengths of the batches that one call of a cell computes."""
        plan, data = self.trained(settings, {}), task_data(settings)
        lengths = lengths_of(plan, data, "train")
        if settings.what == "finetune":
            count = len(train_rows(data, settings.examples, settings.seed))
            batches = shuffled_batches(lengths.of(count)[:, 0], settings.batch, np.random.default_rng(0))
            rows, longest = shapes_of([part for part in batches if len(part) == settings.batch], lengths.of(count))
        else:
            calls = 1 if settings.pad == "max" else min(max(TEXTS // settings.batch, 2), BATCHES)
            sizes = np.sort(lengths.of(calls * settings.batch)[:, 0])[::-1].reshape(calls, settings.batch)
            rows, longest = np.full(calls, settings.batch), sizes.max(axis=1)
        return rows, np.full_like(longest, settings.length) if settings.pad == "max" else longest

    def call_seconds(self, settings: TimeSettings) -> float:
        """Seconds of the batches of one call of a cell: all those of an epoch, or some to predict."""
        plan = self.trained(settings, {})
        rates, sizes = self.rates(plan, settings, threads=settings.threads), _trained_sizes(plan.model, settings)
        return rates.seconds(sizes, *self.batches(settings), training=settings.what == "finetune")

    def memory(self, plan: MetaModel, settings: Any, step: tuple[np.ndarray, np.ndarray]) -> int | None:
        """Bytes of the whole process at the peak of a training; None for a family without formulas."""
        largest = int(np.argmax(step[0] * step[1]))
        rows, longest = int(step[0][largest]), int(step[1][largest])
        if not is_encoder(plan.model):
            moments = RULES[settings.optimizer].state([tuple(weight.shape) for weight in plan.model.parameters()])
            kept = 3 * _forward_bytes(plan, rows, longest)  # inputs, states and gates of each token, and gradients
            return self.resident + 2 * _FP32 * plan.weights + moments + kept
        method = getattr(settings, "method", "full")
        if method not in (*WHOLE, *SMALL):
            return None
        how = {name: getattr(settings, name) for name in ("method", "optimizer", "checkpointing", "attention")
               if hasattr(settings, name)}  # fmt: skip
        device = resolve_device(settings.device)
        precision = _precision_of(plan, settings)
        how["varied"] = getattr(settings, "pad", "longest") == "longest"
        if method in SMALL:
            how |= {"rank": settings.rank, "lora_dropout": settings.lora_dropout, "frozen": settings.frozen_precision}
        try:
            architecture = architecture_of(plan.model.config)
            how |= {"bottleneck": max(architecture.width // settings.reduction, 1)} if method in SMALL else {}
            where: dict[str, Any] = {"length": longest, "precision": precision, "device": device}
            training = predict_memory(architecture, batch=rows, **where, **how).total_bytes
            in_a_pass = max(getattr(settings, "batch_tokens", 0) // longest, 1)
            scoring = predict_memory(architecture, batch=in_a_pass, method="head", **where).total_bytes
        except UserError:
            return None
        # the saved model is read to be scored beside the trained one; what a full training frees has room for it
        again = _FP32 * plan.weights
        return self.resident + max(training + (0 if method == "full" else again), scoring + again)


def _precision_of(plan: MetaModel, settings: Any) -> str:
    """What a job's products are computed in."""
    timed = "bf16" if getattr(settings, "runtime", None) == "bf16" else "fp32"
    name = timed if isinstance(settings, TimeSettings) else getattr(settings, "precision", "auto")
    return model_precision(plan.model, name, resolve_device(settings.device))


def _trained_of(plan: MetaModel, settings: FinetuneSettings) -> int:
    """The number of weights that a fine-tuning trains."""
    model = copy.deepcopy(plan.model)
    adapt(model, method_of(settings))
    return sum(weight.numel() for weight in model.parameters() if weight.requires_grad)


def _forward_bytes(plan: MetaModel, rows: int, length: int) -> int:
    """Bytes of a layer's results for a batch, about: the widest thing that a forward pass makes."""
    config = plan.model.config
    wide = 4 * getattr(config, "hidden_size", 0) + getattr(config, "intermediate_size", 0)
    wide += 10 * getattr(config, "hidden", 0) + getattr(config, "dim", 0)
    return _FP32 * rows * length * wide


def _trained_sizes(model: Any, settings: Any) -> ModelSizes:
    """The sizes of a model in a training with these settings."""
    on_processor = resolve_device(settings.device) == "cpu"
    usual = {"optimizer": "adamw", "weight_decay": 0.0, "learning_rate": 0.0}
    how: dict[str, Any] = {name: getattr(settings, name, value) for name, value in usual.items()}
    return sizes_of(model, lazy=on_processor and lazy_table(model, **how) is not None)


def parts_of(lengths: np.ndarray, batch: int, budget: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows and padded lengths of what an epoch computes at a time."""
    total = lengths.sum(axis=1)
    batches = shuffled_batches(total, batch, np.random.default_rng(0))
    return shapes_of([part for one in batches for part in within_budget(total, one, tokens=budget)], lengths)


def shapes_of(parts: Sequence[np.ndarray], lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows, and tokens of the longest, of each part; of each text where two are read apart."""
    longest = [lengths[part].max(axis=0) for part in parts]
    return np.repeat([len(part) for part in parts], lengths.shape[1]), np.concatenate(longest)
