"""Content-addressed folders: work already done is found by its address, never done twice.

A stage, its settings and its inputs in; the finished folder out. A folder that bears a final name
is complete and holds `record.json`; unfinished work stands in a draft that a later run goes on with.
"""

import functools
import itertools
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from featherlight import distributed
from featherlight.config import Settings, digest
from featherlight.errors import UserError
from featherlight.files import current_umask, hash_file, lock, read_json, reporting_full_disk, write_json
from featherlight.kinds import Kind, Kinds, kind_of
from featherlight.progress import say

ADDRESS = re.compile(r"[a-z]+-[0-9a-f]{12}")
DRAFT, DOOMED, LOCKS, RECORD = ".draft-", ".doomed-", ".locks", "record.json"
RUNS = itertools.count()  # of stages in this process: what earlier ones leave in the heap is in a later one's peak
PREDICTIONS = "predictions.safetensors"  # logits and labels of the splits that a record has scores of
Inputs = Mapping[str, Path]


@dataclass(frozen=True)
class Stage:
    """One kind of work.

    version: bumped by hand when the stage's meaning changes, so that old results are not taken for new.
    sources: settings -> content hashes of what the stage reads besides its inputs (data, weights).
    identity: (settings, inputs, their kinds) -> what of them can change the result, with every `auto` resolved. The
    inputs may still be to come; what they will hold is known by their kinds.
    run: (settings, inputs, out) -> the stage's part of the record; writes its files into out.
    makes: (settings, kinds of the inputs) -> what the finished folder holds.
    inputs: the roles of the model folders that a user names.
    check: (settings, inputs, kinds) raises UserError for what cannot work, before anything is computed.
    """

    name: str
    version: int
    settings: type[Settings]
    sources: Callable[[Any], Mapping[str, str]]
    identity: Callable[[Any, Inputs, Kinds], Mapping[str, Any]]
    run: Callable[[Any, Inputs, Path], dict[str, Any]]
    makes: Callable[[Any, Kinds], Kind]
    inputs: tuple[str, ...] = ()
    check: Callable[[Any, Inputs, Kinds], None] = lambda settings, inputs, kinds: None


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


def run_once(stage: Stage, settings: Settings, inputs: Inputs, *, store: Path, kinds: Kinds | None = None) -> Path:
    """The folder that holds stage(settings, inputs); computed only if it is not there yet. kinds as in `identify`.

    If another process computes it now, this one waits for it. A UserError leaves the store as it was;
    after any other end (a kill, a crash, a full disk) the next call goes on from what the draft holds.
    """
    head = identify(stage, settings, inputs, kinds)
    done = store / str(head["address"])
    draft = store / (DRAFT + done.name)
    on_processor = distributed.count() > 1 and resolved_device(settings) == "cpu"
    meet = functools.partial(distributed.wait_for_all, on_processor=on_processor)
    meet()
    if done.exists():
        say(f"{done.name}: done before")
    elif distributed.place():
        run_beside(stage, settings, inputs, done=done, draft=draft, meet=meet)
    else:
        run_first(stage, settings, inputs, head=head, done=done, draft=draft, meet=meet)
    return done


def run_first(
    stage: Stage, settings: Settings, inputs: Inputs, *, head: Mapping[str, Any], done: Path, draft: Path,
    meet: Callable[[], None],
) -> None:  # fmt: skip
    """Compute a result and write it, unless another command has done so meanwhile. meet: wait for other processes."""
    waiting = functools.partial(say, f"{done.name}: waiting for another process")
    store = done.parent
    with reporting_full_disk(store), writable(store), lock(store / LOCKS / done.name, waiting=waiting):
        if done.exists():
            return meet()
        new = not draft.exists()
        say(f"{done.name}: {'starting' if new else 'going on'}")
        draft.mkdir(exist_ok=True)
        meet()
        meet()
        try:
            write_record(stage, settings, inputs, head=head, out=draft)
        except UserError:
            if new:
                shutil.rmtree(draft)
            raise
        meet()
        adopt(draft, done)
    meet()


def run_beside(
    stage: Stage, settings: Settings, inputs: Inputs, *, done: Path, draft: Path, meet: Callable[[], None]
) -> None:
    """Help a stage that trains, in a further process that a launcher started; its own copy of the draft is thrown away.

    Others are left to the first process.
    """
    meet()
    if done.exists():
        return
    with tempfile.TemporaryDirectory() as scratch, suppress(distributed.TookPart):
        shutil.copytree(draft, scratch, dirs_exist_ok=True)
        meet()
        if getattr(settings, "epochs", 0):
            stage.run(settings, inputs, Path(scratch))
    meet()
    meet()


def resolved_device(settings: Settings) -> str:
    """Where a stage with these settings computes."""
    from featherlight.models.device import resolve_device

    return resolve_device(getattr(settings, "device", "auto"))


def write_record(stage: Stage, settings: Settings, inputs: Inputs, *, head: Mapping[str, Any], out: Path) -> None:
    """Run the stage and write record.json. head: what `identify` said before the run."""
    from featherlight.measurement.footprint import forget_peak_memory, peak_memory_bytes, resident_bytes
    from featherlight.pipeline.record import environment

    forget_peak_memory()
    before, earlier = resident_bytes(), next(RUNS)
    found = stage.run(settings, inputs, out)
    record = {
        **head,
        "settings": settings.model_dump(mode="json"),
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        **found,
        "peak_memory_bytes": peak_memory_bytes(),
        "memory_before_bytes": before,
        "earlier_runs": earlier,
        "environment": environment(),
    }
    write_json(out / RECORD, record)


def adopt(draft: Path, done: Path) -> None:
    """Give a draft its final name: hidden files (checkpoints) go, and the rest has reached the disk."""
    for scratch in draft.glob(".*"):
        shutil.rmtree(scratch) if scratch.is_dir() else scratch.unlink()
    for path in [*draft.rglob("*"), draft]:
        if path.is_file():
            path.chmod(0o666 & ~current_umask())  # safetensors makes its files private to their owner
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
        tempfile.TemporaryFile(dir=store / LOCKS).close()
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


def remove(store: Path, names: Sequence[str]) -> list[str]:
    """Delete results and drafts by name; those that are gone. An unknown name deletes nothing at all."""
    known = {entry["name"] for entry in entries(store)}
    for name in names:
        if name not in known:
            raise UserError(f"{store} holds no {name!r}. See `featherlight store list --store {store}`.")
    return [name for name in names if delete(store, name, store / name, store / (DRAFT + name))]


def collect_garbage(store: Path) -> list[str]:
    """Delete drafts that nobody works on, and teacher logits that neither a result nor a teacher here uses."""
    found = entries(store)
    done = {entry["name"] for entry in found if entry["state"] == "done"}
    inputs = {name: read_json(store / name / RECORD).get("inputs", {}) for name in done}
    used = {address for given in inputs.values() for address in given.values()}
    gone = [entry["name"] for entry in found if entry["state"] == "unfinished"]
    gone = [name for name in gone if delete(store, name, store / (DRAFT + name))]
    for name in sorted(done):
        idle = name.startswith("label-") and name not in used and inputs[name].get("teacher") not in done
        if idle and delete(store, name, store / name):
            gone.append(name)
    for doomed in store.glob(DOOMED + "*"):
        shutil.rmtree(doomed)
    return gone


def delete(store: Path, name: str, *folders: Path) -> bool:
    """Delete folders of a name unless a process is at work on them; each loses its final name first."""
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
        say(f"{name}: a process is at work on it; left alone")
        return False
    return True
