"""The stage that scores a model on a split."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from featherlight.data.own import load_whole
from featherlight.data.task import TaskData
from featherlight.errors import UserError, nearest
from featherlight.files import hash_file, hash_text
from featherlight.kinds import Kind, Kinds
from featherlight.stages.evaluate.settings import EvaluateSettings
from featherlight.stages.identity import chooses_precision, resolved
from featherlight.stages.model_folders import about_model, checked_predictor, predictor_of
from featherlight.stages.rows import data_source, describe_task, task_data
from featherlight.stages.scoring import score_splits
from featherlight.store.phases import Phases
from featherlight.store.records import name_of
from featherlight.store.stage import Inputs, Stage


def _evaluate_sources(settings: EvaluateSettings) -> Mapping[str, str]:
    """The same; a whole file is hashed as it is, for how it reads depends on the model."""
    if not settings.whole:
        return data_source(settings)
    columns = (settings.text or "", settings.text_pair or "", settings.label or "")
    return {"file": hash_text(hash_file(Path(settings.task)), *columns)}


def _run_evaluate(settings: EvaluateSettings, inputs: Inputs, out: Path) -> dict[str, Any]:
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


def _check_evaluation(settings: EvaluateSettings, inputs: Inputs, kinds: Kinds) -> None:
    """Whether the split is there, before a model is loaded."""
    if not settings.whole:
        splits_named(task_data(settings), settings.split)


EVALUATE = Stage(
    "evaluate",
    1,
    EvaluateSettings,
    _evaluate_sources,
    lambda settings, inputs, kinds: resolved(settings, encoder=chooses_precision(kinds["model"], inputs["model"])),
    _run_evaluate,
    lambda settings, kinds: Kind.RECORD,
    ("model",),
    _check_evaluation,
)
