"""The stage that fine-tunes a pre-trained encoder on a task."""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from featherlight.errors import UserError
from featherlight.kinds import Kind
from featherlight.models.adapters import PROMPT, WHOLE, Method, adapt, work_of_a_step, write_adapter
from featherlight.models.attention import choose_attention
from featherlight.models.load import (
    check_length,
    checkpoint_layers,
    fingerprint,
    load_encoder,
    origin_of,
)
from featherlight.models.source import source_of
from featherlight.progress import say
from featherlight.seeds import seed_torch
from featherlight.stages.finetune.settings import FinetuneSettings
from featherlight.stages.identity import resolved
from featherlight.stages.rows import class_weights, data_source, label_targets, task_data, train_rows
from featherlight.stages.task_training import TaskTraining, check_training
from featherlight.store.phases import Phases
from featherlight.store.stage import Inputs, Stage
from featherlight.training.finetune import LabelObjective

_MOST_WORK = 0.75  # of a step, beyond which small layers do not make training faster by much


def method_of(settings: FinetuneSettings) -> Method:
    """What is trained, as `models.adapters` takes it."""
    targets = tuple(name.strip() for name in (settings.targets or "").split(",") if name.strip())
    return Method(settings.method, settings.rank, settings.lora_alpha, settings.lora_dropout, targets,
                  settings.reduction, settings.adapter_activation, settings.virtual_tokens,
                  settings.frozen_precision)  # fmt: skip


def _finetune_sources(settings: FinetuneSettings) -> Mapping[str, str]:
    """Rows and pre-trained weights, by their contents."""
    return {**data_source(settings), "model": fingerprint(settings.model, settings.revision)}


def _run_finetune(settings: FinetuneSettings, inputs: Inputs, out: Path) -> dict[str, Any]:
    """Fine-tune an encoder on a task."""
    phases = Phases()
    with phases("load"):
        data = task_data(settings)
        seed_torch(settings.seed, "initial weights")
        model, tokenizer = load_encoder(
            settings.model,
            labels=data.task.labels,
            max_length=settings.max_length,
            revision=settings.revision,
            trust_remote_code=settings.trust_remote_code,
        )
    method = method_of(settings)
    adapt(model, method)
    if method.name not in WHOLE and (work := work_of_a_step(model)) > _MOST_WORK:
        say(f"--method {method.name}: a step of it still multiplies {work:.0%} of what full fine-tuning does, and the "
            "layers that it changes keep their inputs. Fewer --targets or a smaller --rank save more.")  # fmt: skip
    if method.name == PROMPT:
        check_length(
            model.config, settings.max_length + method.virtual_tokens, option="max-length plus --virtual-tokens"
        )
    choose_attention(model, settings.attention)
    if settings.checkpointing:
        checkpoint_layers(model)
    fit = TaskTraining(model, tokenizer, data, settings, out=out, phases=phases)
    if method.name not in WHOLE:
        about = origin_of(settings.model, settings.revision, model)
        fit.write = functools.partial(write_adapter, method=method, origin=about)
    if method.frozen != "fp32" and fit.precision != method.frozen:
        raise UserError(f"--frozen-precision bf16: products are in {fit.precision} here; add --precision bf16.")
    rows = train_rows(data, settings.examples, settings.seed)
    objective = LabelObjective(class_weights(data, settings))
    record = fit.run(objective, rows, label_targets(data, rows))
    picked = source_of(settings.model).picked
    return {"name": Path(settings.model).name, **({"layers": list(picked)} if picked else {}), **record}


FINETUNE = Stage(
    "finetune",
    2,
    FinetuneSettings,
    _finetune_sources,
    lambda settings, inputs, kinds: resolved(settings, encoder=True),
    _run_finetune,
    lambda settings, kinds: Kind.ENCODER,
    check=check_training,
)
