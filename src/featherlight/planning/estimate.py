"""Planned jobs in; what each will take, before it runs, out."""

import functools
from collections.abc import Sequence

from featherlight.costs.estimate import CostModel, Estimate
from featherlight.costs.meta_models import MetaModel, meta_model_of_folder
from featherlight.errors import UserError, shortened
from featherlight.kinds import Kind, kind_of
from featherlight.planning.jobs import Input, Job


def estimates(jobs: Sequence[Job], costs: CostModel | None = None) -> dict[Job, Estimate]:
    """What each job will take; what cannot be predicted is left out, with the reason."""
    costs = costs or CostModel()
    return {job: _estimate(job, costs) for job in jobs}


def _estimate(job: Job, costs: CostModel) -> Estimate:
    """As its stage states it."""
    if job.stage.estimate is None:
        return Estimate(why=f"{job.stage.name} is not predicted")
    try:
        found: Estimate = job.stage.estimate(job.work, costs, lambda role: meta_model_of(job.sources[role], costs))
    except UserError as error:
        return Estimate(why=shortened(str(error)))
    return found


def meta_model_of(made: Input, costs: CostModel) -> MetaModel:
    """The model in a folder, or in one that a job will fill; UserError where it is packed or exported."""
    folder, kind = (made.folder, made.kind) if isinstance(made, Job) else (made, kind_of(made))
    if kind in (Kind.PACKED, Kind.ONNX):
        raise UserError("exported and packed models are not predicted")
    if not isinstance(made, Job) or folder.exists():
        return costs.remembered(folder, functools.partial(meta_model_of_folder, folder))
    if made.stage.sketch is None:
        return meta_model_of(made.sources["model"], costs)
    model: MetaModel = made.stage.sketch(made.work, costs, lambda role: meta_model_of(made.sources[role], costs))
    return model
