"""A model at one batch size and length as a cell: what is called, how often, and when that is enough."""

import functools
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from featherlight.data.task import TaskData
from featherlight.data.tokens.batches import Tokens, shuffled_batches
from featherlight.data.tokens.tokenise import tokenise
from featherlight.errors import UserError
from featherlight.measurement.energy import Meter, meter_for
from featherlight.measurement.latency import Sample, spread, visit
from featherlight.models.device import model_precision, resolve_device, wait_for
from featherlight.models.load import check_length, load_encoder
from featherlight.seeds import numpy_generator, seed_torch
from featherlight.stages.rows import labelled, train_rows
from featherlight.stages.time.backends import KEPT, SHAPED, STUDENTS, backend_for, model_folder
from featherlight.stages.time.policy import POLICY, TimingPolicy
from featherlight.stages.time.settings import TimeSettings
from featherlight.store.phases import Phases
from featherlight.training.objective import TrainingSet
from featherlight.training.stepper import TrainingStepper, stepper_for

HALVED = "batch_halvings"  # how often the batches of a training were cut in half because memory was out
_Made = tuple[Callable[[], object], dict[str, Any]]  # what a cell calls; what its record says


@dataclass
class Cell:
    """One settled measurement. call: runs once over the timed work. about: for the record; "calls": batches in one."""

    settings: TimeSettings
    call: Callable[[], object]
    wait: Callable[[], object]
    about: dict[str, Any]
    meter: Meter
    policy: TimingPolicy = POLICY
    samples: list[Sample] = field(default_factory=list)

    def visit(self) -> Sample:
        """One sample, in seconds a batch or an epoch."""
        torch.set_num_threads(self.settings.threads)  # another cell may have had the last turn
        calls, training = self.about["calls"], self.settings.what == "finetune"
        sample = None
        long = self.policy.long_seconds
        if training or not self.samples or self.samples[-1].seconds * calls > long:  # nothing to warm up, or perhaps
            sample = visit(self.call, least=0.0, wait=self.wait, warm=0, meter=self.meter)
        if sample is None or not (training or sample.seconds > long):
            sample = visit(self.call, least=self.policy.least_seconds, wait=self.wait, meter=self.meter)
        return Sample(sample.seconds / calls, sample.share, None if sample.joules is None else sample.joules / calls)

    @property
    def done(self) -> bool:
        """Whether no more samples are wanted."""
        return enough(self.settings, self.samples, self.about["calls"], self.policy)


def enough(settings: TimeSettings, samples: Sequence[Sample], calls: int, policy: TimingPolicy = POLICY) -> bool:
    """Whether these samples are as many as were asked for, or as their time allows. calls: of a sample."""
    training = settings.what == "finetune"
    wanted = policy.samples(settings.repeats, training=training)
    taken = sum(sample.seconds for sample in samples) * calls
    if not training and taken > settings.seconds:
        wanted = again(settings, samples, calls, policy)
    return len(samples) >= wanted


def again(settings: TimeSettings, samples: Sequence[Sample], calls: int, policy: TimingPolicy = POLICY) -> int:
    """The fewest samples of a cell like this one: all that a second measurement takes."""
    seconds = sum(sample.seconds for sample in samples) * calls / max(len(samples), 1)
    return policy.fewest_samples(settings.repeats, seconds, training=settings.what == "finetune")


def is_noisy(samples: Sequence[Sample], policy: TimingPolicy = POLICY) -> bool:
    """Whether the samples scatter, or another program had the core for part of the time."""
    computing = float(np.median([sample.share for sample in samples]))
    return spread([sample.seconds for sample in samples]) > policy.most_spread or computing < policy.least_share


def new_cell(settings: TimeSettings, data: TaskData, policy: TimingPolicy = POLICY) -> Cell:
    """Load, tokenise and warm up."""
    device = resolve_device(settings.device)
    if settings.runtime in (*SHAPED, "light"):
        device = "cpu"
    torch.set_num_threads(settings.threads)
    make = _training_cell if settings.what == "finetune" else _inference_cell
    call, about = make(settings, data, device, policy)
    meter = meter_for(device)
    if meter.names:
        about["counters"] = meter.names
    return Cell(settings, call, functools.partial(wait_for, device), about, meter, policy)


def _inference_cell(settings: TimeSettings, data: TaskData, device: str, policy: TimingPolicy) -> _Made:
    """Batches of texts to logits; all of one shape with pad max, so that one is enough."""
    phases = Phases()
    with phases("load"):
        engine = backend_for(model_folder(settings, data), settings.model, settings.runtime, settings.threads, device)
    rows = train_rows(data, settings.examples, settings.seed)
    unequal = policy.batches(settings.batch)
    count = min(1 if settings.pad == "max" else unequal, len(rows) // settings.batch)
    if not count:
        raise UserError(f"--batch {settings.batch}: task {data.task.name} has only {len(rows)} rows to fill it with.")
    sample = rows.take(np.linspace(0, len(rows) - 1, count * settings.batch).astype(int))
    with phases("tokenize"):
        batches = engine.batches(sample, settings)
    about = {"seconds": phases.seconds, "device": device, "bytes": engine.size, "parameters": engine.parameters,
             "calls": count}  # fmt: skip

    def call() -> None:
        for batch in batches:
            engine.run(batch)

    return call, about


def _training_cell(settings: TimeSettings, data: TaskData, device: str, policy: TimingPolicy) -> _Made:
    """Epochs of fine-tuning over full batches, one after the other: time does not depend on what is learned."""
    if settings.model in STUDENTS:
        raise UserError(f"{settings.model}: an untrained student is not fine-tuned. Time its inference, or distil it.")
    phases = Phases()
    same = (settings.learning_rate, settings.weight_decay, settings.epsilon, settings.seed)
    trainee, tokenizer, load_seconds = trainee_of(
        settings.model, data.task.labels, settings.runtime, device, settings.threads, *same
    )
    check_length(trainee.run.bare_model.config, settings.length, option="length")
    rows = train_rows(data, settings.examples, settings.seed)
    steps = len(rows) // settings.batch
    if not steps:
        raise UserError(f"--batch {settings.batch}: task {data.task.name} has only {len(rows)} rows to fill it with.")
    with phases("tokenize"):
        tokens = tokenise(tokenizer, rows, max_length=settings.length, apart=False)
        if settings.pad == "max":
            tokens = Tokens(tokens.columns, tokens.pads, tokens.left, settings.length)
    training = TrainingSet(tokens, {"labels": labelled(rows.labels)})
    epochs = itertools.count()
    about: dict[str, Any] = {"seconds": {"load": load_seconds, **phases.seconds}, "device": device, "steps": steps,
                             "parameters": trainee.parameters, "calls": 1}  # fmt: skip

    def call(most: int | None = None) -> None:
        order = numpy_generator(settings.seed, "order", next(epochs))
        batches = [batch for batch in shuffled_batches(tokens.lengths, settings.batch, order)
                   if len(batch) == settings.batch]  # fmt: skip
        trainee.halve_batches(about.get(HALVED, 0))
        trainee.take_steps(training, batches[:most])
        if trainee.run.batch_halvings:
            about[HALVED] = trainee.run.batch_halvings

    call(policy.warm_steps)
    some = shuffled_batches(tokens.lengths, settings.batch, numpy_generator(settings.seed, "phases"))
    full = [batch for batch in some if len(batch) == settings.batch]
    about["phases"] = trainee.phases(training, full[: policy.phased_steps])
    return call, about


@functools.lru_cache(maxsize=KEPT)
def trainee_of(
    name: str, labels: tuple[str, ...], runtime: str, device: str, threads: int,
    learning_rate: float, weight_decay: float, epsilon: float, seed: int,
) -> tuple[TrainingStepper, Any, float]:  # fmt: skip
    """A pre-trained encoder with a new head in training; its tokenizer; the seconds that loading took."""
    phases = Phases()
    with phases("load"):
        seed_torch(seed, "initial weights")
        model, tokenizer = load_encoder(name, labels=labels, max_length=4)
    trainee = stepper_for(
        model, device=device, precision=model_precision(model, "bf16" if runtime == "bf16" else "fp32", device),
        learning_rate=learning_rate, weight_decay=weight_decay, epsilon=epsilon, seed=seed,
    )  # fmt: skip
    return trainee, tokenizer, phases.seconds["load"]
