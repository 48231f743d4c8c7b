"""Stage, settings and inputs in; the address of their result out."""

from pathlib import Path
from typing import Any

from featherlight.config import Settings, digest
from featherlight.errors import UserError
from featherlight.files import hash_file, read_json
from featherlight.kinds import Kinds, kind_of
from featherlight.store.layout import ADDRESS, RECORD
from featherlight.store.stage import Inputs, Stage


def identify(stage: Stage, settings: Settings, inputs: Inputs, kinds: Kinds | None = None) -> dict[str, Any]:
    """All that decides a result, and its address, as a record states it.

    kinds: of inputs that are to come; None: all are there. The address is equal on every machine on which `auto` means
    the same precision, and before and after its inputs come to be.
    """
    kinds = {role: kind_of(folder) for role, folder in inputs.items()} if kinds is None else kinds
    decides = {
        "stage": stage.name,
        "version": stage.version,
        "identity": dict(stage.identity(settings, inputs, kinds)),
        "sources": dict(stage.sources(settings)),
        "inputs": {role: address_of(folder) for role, folder in inputs.items()},
    }
    return {"address": f"{stage.name}-{digest(decides)}", **decides}


def address(stage: Stage, settings: Settings, inputs: Inputs, kinds: Kinds | None = None) -> str:
    """The name of the folder that holds stage(settings, inputs); kinds as in `identify`."""
    return str(identify(stage, settings, inputs, kinds)["address"])


def address_of(folder: Path) -> str:
    """A store folder's own name; for any other model folder, or a .light file, a hash of its contents."""
    from featherlight.models.load import fingerprint

    folder = folder.resolve()
    if ADDRESS.fullmatch(folder.name):
        record = folder / RECORD
        if not folder.exists():
            return folder.name  # planned, not yet there
        if record.exists() and read_json(record).get("address") == folder.name:
            return folder.name
    if folder.is_file():
        return hash_file(folder)
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder. Give one that `featherlight finetune` or `distill` made.")
    return fingerprint(str(folder))
