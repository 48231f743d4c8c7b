"""The stage that fine-tunes a pre-trained encoder on a task."""

import copy
import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from featherlight.costs.estimate import CostModel, Estimate, Trained
from featherlight.costs.meta_models import MetaModel, meta_model_of_encoder
from featherlight.errors import UserError
from featherlight.kinds import Kind
from featherlight.models.adapters import PROMPT, WHOLE, Method, adapt, work_of_a_step, write_adapter
from featherlight.models.attention import choose_attention
from featherlight.models.load import check_length, checkpoint_layers, fingerprint, load_encoder, origin_of
from featherlight.models.source import source_of
from featherlight.progress import say
from featherlight.seeds import seed_torch
from featherlight.stages.finetune.settings import FinetuneSettings
from featherlight.stages.identity import of_target, resolved
from featherlight.stages.model_folders import check_plain
from featherlight.stages.rows import class_weights, data_source, label_targets, load_task_of, train_rows
from featherlight.stages.task_training import TaskTraining, check_training, estimated_training
from featherlight.store.layout import RECORD
from featherlight.store.phases import Phases
from featherlight.store.stage import Stage, Work
from featherlight.training.finetune import LabelObjective
from featherlight.training.target_scale import TargetScale

_MOST_WORK = 0.75  # of a step, beyond which small layers do not make training faster by much


def method_of(settings: FinetuneSettings) -> Method:
    """What is trained, as `models.adapters` takes it."""
    targets = tuple(name.strip() for name in (settings.targets or "").split(",") if name.strip())
    return Method(settings.method, settings.rank, settings.lora_alpha, settings.lora_dropout, targets,
                  settings.reduction, settings.adapter_activation, settings.virtual_tokens,
                  settings.frozen_precision)  # fmt: skip


def _sources(work: Work[FinetuneSettings]) -> Mapping[str, str]:
    """Rows and pre-trained weights, by their contents; an earlier result is an input and has an address."""
    if "model" in work.inputs:
        return data_source(work)
    return {**data_source(work), "model": fingerprint(work.settings.model, work.settings.revision)}


def _check(work: Work[FinetuneSettings]) -> None:
    """The same as of every training, and whether it is an encoder that is fine-tuned on."""
    check_training(work)
    kind = work.kinds.get("model", Kind.ENCODER)
    if kind is not Kind.ENCODER:
        raise UserError(f"{work.inputs['model']}: holds no encoder that could be fine-tuned on, but: {kind.value}.")


def _run(work: Work[FinetuneSettings], out: Path) -> dict[str, Any]:
    settings, data, phases = work.settings, work.task_data, Phases()
    if "model" in work.inputs:
        check_plain(work.inputs["model"])
    with phases("load"):
        seed_torch(settings.seed, "initial weights")
        model, tokenizer = load_encoder(
            settings.model,
            labels=data.task.labels,
            max_length=settings.max_length,
            revision=settings.revision,
            trust_remote_code=settings.trust_remote_code,
        )
    scale = None
    if not model.new_weights and source_of(settings.model).width is None:
        if (Path(settings.model) / RECORD).exists():  # its head answers in the unit of labels
            scale = TargetScale.of(train_rows(data, settings.examples, settings.seed).labels)
            scale.unfold(model)
        say(f"{settings.model}: brings a head for {len(data.task.labels) or 1} outputs, which is trained on")
    method = method_of(settings)
    adapt(model, method)
    if method.name not in WHOLE and (share := work_of_a_step(model)) > _MOST_WORK:
        say(f"--method {method.name}: a step of it still multiplies {share:.0%} of what full fine-tuning does, and the "
            "layers that it changes keep their inputs. Fewer --targets or a smaller --rank save more.")  # fmt: skip
    if method.name == PROMPT:
        tokens = settings.max_length + method.virtual_tokens
        check_length(model.config, tokens, option="max-length plus --virtual-tokens")
    choose_attention(model, settings.attention)
    if settings.checkpointing:
        checkpoint_layers(model)
    fit = TaskTraining(
        model, tokenizer, data, settings, out=out, phases=phases, trust_remote_code=settings.trust_remote_code,
        scale=scale,
    )  # fmt: skip
    if method.name not in WHOLE:
        origin = origin_of(settings.model, settings.revision, model)
        fit.write = functools.partial(write_adapter, method=method, origin=origin)
    if method.frozen != "fp32" and fit.precision != method.frozen:
        raise UserError(f"--frozen-precision bf16: products are in {fit.precision} here; add --precision bf16.")
    rows = train_rows(data, settings.examples, settings.seed)
    objective = LabelObjective(class_weights(settings.class_weights, rows, data.task))
    record = fit.run(objective, rows, label_targets(data, rows))
    picked = source_of(settings.model).picked
    return {"name": Path(settings.model).name, **({"layers": list(picked)} if picked else {}), **record}


def _sketch(work: Work[FinetuneSettings], costs: CostModel, model_of: Callable[[str], MetaModel]) -> MetaModel:
    settings = work.settings
    if "model" in work.inputs:
        return model_of("model")
    key = (settings.model, settings.revision, work.task_data.task.labels, settings.max_length)
    return costs.remembered(key, lambda: meta_model_of_encoder(*key))


def _estimate(work: Work[FinetuneSettings], costs: CostModel, model_of: Callable[[str], MetaModel]) -> Estimate:
    settings, model = work.settings, _sketch(work, costs, model_of)
    adapted = copy.deepcopy(model.model)
    adapt(adapted, method_of(settings))
    trained = Trained(
        method=settings.method,
        weights=sum(weight.numel() for weight in adapted.parameters() if weight.requires_grad),
        rank=settings.rank,
        lora_dropout=settings.lora_dropout,
        reduction=settings.reduction,
        frozen=settings.frozen_precision,
        virtual_tokens=settings.virtual_tokens if settings.method == PROMPT else 0,
        checkpointing=settings.checkpointing,
        attention=settings.attention,
    )
    rows = len(train_rows(work.task_data, settings.examples, settings.seed))
    return estimated_training(work, costs, model, rows=rows, trained=trained)


FINETUNE = Stage(
    name="finetune",
    version=2,
    settings=FinetuneSettings,
    load=load_task_of,
    sources=_sources,
    identity=lambda work: {**resolved(work.settings, encoder=True), **of_target(work)},
    makes=lambda settings, kinds: Kind.ENCODER,
    continues=("model",),
    check=_check,
    run=_run,
    sketch=_sketch,
    estimate=_estimate,
    trains=lambda settings: True,
)
