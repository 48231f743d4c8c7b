"""A recipe or a command's settings in; the ordered stages, each with its address, out.

In a recipe every setting may be a list; lists multiply. A stage that names an earlier one takes
each of its folders in turn.
"""

import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import InitVar, dataclass, field
from pathlib import Path
from typing import Any

from featherlight.config import Settings, build, mistakes_in, number, read_yaml
from featherlight.errors import UserError, nearest, pick
from featherlight.kinds import Kind, Kinds, kind_of
from featherlight.progress import say
from featherlight.stages.distill.settings import DistillSettings
from featherlight.stages.distill.stage import DISTILL, label_settings
from featherlight.stages.label.stage import LABEL
from featherlight.stages.prune.settings import PruneSettings
from featherlight.stages.prune.stage import PRUNE
from featherlight.stages.quantize.settings import QuantizeSettings
from featherlight.stages.quantize.stage import QUANTIZE
from featherlight.stages.recovery import Origin
from featherlight.stages.table import STAGES
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
    labels = Origin.of(model).labels
    folder = model.resolve().parent / (labels or "")
    return {"labels": folder} if labels and folder.is_dir() else {}


def plan_recipe(path: Path, *, store: Path, common: Mapping[str, Any]) -> list[Job]:
    """The jobs of a recipe, each once, inputs before what needs them.

    common: settings from the command line; they go before the recipe's. Errors name file and key.
    """
    recipe = read_yaml(path)
    if not isinstance(recipe, dict) or not isinstance(recipe.get("stages"), dict) or not recipe["stages"]:
        raise UserError(f"{path}: a recipe needs `stages:` with a name for each stage. See examples/.")
    for key in recipe:
        if key not in ("stages", "common"):
            raise UserError(f"{path}: no key called {key!r}. Known: common, stages.")
    shared = section(recipe.get("common") or {}, where=f"{path}: common")
    stages: dict[str, tuple[Stage, dict[str, Any]]] = {}
    mistakes: list[str] = []
    earlier: list[str] = []
    for name, raw in recipe["stages"].items():
        where = f"{path}: stages.{name}"
        with noting(mistakes):
            stages[str(name)] = stage, given = read_stage(str(name), raw, shared=shared, common=common, where=where)
            check_stage(stage, given, earlier=earlier, mistakes=mistakes, where=where)
        earlier.append(str(name))
    if mistakes:
        raise UserError("\n".join(mistakes))
    unused = set(shared) - {key for stage, _ in stages.values() for key in stage.settings.model_fields}
    if unused:
        raise UserError(f"{path}: common: no stage has a setting called {sorted(unused)[0]!r}.")
    done: dict[str, list[Job]] = {}
    for name, (stage, given) in stages.items():
        done[name] = plan_stage(stage, given, done, store=store, where=f"{path}: stages.{name}", name=name)
    return once([job for jobs in done.values() for job in jobs])


@contextmanager
def noting(mistakes: list[str]) -> Iterator[None]:
    """A complaint from inside joins the others, so that a user meets all of them at once."""
    try:
        yield
    except UserError as error:
        mistakes.append(str(error))


def read_stage(
    name: str, raw: Any, *, shared: Mapping[str, Any], common: Mapping[str, Any], where: str
) -> tuple[Stage, dict[str, Any]]:
    """A stage of a recipe and what is given for it: its own, what all stages share, the command line's before both."""
    values = section(raw, where=where)
    stage = pick_stage(values.pop("stage", name), where)
    fields = stage.settings.model_fields
    given = {key: value for key, value in {**shared, **values}.items() if key in values or key in fields}
    return stage, given | {key: value for key, value in common.items() if key in fields}


def check_stage(
    stage: Stage, given: Mapping[str, Any], *, earlier: Collection[str], mistakes: list[str], where: str
) -> None:
    """Note what is wrong with a stage's inputs and settings, before anything is planned."""
    roles = stage.inputs
    for role in roles:
        with noting(mistakes):
            check_input(role, given, earlier, where=where)
    with noting(mistakes):
        choices = combinations({key: value for key, value in given.items() if key not in roles}, where=where)
        found = dict.fromkeys(mistake for chosen in choices for mistake in mistakes_in(stage.settings, chosen))
        if found:
            raise UserError(f"{where}: {'; '.join(found)}")


def section(raw: Any, *, where: str) -> dict[str, Any]:
    """A mapping of settings as YAML gives it, with numbers like 3e-5 read as numbers."""
    if not isinstance(raw, dict):
        raise UserError(f"{where}: write settings as `key: value` lines.")
    values = {str(key).replace("-", "_"): number(value) for key, value in raw.items()}
    if "seeds" in values:
        if "seed" in values:
            raise UserError(f"{where}: both seed and seeds are given. Keep one.")
        values["seed"] = values.pop("seeds")
    return values


def pick_stage(name: Any, where: str) -> Stage:
    """The stage of this name; an error says where it was asked for."""
    try:
        return pick("stage", str(name), STAGES)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None


def plan_stage(
    stage: Stage, values: dict[str, Any], done: Mapping[str, Sequence[Job]], *, store: Path, where: str, name: str
) -> list[Job]:
    """The jobs of one stage of a recipe or sweep: each choice of its settings on each choice of its inputs."""
    roles = stage.inputs
    earlier = [job for jobs in done.values() for job in jobs]
    for role in roles:
        check_input(role, values, done, where=where)
    choices = [input_folders(role, values, done) for role in roles]
    jobs = []
    for folders in itertools.product(*choices):
        inputs = dict(zip(roles, folders, strict=True))
        if stage in (PRUNE, QUANTIZE):
            inputs |= own_labels(inputs["model"], earlier)
        jobs += jobs_of(stage, values, inputs, store=store, where=where, name=name, earlier=earlier)
    return jobs


def named_inputs(role: str, values: Mapping[str, Any]) -> list[str]:
    """What a stage names as this input: earlier stages or folders."""
    named = values[role]
    return [str(name) for name in (named if isinstance(named, list) else [named])]


def check_input(role: str, values: Mapping[str, Any], earlier: Collection[str], *, where: str) -> None:
    """UserError for an input that is missing, or no earlier stage and no folder."""
    if role not in values:
        raise UserError(f"{where}: {role} is missing: name an earlier stage or a model folder.")
    for name in named_inputs(role, values):
        if name not in earlier and not Path(name).is_dir():
            raise UserError(
                f"{where}: {role} {name!r} is no earlier stage and no folder. {nearest(name, dict.fromkeys(earlier))}"
                f"Earlier stages: {', '.join(earlier) or 'none'}."
            )


def input_folders(role: str, values: dict[str, Any], done: Mapping[str, Sequence[Job]]) -> list[Path]:
    """The folders that an input may be, which is taken out of values: an earlier stage's, or named by their paths."""
    folders: list[Path] = []
    for name in named_inputs(role, values):
        folders += [job.folder for job in done[name] if job.stage is not LABEL] if name in done else [Path(name)]
    del values[role]
    return folders


def once(jobs: Sequence[Job]) -> list[Job]:
    """Each result once, at its first place."""
    kept: dict[Path, Job] = {}
    for job in jobs:
        kept.setdefault(job.folder, job)
    return list(kept.values())
