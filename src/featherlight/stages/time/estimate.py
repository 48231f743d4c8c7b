"""What a cell of the stage `time` will take."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from featherlight.costs.estimate import CostModel, Estimate, Shapes, Trained, Update, Where, full_batches
from featherlight.costs.meta_models import MetaModel, lengths_of, meta_model_of_encoder
from featherlight.data.task import TaskData
from featherlight.stages.rows import train_rows
from featherlight.stages.time.backends import STUDENTS, is_result
from featherlight.stages.time.policy import POLICY
from featherlight.stages.time.settings import TimeSettings
from featherlight.store.stage import Work

_SAMPLE_BYTES = 45  # in a record


def estimate_cell(work: Work[TimeSettings], costs: CostModel, model_of: Callable[[str], MetaModel]) -> Estimate:
    """Its samples, as often as the policy takes them, and the memory of a process with this cell alone."""
    settings, data = work.settings, work.task_data
    if settings.runtime not in ("torch", "bf16"):
        return Estimate(why=f"runtime {settings.runtime} is not predicted")
    if settings.model in STUDENTS or is_result(Path(settings.model)):
        return Estimate(why=f"{settings.model}: only cells of pre-trained encoders are predicted")
    training = settings.what == "finetune"
    model, where, update, shapes = _call(settings, data, costs)
    seconds = costs.batches_seconds(model, where, update, shapes, training=training)
    wanted = POLICY.samples(settings.repeats, training=training)
    if training:
        visits, warm = wanted, POLICY.warm_steps / max(len(shapes[0]), 1)
        memory = costs.training_memory(model, where, update, Trained(varied=settings.pad == "longest"), shapes)
    else:
        fewest = POLICY.fewest_samples(settings.repeats, seconds, training=False)
        visits, warm = max(min(wanted, int(settings.seconds / seconds)), fewest), 1
        seconds = max(seconds, POLICY.least_seconds)
        memory = costs.inference_memory(model, where, shapes)
    return Estimate(seconds * (visits + warm), memory, _SAMPLE_BYTES * visits)


def call_seconds(settings: TimeSettings, data: TaskData, costs: CostModel) -> float:
    """Of one call of a cell."""
    return costs.batches_seconds(*_call(settings, data, costs), training=settings.what == "finetune")


def _call(settings: TimeSettings, data: TaskData, costs: CostModel) -> tuple[MetaModel, Where, Update, Shapes]:
    """What computes one call, where and how, and its batches: all those of an epoch, or some to predict."""
    key = (settings.model, None, data.task.labels, settings.length)
    model = costs.remembered(key, lambda: meta_model_of_encoder(*key))
    where = Where(settings.device, "bf16" if settings.runtime == "bf16" else "fp32", settings.threads)
    update = Update("adamw", settings.learning_rate, settings.weight_decay, settings.epsilon)
    lengths = lengths_of(model, data, "train")
    if settings.what == "finetune":
        rows = len(train_rows(data, settings.examples, settings.seed))
        sizes, longest = full_batches(lengths.of(rows), settings.batch)
    else:
        calls = 1 if settings.pad == "max" else POLICY.batches(settings.batch)
        tokens = np.sort(lengths.of(calls * settings.batch)[:, 0])[::-1].reshape(calls, settings.batch)
        sizes, longest = np.full(calls, settings.batch), tokens.max(axis=1)
    longest = np.full_like(longest, settings.length) if settings.pad == "max" else longest
    return model, where, update, (sizes, longest)
