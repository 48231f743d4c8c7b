"""A training in flight and some batches in; the seconds of each part of a step out."""

import functools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from featherlight.data.tokens.batches import Tokens
from featherlight.data.tokens.ragged import Ragged
from featherlight.files import ScratchFolder
from featherlight.models.attention import short_attention_in
from featherlight.models.device import wait_for
from featherlight.training.finetune import LabelObjective
from featherlight.training.loop import RunContext, TrainingRun
from featherlight.training.memory import write_batch_halvings
from featherlight.training.objective import TrainingSet
from featherlight.training.optimizers import OptimizerOptions


class _Clocked:
    """A callable that adds up the seconds it takes."""

    def __init__(self, inner: Callable[..., Any], wait: Callable[[], object]):
        self.inner, self.wait, self.seconds = inner, wait, 0.0

    def __call__(self, *given: Any) -> Any:
        """inner(*given), on the clock."""
        self.wait()
        start = time.perf_counter()
        result = self.inner(*given)
        self.wait()
        self.seconds += time.perf_counter() - start
        return result


def _step_phases(run: TrainingRun, batches: Sequence[np.ndarray], wait: Callable[[], object]) -> dict[str, float]:
    """Medians over the batches of the seconds that a step spends on each part; backward is what remains.

    batch: rows to tensors on the device; update: clipping and the optimiser. The run is moved on by as many steps.
    """
    samples: dict[str, list[float]] = {name: [] for name in ("batch", "forward", "backward", "update")}
    objective: Any = run.objective
    clocked: Any = run
    try:
        for indices in batches:
            batch, forward, update = (_Clocked(part, wait) for part in (run.batch, objective, run.update))
            clocked.batch, clocked.objective, clocked.update = batch, forward, update
            step = _Clocked(run.step, wait)
            try:
                step(indices)
            finally:
                del clocked.batch, clocked.update  # the methods show again
            timed = {"batch": batch.seconds, "forward": forward.seconds, "update": update.seconds}
            for name, seconds in {**timed, "backward": step.seconds - sum(timed.values())}.items():
                samples[name].append(seconds)
    finally:
        clocked.objective = objective
    return {name: float(np.median(values)) for name, values in samples.items()}


@dataclass(frozen=True)
class TrainingStepper:
    """A model in training, which cells that take turns share: one optimiser's state, whatever their batches are."""

    run: TrainingRun
    device: str
    scratch: ScratchFolder  # the run's, which lives as long as the run

    @property
    def parameters(self) -> int:
        """The number of its weights."""
        return sum(parameter.numel() for parameter in self.run.bare_model.parameters())

    def wait(self) -> None:
        """Until the device has done all that it was told."""
        wait_for(self.device)

    def halve_batches(self, batch_halvings: int) -> None:
        """Cut batches as often as this cell's need it, whatever those of other cells needed."""
        if self.run.batch_halvings != batch_halvings:
            write_batch_halvings(self.run.context.folder, batch_halvings)
            self.run.batch_halvings = batch_halvings

    def take_steps(self, training: TrainingSet, batches: Sequence[np.ndarray]) -> None:
        """Optimiser steps on batches of a training set."""
        self.run.data, self.run.lengths = training, training.lengths
        with short_attention_in(self.run.bare_model):
            for batch in batches:
                self.run.step(batch)

    def phases(self, training: TrainingSet, batches: Sequence[np.ndarray]) -> dict[str, float]:
        """Seconds of each part of a step on these batches."""
        self.run.data, self.run.lengths = training, training.lengths
        with short_attention_in(self.run.bare_model):
            return _step_phases(self.run, batches, functools.partial(wait_for, self.device))


def stepper_for(
    model: Any, *, device: str, precision: str, learning_rate: float = 5e-5, weight_decay: float = 0.01,
    epsilon: float = 1e-8, seed: int = 1, optimizer: str = "adamw",
) -> TrainingStepper:  # fmt: skip
    """A model with an optimiser, as `finetune` would set it up."""
    options = OptimizerOptions(
        optimizer, learning_rate, "constant", 0.0, weight_decay, clip=1.0, epochs=10**6, batch_size=1,
        batch_tokens=10**9, patience=0, seed=seed, epsilon=epsilon,
    )  # fmt: skip
    scratch = ScratchFolder()
    first = TrainingSet(Tokens({"input_ids": Ragged.of([[1]])}, {"input_ids": 0}), {})
    run = TrainingRun(model, LabelObjective(None), first, options, RunContext(device, precision, scratch.path))
    return TrainingStepper(run, device, scratch)
