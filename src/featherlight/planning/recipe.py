"""A recipe in; its jobs, inputs before what needs them, out. All mistakes are told at once."""

import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from featherlight.config import mistakes_in, number, read_yaml
from featherlight.data.registry import LoadedTasks
from featherlight.errors import UserError, nearest, pick
from featherlight.planning.jobs import Input, Job, combinations, jobs_of, once
from featherlight.stages.table import STAGES
from featherlight.store.stage import Stage


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
    shared = _section(recipe.get("common") or {}, where=f"{path}: common")
    stages: dict[str, tuple[Stage, dict[str, Any]]] = {}
    mistakes: list[str] = []
    earlier: list[str] = []
    for name, raw in recipe["stages"].items():
        where = f"{path}: stages.{name}"
        with _noting(mistakes):
            stages[str(name)] = stage, given = _read_stage(str(name), raw, shared=shared, common=common, where=where)
            _check_stage(stage, given, earlier=earlier, mistakes=mistakes, where=where)
        earlier.append(str(name))
    if mistakes:
        raise UserError("\n".join(mistakes))
    unused = set(shared) - {key for stage, _ in stages.values() for key in stage.settings.model_fields}
    if unused:
        raise UserError(f"{path}: common: no stage has a setting called {sorted(unused)[0]!r}.")
    done: dict[str, list[Job]] = {}
    tasks = LoadedTasks()
    for name, (stage, given) in stages.items():
        where = f"{path}: stages.{name}"
        done[name] = plan_stage(stage, given, done, store=store, where=where, name=name, tasks=tasks)
    return once([job for jobs in done.values() for job in jobs])


@contextmanager
def _noting(mistakes: list[str]) -> Iterator[None]:
    """A complaint from inside joins the others, so that a user meets all of them at once."""
    try:
        yield
    except UserError as error:
        mistakes.append(str(error))


def _read_stage(
    name: str, raw: Any, *, shared: Mapping[str, Any], common: Mapping[str, Any], where: str
) -> tuple[Stage, dict[str, Any]]:
    """A stage of a recipe and what is given for it: its own, what all stages share, the command line's before both."""
    values = _section(raw, where=where)
    stage = _pick_stage(values.pop("stage", name), where)
    fields = stage.settings.model_fields
    given = {key: value for key, value in {**shared, **values}.items() if key in values or key in fields}
    return stage, given | {key: value for key, value in common.items() if key in fields}


def _check_stage(
    stage: Stage, given: Mapping[str, Any], *, earlier: Collection[str], mistakes: list[str], where: str
) -> None:
    """Note what is wrong with a stage's inputs and settings, before anything is planned."""
    for role in stage.inputs:
        with _noting(mistakes):
            _check_input(role, given, earlier, where=where)
    with _noting(mistakes):
        choices = combinations({key: value for key, value in given.items() if key not in stage.inputs}, where=where)
        found = dict.fromkeys(mistake for chosen in choices for mistake in mistakes_in(stage.settings, chosen))
        if found:
            raise UserError(f"{where}: {'; '.join(found)}")


def _section(raw: Any, *, where: str) -> dict[str, Any]:
    """A mapping of settings as YAML gives it, with numbers like 3e-5 read as numbers."""
    if not isinstance(raw, dict):
        raise UserError(f"{where}: write settings as `key: value` lines.")
    values = {str(key).replace("-", "_"): number(value) for key, value in raw.items()}
    if "seeds" in values:
        if "seed" in values:
            raise UserError(f"{where}: both seed and seeds are given. Keep one.")
        values["seed"] = values.pop("seeds")
    return values


def _pick_stage(name: Any, where: str) -> Stage:
    """The stage of this name; an error says where it was asked for."""
    try:
        return pick("stage", str(name), STAGES)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None


def plan_stage(
    stage: Stage,
    values: dict[str, Any],
    done: Mapping[str, Sequence[Job]],
    *,
    store: Path,
    where: str,
    name: str,
    tasks: LoadedTasks,
) -> list[Job]:
    """The jobs of one stage of a recipe or sweep: each choice of its settings on each choice of its inputs."""
    for role in stage.inputs:
        _check_input(role, values, done, where=where)
    choices = [_inputs(role, values, done) for role in stage.inputs]
    jobs = []
    for made in itertools.product(*choices):
        for given, continued in _continued(stage, values, done):
            inputs = {**dict(zip(stage.inputs, made, strict=True)), **continued}
            jobs += jobs_of(stage, given, inputs, store=store, where=where, name=name, tasks=tasks)
    return jobs


def _continued(
    stage: Stage, values: Mapping[str, Any], done: Mapping[str, Sequence[Job]]
) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Input]]]:
    """The settings as they are, and once more for each earlier job that one of them names: (settings, that input).

    A stage that is called like the model which it reads itself stands for that model, as it would alone.
    """
    for name in set(stage.continues) & set(values):
        named = _named_inputs(name, values)
        earlier = [one for one in named if one in done and all(_reads(job, name) != one for job in done[one])]
        for one in earlier:
            for job in done[one]:
                if job.stage.listed:
                    yield {**values, name: str(job.folder)}, {name: job}
        if earlier:
            values = {**values, name: [one for one in named if one not in earlier]}
            if not values[name]:
                return
    yield values, {}


def _reads(job: Job, name: str) -> Any:
    """What a job has in this setting; None where it has no such setting."""
    return job.settings.model_dump().get(name)


def _named_inputs(role: str, values: Mapping[str, Any]) -> list[str]:
    """What a stage names as this input: earlier stages or folders."""
    named = values[role]
    return [str(name) for name in (named if isinstance(named, list) else [named])]


def _check_input(role: str, values: Mapping[str, Any], earlier: Collection[str], *, where: str) -> None:
    """UserError for an input that is missing, or no earlier stage and no folder."""
    if role not in values:
        raise UserError(f"{where}: {role} is missing: name an earlier stage or a model folder.")
    for name in _named_inputs(role, values):
        if name not in earlier and not Path(name).is_dir():
            raise UserError(
                f"{where}: {role} {name!r} is no earlier stage and no folder. {nearest(name, dict.fromkeys(earlier))}"
                f"Earlier stages: {', '.join(earlier) or 'none'}."
            )


def _inputs(role: str, values: dict[str, Any], done: Mapping[str, Sequence[Job]]) -> list[Input]:
    """What an input may be, taken out of values: the jobs of an earlier stage, or folders named by their paths."""
    inputs: list[Input] = []
    for name in _named_inputs(role, values):
        inputs += [job for job in done[name] if job.stage.listed] if name in done else [Path(name)]
    del values[role]
    return inputs
