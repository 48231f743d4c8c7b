"""Planned jobs in; what each will take, before it runs, out."""

import functools
from collections.abc import Sequence

from featherlight.costs.estimate import CostModel, Estimate
from featherlight.costs.meta_models import MetaModel, meta_model_of_folder
from featherlight.errors import UserError, shortened
from featherlight.kinds import Kind, kind_of
from featherlight.planning.jobs import Job


def estimates(jobs: Sequence[Job]) -> dict[Job, Estimate]:
    """What each job will take; what cannot be predicted is left out, with the reason."""
    costs, predictions = CostModel(), {}
    for job in jobs:
        predictions[job] = Estimate(why=f"{job.stage.name} is not predicted")
        if job.stage.estimate is not None:
            models = functools.partial(_meta_model_of_input, job, costs)
            try:
                predictions[job] = job.stage.estimate(job.work, costs, models)
            except UserError as error:
                predictions[job] = Estimate(why=shortened(str(error)))
    return predictions


def _meta_model_of_input(job: Job, costs: CostModel, role: str) -> MetaModel:
    """The model of an input, there already or still to be made; UserError where it is packed or exported."""
    source = job.sources[role]
    folder, kind = (source.folder, source.kind) if isinstance(source, Job) else (source, kind_of(source))
    if kind in (Kind.PACKED, Kind.ONNX):
        raise UserError("exported and packed models are not predicted")
    if not isinstance(source, Job) or folder.exists():
        return costs.remembered(folder, functools.partial(meta_model_of_folder, folder))
    if source.stage.sketch is None:
        return _meta_model_of_input(source, costs, "model")
    model: MetaModel = source.stage.sketch(source.work, costs, functools.partial(_meta_model_of_input, source, costs))
    return model
