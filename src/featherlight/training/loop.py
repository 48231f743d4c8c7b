"""One loop for everyone: an objective, batches and an optimiser in; a trained model and its curves out.

Knows no task, teacher or metric: what is minimised is an `Objective`, how good the model is comes
from a callable. A run that is killed goes on from its last checkpoint and, on the CPU, ends with
the same bits: order, dropout and learning rate are functions of (seed, step), not of a state.
House shapes: B examples, T tokens.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import Tensor, nn

from featherlight.data.tokens.batches import epoch_batches, within_budget
from featherlight.distributed import agreed, sum_over_processes
from featherlight.errors import UserError
from featherlight.models.attention import short_attention_in
from featherlight.models.device import keep_few_kernels, keep_freed_memory, return_freed_memory
from featherlight.models.dropout import use_cheap_dropout
from featherlight.progress import say, track
from featherlight.seeds import numpy_generator, seed_torch
from featherlight.training import schedules
from featherlight.training.checkpoint import Progress, read_best, read_checkpoint, write_best, write_checkpoint
from featherlight.training.lazy_adamw import gradients_of, release, settle
from featherlight.training.memory import batch_halvings, halve_batches, is_memory_out
from featherlight.training.objective import Batch, Objective, Rows
from featherlight.training.optimizers import OptimizerOptions, make_optimizer

_STEPS_BETWEEN_LOOKS = 20  # losses stay on the device this long: reading one makes a GPU wait
Scores = Mapping[str, float]
Evaluate = Callable[[nn.Module, float], tuple[float, Mapping[str, Scores]]]


class WeightHook(Protocol):
    """What shapes the weights beside the optimiser: pruning, rounding. None in most trainings.

    settled: whether the weights have reached their shape; those of an epoch before that are never the best ones.
    """

    settled: bool

    def start(self, device: torch.device) -> None:
        """Move to where the weights are; a checkpoint, if there is one, is read afterwards."""
        ...

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint needs; the tensors themselves."""
        ...

    def needs_whole(self, weight: Tensor) -> bool:
        """Whether a table must have its whole gradient, and so cannot be trained lazily."""
        ...

    def before_update(self, step: int, total: int, optimizer: torch.optim.Optimizer) -> None:
        """Called in each step, 0 .. total - 1, between gradients and update; may change both, and the weights."""
        ...

    def after_update(self) -> None:
        """Called in each step after its update; may change the weights that the next step and a score see."""
        ...


@dataclass(frozen=True)
class RunContext:
    """Where a run computes, keeps its checkpoints and is watched. watch: (numbers by name, step) -> nothing."""

    device: str
    precision: str
    folder: Path
    checkpoint_seconds: float = math.inf
    watch: Callable[[Mapping[str, float], int], None] | None = None


def _accelerator_for(context: RunContext) -> Accelerator:
    """A fresh accelerator; accelerate keeps the last one's precision in global state until told otherwise."""
    keep_freed_memory()
    keep_few_kernels()
    AcceleratorState._reset_state(reset_partial_state=True)
    return Accelerator(mixed_precision="bf16" if context.precision == "bf16" else "no", cpu=context.device == "cpu")


def train(
    model: nn.Module,
    objective: Objective,
    data: Rows,
    evaluate: Evaluate | None,
    *,
    options: OptimizerOptions,
    context: RunContext,
    hook: WeightHook | None = None,
) -> Progress:
    """Train the model, and what the objective trains beside it, in place.

    The model ends with its best weights (last ones where evaluate is None). evaluate: (model, epoch) -> the score to
    be maximised, and what the curves should show; epoch 1.5 is half-way through the second one.
    Raises UserError if the loss stops being a number.
    """
    run = TrainingRun(model, objective, data, options, context, hook)
    try:
        left = run.total_steps - run.progress.step
        with track("train", left, unit="steps") as advance, short_attention_in(run.bare_model):
            while not run.over():
                order = numpy_generator(options.seed, "order", run.epoch)
                batches = epoch_batches(run.lengths, options.batch_size, order)
                for batch in islice(batches, run.progress.step % run.steps_per_epoch, None):
                    run.step(batch)
                    advance(1)
                    if run.is_score_due():
                        run.score(evaluate)
                        if run.over():
                            break
    finally:  # whatever happens, the caller gets a plain model back
        run.accelerator.unwrap_model(run.model, keep_fp32_wrapper=False)
        release(run.optimizer)
    progress = run.progress
    del run  # the optimiser's state makes room for the weights that are read
    if evaluate is not None:
        read_best(context.folder, model, progress.best_step)
    return progress


class TrainingRun:
    """One training in flight: what `train` moves forward step by step."""

    def __init__(
        self,
        model: nn.Module,
        objective: Objective,
        data: Rows,
        options: OptimizerOptions,
        context: RunContext,
        hook: WeightHook | None = None,
    ):
        self.objective, self.data, self.options, self.context, self.hook = objective, data, options, context, hook
        self.accelerator = _accelerator_for(context)
        if any(getattr(part, "gradient_checkpointing", False) for part in model.modules()):
            return_freed_memory()
        objective.start(self.accelerator.device, context.precision)
        beside = objective.trained
        self.trained = model if beside is None else nn.ModuleDict({"model": model, "objective": beside})
        self.trained.to(self.accelerator.device)  # before the optimiser takes hold of its tensors
        if hook:
            hook.start(self.accelerator.device)
        on_processor = self.accelerator.device.type == "cpu" and self.accelerator.num_processes == 1
        self.optimizer = make_optimizer(
            model, options, trained=self.trained,
            needs_whole=lambda table: not on_processor or self.is_used_beside(table),
        )  # fmt: skip
        if on_processor:
            use_cheap_dropout(self.trained)
        self.progress = read_checkpoint(context.folder, self.trained, self.optimizer, self.more_state())
        if self.progress.step:
            say(f"resumed after step {self.progress.step:,}")
        # for its precision alone: gradients of several processes are summed up in `gradients`
        self.bare_model, self.model = model, self.accelerator.prepare_model(model, evaluation_mode=True)
        self.weights = [parameter for parameter in self.trained.parameters() if parameter.requires_grad]
        self.lengths = data.lengths
        self.steps_per_epoch = math.ceil(len(self.lengths) / options.batch_size)
        self.total_steps = round(self.steps_per_epoch * options.epochs)
        self.unread: list[Tensor] = []  # of each step, its loss and the parts of that
        self.loss_parts: tuple[str, ...] = ()
        self.batch_halvings = batch_halvings(context.folder)
        self.clock = self.last_checkpoint = time.monotonic()

    def is_used_beside(self, table: Tensor) -> bool:
        """Whether somebody else than the model's look-ups reads a table or its gradient."""
        beside = self.objective.trained
        shared = beside is not None and any(weight is table for weight in beside.parameters())
        return shared or (self.hook is not None and self.hook.needs_whole(table))

    @property
    def epoch(self) -> int:
        """The epoch of the next step, from 0."""
        return self.progress.step // self.steps_per_epoch

    def step(self, indices: np.ndarray) -> None:
        """One optimiser step; a batch above the token budget is summed up exactly from its parts."""
        step, options = self.progress.step, self.options
        rate = options.learning_rate * schedules.factor(options.schedule, step, self.total_steps, warmup=options.warmup)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.seed_dropout()
        self.trained.train()  # always: a wrapped model (`get_peft_model`) may say so of itself alone
        losses = self.gradients(indices)
        if self.hook:
            self.hook.before_update(step, self.total_steps, self.optimizer)
        self.update()
        if self.hook:
            self.hook.after_update()
        self.progress.step += 1
        self.progress.steps.append(self.progress.step)
        self.progress.learning_rate.append(rate)
        self.unread.append(losses)
        if len(self.unread) >= _STEPS_BETWEEN_LOOKS:
            self.read_losses()
        late = time.monotonic() - self.last_checkpoint >= self.context.checkpoint_seconds
        if late and not self.is_score_due():  # there the scores come first
            self.checkpoint()

    def gradients(self, indices: np.ndarray) -> Tensor:
        """Fill the gradients; the loss and its parts [n]. Of several processes each takes a share of the rows."""
        processes, totals = self.accelerator.num_processes, self.data.totals(indices, self.epoch)
        own = indices[self.accelerator.process_index :: processes]
        if not len(own):  # a row that counts nothing, so that every process sends a message alike
            own, totals = indices[:1], dict.fromkeys(totals, math.inf)
        losses = self.own_gradients(own, totals)
        return losses if processes == 1 else sum_over_processes(self.weights, losses)

    def own_gradients(self, indices: np.ndarray, totals: Mapping[str, float]) -> Tensor:
        """Gradients of some of a step's rows, and losses [n]; in parts where memory is out, else UserError."""
        while True:
            longest = int(self.lengths[indices].max())
            budget = min(self.options.batch_tokens, longest * len(indices)) >> self.batch_halvings
            try:
                return self.summed(within_budget(self.lengths, indices, tokens=budget), totals)
            except (RuntimeError, MemoryError) as error:
                if not is_memory_out(error):
                    raise
                if budget <= longest:
                    raise UserError(
                        f"one example of {longest} tokens does not fit in memory. Shorten the texts (--max-length), "
                        "store less (--checkpointing, --precision bf16), or take a smaller model."
                    ) from None
            self.batch_halvings = halve_batches(self.context.folder)
            self.optimizer.zero_grad()
            self.seed_dropout()
            say(f"out of memory: batches are summed up from parts of at most {budget // 2:,} tokens from here on")

    def seed_dropout(self) -> None:
        """Dropout of this step; in further processes another one."""
        more = [self.accelerator.process_index] if self.accelerator.process_index else []
        seed_torch(self.options.seed, "dropout", self.progress.step, *more)

    def summed(self, parts: Sequence[np.ndarray], totals: Mapping[str, float]) -> Tensor:
        """The gradients of a step that holds so much, part by part; its loss and the parts of that [n]."""
        shares = []
        for part in parts:
            loss, shown = self.objective(self.model, self.batch(part, totals))
            loss.backward()  # type: ignore[no-untyped-call]  # nothing to scale: there is no fp16 here
            self.loss_parts = tuple(shown) if len(shown) > 1 else ()
            shares.append(torch.stack([loss.detach(), *(shown[name].detach() for name in self.loss_parts)]).float())
        return shares[0] if len(shares) == 1 else torch.stack(shares).sum(0)

    def batch(self, indices: np.ndarray, totals: Mapping[str, float]) -> Batch:
        """Some rows on the device, as a part of a step that holds so much."""
        return self.data.batch(indices, self.epoch).part_of(totals, self.accelerator.device)

    def update(self) -> None:
        """Take the step that the gradients tell, shortened if they are longer than clip."""
        if self.options.clip:
            gradients = gradients_of(self.optimizer, self.weights)
            scale = (nn.utils.get_total_norm(gradients) / self.options.clip).clamp(min=1.0)
            if getattr(self.optimizer, "_step_supports_amp_scaling", False):
                self.optimizer.grad_scale = scale  # type: ignore[attr-defined]  # divides inside the fused kernel
            else:
                torch._foreach_div_(gradients, scale)
        self.optimizer.step()
        self.optimizer.zero_grad()

    def more_state(self) -> dict[str, Tensor]:
        """What the hook adds to a checkpoint."""
        return self.hook.state() if self.hook else {}

    def read_losses(self) -> None:
        """Move the losses off the device and stop if one of them is no number."""
        first = self.progress.step - len(self.unread) + 1
        read = torch.stack(self.unread).tolist()
        for step, (loss, *parts) in enumerate(read, start=first):
            if not math.isfinite(loss):
                raise UserError(
                    f"the loss is {loss} at step {step} of {self.total_steps}: training has diverged. "
                    f"Lower --learning-rate (it is {self.options.learning_rate:g}), raise --warmup, "
                    "or use --precision fp32."
                )
            self.progress.loss.append(loss)
            for name, part in zip(self.loss_parts, parts, strict=True):
                self.progress.loss_parts[name] = self.progress.loss_parts.get(name, 0.0) + part
        self.unread.clear()
        names = ["loss", *(f"loss_{name}" for name in self.loss_parts)]
        means = {name: sum(values) / len(read) for name, values in zip(names, zip(*read, strict=True), strict=True)}
        self.tell({**means, "learning_rate": self.progress.learning_rate[-1]})

    def tell(self, numbers: Mapping[str, float]) -> None:
        """Let who watches know; the time that takes is not training time."""
        if self.context.watch is not None:
            self.pause_clock()
            self.context.watch(numbers, self.progress.step)
            self.clock = time.monotonic()

    def is_score_due(self) -> bool:
        """Whether scores are taken after the last step: at an epoch's end or every so many steps, and at the end."""
        often = self.options.evaluate_every or self.steps_per_epoch
        return self.progress.step % often == 0 or self.progress.step >= self.total_steps

    def score(self, evaluate: Evaluate | None) -> None:
        """Score the model, keep it if it is the best so far, and make a checkpoint."""
        if self.unread:
            self.read_losses()
        self.pause_clock()
        settle(self.optimizer)
        whole, rest = divmod(self.progress.step, self.steps_per_epoch)
        epoch = whole + rest / self.steps_per_epoch if rest else whole
        if evaluate is not None:
            score, shown = evaluate(self.bare_model, epoch)
            score = agreed(score, self.accelerator.device)
            steps = self.progress.step - (self.progress.epochs[-1]["step"] if self.progress.epochs else 0)
            parts = {name: total / steps for name, total in self.progress.loss_parts.items()}
            about = {"epoch": epoch, "step": self.progress.step, **({"loss_parts": parts} if parts else {})}
            self.progress.epochs.append({**about, **shown})
            self.progress.loss_parts = {}
            self.clock = time.monotonic()
            self.tell({f"{split}_{name}": value for split, scores in shown.items() for name, value in scores.items()})
            settled = self.hook is None or self.hook.settled
            if settled and (score > self.progress.best_score or not self.progress.best_step):
                self.progress.best_score, self.progress.best_epoch = score, epoch
                self.progress.best_step = self.progress.step
                write_best(self.context.folder, self.bare_model, self.progress.best_step)
        self.clock = time.monotonic()  # evaluation is no training time
        self.checkpoint(last=self.over())

    def checkpoint(self, *, last: bool = False) -> None:
        """Write the state, without the optimiser's if no step follows; the time that takes is not training time."""
        if self.unread:
            self.read_losses()
        self.pause_clock()
        optimizer = None if last else self.optimizer
        write_checkpoint(self.context.folder, self.trained, optimizer, self.progress, self.more_state())
        self.clock = self.last_checkpoint = time.monotonic()

    def pause_clock(self) -> None:
        """Add the time since the clock was started to the training time."""
        now = time.monotonic()
        self.progress.seconds += now - self.clock
        self.clock = now

    def over(self) -> bool:
        """Whether all steps are taken, or early stopping is on and too many scores have passed since the best one."""
        later = sum(point["step"] > self.progress.best_step for point in self.progress.epochs)
        impatient = bool(self.options.patience) and later >= self.options.patience
        impatient = impatient and (self.hook is None or self.progress.best_step > 0)
        return impatient or self.progress.step >= self.total_steps
