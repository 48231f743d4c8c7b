"""The stage that scores a model on a split."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from featherlight.costs.estimate import CostModel, Estimate, Where
from featherlight.costs.meta_models import MetaModel
from featherlight.data.own import load_whole
from featherlight.data.task import TaskData
from featherlight.errors import UserError, nearest
from featherlight.files import hash_file, hash_text
from featherlight.kinds import Kind
from featherlight.stages.evaluate.settings import EvaluateSettings
from featherlight.stages.identity import of_a_model
from featherlight.stages.model_folders import about_model, checked_predictor, predictor_of
from featherlight.stages.rows import data_source, describe_task, load_task_of
from featherlight.stages.scoring import score_splits
from featherlight.store.phases import Phases
from featherlight.store.records import name_of
from featherlight.store.stage import Stage, Work


def _sources(work: Work[EvaluateSettings]) -> Mapping[str, str]:
    """The rows; a whole file is hashed as it is, for how it reads depends on the model."""
    settings = work.settings
    if not settings.whole:
        return data_source(work)
    columns = (settings.text or "", settings.text_pair or "", settings.label or "", *filter(None, [settings.positive]))
    return {"file": hash_text(hash_file(Path(settings.task)), *columns)}


def _run(work: Work[EvaluateSettings], out: Path) -> dict[str, Any]:
    settings, data, phases = work.settings, work.data, Phases()
    with phases("load"):
        if data is None:
            model = predictor_of(work.inputs["model"], settings)
            data = load_whole(
                Path(settings.task), text=settings.text, text_pair=settings.text_pair, label=settings.label,
                names=model.labels, positive=settings.positive or model.positive,
            )  # fmt: skip
        predictor = checked_predictor(work.inputs["model"], data, settings)
        if predictor.positive and not settings.positive:  # what was fixed when it was trained
            data = replace(data, task=data.task.with_positive(predictor.positive))
        splits = _splits_named(data, settings.split)
    with phases("evaluate"):
        metrics = score_splits(predictor, data, splits, out=out)
    return {
        "name": name_of(work.inputs["model"]),
        "task": describe_task(data),
        "metrics": metrics,
        "seconds": phases.seconds,
        **about_model(predictor, work.inputs["model"]),
    }


def _splits_named(data: TaskData, name: str) -> tuple[str, ...]:
    """ "reported" means the task's reported splits, so does "dev" where these are two (MNLI); else one split."""
    if name in data.splits:
        return (name,)
    if name == "reported" or (name == "dev" and all(split.startswith("dev") for split in data.task.reported)):
        return data.task.reported
    hint = nearest(name, data.splits)
    raise UserError(f"task {data.task.name} has no split {name!r}. {hint}It has: {', '.join(data.splits)}.")


def _check(work: Work[EvaluateSettings]) -> None:
    if work.data is not None:
        _splits_named(work.data, work.settings.split)


def _estimate(work: Work[EvaluateSettings], costs: CostModel, model_of: Callable[[str], MetaModel]) -> Estimate:
    settings, data = work.settings, work.data
    if data is None:
        return Estimate(why="evaluating a whole file is not predicted")
    splits = [(name, len(data.splits[name])) for name in _splits_named(data, settings.split)]
    where = Where(settings.device, settings.precision)
    return costs.predictions(model_of("model"), data, where, splits=splits, batch_tokens=settings.batch_tokens)


EVALUATE = Stage(
    name="evaluate",
    version=1,
    settings=EvaluateSettings,
    load=lambda settings, tasks: None if settings.whole else load_task_of(settings, tasks),
    inputs=("model",),
    sources=_sources,
    identity=lambda work: of_a_model(work, "model"),
    makes=lambda settings, kinds: Kind.RECORD,
    check=_check,
    run=_run,
    estimate=_estimate,
)
