"""A recipe or a command's settings in; the ordered stages, each with its address, out.

In a recipe every setting may be a list; lists multiply. A stage that names an earlier one takes
each of its folders in turn.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import InitVar, dataclass, field
from pathlib import Path
from typing import Any

from featherlight.config import Settings, build
from featherlight.errors import UserError
from featherlight.kinds import Kind, Kinds, kind_of
from featherlight.progress import say
from featherlight.stages.distill.settings import DistillSettings
from featherlight.stages.distill.stage import DISTILL, label_settings
from featherlight.stages.label.stage import LABEL
from featherlight.stages.prune.settings import PruneSettings
from featherlight.stages.quantize.settings import QuantizeSettings
from featherlight.stages.recovery import Provenance
from featherlight.store.address import address
from featherlight.store.layout import DRAFT
from featherlight.store.runs import run_once
from featherlight.store.stage import Inputs, Stage


@dataclass(frozen=True, eq=False)
class Job:
    """One stage run that is wanted. name: what the recipe calls it. folder: where its result is or will be.

    earlier: the jobs that come before it, some of which make its inputs. kinds: what those hold or will hold.
    """

    name: str
    stage: Stage
    settings: Settings
    inputs: Inputs
    store: Path
    earlier: InitVar[Sequence["Job"]] = ()
    kinds: Kinds = field(init=False)
    folder: Path = field(init=False)

    def __post_init__(self, earlier: Sequence["Job"]) -> None:
        planned = {job.folder: job.kind for job in earlier}
        kinds = {role: planned.get(folder) or kind_of(folder) for role, folder in self.inputs.items()}
        object.__setattr__(self, "kinds", kinds)
        self.stage.check(self.settings, self.inputs, kinds)
        object.__setattr__(self, "folder", self.store / address(self.stage, self.settings, self.inputs, kinds))

    @property
    def kind(self) -> Kind:
        """What its folder holds or will hold."""
        return self.stage.makes(self.settings, self.kinds)

    @property
    def state(self) -> str:
        """ "done", "unfinished" (a draft to go on from) or "to do"."""
        if self.folder.exists():
            return "done"
        return "unfinished" if (self.store / (DRAFT + self.folder.name)).exists() else "to do"

    def run(self) -> Path:
        """The finished folder."""
        return run_once(self.stage, self.settings, self.inputs, store=self.store, kinds=self.kinds)


def run_jobs(jobs: Sequence[Job]) -> list[Path]:
    """Run jobs in their order; the folders of all but the labellings.

    A labelling whose students are all there already is passed over: its logits may have been removed.
    """
    folders = []
    for place, job in enumerate(jobs, start=1):
        if not needed(job, jobs):
            continue
        say(f"[{place}/{len(jobs)}] {job.name}")
        folder = job.run()
        if job.stage is not LABEL:
            folders.append(folder)
    return folders


def needed(job: Job, jobs: Sequence[Job]) -> bool:
    """Whether a job has to run or is done; a labelling is not needed if all that learn from it are done."""
    users = [other for other in jobs if job.folder in other.inputs.values()] if job.stage is LABEL else []
    return not users or any(other.state != "done" for other in users)


def combinations(values: Mapping[str, Any], *, where: str) -> list[dict[str, Any]]:
    """Every choice of one item from each list."""
    lists = [value if isinstance(value, list) else [value] for value in values.values()]
    for name, items in zip(values, lists, strict=True):
        if not items:
            raise UserError(f"{where}: {name} is an empty list. Give it at least one value.")
    return [dict(zip(values, items, strict=True)) for items in itertools.product(*lists)]


def jobs_of(
    stage: Stage, values: Mapping[str, Any], inputs: Inputs, *, store: Path, where: str, name: str = "",
    earlier: Sequence[Job] = (),
) -> list[Job]:  # fmt: skip
    """The jobs for one stage and one choice of inputs, in order; a distillation brings its labelling along.

    earlier: jobs that are to make the inputs which are not there yet.
    """
    jobs: list[Job] = []
    for chosen in combinations(values, where=where):
        settings = build(stage.settings, chosen, where=where)
        wanted = dict(inputs)
        if stage is DISTILL:
            assert isinstance(settings, DistillSettings)
            if settings.alpha < 1:
                labels = Job(f"{name or stage.name} (teacher's logits)", LABEL, label_settings(settings), inputs, store,
                             earlier)  # fmt: skip
                if labels.folder not in {job.folder for job in jobs}:
                    jobs.append(labels)
                wanted["labels"] = labels.folder
        at_once = isinstance(settings, PruneSettings) and not settings.epochs and settings.score != "taylor"
        if at_once or (isinstance(settings, QuantizeSettings) and settings.mode != "aware"):
            wanted.pop("labels", None)  # nothing is learned
        jobs.append(Job(name or stage.name, stage, settings, wanted, store, [*earlier, *jobs]))
    return jobs


def own_labels(model: Path, earlier: Sequence[Job] = ()) -> Inputs:
    """{"labels": the stored teacher's logits that a model was trained on}, for its recovery; {} if there are none."""
    for job in earlier:
        if job.folder == model:
            known = {role: job.inputs[role] for role in ("labels",) if role in job.inputs}
            return known or (own_labels(job.inputs["model"], earlier) if "model" in job.inputs else {})
    labels = Provenance.of(model).labels
    folder = model.resolve().parent / (labels or "")
    return {"labels": folder} if labels and folder.is_dir() else {}


def once(jobs: Sequence[Job]) -> list[Job]:
    """Each result once, at its first place."""
    kept: dict[Path, Job] = {}
    for job in jobs:
        kept.setdefault(job.folder, job)
    return list(kept.values())
