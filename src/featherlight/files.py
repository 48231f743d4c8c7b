"""Files that are never half there: atomic writes, JSON, hashes, locks, the cache folder.

Knows no task, model or stage. The one room below the command line that reads the environment.
"""

import errno
import functools
import hashlib
import json
import os
import re
import shutil
import tempfile
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from featherlight.errors import UserError

TRUST = "FEATHERLIGHT_TRUST_REMOTE_CODE"
TICK = 2_000_000_000  # nanoseconds: the coarsest clock of a file system (FAT)
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # disk full, quota used up, file larger than allowed


class ScratchFolder:
    """A temporary folder, `path`, that goes with this object, at the latest with the process."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp())
        weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)


@contextmanager
def drafted(path: Path) -> Iterator[Path]:
    """A file beside path to write into; then path is the old file or the whole new one, whatever happens meanwhile."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    os.close(handle)
    draft = Path(name)
    try:
        yield draft
        with draft.open("rb") as file:
            os.fsync(file.fileno())
        draft.chmod(0o666 & ~current_umask())  # mkstemp makes it private to its owner
        os.replace(draft, path)
    except BaseException as error:
        draft.unlink(missing_ok=True)
        if isinstance(error, OSError):
            error.filename = str(path)  # the system names no file where a write fails
        raise


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file that is either the old one or the whole new one."""
    with drafted(path) as draft:
        draft.write_bytes(content)


def copy_atomically(source: Path, path: Path) -> None:
    """Copy a file, never half; a UserError for a place that is a folder."""
    if path.is_dir():
        raise UserError(f"{path}: is a folder. Name the file: {path / source.name}.")
    write_atomically(path, source.read_bytes())


def check_free(folder: Path) -> None:
    """UserError unless a folder of this name is empty or can be made."""
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        reason = "is a file" if folder.is_file() else "is not empty"
        raise UserError(f"{folder}: {reason}, and nothing is overwritten. Name a new folder, or remove it first.")


def copy_folder(source: Path, folder: Path) -> None:
    """Copy a folder to a free place, never half."""
    check_free(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
    try:
        shutil.copytree(source, draft, dirs_exist_ok=True)
        draft.chmod(0o777 & ~current_umask())
        draft.rename(folder)  # over an empty folder, too
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise


@contextmanager
def reporting_full_disk(folder: Path) -> Iterator[None]:
    """Turn a write under folder that fails because the disk is full into a UserError.

    Libraries written in Rust give no errno, but "No space left on device (os error 28)".
    """
    try:
        yield
    except Exception as error:
        number = error.errno if isinstance(error, OSError) else None
        if number not in NO_ROOM and not any(f"(os error {known})" in str(error) for known in NO_ROOM):
            raise
        free = shutil.disk_usage(folder).free
        raise UserError(
            f"no space to write under {folder}: {free / 1e6:,.1f} MB are free ({error}). Free some space; then the "
            "same command resumes from here."
        ) from None


def current_umask() -> int:
    """The process's umask; it can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_json(path: Path, value: Any) -> None:
    """Write value as indented UTF-8 JSON, lists of numbers on one line, atomically. NaN is refused: it is not JSON."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    text = re.sub(r"\[\n([-+.\deE,\s]+)\]", lambda numbers: f"[{' '.join(numbers[1].split())}]", text)
    write_atomically(path, (text + "\n").encode())


def read_json(path: Path) -> Any:
    """The JSON value of a file, or a UserError that names the file and the place."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file.") from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UserError(f"{path}: not valid JSON ({error}). It is damaged or cut short; make it again.") from None


def read_json_object(path: Path) -> dict[str, Any]:
    """A JSON file that must hold an object."""
    value = read_json(path)
    if not isinstance(value, dict):
        raise UserError(f"{path}: holds no JSON object. It is damaged; make it again.")
    return value


def read_bytes(path: Path) -> bytes:
    """A plain file's content, or a UserError if there is none or it cannot be read."""
    try:
        if path.is_file():
            return path.read_bytes()
        reason = "not a plain file" if path.exists() else "no such file"
    except OSError as error:
        reason = f"cannot be read ({error.strerror})"
    raise UserError(f"{path}: {reason}.")


def hash_text(*parts: str) -> str:
    """SHA-256 of the parts, as hex; ("ab", "c") and ("a", "bc") differ."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()


def hash_files(paths: Iterable[Path]) -> str:
    """SHA-256 over the files' names (not their folders) and contents, in the order given."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update(hash_text(path.name, hash_file(path)).encode())
    return digest.hexdigest()


def hash_file(path: Path) -> str:
    """SHA-256 of a file's content, as hex; read once in a process as long as nobody changes it."""
    version = version_of(path)
    return hash_version(path, version) if version else hash_version.__wrapped__(path, None)  # not kept


@functools.lru_cache(maxsize=10_000)
def hash_version(path: Path, version: tuple[int, ...] | None) -> str:
    """The hash of a file in this version."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def version_of(path: Path) -> tuple[int, ...] | None:
    """What changes whenever a file does; None for one so young that its clock may not tell the next change."""
    status = path.stat()
    young = time.time_ns() - max(status.st_mtime_ns, status.st_ctime_ns) < TICK
    return None if young else (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def trusts_code() -> bool:
    """Whether the user allows every command to run code that came with a model."""
    return os.environ.get(TRUST) == "1"


def cache_folder() -> Path:
    """The folder of things that can be made again: FEATHERLIGHT_CACHE, else in the user's cache folder."""
    if folder := os.environ.get("FEATHERLIGHT_CACHE"):
        return Path(folder)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "featherlight"


@contextmanager
def lock(path: Path, *, waiting: Callable[[], object] = lambda: None) -> Iterator[None]:
    """Hold path as a lock among processes; the system frees it when its holder dies.

    waiting: called once if another process holds the lock now.
    """
    from filelock import FileLock, Timeout

    path.parent.mkdir(parents=True, exist_ok=True)
    file_lock = FileLock(path)
    try:
        file_lock.acquire(timeout=0)
    except Timeout:
        waiting()
        file_lock.acquire()
    try:
        yield
    finally:
        file_lock.release()
