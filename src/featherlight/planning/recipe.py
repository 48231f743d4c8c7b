"""A recipe in; its jobs, inputs before what needs them, out. All mistakes are reported at once."""

import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from featherlight.config import mistakes_in, number, read_yaml
from featherlight.data.registry import LoadedTasks
from featherlight.errors import UserError, nearest, pick, unknown
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
            raise UserError(f"{path}: {unknown('key', key, ('stages', 'common'))}")
    check_overrides(common)
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
        raise UserError(f"{path}: common: no stage has a setting called {sorted(unused)[0]!r}. Remove it.")
    done: dict[str, list[Job]] = {}
    tasks = LoadedTasks()
    for name, (stage, given) in stages.items():
        where = f"{path}: stages.{name}"
        done[name] = plan_stage(stage, given, done, store=store, where=where, name=name, tasks=tasks)
    return once([job for jobs in done.values() for job in jobs])


def check_overrides(names: Iterable[str]) -> None:
    """UserError for a name that is no setting and no input of any stage."""
    known = {name for stage in STAGES.values() for name in (*stage.settings.model_fields, *stage.inputs)}
    for name in names:
        if name not in known:
            raise UserError(f"--set {name}: {unknown('setting', name, known)}")


@contextmanager
def _noting(mistakes: list[str]) -> Iterator[None]:
    """Collect a UserError from inside, so that a user meets all mistakes at once."""
    try:
        yield
    except UserError as error:
        mistakes.append(str(error))


def _read_stage(
    name: str, raw: Any, *, shared: Mapping[str, Any], common: Mapping[str, Any], where: str
) -> tuple[Stage, dict[str, Any]]:
    """A stage of a recipe and what is given for it: its own, what all stages share, the command line's before both."""
    values = _section(raw, where=where)
    try:
        stage = pick("stage", str(values.pop("stage", name)), STAGES)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
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
        values = {key: value for key, value in given.items() if key not in stage.inputs}
        settings = combinations(values, where=where)
        wrong = dict.fromkeys(mistake for choice in settings for mistake in mistakes_in(stage.settings, choice))
        if wrong:
            raise UserError(f"{where}: {'; '.join(wrong)}")


def _section(raw: Any, *, where: str) -> dict[str, Any]:
    if not isinstance(raw, dict):
        raise UserError(f"{where}: write settings as `key: value` lines.")
    values = {str(key).replace("-", "_"): number(value) for key, value in raw.items()}
    if "seeds" in values:
        if "seed" in values:
            raise UserError(f"{where}: both seed and seeds are given. Keep one.")
        values["seed"] = values.pop("seeds")
    return values


def plan_stage(
    stage: Stage,
    values: Mapping[str, Any],
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
    listed: dict[str, list[Input]] = {earlier: [job for job in done[earlier] if job.stage.listed] for earlier in done}
    choices = [
        [source for named in _named_inputs(role, values) for source in listed.get(named, [Path(named)])]
        for role in stage.inputs
    ]
    settings = {key: value for key, value in values.items() if key not in stage.inputs}
    jobs = []
    for sources in itertools.product(*choices):
        for given, continued in _continued(stage, settings, done):
            inputs = {**dict(zip(stage.inputs, sources, strict=True)), **continued}
            jobs += jobs_of(stage, given, inputs, store=store, where=where, name=name, tasks=tasks)
    return jobs


def _continued(
    stage: Stage, values: Mapping[str, Any], done: Mapping[str, Sequence[Job]]
) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Input]]]:
    """The settings as they are, and once more for each earlier job that one of them names: (settings, that input).

    A stage that is called like the model which it reads itself stands for that model, as it would alone.
    """
    for name in set(stage.continues) & set(values):
        models = _named_inputs(name, values)
        earlier = [
            model for model in models
            if model in done and all(job.settings.model_dump().get(name) != model for job in done[model])
        ]  # fmt: skip
        for job in [job for model in earlier for job in done[model] if job.stage.listed]:
            yield {**values, name: str(job.folder)}, {name: job}
        if earlier:
            values = {**values, name: [model for model in models if model not in earlier]}
            if not values[name]:
                return
    yield values, {}


def _named_inputs(role: str, values: Mapping[str, Any]) -> list[str]:
    """What a stage names as this input: earlier stages or folders."""
    names = values[role]
    return [str(name) for name in (names if isinstance(names, list) else [names])]


def _check_input(role: str, values: Mapping[str, Any], earlier: Collection[str], *, where: str) -> None:
    if role not in values:
        raise UserError(f"{where}: {role} is missing: name an earlier stage or a model folder.")
    for name in _named_inputs(role, values):
        if name not in earlier and not Path(name).is_dir():
            raise UserError(
                f"{where}: {role} {name!r} is no earlier stage and no folder. {nearest(name, earlier)}"
                f"Earlier stages: {', '.join(earlier) or 'none'}."
            )
