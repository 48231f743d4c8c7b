import errno
import json
import multiprocessing
import os
import time

import pytest
from pydantic import Field

from featherlight.config import RESULT, Settings
from featherlight.errors import UserError
from featherlight.files import lock, read_json
from featherlight.kinds import Kind
from featherlight.store.address import address
from featherlight.store.entries import collect_garbage, entries, remove
from featherlight.store.layout import DRAFT
from featherlight.store.runs import run_once
from featherlight.store.stage import Stage


class Toy(Settings):
    number: int = Field(1, description="A number.")
    workers: int = Field(1, description="Processes.", json_schema_extra=dict(RESULT))


class Killed(BaseException):
    """Stands for a kill: nothing may catch it."""


def stage(run=None, *, version=1, source="data") -> Stage:
    def write(work, out):
        (out / "result").write_text(str(work.settings.number))
        return {"name": "toy"}

    return Stage(
        name="toy", version=version, settings=Toy, sources=lambda work: {"task": source},
        identity=lambda work: work.settings.identity(), makes=lambda *_: Kind.RECORD, run=run or write,
    )  # fmt: skip


def address_of(stage, settings, inputs, kinds=None):
    return address(stage, stage.work(settings, inputs, kinds or {}))


def test_work_is_done_once(tmp_path):
    calls = []

    def run(work, out):
        calls.append(work.settings.number)
        return {}

    first = run_once(stage(run), Toy(), {}, store=tmp_path)
    assert run_once(stage(run), Toy(workers=5), {}, store=tmp_path) == first
    assert run_once(stage(run), Toy(number=2), {}, store=tmp_path) != first
    assert calls == [1, 2]


def test_the_record_says_what_was_done(tmp_path):
    folder = run_once(stage(), Toy(number=7), {}, store=tmp_path)
    record = read_json(folder / "record.json")
    assert record["address"] == folder.name and record["settings"]["number"] == 7
    assert record["stage"] == "toy" and record["name"] == "toy" and record["environment"]["torch"]


def test_version_data_and_inputs_are_part_of_the_address(tmp_path):
    given = {"teacher": tmp_path / "finetune-0123456789ab"}
    other = {"teacher": tmp_path / "finetune-0123456789ac"}
    kinds = {"teacher": Kind.ENCODER}  # neither is there yet
    addresses = {
        address_of(stage(), Toy(), {}), address_of(stage(version=2), Toy(), {}),
        address_of(stage(source="other"), Toy(), {}),
        address_of(stage(), Toy(), given, kinds), address_of(stage(), Toy(), other, kinds),
    }  # fmt: skip
    assert len(addresses) == 5


def test_a_folder_that_is_no_result_counts_by_its_contents(tmp_path, tiny_encoder):
    import shutil

    copies = [shutil.copytree(tiny_encoder, tmp_path / name) for name in ("a", "b")]
    assert len({address_of(stage(), Toy(), {"model": copy}) for copy in copies}) == 1
    (copies[1] / "config.json").write_text((copies[1] / "config.json").read_text().replace("gelu", "relu"))
    assert len({address_of(stage(), Toy(), {"model": copy}) for copy in copies}) == 2
    with pytest.raises(UserError, match="no such folder"):
        address_of(stage(), Toy(), {"model": tmp_path / "none"})


def test_a_users_mistake_leaves_the_store_as_it_was(tmp_path):
    def run(work, out):
        (out / "half").write_text("x")
        raise UserError("wrong")

    with pytest.raises(UserError):
        run_once(stage(run), Toy(), {}, store=tmp_path / "new")
    assert not (tmp_path / "new").exists()
    run_once(stage(), Toy(number=2), {}, store=tmp_path / "old")
    before = sorted(path.name for path in (tmp_path / "old").iterdir())
    with pytest.raises(UserError):
        run_once(stage(run), Toy(), {}, store=tmp_path / "old")
    assert sorted(path.name for path in (tmp_path / "old").iterdir()) == before


def test_a_killed_run_leaves_no_final_name_and_the_next_one_finds_its_draft(tmp_path):
    def killed(work, out):
        (out / "checkpoint").write_text("half way")
        raise Killed

    def goes_on(work, out):
        return {"found": (out / "checkpoint").read_text()}

    with pytest.raises(Killed):
        run_once(stage(killed), Toy(), {}, store=tmp_path)
    assert not (tmp_path / address_of(stage(), Toy(), {})).exists()
    assert read_json(run_once(stage(goes_on), Toy(), {}, store=tmp_path) / "record.json")["found"] == "half way"


@pytest.mark.parametrize("full", ["in the run", "at its end"])
def test_a_full_disk_is_named_and_the_next_call_goes_on(tmp_path, monkeypatch, full):
    store = tmp_path / "new"

    def run(work, out):
        with (out / "checkpoint").open("a") as file:
            file.write("x")
        if full == "in the run" and (out / "checkpoint").read_text() == "x":
            raise OSError(errno.ENOSPC, "No space left on device")
        return {"found": (out / "checkpoint").read_text()}

    def no_room(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched, pytest.raises(UserError, match=f"no space to write under {store}"):
        if full == "at its end":
            patched.setattr(os, "fsync", no_room)
        run_once(stage(run), Toy(), {}, store=store)
    assert [entry["state"] for entry in entries(store)] == ["unfinished"]
    assert read_json(run_once(stage(run), Toy(), {}, store=store) / "record.json")["found"] == "xx"


def test_a_store_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"the store .*file.* cannot be written.*--store"):
        run_once(stage(), Toy(), {}, store=tmp_path / "file" / "runs")


def slow_run(work, out):
    with (out.parent / "calls").open("a") as file:
        file.write("x")
    time.sleep(0.3)
    return {}


def work(store):
    run_once(stage(slow_run), Toy(), {}, store=store)


def test_of_two_processes_one_computes_and_the_other_waits(tmp_path):
    processes = [multiprocessing.get_context("fork").Process(target=work, args=(tmp_path,)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    assert (tmp_path / "calls").read_text() == "x"
    assert len([entry for entry in entries(tmp_path) if entry["state"] == "done"]) == 1


def test_removing_needs_a_known_name_and_removes_nothing_otherwise(tmp_path):
    folder = run_once(stage(), Toy(), {}, store=tmp_path)
    with pytest.raises(UserError, match="has no result called 'toy-x'"):
        remove(tmp_path, [folder.name, "toy-x"])
    assert folder.exists()
    remove(tmp_path, [folder.name])
    assert not folder.exists() and entries(tmp_path) == []


def write_label(store, name, *, teacher):
    folder = store / name
    folder.mkdir()
    (folder / "record.json").write_text(json.dumps({"address": name, "inputs": {"teacher": teacher}}))
    (folder / "logits.safetensors").touch()
    return folder


def test_garbage_is_drafts_and_logits_that_nothing_uses(tmp_path):
    used = write_label(tmp_path, "label-aaaaaaaaaaaa", teacher="finetune-cccccccccccc")
    done = run_once(stage(), Toy(), {"labels": used}, store=tmp_path)
    orphan = write_label(tmp_path, "label-bbbbbbbbbbbb", teacher="finetune-cccccccccccc")
    taught = write_label(tmp_path, "label-dddddddddddd", teacher=done.name)
    draft, doomed = tmp_path / f"{DRAFT}toy-eeeeeeeeeeee", tmp_path / ".doomed-toy-ffffffffffff"
    draft.mkdir()
    doomed.mkdir()
    assert collect_garbage(tmp_path) == ["toy-eeeeeeeeeeee", "label-bbbbbbbbbbbb"]
    assert done.exists() and used.exists() and taught.exists()
    assert not draft.exists() and not orphan.exists() and not doomed.exists()


def test_a_result_that_a_process_is_at_work_on_is_left_alone(tmp_path):
    folder = run_once(stage(), Toy(), {}, store=tmp_path)
    with lock(tmp_path / ".locks" / folder.name):
        assert remove(tmp_path, [folder.name]) == []
    assert folder.exists()
    assert remove(tmp_path, [folder.name]) == [folder.name]


def test_a_link_to_a_result_is_that_result(tmp_path):
    folder = run_once(stage(), Toy(), {}, store=tmp_path)
    (tmp_path / "best").symlink_to(folder)
    plain, linked = (address_of(stage(), Toy(), {"model": path}) for path in (folder, tmp_path / "best"))
    assert plain == linked


def test_scratch_files_do_not_reach_the_result(tmp_path):
    def run(work, out):
        (out / ".fit").mkdir()
        (out / ".fit" / "checkpoint").write_text("x")
        (out / ".left-over").write_text("x")
        return {}

    folder = run_once(stage(run), Toy(), {}, store=tmp_path)
    assert [path.name for path in folder.iterdir()] == ["record.json"]


def test_what_happens_to_the_inputs_during_a_run_does_not_matter(tmp_path, tiny_encoder):
    """The record states what was read at the start; a model folder deleted meanwhile loses no work."""
    import shutil

    model = shutil.copytree(tiny_encoder, tmp_path / "model")

    def run(work, out):
        shutil.rmtree(work.inputs["model"])
        return {}

    folder = run_once(stage(run), Toy(), {"model": model}, store=tmp_path / "runs")
    assert read_json(folder / "record.json")["address"] == folder.name
