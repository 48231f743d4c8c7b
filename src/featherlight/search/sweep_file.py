"""A sweep file as Weights & Biases has it in; the plan that a recipe with lists makes out. No server, no account.

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
from featherlight.errors import UserError, nearest
from featherlight.planning.jobs import Job, once
from featherlight.planning.recipe import check_overrides, plan_stage
from featherlight.progress import say
from featherlight.search.trainer_arguments import DROPPED, FIXED, TIMED, TRANSLATED, translate
from featherlight.stages.table import STAGES
from featherlight.store.stage import Stage

_MANY = 1000  # cells; more than these are planned only when the user says so
_METHODS, _GOALS = ("grid", "random", "bayes"), ("minimize", "maximize")
_LEFT_OUT = {
    "project": "there is no server",
    "entity": "there is no server",
    "command": "the stage is called directly",
    "controller": "there is no server",
    "early_terminate": "every cell is finished",
}
_KEYS = ("program", "method", "metric", "parameters", "name", "description", "run_cap", *_LEFT_OUT)
# The range of a parameter: does it begin and end with numbers, in whole steps, evenly in the logarithm?
_DISTRIBUTIONS = {
    "constant": (),
    "categorical": (),
    "uniform": ("float", False),
    "int_uniform": ("int", False),
    "q_uniform": ("float", False),
    "log_uniform": ("float", True),
    "log_uniform_values": ("float", True),
    "q_log_uniform_values": ("float", True),
}
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
            raise UserError(f"{path}: no key called {key!r}. {nearest(str(key), dict.fromkeys(_KEYS))}Known: "
                            f"{', '.join(_KEYS)}.")  # fmt: skip
        if key in _LEFT_OUT:
            say(f"{path}: {key} is left out: {_LEFT_OUT[key]}.")
    method = raw.get("method", "grid")
    if method not in _METHODS:
        raise UserError(f"{path}: method: {_pick_message('method', method, _METHODS)}")
    parameters = raw.get("parameters")
    if not isinstance(parameters, dict) or not parameters:
        raise UserError(f"{path}: parameters is empty. Give at least one: `model: {{value: minilm}}`.")
    ranges = {str(name): _read_range(raw, method, f"{path}: parameters.{name}") for name, raw in parameters.items()}
    chosen = _pick_stage(stage or str(raw.get("program", "")), ranges, path, asked=stage is not None)
    cap = raw.get("run_cap")
    if cap is not None and (not isinstance(cap, int) or cap < 1):
        raise UserError(f"{path}: run_cap = {cap!r}: give a whole number above 0.")
    metrics = _read_metrics(raw.get("metric"), method, path)
    return Sweep(chosen, method, metrics, _translated(ranges, chosen, path), cap, str(path))


def _pick_message(kind: str, name: Any, known: tuple[str, ...]) -> str:
    """The message of an unknown name."""
    return f"no {kind} called {name!r}. {nearest(str(name), dict.fromkeys(known))}Known: {', '.join(known)}."


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
    raise UserError(f"{path}: {what} {program!r}: {_pick_message('stage', verb, tuple(STAGES))}{hint}")


def _read_range(raw: Any, method: str, where: str) -> Range:
    """One entry of `parameters`."""
    if not isinstance(raw, dict):
        return Range((number(raw),))
    if unknown := next((key for key in raw if key not in _RANGE_KEYS), None):
        raise UserError(f"{where}: {_pick_message('key', unknown, _RANGE_KEYS)}")
    if "value" in raw:
        return Range((number(raw["value"]),))
    if "values" in raw:
        if not isinstance(raw["values"], list) or not raw["values"]:
            raise UserError(f"{where}: values is no list, or an empty one. Give it at least one value.")
        return Range(tuple(number(raw["values"])))
    if "min" not in raw or "max" not in raw:
        raise UserError(f"{where}: give value, values, or min and max.")
    if method == "grid":
        raise UserError(f"{where}: a grid needs values; min and max are for method random or bayes.")
    return _read_numbers(raw, where)


def _read_numbers(raw: Mapping[str, Any], where: str) -> Range:
    """A range with min and max."""
    low, high = number(raw["min"]), number(raw["max"])
    if not all(isinstance(end, int | float) for end in (low, high)) or not low < high:
        raise UserError(f"{where}: min {low!r} must be a number below max {high!r}.")
    default = "int_uniform" if isinstance(low, int) and isinstance(high, int) else "uniform"
    name = raw.get("distribution", default)
    if name not in _DISTRIBUTIONS or not _DISTRIBUTIONS[name]:
        raise UserError(f"{where}: {_pick_message('distribution', name, tuple(_DISTRIBUTIONS))}")
    kind, logarithmic = _DISTRIBUTIONS[name]
    if name == "log_uniform":  # Weights & Biases gives the exponents of this one, to the base e
        low, high = math.exp(low), math.exp(high)
    if logarithmic and low <= 0:
        raise UserError(f"{where}: min {low!r} must be above 0 for {name}.")
    return Range(low=low, high=high, step=raw.get("q"), whole=kind == "int", logarithmic=bool(logarithmic))


def _read_metrics(raw: Any, method: str, path: Path) -> tuple[Metric, ...]:
    """`metric`: one, or a list of several for a front; a grid needs none."""
    found = []
    for one in raw if isinstance(raw, list) else [] if raw is None else [raw]:
        if not isinstance(one, dict) or "name" not in one or one.get("goal", "minimize") not in _GOALS:
            raise UserError(f"{path}: metric: write `metric: {{name: accuracy, goal: maximize}}`.")
        name = str(one["name"]).replace("/", "_").removeprefix("eval_").removeprefix("select_")
        found.append(Metric(name, one.get("goal", "minimize") == "maximize"))
    if method == "bayes" and not found:
        raise UserError(f"{path}: method bayes needs a metric: `metric: {{name: accuracy, goal: maximize}}`.")
    return tuple(found)


def _translated(ranges: Mapping[str, Range], stage: Stage, path: Path) -> dict[str, Range]:
    """The same under our names; a line for each that is left out; UserError for what has no counterpart."""
    known = [*stage.settings.model_fields, *stage.inputs]
    found: dict[str, Range] = {}
    for name, range in ranges.items():
        where = f"{path}: parameters.{name}"
        try:
            ours = translate(name, list(range.values), dict.fromkeys(known), timed=stage.alone)
        except UserError as error:
            raise UserError(f"{where}: {error}") from None
        except KeyError:
            names = dict.fromkeys([*known, *TRANSLATED, *TIMED, *FIXED, *DROPPED])
            raise UserError(f"{where}: the stage {stage.name} has no setting of this name, and no argument of "
                            f"Hugging Face's scripts that is known here has it. {nearest(name, names)}Settings: "
                            f"{', '.join(sorted(known))}.") from None  # fmt: skip
        if isinstance(ours, str):
            say(f"{where} is left out: {ours}.")
        elif ours[0] in found:
            raise UserError(f"{where}: {ours[0]} is given twice.")
        else:
            found[ours[0]] = Range(tuple(ours[1])) if range.values else range
    if "finetuning_iters" in ranges:  # the forked trainer of the thesis on timing, which padded every text
        found = {"what": Range(("finetune",)), "pad": Range(("max",)), **found}
        say(
            f"{path}: the seconds of an epoch are measured, all texts padded to the longest length, as its trainer did."
        )
    return found


def plan_grid(sweep: Sweep, *, store: Path, common: Mapping[str, Any], yes: bool) -> list[Job]:
    """Every cell of a grid, each once. common: settings of the command line; they go before the file's."""
    cells = sweep.cells or 0
    if cells > _MANY and not yes:
        raise UserError(f"{sweep.where}: a grid of {cells:,} cells. Call again with --yes if that is what you want.")
    values: dict[str, Any] = {name: list(range.values) for name, range in sweep.ranges.items()}
    values |= sweep.fitting(common)
    jobs = plan_stage(
        sweep.stage, values, {}, store=store, where=sweep.where, name=sweep.stage.name, tasks=LoadedTasks()
    )
    return once(jobs)
