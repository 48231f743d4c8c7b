"""A sweep's cells on a Ray cluster: a task each, with its share of processors and GPUs.

Where a node sees the store (a shared file system), a cell is worked on there, and goes on from its draft after a crash.
Elsewhere its inputs travel to the node and its finished folder comes back, both as bytes.
"""

import io
import logging
import socket
import tarfile
import tempfile
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from featherlight.data.registry import LoadedTasks
from featherlight.errors import UserError
from featherlight.execution.pool import WorkerPool
from featherlight.execution.worker import attempt
from featherlight.planning.jobs import Job
from featherlight.progress import say
from featherlight.store.layout import DRAFT, RECORD
from featherlight.store.runs import adopt

_SECONDS = 5.0  # that an address has to answer in
_Answer = tuple[str | None, bool, bytes | None]  # error, whether trying again is useless, the folder
Sent = list[Any]  # the reference to a folder's bytes, in a list, which Ray leaves to the node to fetch; or nothing
_BLIND = "the node does not see the store"


class RayPool(WorkerPool):
    """A pool whose workers are a cluster's. processors, gpus: of one cell."""

    def __init__(self, address: str, store: Path, *, processors: float, gpus: float, retry: bool):
        self.ray = _connected(address)
        resources = self.ray.cluster_resources()
        size = int(resources.get("CPU", 0) // processors) if processors else 1
        size = min(size, int(resources.get("GPU", 0) // gpus)) if gpus else size
        if size < 1:
            self.ray.shutdown()
            raise UserError(f"--ray {address}: the cluster has {resources.get('CPU', 0):g} processors and "
                            f"{resources.get('GPU', 0):g} GPUs, too few for one cell. Lower --cell-cpus or --cell-gpus."
                            )  # fmt: skip
        super().__init__(size, retry=retry)
        say(f"Ray: {size} cells at a time")
        self.token = store / f".ray-{uuid.uuid4().hex}"
        store.mkdir(parents=True, exist_ok=True)
        self.token.touch()
        self.cell = self.ray.remote(num_cpus=processors, num_gpus=gpus, max_retries=0)(_work_there)
        self.tasks: dict[Any, tuple[Job, float]] = {}
        self.sending = False  # until a node says that it does not see the store
        self.sent: dict[Path, Sent] = {}

    @property
    def running(self) -> list[Job]:
        """The jobs in flight."""
        return [job for job, _ in self.tasks.values()]

    def start(self, job: Job) -> None:
        """A task for a job; an input that has to travel is put into the cluster's memory once."""
        if self.sending:
            for folder in set(job.inputs.values()) - set(self.sent):
                self.sent[folder] = [self.ray.put(packed(folder))]
        inputs = {role: (folder, self.sent.get(folder, [])) for role, folder in job.inputs.items()}
        task = self.cell.remote(job.stage.name, job.settings, inputs, job.store.resolve(), self.token.resolve())
        self.tasks[task] = (job, time.monotonic())

    def wait(self) -> None:
        """Wait for the end of a task, good or bad; a node that is lost takes its tasks along.

        A task whose node does not see the store is begun again with its inputs as bytes, and so is every later one.
        """
        ready, _ = self.ray.wait(list(self.tasks), num_returns=1)
        for task in ready:
            job, since = self.tasks.pop(task)
            try:
                error, final, folder = self.ray.get(task)
            except self.ray.exceptions.RayError as lost:
                error, final, folder = f"{type(lost).__name__}: {str(lost).splitlines()[0]}", False, None
            if error == _BLIND:
                self.sending = True
                self.start(job)
                continue
            if folder is not None and not job.folder.exists():
                adopt(unpacked(folder, job.store / (DRAFT + job.folder.name)), job.folder)
            self.note(job, error, final=final, seconds=time.monotonic() - since)

    def shutdown(self) -> None:
        """Leave the cluster."""
        self.token.unlink(missing_ok=True)
        self.ray.shutdown()


def _connected(address: str) -> Any:
    import ray

    host, colon, port = address.rpartition(":")
    try:
        if colon and not address.startswith("ray://"):
            socket.create_connection((host, int(port)), timeout=_SECONDS).close()
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(
            f"--ray {address}: no Ray cluster answers there ({str(error).splitlines()[0]}). Start one with "
            "`ray start --head`, and name it as HOST:PORT, or `auto` on a machine of it."
        ) from None
    return ray


def _work_there(name: str, settings: Any, inputs: Mapping[str, tuple[Path, Sent]], store: Path, token: Path) -> _Answer:
    """One job, on a node: in the store itself where the node sees it, else in a temporary one."""
    if token.exists():
        folders = {role: folder for role, (folder, _) in inputs.items()}
        return *attempt(LoadedTasks(), name, settings, folders, store), None
    if not all(sent for _, sent in inputs.values()):
        return _BLIND, False, None
    import ray

    with tempfile.TemporaryDirectory() as scratch:
        local = Path(scratch) / "store"
        local.mkdir()
        folders = {role: unpacked(ray.get(sent)[0], local / folder.name) for role, (folder, sent) in inputs.items()}
        earlier = set(local.iterdir())
        error, final = attempt(LoadedTasks(), name, settings, folders, local)
        results = [folder for folder in set(local.iterdir()) - earlier if (folder / RECORD).exists()]
        return error, final, packed(results[0]) if results else None


def packed(folder: Path) -> bytes:
    """A folder, or a file, as bytes."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.add(folder, arcname=".")
    return buffer.getvalue()


def unpacked(data: bytes, folder: Path) -> Path:
    """The folder that `packed` took."""
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        archive.extractall(folder, filter="data")
    return folder
