"""A search remembers what was tried: it goes on where it stopped, and several processes share one database."""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState
from sqlalchemy.pool import NullPool

from featherlight.errors import UserError
from featherlight.search.sweep_file import Range, read_sweep
from featherlight.search.trials import Search, measured, suggest
from helpers.commands import call

FILE = """
program: finetune
method: METHOD
metric: [METRICS]
parameters:
  model: {value: ENCODER}
  task: {value: TASK}
  epochs: {value: 1}
  max_length: {value: 20}
  device: {value: cpu}
  learning_rate: {min: 1e-4, max: 1e-2, distribution: log_uniform_values}
  batch_size: {values: [10, 25]}
run_cap: CAP
"""
ONE, TWO = "{name: eval_accuracy, goal: maximize}", "{name: accuracy, goal: maximize}, {name: bytes, goal: minimize}"


@pytest.fixture
def write(tmp_path, tiny_encoder, sentiment):
    def written(method="bayes", metrics=ONE, cap="3"):
        file = tmp_path / "search.yaml"
        words = {"METHOD": method, "METRICS": metrics, "CAP": cap, "ENCODER": tiny_encoder, "TASK": sentiment}
        text = FILE
        for word, value in words.items():
            text = text.replace(word, str(value))
        file.write_text(text)
        return file

    return written


def searching(file, store, cells=3) -> Search:
    store.mkdir(exist_ok=True)
    return Search(read_sweep(file), store, {}, cells, None)


@pytest.mark.parametrize(("method", "metrics", "sampler"), [
    ("random", ONE, optuna.samplers.RandomSampler), ("bayes", ONE, optuna.samplers.TPESampler),
    ("bayes", TWO, optuna.samplers.NSGAIISampler),
])  # fmt: skip
def test_the_method_chooses_the_sampler(write, tmp_path, method, metrics, sampler):
    search = searching(write(method, metrics), tmp_path / "store")
    assert type(search.study.sampler) is sampler
    assert len(search.study.directions) == metrics.count("name")


def test_cells_lie_in_their_ranges_and_a_later_call_asks_for_others(write, tmp_path):
    rates = []
    for _ in range(2):
        search = searching(write(), tmp_path / "store", cells=99)
        for _ in range(4):
            settings = search.ask()[-1].settings
            assert 1e-4 <= settings.learning_rate <= 1e-2 and settings.batch_size in (10, 25) and settings.epochs == 1
            rates.append(settings.learning_rate)
    assert len(set(rates)) == 8


def test_settings_that_the_stage_does_not_have_are_passed_over(write, tmp_path):
    (tmp_path / "store").mkdir()
    common = {"epochs": 2, "student": "bag"}
    search = Search(read_sweep(write()), tmp_path / "store", common, 3, None)
    assert search.ask()[-1].settings.epochs == 2


def test_a_search_ends_when_enough_is_finished_or_in_flight(write, tmp_path):
    search = searching(write(), tmp_path / "store", cells=2)
    assert search.ask() and search.ask() and not search.ask()


def test_cells_of_a_process_that_is_gone_are_asked_for_again(write, tmp_path):
    search = searching(write(), tmp_path / "store")
    lost, kept = search.ask()[-1], search.ask()[-1]
    trials = search.study.trials
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    search.study._storage.set_trial_user_attr(trials[0]._trial_id, "owner", f"{socket.gethostname()}:{gone.pid}")
    search.study._storage.set_trial_user_attr(trials[1]._trial_id, "owner", f"{socket.gethostname()}:{os.getpid()}")
    again = searching(write(), tmp_path / "store")
    assert [trial.state for trial in again.study.trials[:2]] == [TrialState.FAIL, TrialState.RUNNING]
    assert again.ask()[-1].folder == lost.folder != kept.folder


def test_two_that_ask_for_the_last_cell_at_once_get_it_once(write, tmp_path):
    first, second = (searching(write(), tmp_path / "store", cells=1) for _ in range(2))
    ask = first.study.ask

    def late():  # between the other's look and its own question
        assert second.ask()
        return ask()

    first.study.ask = late
    assert first.ask() == []
    states = [trial.state for trial in second.study.get_trials()]
    assert states == [TrialState.RUNNING, TrialState.FAIL]


def test_whole_numbers_and_steps_stay_what_they_are():
    trial = optuna.create_study().ask()
    assert suggest(trial, "a", Range(low=1, high=3, whole=True)) in (1, 2, 3)
    assert suggest(trial, "b", Range(low=0.0, high=1.0, step=0.25)) in (0, 0.25, 0.5, 0.75, 1)
    assert suggest(trial, "c", Range((7,))) == 7 and "c" not in trial.params


def test_a_search_chooses_by_select_and_not_by_what_is_reported(students):
    record = json.loads((students["bag"] / "record.json").read_text())
    chosen = measured(record)
    assert chosen["accuracy"] == record["best"]["value"] and record["best"]["split"] == "select"
    assert chosen["bytes"] == record["bytes"] and 0 < chosen["latency"] < 1


def test_a_metric_that_no_record_has_is_named_with_those_that_it_has(write, tmp_path, students):
    search = searching(write(metrics="{name: acuracy, goal: maximize}"), tmp_path / "store")
    job = search.ask()[-1]
    shutil.copytree(students["bag"], job.folder)
    with pytest.raises(UserError, match="Did you mean 'accuracy'"):
        search.tell(job, None)


def test_a_database_that_does_not_answer_is_the_users_to_start(capsys, write, tmp_path):
    code, found = call(capsys, "sweep", write(), "--store", tmp_path / "store",
                       "--storage", "postgresql+psycopg://nobody@127.0.0.1:9/none")  # fmt: skip
    assert code == 2 and "of a database that answers" in found["error"]
    code, found = call(capsys, "sweep", write(), "--store", tmp_path / "store", "--storage", "no such thing")
    assert code == 2 and "SQLAlchemy URL" in found["error"]


@pytest.fixture
def postgres():
    """The URL of a PostgreSQL server that lives as long as a test."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not programs:
        pytest.skip("needs PostgreSQL's server (Debian: postgresql)")
    folder = Path(tempfile.mkdtemp(prefix="postgres"))
    before = []
    if os.geteuid() == 0:  # the server refuses to run as root
        shutil.chown(folder, "postgres")
        before = ["runuser", "-u", "postgres", "--"]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def call_server(program, *arguments):
        command = [*before, str(programs[-1] / program), "-D", str(folder / "data"), *arguments]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/tmp")

    call_server("initdb", "-U", "tester", "--auth=trust")
    call_server("pg_ctl", "start", "-w", "-o", f"-p {port} -c listen_addresses=127.0.0.1 -k {folder}")
    yield f"postgresql+psycopg://tester@127.0.0.1:{port}/postgres"
    call_server("pg_ctl", "stop", "-m", "immediate")
    shutil.rmtree(folder)


@pytest.mark.slow
def test_two_processes_search_together_in_one_database(write, tmp_path, postgres):
    file, store = write(cap="6"), tmp_path / "store"
    command = [sys.executable, "-m", "featherlight", "sweep", str(file), "--store", str(store), "--storage", postgres,
               "--json"]  # fmt: skip
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    printed = [process.communicate(timeout=240)[0] for process in both]
    assert all(process.returncode == 0 for process in both), printed
    done = [json.loads(text)["done"] for text in printed]
    assert all(done), "both had a part in it"
    storage = optuna.storages.RDBStorage(postgres, engine_kwargs={"poolclass": NullPool})
    study = optuna.load_study(study_name=None, storage=storage)
    finished = [trial for trial in study.trials if trial.state == TrialState.COMPLETE]
    assert len(finished) == 6
    assert {trial.user_attrs["address"] for trial in finished} == set(done[0]) | set(done[1])
    assert len({trial.user_attrs["owner"] for trial in finished}) == 2
