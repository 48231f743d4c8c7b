"""The results in a store: listed, removed, garbage-collected."""

import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from featherlight.errors import UserError
from featherlight.files import read_json
from featherlight.kinds import Kind, kind_of
from featherlight.progress import say
from featherlight.store.layout import ADDRESS, DOOMED, DRAFT, LOCKS, RECORD


def entries(store: Path) -> list[dict[str, Any]]:
    """The results in a store: {"name", "state": "done" or "unfinished", "bytes", "modified"} each, sorted."""
    if not store.is_dir():
        raise UserError(f"{store}: no such store. Name one with --store.")
    results = []
    for folder in sorted(store.iterdir()):
        name = folder.name.removeprefix(DRAFT)
        if folder.is_dir() and ADDRESS.fullmatch(name):
            size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
            state = "unfinished" if folder.name.startswith(DRAFT) else "done"
            modified = time.strftime("%Y-%m-%d %H:%M", time.localtime(folder.stat().st_mtime))
            results.append({"name": name, "state": state, "bytes": size, "modified": modified})
    return results


def remove(store: Path, names: Sequence[str]) -> list[str]:
    """Delete results and drafts by name; returns the deleted names. An unknown name deletes nothing at all."""
    known = {entry["name"] for entry in entries(store)}
    for name in names:
        if name not in known:
            raise UserError(f"{store} has no result called {name!r}. See `featherlight store list --store {store}`.")
    return [name for name in names if _delete(store, name, store / name, store / (DRAFT + name))]


def collect_garbage(store: Path) -> list[str]:
    """Delete drafts that nobody works on, and teacher logits that neither a result nor a teacher here uses."""
    results = entries(store)
    done = {entry["name"] for entry in results if entry["state"] == "done"}
    inputs = {name: read_json(store / name / RECORD).get("inputs", {}) for name in done}
    used = {address for addresses in inputs.values() for address in addresses.values()}
    drafts = [entry["name"] for entry in results if entry["state"] == "unfinished"]
    deleted = [name for name in drafts if _delete(store, name, store / (DRAFT + name))]
    for name in sorted(done):
        idle = kind_of(store / name) is Kind.LOGITS and name not in used and inputs[name].get("teacher") not in done
        if idle and _delete(store, name, store / name):
            deleted.append(name)
    for doomed in store.glob(DOOMED + "*"):
        shutil.rmtree(doomed)
    return deleted


def _delete(store: Path, name: str, *folders: Path) -> bool:
    """Delete folders of a name unless a process is using them; each loses its final name first."""
    from filelock import FileLock, Timeout

    (store / LOCKS).mkdir(exist_ok=True)
    try:
        with FileLock(store / LOCKS / name, timeout=0):
            for folder in folders:
                if folder.exists():
                    doomed = store / f"{DOOMED}{name}"
                    shutil.rmtree(doomed, ignore_errors=True)
                    folder.rename(doomed)
                    shutil.rmtree(doomed)
    except Timeout:
        say(f"{name}: in use by another process, not deleted")
        return False
    return True
