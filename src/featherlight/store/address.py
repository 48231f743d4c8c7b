"""A stage and its work in; the address of the result out."""

from functools import lru_cache
from pathlib import Path
from typing import Any

from featherlight.config import digest
from featherlight.errors import UserError
from featherlight.files import hash_file, read_json
from featherlight.store.layout import ADDRESS, RECORD
from featherlight.store.stage import Stage, Work


def identify(stage: Stage, work: Work[Any]) -> dict[str, Any]:
    """All that decides a result, and its address, as a record states it.

    The address is equal on every machine on which `auto` means the same precision, and before and after the inputs
    come to be.
    """
    decides = {
        "stage": stage.name,
        "version": stage.version,
        "identity": dict(stage.identity(work)),
        "sources": dict(stage.sources(work)),
        "inputs": {role: address_of(folder) for role, folder in work.inputs.items()},
    }
    return {"address": f"{stage.name}-{digest(decides)}", **decides}


def address(stage: Stage, work: Work[Any]) -> str:
    """The name of the folder that holds what the stage makes of this work."""
    return str(identify(stage, work)["address"])


def address_of(folder: Path) -> str:
    """A store folder's own name; for any other model folder, or a .light file, a hash of its contents."""
    from featherlight.models.load import fingerprint

    folder = folder.resolve()
    if ADDRESS.fullmatch(folder.name):
        record = folder / RECORD
        if not folder.exists():
            return folder.name  # planned, not yet there
        if record.exists() and _recorded(record, record.stat().st_mtime_ns) == folder.name:
            return folder.name
    if folder.is_file():
        return hash_file(folder)
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder. Give one that `featherlight finetune` or `distill` made.")
    return fingerprint(str(folder))


@lru_cache(maxsize=64)  # a sweep asks for its teacher's with every cell
def _recorded(record: Path, changed: int) -> Any:
    """The address that a record states. changed: when it was written, in ns."""
    return read_json(record).get("address")
