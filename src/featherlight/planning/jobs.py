"""A stage, settings and inputs in; jobs with final addresses, each after what it needs, out.

Every setting may be a list; lists multiply. An input is a folder, or the job that will make it.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Union

from featherlight.config import Settings, build
from featherlight.data.registry import LoadedTasks
from featherlight.data.task import TaskData
from featherlight.errors import UserError
from featherlight.kinds import Kind, Kinds, kind_of
from featherlight.progress import say
from featherlight.stages.recovery import Provenance
from featherlight.store.address import address
from featherlight.store.layout import DRAFT
from featherlight.store.runs import run_once
from featherlight.store.stage import Inputs, Stage, Work

Input = Union[Path, "Job"]


@dataclass(frozen=True, eq=False)
class Job:
    """One run of a stage that is wanted.

    name: what the recipe calls it. sources: role -> a folder, or the job that will make it. inputs, kinds: their
    folders, and what those hold or will hold. folder: where the result is or will be.
    """

    name: str
    stage: Stage
    settings: Settings
    sources: Mapping[str, Input]
    store: Path
    data: TaskData | None = None
    inputs: Inputs = field(init=False)
    kinds: Kinds = field(init=False)
    folder: Path = field(init=False)

    def __post_init__(self) -> None:
        sources = self.sources.items()
        folders = {role: source.folder if isinstance(source, Job) else source for role, source in sources}
        kinds = {role: source.kind if isinstance(source, Job) else kind_of(source) for role, source in sources}
        object.__setattr__(self, "inputs", folders)
        object.__setattr__(self, "kinds", kinds)
        self.stage.check(self.work)
        object.__setattr__(self, "folder", self.store / address(self.stage, self.work))

    @property
    def work(self) -> Work[Any]:
        """What its stage works on."""
        return Work(self.settings, self.inputs, self.kinds, self.data)

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
        return run_once(self.stage, self.settings, self.inputs, store=self.store, kinds=self.kinds, data=self.data)


def run_jobs(jobs: Sequence[Job]) -> list[Path]:
    """Run jobs in their order; the folders of those that are results of their own.

    What only others read is passed over where all of those are there already: it may have been removed.
    """
    folders = []
    for place, job in enumerate(jobs, start=1):
        if needed(job, jobs):
            say(f"[{place}/{len(jobs)}] {job.name}")
            folder = job.run()
            if job.stage.listed:
                folders.append(folder)
    return folders


def needed(job: Job, jobs: Sequence[Job]) -> bool:
    """Whether a job has to run or is done; what only others read is not needed if all of those are done."""
    if job.stage.listed:
        return True
    users = [other for other in jobs if job.folder in other.inputs.values()]
    return not users or any(other.state != "done" for other in users)


def combinations(values: Mapping[str, Any], *, where: str) -> list[dict[str, Any]]:
    """Every choice of one item from each list."""
    lists = [value if isinstance(value, list) else [value] for value in values.values()]
    for name, items in zip(values, lists, strict=True):
        if not items:
            raise UserError(f"{where}: {name} is an empty list. Give it at least one value.")
    return [dict(zip(values, items, strict=True)) for items in itertools.product(*lists)]


def jobs_of(
    stage: Stage,
    values: Mapping[str, Any],
    inputs: Mapping[str, Input],
    *,
    store: Path,
    where: str,
    name: str = "",
    tasks: LoadedTasks | None = None,
) -> list[Job]:
    """The jobs for one stage and one choice of inputs, in order; each brings along what has to come before it.

    where: what errors name. tasks: what holds the tasks that were loaded; None: this call alone does.
    """
    tasks, name = tasks or LoadedTasks(), name or stage.name
    jobs: list[Job] = []
    for combination in combinations(values, where=where):
        settings = build(stage.settings, combination, where=where)
        data = stage.load(settings, tasks)
        sources: dict[str, Input] = dict(inputs)
        for role in stage.inherits(settings):
            if (inherited := _inherited(inputs["model"], role)) is not None:
                sources[role] = inherited
        for role, wanted in stage.prepares(settings).items():
            shared = {theirs: inputs[ours] for theirs, ours in wanted.inputs.items()}
            before = Job(f"{name} ({wanted.title})", wanted.stage, wanted.settings, shared, store, data)
            before = next((job for job in jobs if job.folder == before.folder), before)
            if before not in jobs:
                jobs.append(before)
            sources[role] = before
        jobs.append(Job(name, stage, settings, sources, store, data))
    return jobs


def _inherited(model: Input, role: str) -> Input | None:
    """What a model's own training read in this role, across the steps since; None if that is gone or unknown."""
    if isinstance(model, Job):
        if role in model.sources:
            return model.sources[role]
        if model.stage.trains(model.settings) and not model.stage.inherits(model.settings):
            return None  # this is its own training
        return _inherited(model.sources["model"], role) if "model" in model.sources else None
    name = Provenance.of(model).labels if role == "labels" else None
    folder = model.resolve().parent / (name or "")
    return folder if name and folder.is_dir() else None


def once(jobs: Sequence[Job]) -> list[Job]:
    """Each result once, at its first place."""
    first: dict[Path, Job] = {}
    for job in jobs:
        first.setdefault(job.folder, job)
    return list(first.values())
