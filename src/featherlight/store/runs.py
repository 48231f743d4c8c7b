"""Content-addressed folders: work already done is found by its address, never done twice.

A stage, its settings and its inputs in; the finished folder out. A folder with a final name is complete and holds
`record.json`; unfinished work is in a draft that a later run resumes.
"""

import functools
import itertools
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from featherlight import distributed
from featherlight.config import Settings
from featherlight.data.task import TaskData
from featherlight.errors import UserError
from featherlight.files import current_umask, lock, reporting_full_disk, write_json
from featherlight.kinds import Kinds, kind_of
from featherlight.progress import say
from featherlight.store.address import identify
from featherlight.store.layout import DRAFT, LOCKS, RECORD
from featherlight.store.stage import Inputs, Stage, Work

_RUNS = itertools.count()  # of stages in this process: what earlier ones leave in the heap is in a later one's peak


def run_once(
    stage: Stage,
    settings: Settings,
    inputs: Inputs,
    *,
    store: Path,
    kinds: Kinds | None = None,
    data: TaskData | None = None,
) -> Path:
    """The folder that holds what the stage makes of these settings and inputs; computed only if it is not there yet.

    kinds: what the inputs hold, as planned; None looks at the folders. data: the task, where it is loaded already.
    If another process computes it now, this one waits for it. A UserError leaves the store as it was;
    after any other end (a kill, a crash, a full disk) the next call goes on from what the draft holds.
    """
    kinds = {role: kind_of(folder) for role, folder in inputs.items()} if kinds is None else kinds
    work = stage.work(settings, inputs, kinds, data=data)
    identity = identify(stage, work)
    done = store / str(identity["address"])
    draft = store / (DRAFT + done.name)
    on_processor = False
    if distributed.world_size() > 1:
        from featherlight.models.device import resolve_device

        on_processor = resolve_device(getattr(settings, "device", "auto")) == "cpu"
    meet = functools.partial(distributed.wait_for_all, on_processor=on_processor)
    meet()
    if done.exists():
        say(f"{done.name}: already done")
    elif distributed.rank():
        _run_beside(stage, work, done=done, draft=draft, meet=meet)
    else:
        _run_first(stage, work, identity=identity, done=done, draft=draft, meet=meet)
    return done


def _run_first(
    stage: Stage, work: Work[Any], *, identity: Mapping[str, Any], done: Path, draft: Path, meet: Callable[[], None]
) -> None:
    """Compute a result and write it, unless another command has done so meanwhile. meet: wait for other processes."""
    waiting = functools.partial(say, f"{done.name}: waiting for another process")
    store = done.parent
    with reporting_full_disk(store), writable(store), lock(store / LOCKS / done.name, waiting=waiting):
        if done.exists():
            return meet()
        new = not draft.exists()
        say(f"{done.name}: {'starting' if new else 'resuming'}")
        draft.mkdir(exist_ok=True)
        meet()
        meet()
        try:
            _write_record(stage, work, identity=identity, out=draft)
        except UserError:
            if new:
                shutil.rmtree(draft)
            raise
        meet()
        adopt(draft, done)
    meet()


def _run_beside(stage: Stage, work: Work[Any], *, done: Path, draft: Path, meet: Callable[[], None]) -> None:
    """Help a stage that trains, in a further process of a launcher; its own copy of the draft is thrown away."""
    meet()
    if done.exists():
        return
    with tempfile.TemporaryDirectory() as scratch, suppress(distributed.TookPart):
        shutil.copytree(draft, scratch, dirs_exist_ok=True)
        meet()
        if stage.trains(work.settings):
            stage.run(work, Path(scratch))
    meet()
    meet()


def _write_record(stage: Stage, work: Work[Any], *, identity: Mapping[str, Any], out: Path) -> None:
    """Run the stage and write record.json. identity: what `identify` returned before the run."""
    from featherlight.measurement.environment import environment
    from featherlight.measurement.footprint import forget_peak_memory, peak_memory_bytes, resident_bytes

    forget_peak_memory()
    before, earlier = resident_bytes(), next(_RUNS)
    record = {
        **identity,
        "settings": work.settings.model_dump(mode="json"),
        **stage.run(work, out),
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
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
