"""Content-addressed folders: work already done is found by its address, never done twice.

A stage, its settings and its inputs in; the finished folder out. A folder that bears a final name
is complete and holds `record.json`; unfinished work stands in a draft that a later run goes on with.
"""

import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from featherlight.config import Settings, digest
from featherlight.errors import UserError
from featherlight.files import lock, read_json, write_json
from featherlight.progress import say

ADDRESS = re.compile(r"[a-z]+-[0-9a-f]{12}")
DRAFT, LOCKS, RECORD = ".draft-", ".locks", "record.json"
Inputs = Mapping[str, Path]


@dataclass(frozen=True)
class Stage:
    """One kind of work.

    version: bumped by hand when the stage's meaning changes, so that old results are not taken for new.
    sources: settings -> content hashes of what the stage reads besides its inputs (data, weights).
    identity: settings -> what of them can change the result, with every `auto` resolved.
    run: (settings, inputs, out) -> the stage's part of the record; writes its files into out.
    """

    name: str
    version: int
    settings: type[Settings]
    sources: Callable[[Any], Mapping[str, str]]
    identity: Callable[[Any, Inputs], Mapping[str, Any]]
    run: Callable[[Any, Inputs, Path], dict[str, Any]]


def address(stage: Stage, settings: Settings, inputs: Inputs) -> str:
    """The name of the folder that holds stage(settings, inputs); equal on every machine."""
    given = {role: address_of(folder) for role, folder in inputs.items()}
    parts = (stage.version, stage.identity(settings, inputs), stage.sources(settings), given)
    return f"{stage.name}-{digest(stage.name, *parts)}"


def address_of(folder: Path) -> str:
    """A store folder's own name; for any other model folder a hash of its contents."""
    from featherlight.models.load import fingerprint

    if ADDRESS.fullmatch(folder.name):
        record = folder / RECORD
        if not folder.exists():
            return folder.name  # planned, not yet there
        if record.exists() and read_json(record).get("address") == folder.name:
            return folder.name
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder. Give one that `featherlight finetune` or `distill` made.")
    return fingerprint(str(folder))


def run_once(stage: Stage, settings: Settings, inputs: Inputs, *, store: Path) -> Path:
    """The folder that holds stage(settings, inputs); computed only if it is not there yet.

    If another process computes it now, this one waits for it. A UserError leaves the store as it was;
    after any other end (a kill, a crash) the next call goes on from what the draft holds.
    """
    name = address(stage, settings, inputs)
    done, draft = store / name, store / (DRAFT + name)
    if done.exists():
        say(f"{name}: done before")
        return done
    with writable(store), lock(store / LOCKS / name, waiting=lambda: say(f"{name}: waiting for another process")):
        if not done.exists():
            say(f"{name}: {'going on' if draft.exists() else 'starting'}")
            draft.mkdir(exist_ok=True)
            try:
                write_record(stage, settings, inputs, name=name, out=draft)
            except UserError:
                shutil.rmtree(draft)
                raise
            adopt(draft, done)
    return done


def write_record(stage: Stage, settings: Settings, inputs: Inputs, *, name: str, out: Path) -> None:
    """Run the stage and write record.json."""
    from featherlight.pipeline.record import environment

    found = stage.run(settings, inputs, out)
    head = {
        "stage": stage.name,
        "version": stage.version,
        "address": name,
        "settings": settings.model_dump(mode="json"),
        "sources": dict(stage.sources(settings)),
        "inputs": {role: address_of(folder) for role, folder in inputs.items()},
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    write_json(out / RECORD, {**head, **found, "environment": environment()})


def adopt(draft: Path, done: Path) -> None:
    """Give a draft its final name, after everything in it has reached the disk."""
    for path in [*draft.rglob("*"), draft]:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    draft.rename(done)


@contextmanager
def writable(store: Path) -> Iterator[None]:
    """Make the store for the time of a run; one that was not there before and stays empty goes again."""
    new = not store.exists()
    try:
        (store / LOCKS).mkdir(parents=True, exist_ok=True)
        (store / LOCKS / ".try").touch()
        (store / LOCKS / ".try").unlink()
    except OSError as error:
        raise UserError(f"the store {store} cannot be written: {error.strerror}. Name another with --store.") from None
    try:
        yield
    except UserError:
        if new and not [path for path in store.iterdir() if path.name != LOCKS]:
            shutil.rmtree(store)
        raise


def entries(store: Path) -> list[dict[str, Any]]:
    """What a store holds: {"name", "state": "done" or "unfinished", "bytes", "modified"} each, sorted."""
    if not store.is_dir():
        raise UserError(f"{store}: no such store. Name one with --store.")
    found = []
    for folder in sorted(store.iterdir()):
        name = folder.name.removeprefix(DRAFT)
        if folder.is_dir() and ADDRESS.fullmatch(name):
            size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
            state = "unfinished" if folder.name.startswith(DRAFT) else "done"
            modified = time.strftime("%Y-%m-%d %H:%M", time.localtime(folder.stat().st_mtime))
            found.append({"name": name, "state": state, "bytes": size, "modified": modified})
    return found


def remove(store: Path, names: list[str]) -> None:
    """Delete results and drafts by name; an unknown name deletes nothing at all."""
    known = {entry["name"] for entry in entries(store)}
    for name in names:
        if name not in known:
            raise UserError(
                f"{store} holds no {name!r}. `featherlight store list --store {store}` shows what it holds."
            )
    for name in names:
        for folder in (store / name, store / (DRAFT + name)):
            if folder.exists():
                delete(store, folder)


def collect_garbage(store: Path) -> list[str]:
    """Delete drafts that nobody works on, and stored teacher logits whose teacher is gone; their names."""
    gone = []
    present = {entry["name"] for entry in entries(store) if entry["state"] == "done"}
    for entry in entries(store):
        if entry["state"] == "unfinished":
            folder = store / (DRAFT + entry["name"])
        elif entry["name"].startswith("label-"):
            teacher = read_json(store / entry["name"] / RECORD)["inputs"]["teacher"]
            if not ADDRESS.fullmatch(teacher) or teacher in present:
                continue
            folder = store / entry["name"]
        else:
            continue
        if delete(store, folder):
            gone.append(entry["name"])
    return gone


def delete(store: Path, folder: Path) -> bool:
    """Delete a folder unless a process is at work on it; it loses its final name first."""
    from filelock import FileLock, Timeout

    name = folder.name.removeprefix(DRAFT)
    (store / LOCKS).mkdir(exist_ok=True)
    try:
        with FileLock(store / LOCKS / name, timeout=0):
            doomed = store / f".doomed-{name}"
            folder.rename(doomed)
            shutil.rmtree(doomed)
    except Timeout:
        say(f"{name}: a process is at work on it; left alone")
        return False
    return True
