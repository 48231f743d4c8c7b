import errno
import gc
import hashlib
import os
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import pytest
from safetensors import SafetensorError

from featherlight import files
from featherlight.errors import UserError
from featherlight.files import (
    cache_folder,
    check_free,
    copy_folder,
    hash_files,
    hash_text,
    lock,
    read_bytes,
    read_json,
    reporting_full_disk,
    write_atomically,
    write_json,
)


def test_a_write_that_fails_leaves_the_old_file_and_no_draft_and_names_it(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    write_json(path, {"x": 1})

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left on device: .*a\.json"):
        write_atomically(path, b"new")
    assert read_json(path) == {"x": 1} and [file.name for file in tmp_path.iterdir()] == ["a.json"]


def test_a_written_file_has_the_usual_rights(tmp_path):
    write_json(tmp_path / "a.json", 1)
    (tmp_path / "b").touch()
    assert (tmp_path / "a.json").stat().st_mode == (tmp_path / "b").stat().st_mode


def test_damaged_json_is_named(tmp_path):
    (tmp_path / "a.json").write_text('{"x": ')
    with pytest.raises(UserError, match=r"a\.json: not valid JSON"):
        read_json(tmp_path / "a.json")


def test_nan_is_never_written_as_json(tmp_path):
    with pytest.raises(ValueError):
        write_json(tmp_path / "a.json", float("nan"))
    assert not list(tmp_path.iterdir())


def test_hashes_see_contents_and_borders(tmp_path):
    assert hash_text("ab", "c") != hash_text("a", "bc")
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    for folder in ("one", "two"):
        (tmp_path / folder / "f").write_text("same")
    assert hash_files([tmp_path / "one" / "f"]) == hash_files([tmp_path / "two" / "f"])
    (tmp_path / "two" / "f").write_text("other")
    assert hash_files([tmp_path / "one" / "f"]) != hash_files([tmp_path / "two" / "f"])


def test_a_file_is_read_once_for_its_hash_until_it_changes(tmp_path, monkeypatch):
    read = []
    digest = hashlib.file_digest
    monkeypatch.setattr(hashlib, "file_digest", lambda file, kind: read.append(file.name) or digest(file, kind))
    monkeypatch.setattr(files, "TICK", 0)  # a file need not rest for two seconds
    path = tmp_path / "f"
    for content, times in (("one", 1), ("three", 2)):
        path.write_text(content)
        found = {files.hash_file(path) for _ in range(5)}
        assert found == {hashlib.sha256(content.encode()).hexdigest()} and len(read) == times


def test_a_change_within_a_tick_of_the_clock_is_seen(tmp_path, monkeypatch):
    path = tmp_path / "f"
    path.write_text("one")
    stamp = path.stat()
    monkeypatch.setattr(Path, "stat", lambda self, **_: stamp)  # a file system whose clock stood still
    before = files.hash_file(path)
    path.write_text("two")
    assert files.hash_file(path) != before


def test_a_lock_makes_the_second_holder_wait(tmp_path):
    order = []
    inside, asked = threading.Event(), threading.Event()

    def second():
        inside.wait()
        with lock(tmp_path / "l", waiting=lambda: (order.append("waits"), asked.set())):
            order.append("second")

    thread = threading.Thread(target=second)
    thread.start()
    with lock(tmp_path / "l"):
        inside.set()
        assert asked.wait(5)
        order.append("first")
    thread.join()
    assert order == ["waits", "first", "second"]


def test_a_lock_is_freed_when_its_holder_is_killed(tmp_path):
    code = (
        "import os, signal, sys; from pathlib import Path; from featherlight.files import lock\n"
        "with lock(Path(sys.argv[1])): os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path / "l")], check=False).returncode == -9
    with lock(tmp_path / "l", waiting=lambda: pytest.fail("still held")):
        assert True


def test_the_cache_folder_can_be_named(monkeypatch, tmp_path):
    monkeypatch.setenv("FEATHERLIGHT_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path


def no_room_as_the_system_says_it():
    with Path("/dev/full").open("wb", buffering=0) as file:
        file.write(b"x")


def no_room_as_a_tokenizer_says_it():
    from tokenizers import Tokenizer, models

    Tokenizer(models.BPE()).save("/dev/full")


def no_room_as_safetensors_says_it():
    raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
@pytest.mark.parametrize(
    "write", [no_room_as_the_system_says_it, no_room_as_a_tokenizer_says_it, no_room_as_safetensors_says_it]
)
def test_a_full_disk_is_the_users_to_put_right_however_it_is_reported(tmp_path, write):
    said = rf"no space to write under {tmp_path}: [\d.,]+ MB are free"
    with pytest.raises(UserError, match=said), reporting_full_disk(tmp_path):
        write()


def test_other_failures_stay_what_they_are(tmp_path):
    with pytest.raises(PermissionError), reporting_full_disk(tmp_path):
        raise PermissionError(errno.EACCES, "Permission denied")


@pytest.mark.parametrize("kind", ["missing", "folder", "pipe", "loop"])
def test_what_is_no_plain_file_is_not_read(tmp_path, kind):
    path = tmp_path / "a"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "loop":
        path.symlink_to(path)
    with pytest.raises(UserError, match=f"{path}: (no such file|not a plain file)"):
        read_bytes(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
def test_a_file_without_rights_is_named(tmp_path):
    (tmp_path / "a").write_text("x")
    (tmp_path / "a").chmod(0)
    with pytest.raises(UserError, match=r"cannot be read \(Permission denied\)"):
        read_bytes(tmp_path / "a")


def test_a_folder_is_copied_to_a_new_or_an_empty_place_and_nowhere_else(tmp_path):
    source, there = tmp_path / "source", tmp_path / "a" / "b"
    source.mkdir()
    (source / "one").write_text("1")
    copy_folder(source, there)
    assert (there / "one").read_text() == "1" and there.stat().st_mode & 0o777 == source.stat().st_mode & 0o777
    with pytest.raises(UserError, match="is not empty, and nothing is overwritten"):
        copy_folder(source, there)
    with pytest.raises(UserError, match="is a file"):
        check_free(there / "one")
    (tmp_path / "empty").mkdir()
    copy_folder(source, tmp_path / "empty")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "empty", "source"], "a draft was left"


def test_a_scratch_folder_goes_with_its_owner_and_without_a_warning():
    owner = files.ScratchFolder()
    path = owner.path
    (path / "model").mkdir()
    assert path.is_dir()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        del owner
        gc.collect()
    assert not path.exists() and not said
