"""Settings classes as options of a command line: no option is written twice."""

import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import typer
import yaml

from featherlight.config import Settings, number, parse_overrides
from featherlight.errors import UserError, unknown

Command = Callable[..., None]
_SeedsOption = Annotated[str, typer.Option("--seeds", help="Several seeds: 1,2,3. One result each, and a summary.")]
_SetOption = Annotated[list[str], typer.Option("--set", metavar="KEY=VALUE", help="Any setting by its name.")]


def options(cls: type[Settings], *, lists: Sequence[str] = ()) -> Callable[[Command], Command]:
    """Make a typer option of each field of a settings class; those of `lists` take several values with commas.

    The command gets those that were given, and what --set and --seeds say, as the mapping `values`.
    """

    def decorate(command: Command) -> Command:
        own = [p for p in inspect.signature(command).parameters.values() if p.name != "values"]
        fields = [name for name in cls.model_fields if name not in {p.name for p in own}]
        added = [_keyword(name, None, _option(cls, name, several=name in lists)) for name in fields]
        added.append(_keyword("overrides", [], _SetOption))
        if "seed" in fields:
            added.append(_keyword("seeds", "", _SeedsOption))

        def run(**given: Any) -> None:
            values = {name: given.pop(name) for name in fields}
            values = {name: value for name, value in values.items() if value is not None and value != []}
            for name in set(lists) & set(values):  # "8,16" -> [8, 16]
                values[name] = [number(yaml.safe_load(item)) for item in values[name].split(",") if item.strip()]
            overrides = parse_overrides(given.pop("overrides"))
            for name, value in overrides.items():
                if name not in cls.model_fields and cls.model_config["extra"] == "forbid":
                    raise UserError(f"--set {name}: {unknown('setting', name, cls.model_fields)}")
                if isinstance(value, list):
                    raise UserError(
                        f"--set {name}: give one value. For several seeds use --seeds; for other lists, a recipe."
                    )
            values |= overrides
            if seeds := given.pop("seeds", ""):
                if "seed" in values:
                    raise UserError("--seed and --seeds are both given. Keep one.")
                values["seed"] = _seed_list(seeds)
            command(values=values, **given)

        run.__doc__, run.__name__ = command.__doc__, command.__name__
        run.__signature__ = inspect.Signature([*own, *added])  # type: ignore[attr-defined]
        return run

    return decorate


def _keyword(name: str, default: Any, annotation: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _option(cls: type[Settings], name: str, *, several: bool) -> Any:
    """One field as a typer option; None means that it was not given."""
    field = cls.model_fields[name]
    kinds = [field.annotation, *get_args(field.annotation)]  # of Literal[...] | None the first part
    choices = next((get_args(kind) for kind in kinds if get_origin(kind) is Literal), ())
    default = ",".join(map(str, field.default)) if isinstance(field.default, tuple) else field.default
    note = "" if default in (None, "") or field.is_required() else f" [default: {default}]"
    details: dict[str, Any] = {"help": f"{field.description}{note}", "show_default": False}
    if choices:
        details["metavar"] = "|".join(choices)
    if name == "data":
        details["envvar"] = "FEATHERLIGHT_DATA"
    if several:
        details["help"] += " Several values: separate them with commas."
    kind: Any = str if several else _plain_type(field.annotation)
    if kind == list[str]:
        details["metavar"] = "<str>"
    flag = f"--{name.replace('_', '-')}"
    return Annotated[kind | None, typer.Option(f"{flag}/--no-{flag[2:]}" if kind is bool else flag, **details)]


def _plain_type(annotation: Any) -> type:
    """int | None -> int, tuple[str, ...] -> an option that can be given several times, a pair or choices -> text.

    Pairs and choices are read and checked by pydantic, whose message lists them.
    """
    if get_origin(annotation) is tuple:
        return list[str] if Ellipsis in get_args(annotation) else str
    kinds = [kind for kind in get_args(annotation) if kind is not type(None)] or [annotation]
    return kinds[0] if kinds[0] in (bool, int, float, Path) else str


def _seed_list(text: str) -> list[int]:
    """ "1,2,3" -> [1, 2, 3]."""
    try:
        seeds = [int(seed) for seed in text.split(",")]
    except ValueError:
        raise UserError(f"--seeds {text!r}: write whole numbers with commas, for example 1,2,3.") from None
    if len(set(seeds)) < len(seeds):
        raise UserError(f"--seeds {text}: a seed is given twice. Each seed gives one result.")
    return seeds
