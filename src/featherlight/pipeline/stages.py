"""The stages: settings and input folders in, a filled folder and its part of the record out."""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from featherlight.compression.movement import REACH
from featherlight.data.own import load_whole
from featherlight.data.task import SELECT, TaskData
from featherlight.data.unlabelled import load_unlabelled
from featherlight.distillation.task_specific import check_loss_fits
from featherlight.errors import UserError, nearest
from featherlight.files import hash_file, hash_text
from featherlight.kinds import LOGITS, Kind, Kinds
from featherlight.models.adapters import PROMPT, WHOLE, adapt, work_of_a_step, write_adapter
from featherlight.models.attention import choose_attention
from featherlight.models.load import (
    check_length,
    checkpoint_layers,
    fingerprint,
    load_encoder,
    origin_of,
    read_json_object,
)
from featherlight.models.students.embeddings import check_width
from featherlight.pipeline.export import EXPORT
from featherlight.pipeline.fit import (
    Fit,
    about_unlabelled,
    describe_task,
    fitted_rows,
    known_metric,
    score_splits,
    select_rows,
    train_rows,
)
from featherlight.pipeline.inputs import (
    UNLABELLED,
    about_model,
    add_teacher,
    checked_predictor,
    chooses_precision,
    class_weights,
    data_source,
    files_named,
    imitation,
    label_targets,
    loss_of,
    method_of,
    numpy_tensor,
    predictor_of,
    resolved,
    task_data,
)
from featherlight.pipeline.merging import MERGE
from featherlight.pipeline.pack import PACK
from featherlight.pipeline.prune import PRUNE, Pruning
from featherlight.pipeline.quantize import QUANTIZE
from featherlight.pipeline.settings import (
    DistillSettings,
    EvaluateSettings,
    FinetuneSettings,
    LabelSettings,
    RowSettings,
    TrainSettings,
)
from featherlight.pipeline.sparsity import SparsitySettings
from featherlight.pipeline.students import new_student
from featherlight.pipeline.timing import TIME
from featherlight.progress import say
from featherlight.seeds import seed_torch
from featherlight.store.phases import Phases
from featherlight.store.records import name_of
from featherlight.store.stage import Inputs, Stage
from featherlight.training.finetune import LabelObjective

MOST_WORK = 0.75  # of a step, beyond which small layers do not make training faster by much
WIDTHS = ("embedding_size", "hidden_size", "dim", "d_model")  # what configs call the width of the embeddings


def evaluate_sources(settings: EvaluateSettings) -> Mapping[str, str]:
    """The same; a whole file is hashed as it is, for how it reads depends on the model."""
    if not settings.whole:
        return data_source(settings)
    columns = (settings.text or "", settings.text_pair or "", settings.label or "")
    return {"file": hash_text(hash_file(Path(settings.task)), *columns)}


def finetune_sources(settings: FinetuneSettings) -> Mapping[str, str]:
    """Rows and pre-trained weights, by their contents."""
    return {**data_source(settings), "model": fingerprint(settings.model, settings.revision)}


def distill_identity(settings: DistillSettings, inputs: Inputs, kinds: Kinds) -> dict[str, Any]:
    """Like `resolved`, without settings of a loss, or of a pruning, that has no part in it."""
    loss = loss_of(settings)
    unused = {"loss", "temperature"} if settings.alpha == 1 else {"temperature"} if loss == "mse" else set()
    unused |= set() if settings.prune else {"prune", *SparsitySettings.model_fields}
    own: dict[str, Any] = {"loss": loss} | ({"reach": REACH} if settings.prune == "movement" else {})
    return {name: value for name, value in {**resolved(settings, encoder=False), **own}.items() if name not in unused}


def run_finetune(settings: FinetuneSettings, inputs: Inputs, out: Path) -> dict[str, Any]:
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
    if method.name not in WHOLE and (work := work_of_a_step(model)) > MOST_WORK:
        say(f"--method {method.name}: a step of it still multiplies {work:.0%} of what full fine-tuning does, and the "
            "layers that it changes keep their inputs. Fewer --targets or a smaller --rank save more.")  # fmt: skip
    if method.name == PROMPT:
        check_length(
            model.config, settings.max_length + method.virtual_tokens, option="max-length plus --virtual-tokens"
        )
    choose_attention(model, settings.attention)
    if settings.checkpointing:
        checkpoint_layers(model)
    fit = Fit(model, tokenizer, data, settings, out=out, phases=phases)
    if method.name not in WHOLE:
        about = origin_of(settings.model, settings.revision, model)
        fit.write = functools.partial(write_adapter, method=method, origin=about)
    if method.frozen != "fp32" and fit.precision != method.frozen:
        raise UserError(f"--frozen-precision bf16: products are in {fit.precision} here; add --precision bf16.")
    rows = train_rows(data, settings.examples, settings.seed)
    objective = LabelObjective(class_weights(data, settings))
    record = fit.run(objective, rows, label_targets(data, rows))
    return {"name": Path(settings.model).name, **record}


def run_label(settings: LabelSettings, inputs: Inputs, out: Path) -> dict[str, Any]:
    """Store a teacher's logits for train and select, in the order of their rows."""
    phases = Phases()
    with phases("load"):
        data = task_data(settings)
        teacher = checked_predictor(inputs["teacher"], data, settings)
    rows = {"train": train_rows(data, settings.examples, settings.seed), SELECT: select_rows(data)}
    if settings.unlabelled is not None:
        rows[UNLABELLED] = load_unlabelled(settings.unlabelled, data.task)
    logits = {}
    for split, examples in rows.items():
        with phases("tokenize"):
            tokens = teacher.tokens(examples)
        with phases("predict"):
            logits[split] = teacher.logits(tokens, label=f"label {split}")
    save_file({split: numpy_tensor(values) for split, values in logits.items()}, out / LOGITS)
    return {
        "name": f"logits of {inputs['teacher'].name}",
        "task": describe_task(data, settings),
        "seconds": phases.seconds,
        **about_model(teacher, inputs["teacher"]),
    }


def run_distill(settings: DistillSettings, inputs: Inputs, out: Path) -> dict[str, Any]:
    """Train a student on labels and stored teacher logits."""
    phases = Phases()
    with phases("load"):
        data = task_data(settings)
        rows = fitted_rows(data, settings)
        model, tokenizer, start = new_student(settings, data, inputs["teacher"], [*rows.first, *(rows.second or ())])
        targets = label_targets(data, rows)
        if settings.alpha < 1:
            add_teacher(targets, inputs["labels"])
    pruning = Pruning(model, settings)
    fit = Fit(model, tokenizer, data, settings, out=out, phases=phases, shaper=pruning.shaper)
    record = fit.run(imitation(settings, data), rows, targets)
    more = {} if settings.unlabelled is None else {"unlabelled": about_unlabelled(data, rows)}
    name = f"{settings.student} {settings.dim}d {settings.embedding}{pruning.title}"
    return {"name": name, **start, **more, **record, **pruning.found()}


def run_evaluate(settings: EvaluateSettings, inputs: Inputs, out: Path) -> dict[str, Any]:
    """Score a model folder on a split."""
    phases = Phases()
    with phases("load"):
        if settings.whole:
            columns = {"text": settings.text, "text_pair": settings.text_pair, "label": settings.label}
            data = load_whole(Path(settings.task), names=predictor_of(inputs["model"], settings).labels, **columns)
        else:
            data = task_data(settings)
        predictor = checked_predictor(inputs["model"], data, settings)
        splits = splits_named(data, settings.split)
    with phases("evaluate"):
        metrics = score_splits(predictor, data, splits, out=out)
    return {
        "name": name_of(inputs["model"]),
        "task": describe_task(data, settings),
        "metrics": metrics,
        "seconds": phases.seconds,
        **about_model(predictor, inputs["model"]),
    }


def splits_named(data: TaskData, name: str) -> tuple[str, ...]:
    """ "reported" means the task's reported splits, so does "dev" where these are two (MNLI); else one split."""
    if name in data.splits:
        return (name,)
    if name == "reported" or (name == "dev" and all(split.startswith("dev") for split in data.task.reported)):
        return data.task.reported
    hint = nearest(name, data.splits)
    raise UserError(f"task {data.task.name} has no split {name!r}. {hint}It has: {', '.join(data.splits)}.")


def label_sources(settings: LabelSettings | DistillSettings) -> Mapping[str, str]:
    """The rows of the task and those without labels, by their contents."""
    found = files_named(unlabelled=settings.unlabelled)
    if settings.unlabelled is not None:  # how a file is read depends on what it is called
        found["unlabelled"] = hash_text(found["unlabelled"], settings.unlabelled.suffix.lower())
    return {**data_source(settings), **found}


def distill_sources(settings: DistillSettings) -> Mapping[str, str]:
    """The same and the word vectors."""
    return {**label_sources(settings), **files_named(vectors=settings.vectors)}


def check_training(settings: TrainSettings, inputs: Inputs, kinds: Kinds) -> None:
    """What can be known to be wrong before anything is computed."""
    data = task_data(settings)
    class_weights(data, settings)
    train_rows(data, settings.examples, settings.seed)
    known_metric(settings.select_metric, data)


def check_distillation(settings: DistillSettings, inputs: Inputs, kinds: Kinds) -> None:
    """The same, and whether loss and width fit task and teacher."""
    check_training(settings, inputs, kinds)
    if settings.alpha < 1:
        check_loss_fits(loss_of(settings), regression=task_data(settings).task.is_regression)
    if kinds["teacher"] in (Kind.PACKED, Kind.ONNX):
        raise UserError(f"{inputs['teacher']}: is packed or exported. Distil from the model that it was made of.")
    config = inputs["teacher"] / "config.json"
    if settings.start == "teacher" and settings.vectors is None and config.exists():
        described = read_json_object(config)
        if described.get("embedding") == "hash":
            raise UserError(f"{inputs['teacher']}: hashed words have no vectors to start from. Use --start random.")
        width = next((described[name] for name in WIDTHS if described.get(name)), None)
        check_width(settings.dim, int(width or settings.dim))


def check_evaluation(settings: EvaluateSettings, inputs: Inputs, kinds: Kinds) -> None:
    """Whether the split is there, before a model is loaded."""
    if not settings.whole:
        splits_named(task_data(settings), settings.split)


FINETUNE = Stage(
    "finetune",
    2,
    FinetuneSettings,
    finetune_sources,
    lambda settings, inputs, kinds: resolved(settings, encoder=True),
    run_finetune,
    lambda settings, kinds: Kind.ENCODER,
    check=check_training,
)
LABEL = Stage(
    "label",
    2,
    LabelSettings,
    label_sources,
    lambda settings, inputs, kinds: resolved(settings, encoder=chooses_precision(kinds["teacher"], inputs["teacher"])),
    run_label,
    lambda settings, kinds: Kind.LOGITS,
    ("teacher",),
)
DISTILL = Stage(
    "distill",
    2,
    DistillSettings,
    distill_sources,
    distill_identity,
    run_distill,
    lambda settings, kinds: Kind.STUDENT,
    ("teacher",),
    check_distillation,
)
EVALUATE = Stage(
    "evaluate",
    1,
    EvaluateSettings,
    evaluate_sources,
    lambda settings, inputs, kinds: resolved(settings, encoder=chooses_precision(kinds["model"], inputs["model"])),
    run_evaluate,
    lambda settings, kinds: Kind.RECORD,
    ("model",),
    check_evaluation,
)
STAGES = {
    stage.name: stage for stage in (FINETUNE, LABEL, DISTILL, MERGE, PRUNE, QUANTIZE, PACK, EXPORT, EVALUATE, TIME)
}


def label_settings(settings: DistillSettings) -> LabelSettings:
    """The labelling that a distillation needs: one for all students and seeds that see the same texts."""
    same = {name: getattr(settings, name) for name in (*RowSettings.model_fields, "device", "precision")}
    seed = settings.seed if settings.examples is not None else 1
    return LabelSettings(**same, seed=seed, unlabelled=settings.unlabelled)
