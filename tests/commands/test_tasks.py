"""The audit, the tasks that report test, and aspect terms, from the command to what it shows and records."""

import json
import shutil

import pytest

from featherlight.cli.main import main
from featherlight.errors import UserError
from featherlight.packing.folder import pack_folder
from featherlight.stages.model_folders import trained_task
from helpers.commands import call
from helpers.toys import sentences

SMALL = ("--epochs", "2", "--batch-size", "25", "--max-length", "20", "--learning-rate", "2e-3", "--device", "cpu",
         "--precision", "fp32")  # fmt: skip


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="module")
def leaky(tmp_path_factory):
    """An ACL-ARC of our own: five test texts stand in train too, one of them with two labels there."""
    folder = tmp_path_factory.mktemp("data") / "acl_arc"
    folder.mkdir()
    rows = [{"text": text, "label": {"negative": "Uses", "positive": "Future"}[label]} for text, label in
            sentences(140, seed=8)]  # fmt: skip
    parts = {
        "train": [*rows[:100], {**rows[0], "label": "Extends"}],
        "dev": rows[100:120],
        "test": rows[:5] + rows[120:],
    }
    for split, part in parts.items():
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part))
    return folder.parent


def test_tasks_shows_the_audit_and_drops_leaks(capsys, leaky):
    _, found = call(capsys, "tasks", "acl_arc", "--data", leaky)
    assert found["audit"]["leaks"] == {"dev": 0, "test": 5} and found["audit"]["conflicts"] == 1
    assert found["audit"]["duplicates"] == 1 and found["audit"]["empty"] == 0
    assert main(["tasks", "acl_arc", "--data", str(leaky)]) == 0
    assert "audit: 5 rows of test stand in train too (--drop-leaks)" in capsys.readouterr().out
    _, clean = call(capsys, "tasks", "acl_arc", "--data", leaky, "--drop-leaks")
    assert clean["audit"]["leaks"] == {"dev": 0, "test": 0} and clean["splits"]["train"]["rows"] == 95


def test_a_record_holds_the_audit_as_numbers_and_dropping_leaks_is_another_result(
    capsys, store, tiny_encoder, leaky
):  # fmt: skip
    command = ("finetune", "--model", tiny_encoder, "--task", "acl_arc", "--data", leaky, "--store", store, *SMALL)
    _, found = call(capsys, *command)
    record = found["records"][0]
    assert record["task"]["audit"]["rows"]["leaks"] == {"test": [0, 1, 2, 3, 4]}
    assert record["task"]["audit"]["rows"]["conflicts"] == [0, 100]
    assert list(record["metrics"]) == ["test"] and record["metrics"]["test"]["headline"] == "macro_f1"
    assert record["best"]["metric"] == "macro_f1" and record["best"]["split"] == "select"
    _, other = call(capsys, *command, "--drop-leaks", "--select-on", "dev")
    assert other["folders"] != found["folders"] and other["records"][0]["best"]["split"] == "dev"
    assert other["records"][0]["task"]["rows"]["train"] == 95
    _, scored = call(capsys, "evaluate", found["folders"][0], "--data", leaky, "--store", store)
    assert scored["split"] == "test" and scored["n"] == 25
    _, dev = call(capsys, "evaluate", found["folders"][0], "--data", leaky, "--store", store, "--split", "dev")
    assert dev["split"] == "dev" and dev["n"] == 20


def test_aspect_terms_in_xml_go_from_a_file_to_answers(capsys, store, tiny_encoder, tmp_path):
    lines = [f'<sentence><text>{text}</text><aspectTerms><aspectTerm term="{text.split()[0]}" polarity="{label}"/>'
             "</aspectTerms></sentence>" for text, label in sentences(80, seed=6)]  # fmt: skip
    path, other = tmp_path / "mine.xml", tmp_path / "other.xml"
    path.write_text(f"<sentences>{''.join(lines)}</sentences>")
    other.write_text(f"<sentences>{''.join(lines[:7])}</sentences>")
    _, found = call(capsys, "finetune", "--model", tiny_encoder, "--task", path, "--store", store, *SMALL)
    folder = found["folders"][0]
    assert found["records"][0]["task"]["texts"] == ["text", "text_pair"]
    assert call(capsys, "evaluate", folder, "--task", other, "--store", store)[1]["n"] == 7
    assert main(["predict", folder, str(other)]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 7


@pytest.mark.parametrize("named", ["sst2", "reviews of mine"])
def test_a_packed_file_knows_its_task_if_everyone_does(students, tmp_path, named):
    folder = shutil.copytree(students["bag"], tmp_path / "bag")
    (folder / "record.json").write_text(json.dumps({"task": {"name": named}}))
    file = tmp_path / "bag.light"
    file.write_bytes(pack_folder(folder))
    if named == "sst2":
        assert trained_task(file, {}) == {"task": "sst2"}
    else:
        with pytest.raises(UserError, match="--task"):
            trained_task(file, {})
