"""What of a stage's settings and files can change its result, as its address states it."""

from pathlib import Path
from typing import Any

from featherlight.data.task import Target
from featherlight.errors import UserError
from featherlight.files import hash_file
from featherlight.kinds import Kind
from featherlight.models.device import resolve_device, resolve_precision
from featherlight.store.stage import Work

TOLD_BY_SOURCES = {"task", "model", "revision", "text", "text_pair", "label", "kind", "positive"}


def files_named(**paths: Path | None) -> dict[str, str]:
    """A hash of each file that is given; UserError for one that is not there."""
    for name, path in paths.items():
        if path is not None and not path.is_file():
            raise UserError(f"--{name} {path}: no such file.")
    return {name: hash_file(path) for name, path in paths.items() if path is not None}


def resolved(settings: Any, *, encoder: bool) -> dict[str, Any]:
    """What can change the result; what the sources say by content (rows, columns, weights) is left to them."""
    identity = {name: value for name, value in settings.identity().items() if name not in TOLD_BY_SOURCES}
    precision = resolve_precision(settings.precision, resolve_device(settings.device), encoder=encoder)
    return {**identity, "precision": precision}


def of_target(work: Work[Any]) -> dict[str, Any]:
    """How numbers are fitted, which changed once; nothing of classes."""
    return {"targets": "standardised"} if work.task_data.task.kind is Target.NUMBER else {}


def of_a_model(work: Work[Any], role: str) -> dict[str, Any]:
    """`resolved` for a stage that does nothing but use the model in this role.

    A folder that `pack` made computes in one way, but its addresses have always been those of an encoder.
    """
    kind, folder = work.kinds[role], work.inputs[role]
    encoder = kind is Kind.ENCODER or (kind is Kind.PACKED and not folder.is_file())
    return resolved(work.settings, encoder=encoder)
