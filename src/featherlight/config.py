"""YAML and `key=value` in, frozen settings out; and a digest of whatever decides a result.

Knows no stage: the settings classes are `stages.settings`.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, Field, ValidationError

from featherlight.errors import UserError, nearest

_S = TypeVar("_S", bound="Settings")
_SMALL_NUMBER = re.compile(r"[+-]?\d+(\.\d*)?[eE][+-]?\d+")
COMMAND_LINE = "the command line"  # `where` of settings that are spelled as options
RESULT = {"changes_result": False}  # `json_schema_extra` of a field that cannot change what is computed
_LATER = {"in_address_if_changed": True}  # of a field that was added after results had been stored without it


class Settings(BaseModel, frozen=True, extra="forbid", allow_inf_nan=False):
    """Base of every settings class: frozen, and an unknown key is an error."""

    def identity(self) -> dict[str, Any]:
        """The settings that can change the result, as JSON values; part of a result's address."""
        fields = type(self).model_fields
        free = {name for name, field in fields.items() if field.json_schema_extra == RESULT}
        later = {name for name, field in fields.items() if field.json_schema_extra == _LATER}
        return self.model_dump(mode="json", exclude=free | {n for n in later if getattr(self, n) == fields[n].default})


def setting(default: Any, description: str, **bounds: Any) -> Any:
    """A setting that decides the result."""
    return Field(default, description=description, **bounds)


def free(default: Any, description: str, **bounds: Any) -> Any:
    """A setting that cannot change the result; it stays out of the address."""
    return Field(default, description=description, json_schema_extra=dict(RESULT), **bounds)


def added(default: Any, description: str, **bounds: Any) -> Any:
    """A setting that decides the result and was added later; its default is what was done before.

    At its default it stays out of the address, so that earlier results are still found.
    """
    return Field(default, description=description, json_schema_extra=dict(_LATER), **bounds)


def build(cls: type[_S], values: Mapping[str, Any], *, where: str) -> _S:
    """cls(**values), or one UserError that lists every mistake. where: COMMAND_LINE, or a file and key."""
    options = where == COMMAND_LINE
    if mistakes := mistakes_in(cls, values, options=options):
        raise UserError(("" if options else f"{where}: ") + "; ".join(mistakes))
    return cls(**values)


def mistakes_in(cls: type[Settings], values: Mapping[str, Any], *, options: bool = False) -> list[str]:
    """A sentence for each value that cls does not accept. options: settings are spelled as --learning-rate."""
    try:
        cls(**values)
    except ValidationError as error:
        return [_explain(dict(mistake), cls, options=options) for mistake in error.errors()]
    return []


def _explain(mistake: Mapping[str, Any], cls: type[Settings], *, options: bool) -> str:
    """One pydantic error as a sentence that names the setting, its bound and the given value."""
    name = ".".join(str(key) for key in mistake["loc"])
    spelled = "--" + name.replace("_", "-") if options else name
    if mistake["type"] == "value_error":  # of a validator over several settings
        return str(mistake["msg"]).removeprefix("Value error, ")
    if mistake["type"] == "extra_forbidden":
        known = cls.model_fields
        return f"no setting called {name!r}. {nearest(name, known).strip() or 'Known: ' + ', '.join(sorted(known))}"
    if mistake["type"] == "missing":
        return f"{spelled} is missing: {str(cls.model_fields[name].description).rstrip('.')}"
    return f"{spelled}{' ' if options else ' = '}{mistake['input']!r}: {mistake['msg'][0].lower()}{mistake['msg'][1:]}"


def read_yaml(path: Path) -> Any:
    """The value of a YAML file, read without constructing objects; a UserError names file and line."""
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file.") from None
    except IsADirectoryError:
        raise UserError(f"{path}: is a folder. Name a YAML file.") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise UserError(f"{path}{where}: not valid YAML: {error.problem or error.context}.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not valid YAML: {error}") from None


def parse_overrides(pairs: Sequence[str]) -> dict[str, Any]:
    """["epochs=2", "schedule=cosine"] -> {"epochs": 2, "schedule": "cosine"}; values are YAML."""
    values: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals:
            raise UserError(f"--set {pair!r}: write it as key=value, for example --set epochs=2.")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError:
            raise UserError(f"--set {pair!r}: the value is not valid YAML. Put it in quotes if it is a text.") from None
        values[name.strip().replace("-", "_")] = number(value)
    return values


def number(value: Any) -> Any:
    """YAML 1.1 reads 3e-5 (no dot) as text; people mean the number."""
    if isinstance(value, str) and _SMALL_NUMBER.fullmatch(value):
        return float(value)
    if isinstance(value, list):
        return [number(item) for item in value]
    return value


def digest(*parts: Any) -> str:
    """Twelve hex digits over JSON values; equal parts give equal digests on every machine."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]
