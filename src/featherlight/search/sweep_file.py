"""A sweep file of Weights & Biases in; the plan that a recipe with lists makes out. No server, no account.

https://docs.wandb.ai/guides/sweeps/sweep-config-keys: `program`, `method`, `metric`, `parameters`. What the program
calls its arguments is translated where it is one of Hugging Face's (`trainer_names`).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from featherlight.config import number, read_yaml
from featherlight.data.registry import LoadedTasks
from featherlight.errors import UserError, nearest, unknown
from featherlight.planning.jobs import Job, once
from featherlight.planning.recipe import check_overrides, plan_stage
from featherlight.progress import say
from featherlight.search.trainer_arguments import DROPPED, FIXED, TIMED, TRANSLATED, translate
from featherlight.stages.table import STAGES
from featherlight.store.stage import Stage

_MANY = 1000  # cells; more than these are planned only when the user says so
_METHODS, _GOALS = ("grid", "random", "bayes"), ("minimize", "maximize")
_LEFT_OUT = {
    **dict.fromkeys(("project", "entity", "controller"), "there is no server"),
    "command": "the stage is called directly",
    "early_terminate": "every cell is finished",
}
_KEYS = ("program", "method", "metric", "parameters", "name", "description", "run_cap", *_LEFT_OUT)
_UNIFORM = ("uniform", "int_uniform", "q_uniform")
_LOGARITHMIC = ("log_uniform", "log_uniform_values", "q_log_uniform_values")
_RANGE_KEYS = ("value", "values", "min", "max", "distribution", "q", "probabilities")


@dataclass(frozen=True)
class Range:
    """What one setting may be: one of `values`; or any number from low to high, in steps of `step` if that is given."""

    values: tuple[Any, ...] = ()
    low: float = 0.0
    high: float = 0.0
    step: float | None = None
    whole: bool = False
    logarithmic: bool = False


@dataclass(frozen=True)
class Metric:
    """What is to be best. name: a score of the select split, `loss`, `bytes` or `latency`."""

    name: str
    maximise: bool


@dataclass(frozen=True)
class Sweep:
    """A file, read and translated. cap: how many cells a guided search tries; None if it does not say."""

    stage: Stage
    method: str
    metrics: tuple[Metric, ...]
    ranges: Mapping[str, Range]
    cap: int | None
    where: str

    @property
    def cells(self) -> int | None:
        """How many cells a grid has; None for a search."""
        return math.prod(len(range.values) for range in self.ranges.values()) if self.method == "grid" else None

    def fitting(self, common: Mapping[str, Any]) -> dict[str, Any]:
        """Those of the command line's settings that the stage has, or takes as inputs."""
        check_overrides(common)
        fields = [*self.stage.settings.model_fields, *self.stage.inputs]
        return {name: value for name, value in common.items() if name in fields}


def read_sweep(path: Path, *, stage: str | None = None) -> Sweep:
    """A sweep file. stage: goes before what its program says. Raises UserError with file and key."""
    raw = read_yaml(path)
    if not isinstance(raw, dict):
        raise UserError(f"{path}: a sweep needs `program`, `method` and `parameters`. See examples/.")
    for key in raw:
        if key not in _KEYS:
            raise UserError(f"{path}: {unknown('key', key, _KEYS)}")
        if key in _LEFT_OUT:
            say(f"{path}: {key} is left out: {_LEFT_OUT[key]}.")
    method = raw.get("method", "grid")
    if method not in _METHODS:
        raise UserError(f"{path}: method: {unknown('method', method, _METHODS)}")
    parameters = raw.get("parameters")
    if not isinstance(parameters, dict) or not parameters:
        raise UserError(f"{path}: parameters is empty. Give at least one: `model: {{value: minilm}}`.")
    ranges = {str(name): _read_range(raw, method, f"{path}: parameters.{name}") for name, raw in parameters.items()}
    picked = _pick_stage(stage or str(raw.get("program", "")), ranges, path, asked=stage is not None)
    cap = raw.get("run_cap")
    if cap is not None and (not isinstance(cap, int) or cap < 1):
        raise UserError(f"{path}: run_cap = {cap!r}: give a whole number above 0.")
    metrics = _read_metrics(raw.get("metric"), method, path)
    return Sweep(picked, method, metrics, _translated(ranges, picked, path), cap, str(path))


def _pick_stage(program: str, ranges: Mapping[str, Range], path: Path, *, asked: bool) -> Stage:
    """The stage that a program names: a verb of ours, or a script that fine-tunes (and, if it repeats, times)."""
    words = program.replace("\\", "/").removesuffix(".py").rsplit("/", 1)[-1].split()
    verb = words[-1] if words else ""
    if verb in STAGES:
        return STAGES[verb]
    if not asked and verb.startswith(("run_glue", "run_classification", "run_text_classification")):
        return STAGES["time" if "finetuning_iters" in ranges else "finetune"]
    what = "--stage" if asked else "program"
    hint = "" if asked else " Name the stage with --stage."
    raise UserError(f"{path}: {what} {program!r}: {unknown('stage', verb, STAGES)}{hint}")


def _read_range(raw: Any, method: str, where: str) -> Range:
    if not isinstance(raw, dict):
        return Range((number(raw),))
    if wrong := next((key for key in raw if key not in _RANGE_KEYS), None):
        raise UserError(f"{where}: {unknown('key', wrong, _RANGE_KEYS)}")
    if "value" in raw:
        return Range((number(raw["value"]),))
    if "values" in raw:
        if not isinstance(raw["values"], list) or not raw["values"]:
            raise UserError(f"{where}: values must be a list of at least one value.")
        return Range(tuple(number(raw["values"])))
    if "min" not in raw or "max" not in raw:
        raise UserError(f"{where}: give value, values, or min and max.")
    if method == "grid":
        raise UserError(f"{where}: a grid needs values; min and max are for method random or bayes.")
    low, high = number(raw["min"]), number(raw["max"])
    if not all(isinstance(end, int | float) for end in (low, high)) or not low < high:
        raise UserError(f"{where}: min {low!r} must be a number below max {high!r}.")
    whole = isinstance(low, int) and isinstance(high, int)
    name = raw.get("distribution", "int_uniform" if whole else "uniform")
    if name not in _UNIFORM + _LOGARITHMIC:
        raise UserError(f"{where}: {unknown('distribution', name, _UNIFORM + _LOGARITHMIC)}")
    if name == "log_uniform":  # Weights & Biases gives the exponents of this one, to the base e
        low, high = math.exp(low), math.exp(high)
    logarithmic = name in _LOGARITHMIC
    if logarithmic and low <= 0:
        raise UserError(f"{where}: min {low!r} must be above 0 for {name}.")
    return Range(low=low, high=high, step=raw.get("q"), whole=name == "int_uniform", logarithmic=logarithmic)


def _read_metrics(raw: Any, method: str, path: Path) -> tuple[Metric, ...]:
    """`metric`: one, or a list of several for a Pareto front; a grid needs none."""
    metrics = []
    for entry in raw if isinstance(raw, list) else [] if raw is None else [raw]:
        if not isinstance(entry, dict) or "name" not in entry or entry.get("goal", "minimize") not in _GOALS:
            raise UserError(f"{path}: metric: write `metric: {{name: accuracy, goal: maximize}}`.")
        name = str(entry["name"]).replace("/", "_").removeprefix("eval_").removeprefix("select_")
        metrics.append(Metric(name, entry.get("goal", "minimize") == "maximize"))
    if method == "bayes" and not metrics:
        raise UserError(f"{path}: method bayes needs a metric: `metric: {{name: accuracy, goal: maximize}}`.")
    return tuple(metrics)


def _translated(ranges: Mapping[str, Range], stage: Stage, path: Path) -> dict[str, Range]:
    """The same under our names; a line for each that is left out; UserError for what has no counterpart."""
    known = [*stage.settings.model_fields, *stage.inputs]
    translated: dict[str, Range] = {}
    for name, range in ranges.items():
        where = f"{path}: parameters.{name}"
        try:
            ours = translate(name, list(range.values), dict.fromkeys(known), timed=stage.alone)
        except UserError as error:
            raise UserError(f"{where}: {error}") from None
        except KeyError:
            names = [*known, *TRANSLATED, *TIMED, *FIXED, *DROPPED]
            raise UserError(f"{where}: neither a setting of the stage {stage.name} nor a known argument of Hugging "
                            f"Face's scripts. {nearest(name, names)}Settings: {', '.join(sorted(known))}."
                            ) from None  # fmt: skip
        if isinstance(ours, str):
            say(f"{where} is left out: {ours}.")
        elif ours[0] in translated:
            raise UserError(f"{where}: {ours[0]} is given twice. Keep one.")
        else:
            translated[ours[0]] = Range(tuple(ours[1])) if range.values else range
    if "finetuning_iters" in ranges:  # the forked trainer of the thesis on timing, which padded every text
        translated = {"what": Range(("finetune",)), "pad": Range(("max",)), **translated}
        say(f"{path}: an epoch is timed, all texts padded to the longest length, as its trainer did.")
    return translated


def plan_grid(sweep: Sweep, *, store: Path, common: Mapping[str, Any], yes: bool) -> list[Job]:
    """Every cell of a grid, each once. common: settings of the command line; they go before the file's."""
    cells = sweep.cells or 0
    if cells > _MANY and not yes:
        raise UserError(f"{sweep.where}: a grid of {cells:,} cells. Call again with --yes if that is what you want.")
    values = {name: list(range.values) for name, range in sweep.ranges.items()} | sweep.fitting(common)
    name, tasks = sweep.stage.name, LoadedTasks()
    return once(plan_stage(sweep.stage, values, {}, store=store, where=sweep.where, name=name, tasks=tasks))
