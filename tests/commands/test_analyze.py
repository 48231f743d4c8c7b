import json
import time

import pytest

from featherlight.analysis.frames import frame_of, row_of, typed
from featherlight.cli.main import main
from featherlight.commands.console import command_of
from featherlight.commands.settings import AnalyzeSettings
from helpers.commands import call
from helpers.timings import made_up

RECORD = {
    "address": "time-abc",
    "stage": "time",
    "name": "minilm",
    "settings": {"seed": 1, "batch_size": 8, "data": "/x", "lengths": [1, 2], "text": None},
    "task": {"name": "sst2", "rows": {"train": 9}},
    "seconds": {"train": 2.5, "evaluate before": 1.0},
    "latency": {"unit": "s", "values": [3.0, 1.0, 2.0]},
    "metrics": {"dev": {"n": 9, "scores": {"accuracy": {"value": 0.9, "low": 0.8, "high": 1.0}}}},
    "parameters": 1000,
}


@pytest.fixture
def times(tmp_path):
    path = tmp_path / "times.csv"
    made_up(2).to_csv(path, index=False)
    return path


def options(*more):
    return ["--response", "seconds", "--factors", "model,length,batch", "--no-forest", *more]


def test_a_program_gets_one_json_object_and_a_folder_gets_the_report(capsys, times, tmp_path):
    out = tmp_path / "out"
    options = ["--response", "seconds", "--factors", "model", "--reference", "model=middle", "--no-forest"]
    code, found = call(capsys, "analyze", times, *options, "--out", out)
    assert code == 0 and found["n"] == 36
    assert found["loglinear"]["coefficients"]["model[slow]"]["times_as_long"] == pytest.approx(3, rel=0.5)
    assert json.loads((out / "analysis.json").read_text()) == found
    assert {"report.md", "report.html", "tables", "figures"} < {path.name for path in out.iterdir()}
    how = (out / "report.md").read_text().splitlines()[3]
    assert how.startswith("featherlight analyze times.csv --response seconds --factors model ")
    assert "--reference model=middle --no-forest" in how


def test_without_json_tables_are_printed(capsys, times):
    assert main(["analyze", str(times), *options()]) == 0
    assert "Log-linear model: Coefficients" in capsys.readouterr().out


def test_where_keeps_and_leaves_out_rows(capsys, times):
    code, found = call(capsys, "analyze", times, *options("--where", "length=128,512", "--where", "model!=slow"))
    assert code == 0 and found["n"] == 16
    assert found["factors"]["length"]["levels"] == ["128", "512"]


def test_rows_with_gaps_are_refused_or_dropped_when_asked(capsys, times):
    lines = times.read_text().splitlines()
    cells = lines[4].split(",")
    cells[-1] = "NaN"
    lines[4] = ",".join(cells)
    times.write_text("\n".join(lines))
    code, found = call(capsys, "analyze", times, *options())
    assert code == 2 and "times.csv, line 5: seconds is missing" in found["error"]
    code, found = call(capsys, "analyze", times, *options("--drop-missing"))
    assert code == 0 and found["n"] == 35


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--reference", "model"], "write FACTOR=LEVEL"),
        (["--reference", "model=slow", "--reference", "model=fast"], "one level for each factor"),
        (["--reference", "model=quick"], "no level of model called 'quick'"),
        (["--where", "model"], "write FACTOR=LEVEL,LEVEL"),
        (["--where", "model=quick"], "no level of model called 'quick'"),
        (["--where", "model=slow"], "factor model has only one level (slow)"),
        (["--accuracy", "f1"], "no column called 'f1'"),
        (["--forest-seed", "-1"], "--forest-seed -1"),
    ],
)
def test_wrong_options_are_answered_in_a_sentence(capsys, times, more, message):
    code, found = call(capsys, "analyze", times, *options(*more))
    assert code == 2 and message in found["error"]


def test_out_is_checked_before_anything_is_computed(capsys, times):
    code, found = call(capsys, "analyze", times, *options("--out", times))
    assert code == 2 and "is a file" in found["error"]


def test_a_missing_package_names_the_extra_that_brings_it(capsys, times, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    code, found = call(capsys, "analyze", times, *options())
    assert code == 2 and "featherlight[analyze]" in found["error"]


def test_a_column_is_numeric_if_all_that_is_there_is_a_number():
    assert typed(["1", " 2.5 ", "1e3"]) == [1.0, 2.5, 1000.0]
    assert typed(["1", "NA", ""])[0] == 1.0 and typed(["1", "NA"])[1] != typed(["1", "NA"])[1]  # not a number
    assert typed(["1", "two", ""]) == ["1", "two", None]
    assert typed([True, False]) == ["True", "False"]


def test_a_record_becomes_a_flat_row():
    row = row_of(RECORD)
    assert row["task"] == "sst2" and row["batch_size"] == 8 and row["latency"] == 2.0
    assert row["seconds_train"] == 2.5 and row["seconds_evaluate_before"] == 1.0 and row["dev_accuracy"] == 0.9
    assert "lengths" not in row and "text" not in row


def test_a_store_is_a_table_of_its_records(tmp_path):
    for number, seconds in enumerate((1.0, 2.0)):
        folder = tmp_path / f"time-{number}"
        folder.mkdir()
        record = {**RECORD, "address": folder.name, "seconds": {"train": seconds}}
        (folder / "record.json").write_text(json.dumps(record))
    frame = frame_of(tmp_path)
    assert list(frame.index) == ["time-0", "time-1"] and list(frame.seconds_train) == [1.0, 2.0]


def write_cells(store, units):
    """Records of `time`: of each kind and unit three lengths, twice."""
    for number, (what, length) in enumerate(
        (what, length) for what in units for length in (128, 256, 512) for _ in "12"
    ):
        folder = store / f"time-{number}"
        folder.mkdir()
        record = {**RECORD, "address": folder.name, "unit": units[what],
                  "settings": {"what": what, "length": length},
                  "summary": {"median": length * (1 + number / 100), "min": length - number / 100}}  # fmt: skip
        (folder / "record.json").write_text(json.dumps(record))


def test_seconds_of_a_batch_and_of_an_epoch_are_not_pooled(capsys, tmp_path):
    write_cells(tmp_path, {"inference": "s/batch", "finetune": "s/epoch"})
    how = ["--factors", "length", "--no-forest"]
    code, found = call(capsys, "analyze", tmp_path, "--response", "median", *how)
    assert code == 2 and "median is in s/batch and in s/epoch" in found["error"]
    assert "--where what=inference" in found["error"]
    code, found = call(capsys, "analyze", tmp_path, "--response", "median", *how, "--where", "what=inference")
    assert code == 0 and found["n"] == 6
    code, found = call(capsys, "analyze", tmp_path, "--response", "seconds_train", *how)
    assert "not compared" not in found["error"], "a phase is in seconds in every record"


def test_the_shown_command_quotes_what_a_shell_would_read(tmp_path):
    settings = AnalyzeSettings(response="t s", factors="a", where=("a!=b c",), drop_missing=True, forest_seed=3)
    shown = command_of("analyze", [tmp_path / "x.csv"], settings, out=tmp_path / "out")
    assert shown == (
        "featherlight analyze x.csv --response 't s' --factors a --where 'a!=b c' --drop-missing --forest-seed 3 "
        "--out out"
    )


@pytest.mark.slow
def test_100_000_rows_take_less_than_20_seconds_without_the_forest(capsys, tmp_path):
    path = tmp_path / "times.csv"
    made_up(100_000 // 18 + 1).to_csv(path, index=False)
    start = time.process_time()  # of this process: others share the machine
    code, found = call(capsys, "analyze", path, *options("--out", tmp_path / "out"))
    assert code == 0 and found["n"] > 100_000
    assert time.process_time() - start < 20
