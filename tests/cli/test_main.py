"""Commands as a person or a program calls them: what they print, and what they say when something is wrong."""

import errno
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from featherlight import hub
from featherlight.cli.main import main
from helpers.commands import call
from helpers.toys import sentences, write_csv

SMALL = ("--epochs", "2", "--batch-size", "25", "--max-length", "20", "--learning-rate", "2e-3", "--device", "cpu",
         "--precision", "fp32")  # fmt: skip
RECIPE = Path(__file__).parents[2] / "examples" / "sst2.yaml"


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return tmp_path_factory.mktemp("store")


def error(capsys, *arguments: object) -> str:
    """The message of a command that must fail as the user's mistake."""
    code = main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    assert code == 2 and captured.out == "" and "Traceback" not in captured.err
    return captured.err


@pytest.fixture
def trained(capsys, store, tiny_encoder, sentiment):
    command = ("finetune", "--model", tiny_encoder, "--task", sentiment, "--seeds", "1,2", "--store", store, *SMALL)
    return call(capsys, *command)[1]


@pytest.fixture
def distilled(capsys, store, trained, sentiment):
    command = ("distill", "--teacher", trained["folders"][0], "--task", sentiment, "--student", "bag", "--dim", 8,
               "--vocabulary", 60, "--store", store, *SMALL)  # fmt: skip
    return call(capsys, *command)[1]


@pytest.fixture
def packed(capsys, store, distilled):
    """A .light file, which predicts without torch: a process that reads it starts at once."""
    return call(capsys, "pack", distilled["folders"][0], "--store", store)[1]["file"]


def test_finetune_gives_a_folder_and_a_record_per_seed_and_a_summary(trained):
    first, second = trained["records"]
    scores = [record["metrics"]["dev"]["scores"]["accuracy"]["value"] for record in (first, second)]
    assert [record["settings"]["seed"] for record in (first, second)] == [1, 2]
    assert trained["summary"]["accuracy"]["mean"] == pytest.approx(sum(scores) / 2)
    assert trained["summary"]["accuracy"]["n"] == 2
    assert all(Path(folder, "model.safetensors").exists() for folder in trained["folders"])
    assert len(first["curves"]["loss"]) == 2 * 11  # 270 rows to fit on, by 25
    assert first["task"]["rows"] == {"train": 270, "dev": 60, "select": 30}


def test_the_reported_accuracy_is_that_of_the_saved_folder(trained, sentiment):
    """Checked with transformers alone on the rows of dev.csv."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    folder = trained["folders"][0]
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    rows = [line.split(",") for line in (sentiment / "dev.csv").read_text().splitlines()[1:]]
    right = 0
    for text, label in rows:
        with torch.inference_mode():
            logits = model(**tokenizer(text, truncation=True, return_tensors="pt")).logits[0]
        right += model.config.id2label[int(logits.argmax())] == label
    assert trained["records"][0]["metrics"]["dev"]["scores"]["accuracy"]["value"] == pytest.approx(
        right / 60, abs=1 / 60
    )


def test_the_record_names_the_conditions(trained):
    record = trained["records"][0]
    assert record["latency"]["threads"] == 1 and len(record["latency"]["values"]) == 30
    assert record["bytes"] > 4 * record["parameters"] * 0.9
    assert record["environment"]["torch"] == torch.__version__ and record["environment"]["cores"] >= 1
    assert record["seconds"]["train"] > 0 and record["peak_memory_bytes"] > 2**20


def test_a_student_learns_and_its_folder_loads_with_the_plain_auto_class(distilled):
    from transformers import AutoModelForSequenceClassification

    record = distilled["records"][0]
    assert record["inputs"]["teacher"].startswith("finetune-") and record["inputs"]["labels"].startswith("label-")
    assert record["metrics"]["dev"]["scores"]["accuracy"]["value"] > 0.6
    assert AutoModelForSequenceClassification.from_pretrained(distilled["folders"][0]).config.dim == 8


def test_the_second_student_spends_no_time_in_the_teacher(capsys, store, trained, distilled, sentiment, monkeypatch):
    from featherlight.stages.label import stage

    monkeypatch.setattr(stage, "checked_predictor", lambda *_: pytest.fail("the teacher was asked again"))
    command = ("distill", "--teacher", trained["folders"][0], "--task", sentiment, "--student", "bilstm", "--dim", 8,
               "--vocabulary", 60, "--hidden", 9, "--seeds", "3,4", "--store", store, *SMALL)  # fmt: skip
    code, found = call(capsys, *command)
    assert code == 0 and len(found["folders"]) == 2


STUDENTS = [
    ("rnn", "wordpiece"), ("rnn", "bpe"), ("bag", "char"), ("bilstm", "byte"), ("rnn", "hash"), ("bag", "hash"),
]  # fmt: skip


@pytest.mark.parametrize(("student", "embedding"), STUDENTS)
def test_every_student_and_embedding_goes_all_the_way(capsys, store, trained, sentiment, student, embedding):
    command = ("distill", "--teacher", trained["folders"][0], "--task", sentiment, "--student", student, "--store",
               store, "--embedding", embedding, "--dim", 8, "--vocabulary", 60, *SMALL)  # fmt: skip
    code, found = call(capsys, *command)
    record = found["records"][0]
    assert code == 0 and record["name"] == f"{student} 8d {embedding}"
    _, again = call(capsys, "evaluate", found["folders"][0], "--store", store)
    assert again["metrics"]["accuracy"]["value"] == record["metrics"]["dev"]["scores"]["accuracy"]["value"]


def test_texts_without_labels_are_labelled_by_the_teacher(capsys, store, trained, sentiment, tmp_path):
    more = tmp_path / "more.txt"
    more.write_text("".join(f"{text} indeed\n" for text, _ in sentences(100, seed=77)))
    command = ("distill", "--teacher", trained["folders"][0], "--task", sentiment, "--student", "bag", "--dim", 8,
               "--vocabulary", 60, "--store", store, *SMALL)  # fmt: skip
    _, without = call(capsys, *command)
    _, found = call(capsys, *command, "--unlabelled", more)
    record = found["records"][0]
    assert len(record["curves"]["loss"]) == 2 * 15 > len(without["records"][0]["curves"]["loss"])  # 370 rows by 25
    assert record["address"] != without["records"][0]["address"]
    assert record["unlabelled"] == {"rows": 100, "texts_in": {"dev": 0, "select": 0}}
    more.write_text(more.read_text() + "one more\n")
    assert call(capsys, *command, "--unlabelled", more)[1]["records"][0]["address"] != record["address"]
    assert "no such file" in error(capsys, *command, "--unlabelled", tmp_path / "absent.txt")


def test_vectors_of_a_file_are_where_a_student_starts(capsys, store, trained, sentiment, tmp_path):
    vectors = tmp_path / "vectors.txt"
    vectors.write_text("good 1 2 3\nbad -1 -2 -3\nfilm 0 1 0\n")
    command = ("distill", "--teacher", trained["folders"][0], "--task", sentiment, "--student", "bag", "--dim", 3,
               "--vocabulary", 60, "--store", store, "--vectors", vectors, *SMALL)  # fmt: skip
    record = call(capsys, *command)[1]["records"][0]
    assert record["start"]["known"] == 3 and "vectors" in record["sources"]
    vectors.write_text("good 1 2 3\nbad -1 -2\n")
    assert "vectors.txt, line 2" in error(capsys, *command)


def test_balanced_classes_change_the_result_and_not_the_score(capsys, store, tiny_encoder, sentiment, pairs):
    command = ("finetune", "--model", tiny_encoder, "--store", store, *SMALL, "--class-weights", "balanced")
    record = call(capsys, *command, "--task", sentiment)[1]["records"][0]
    assert record["identity"]["class_weights"] == "balanced"
    assert "is a regression" in error(capsys, *command, "--task", pairs)


def test_evaluate_scores_the_task_that_the_model_was_trained_on(capsys, store, trained):
    folder = trained["folders"][0]
    _, found = call(capsys, "evaluate", folder, "--store", store)
    assert found["split"] == "dev" and found["n"] == 60
    assert found["metrics"]["accuracy"] == trained["records"][0]["metrics"]["dev"]["scores"]["accuracy"]
    _, select = call(capsys, "evaluate", folder, "--split", "select", "--store", store)
    assert select["n"] == 30


def test_predict_reads_lines_jsonl_and_csv_alike(capsys, distilled, tmp_path):
    folder = distilled["folders"][0]
    texts = ["the film was great", 'awful plot, "dull"', ""]
    (tmp_path / "t.txt").write_text("\n".join(texts) + "\n")
    (tmp_path / "t.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    (tmp_path / "t.csv").write_text("text\n" + "".join('"' + t.replace('"', '""') + '"\n' for t in texts))
    answers = []
    for name in ("t.txt", "t.jsonl", "t.csv"):
        assert main(["predict", folder, str(tmp_path / name)]) == 0
        answers.append([json.loads(line) for line in capsys.readouterr().out.splitlines()])
    assert answers[0] == answers[1] == answers[2] and len(answers[0]) == 3
    for answer in answers[0]:
        assert sum(answer["probabilities"].values()) == pytest.approx(1.0)
        assert (
            answer["probability"] == max(answer["probabilities"].values()) == answer["probabilities"][answer["label"]]
        )


def test_predict_leaves_out_a_byte_order_mark_and_refuses_what_is_no_text(capsys, distilled, tmp_path):
    folder, path = distilled["folders"][0], tmp_path / "t.txt"
    answers = []
    for content in ("good film\n", "\ufeffgood film\n"):
        path.write_text(content, encoding="utf-8")
        assert main(["predict", folder, str(path)]) == 0
        answers.append(capsys.readouterr().out)
    assert answers[0] == answers[1]
    path.write_text("good film\n", encoding="utf-16")
    assert "t.txt, line 1: not UTF-8 (byte 0xff; UTF-16, or" in error(capsys, "predict", folder, path)
    (tmp_path / "t.jsonl").write_text('{"text": "a"}\n{"text": "\\ud800"}\n')
    assert "t.jsonl, line 2: a text holds half" in error(capsys, "predict", folder, tmp_path / "t.jsonl")


def test_predict_reads_standard_input(packed):
    command = [sys.executable, "-m", "featherlight", "predict", packed, "-"]
    done = subprocess.run(command, input="good film\n", capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["label"] in ("negative", "positive")


def test_report_shows_every_record_and_writes_a_page(capsys, store, distilled, tmp_path):
    code, found = call(capsys, "report", store, "--html", tmp_path / "r.html")
    assert code == 0 and {"finetune", "distill", "label"} <= {record["stage"] for record in found["records"]}
    page = (tmp_path / "r.html").read_text()
    assert "<svg" in page and "bag 8d" in page and "http-equiv" not in page


def test_tasks_gives_rows_and_labels(capsys, sentiment):
    _, found = call(capsys, "tasks", sentiment)
    assert found["splits"]["train"]["rows"] == 300 and found["labels"] == ["negative", "positive"]
    assert "docs" in call(capsys, "tasks")[1]["tasks"]


def test_a_small_split_is_said_to_tell_little(capsys, sentiment, tmp_path):
    """25 rows: a standard error of 10 points at an accuracy of 50."""
    rows = [(f"text number {row}", "yes" if row % 2 else "no") for row in range(250)]
    _, found = call(capsys, "tasks", write_csv(tmp_path / "small.csv", rows))
    assert any("dev is small (25): an accuracy of 50 % there is known to 20 points" in note for note in found["notes"])
    scores = [(f"text number {row}", f"{row / 7:.3f}") for row in range(250)]
    _, found = call(capsys, "tasks", write_csv(tmp_path / "scores.csv", scores))
    assert "dev is small (25): its scores are rough" in found["notes"]
    rows = [(f"text number {row}", "yes" if row % 2 else "no") for row in range(3000)]
    _, found = call(capsys, "tasks", write_csv(tmp_path / "large.csv", rows))
    assert not any("small" in note for note in found["notes"])


def test_store_lists_and_removes(capsys, tmp_path, distilled):
    shutil.copytree(distilled["folders"][0], tmp_path / Path(distilled["folders"][0]).name)
    _, found = call(capsys, "store", "list", "--store", tmp_path)
    name = found["entries"][0]["name"]
    assert call(capsys, "store", "remove", name, "--store", tmp_path)[1] == {"removed": [name]}
    assert call(capsys, "store", "list", "--store", tmp_path)[1] == {"entries": []}


def test_set_reaches_every_setting(capsys, store, tiny_encoder, sentiment):
    _, found = call(capsys, "finetune", "--model", tiny_encoder, "--task", sentiment, "--store", store, *SMALL,
                    "--set", "schedule=cosine", "--set", "patience=1", "--examples", 60)  # fmt: skip
    record = found["records"][0]
    assert record["settings"]["schedule"] == "cosine" and record["settings"]["patience"] == 1
    assert record["task"]["rows"]["train"] == 60 and len(record["curves"]["loss"]) <= 2 * 3


MISTAKES = [
    (("tasks", "sst"), "no task called 'sst'. Did you mean 'sst2'?"),
    (("tasks", "nowhere.csv"), "nowhere.csv"),
    (("finetune", "--model", "nobody/none", "--task", "{task}"), "--model minilm"),
    (("finetune", "--model", "{model}", "--task", "{task}", "--epochs", "0"), "--epochs 0"),
    (("finetune", "--model", "{model}", "--task", "{task}", "--schedule", "triangle"), "'linear', 'cosine'"),
    (("finetune", "--model", "{model}", "--task", "{task}", *SMALL, "--select-metric=acuracy"), "'accuracy'?"),
    (("finetune", "--model", "{model}", "--task", "{task}", "--max-length", "500"), "reads at most 48 tokens"),
    (("finetune", "--model", "{model}", "--task", "{task}", "--text", "txt"), "'txt'. Did you mean 'text'"),
    (("finetune", "--model", "{model}", "--task", "{task}", "--max-length", "20", "--examples", "999"), "270"),
    (("finetune", "--model", "{model}", "--task", "{task}", "--set", "epoch=1"), "Did you mean 'epochs'"),
    (("finetune", "--model", "{model}", "--task", "{task}", "--seeds", "1,1"), "is given twice"),
    (("finetune", "--model", "{model}", "--task", "{task}", "--seeds", "x"), "whole numbers"),
    (("finetune", "--task", "{task}"), "model is missing"),
    (("finetune", "--model", "{model}", "--task", "{task}", "--epochs", "two"), "--help"),
    (("distill", "--teacher", "none", "--task", "{task}"), "none: no such folder"),
    (("distill", "--teacher", "{model}", "--task", "{task}", "--dim", "8"), "Is this a fine-tuned model"),
    (("evaluate", "none"), "no such folder"),
    (("predict", "none", "texts"), "texts: no such file"),
    (("run", "none.yaml"), "none.yaml: no such file"),
    (("run", str(RECIPE), "--set", "epoch=1"), "--set epoch: no setting called 'epoch'. Did you mean 'epochs'"),
    (("report", "none"), "none: no such store"),
    (("store", "remove", "x"), "runs"),
    (("finetun",), "Did you mean 'finetune'"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "said"), MISTAKES, ids=lambda value: "" if isinstance(value, tuple) else value)
def test_a_mistake_gets_one_clear_message_and_leaves_no_store(
    capsys, arguments, said, tmp_path, tiny_encoder, sentiment, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(hub, "reachable", lambda: False)
    filled = [argument.format(model=tiny_encoder, task=sentiment) for argument in arguments]
    assert said in error(capsys, *filled)
    assert list(tmp_path.iterdir()) == []
    code, found = call(capsys, *filled)
    assert code == 2 and said in found["error"]


def test_no_command_at_all_asks_for_help(capsys):
    assert main([]) == 0
    alone = capsys.readouterr()
    assert main(["--help"]) == 0
    assert capsys.readouterr() == alone and alone.out.startswith("Usage: featherlight") and not alone.err


def test_an_interrupt_is_no_success(capsys, monkeypatch, sentiment):
    from featherlight.commands import tasks

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(tasks, "load_task", interrupted)
    assert main(["tasks", str(sentiment)]) == 130
    assert "interrupted" in capsys.readouterr().err
    code, found = call(capsys, "tasks", sentiment)
    assert code == 130 and "interrupted" in found["error"]


def test_the_bytes_are_those_of_the_files_that_are_needed(trained):
    folder = Path(trained["folders"][0])
    left_out = {"record.json", "predictions.safetensors"}
    sizes = [path.stat().st_size for path in folder.iterdir() if path.name not in left_out]
    assert trained["records"][0]["bytes"] == sum(sizes)
    assert len({path.stat().st_mode for path in folder.iterdir()}) == 1


def test_predict_takes_the_columns_that_the_model_was_trained_on(capsys, tmp_path, tiny_encoder, store):
    path = tmp_path / "t.csv"
    path.write_text("review,stars\n" + "".join(f"{text},{label}\n" for text, label in sentences(80, seed=2)))
    _, found = call(capsys, "finetune", "--model", tiny_encoder, "--task", path, "--label", "stars", "--store", store,
                    *SMALL)  # fmt: skip
    assert main(["predict", found["folders"][0], str(path)]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 80


def test_a_diverging_run_is_stopped_and_leaves_no_draft(capsys, tiny_encoder, sentiment, tmp_path):
    command = ("finetune", "--model", tiny_encoder, "--task", sentiment, "--store", tmp_path / "runs", "--epochs", 2,
               "--max-length", 20, "--learning-rate", "1e30", "--clip", 0, "--precision", "fp32")  # fmt: skip
    message = error(capsys, *command)
    assert "step" in message and "Lower --learning-rate" in message
    assert not (tmp_path / "runs").exists()


def test_a_label_that_train_lacks_is_named(capsys, tmp_path, tiny_encoder):
    train = write_csv(tmp_path / "train.csv", [("a film", "x"), ("the plot", "y")] * 20)
    dev = write_csv(tmp_path / "dev.csv", [("a film", "z")])
    assert "'z'" in error(capsys, "tasks", tmp_path) and train.exists() and dev.exists()


def test_a_crash_is_our_fault_and_says_so(capsys, monkeypatch, sentiment):
    from featherlight.commands import tasks

    monkeypatch.setattr(tasks, "load_task", lambda *_, **__: 1 / 0)
    assert main(["tasks", str(sentiment), "--json"]) == 1
    captured = capsys.readouterr()
    assert "a fault of featherlight" in json.loads(captured.out)["error"] and "ZeroDivisionError" in captured.err


def test_what_the_system_refuses_is_said_in_one_sentence(capsys, monkeypatch, sentiment):
    from featherlight.commands import tasks

    def refused(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied", "a.csv")

    monkeypatch.setattr(tasks, "load_task", refused)
    assert (
        error(capsys, "tasks", sentiment)
        == "featherlight: a.csv: Permission denied. Put that right and run the command again.\n"
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_an_answer_that_cannot_be_written_is_no_success(sentiment):
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "featherlight", "tasks", str(sentiment), "--json"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2
    assert (
        done.stderr == "featherlight: the output: No space left on device. Put that right and run the command again.\n"
    )


def loaded_by(code: str) -> set[str]:
    """The packages that a fresh Python has loaded after some code."""
    report = f"{code}\nimport sys; print(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", report], capture_output=True, text=True, check=True)
    return set(done.stdout.split("\n")[-2].split())


def test_the_import_and_the_help_load_nothing_heavy():
    heavy = {"torch", "transformers", "sklearn", "pandas", "datasets", "scipy", "matplotlib"}
    assert not loaded_by("import featherlight") & (heavy | {"numpy", "pydantic"})
    help_code = (
        "from featherlight.cli.main import main\nassert main(['--help']) == 0\nassert main(['finetune', '--help']) == 0"
    )
    assert not loaded_by(help_code) & (heavy | {"numpy"})


def test_what_computes_with_no_torch_model_loads_no_torch(packed, sentiment, trained, distilled):
    """Each would take seconds more, and the base installation has no torch."""
    store = Path(distilled["folders"][0]).parent
    commands = [
        ["tasks"], ["tasks", str(sentiment)], ["inspect", packed], ["predict", packed, str(sentiment / "dev.csv")],
        ["store", "list", "--store", str(store)], ["report", str(store)],
        ["compare", trained["folders"][0], *distilled["folders"]],
    ]  # fmt: skip
    call_each = f"for command in {commands}:\n    assert main([*command, '--json']) == 0"
    code = f"from featherlight.cli.main import main\n{call_each}"
    assert not loaded_by(code) & {"torch", "transformers", "datasets"}


def test_another_file_is_scored_whole(capsys, store, trained, tmp_path):
    other = write_csv(tmp_path / "other.csv", [("the film was good", "positive"), ("a lovely story", "positive")])
    _, found = call(capsys, "evaluate", trained["folders"][0], "--task", other, "--store", store)
    assert found["n"] == 2 and found["split"] == "all"


def test_refit_trains_on_train_and_select_for_the_epochs_that_won(capsys, store, trained, sentiment):
    _, found = call(capsys, "distill", "--teacher", trained["folders"][0], "--task", sentiment, "--student", "bag",
                    "--dim", 6, "--store", store, *SMALL, "--set", "patience=1", "--epochs", 4, "--refit")  # fmt: skip
    record = found["records"][0]
    refit = record["refit"]
    assert refit["rows"] == 300 and refit["epochs"] == record["best"]["epoch"]
    assert len(refit["curves"]["loss"]) == refit["epochs"] * 12


@pytest.mark.parametrize(
    "command", [("prune", "--method", "topv", "--sparsity", "0.5"), ("quantize", "--bits", "8"), ("pack",)]
)
def test_a_step_takes_another_file_as_its_task(capsys, distilled, sentiment, tmp_path, command):
    """Only `evaluate` scores such a file whole; the others read it as the task that it is."""
    moved = tmp_path / "moved.csv"
    shutil.copy(sentiment / "train.csv", moved)
    name, *more = command
    folder = distilled["folders"][0]
    code, found = call(capsys, name, folder, "--task", moved, *more, "--store", tmp_path / "store")
    assert code == 0, found


def test_selecting_on_dev_leaves_train_whole_and_is_recorded(capsys, store, tiny_encoder, sentiment):
    _, found = call(capsys, "finetune", "--model", tiny_encoder, "--task", sentiment, "--store", store, *SMALL,
                    "--select-on", "dev")  # fmt: skip
    record = found["records"][0]
    assert record["task"]["rows"] == {"train": 300, "dev": 60} and record["best"]["split"] == "dev"
    assert any("--select-on dev" in note for note in record["task"]["notes"])


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """A regression on pairs: the share of words that both texts have."""
    rows = []
    for text, _ in sentences(200, seed=9):
        words = text.split()
        half = words[: len(words) // 2 + 1]
        rows.append({"text": text, "text_pair": " ".join(half), "label": len(set(half)) / len(set(words))})
    path = tmp_path_factory.mktemp("pairs") / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_regression_on_pairs_goes_all_the_way(capsys, store, tiny_encoder, pairs, tmp_path):
    _, teacher = call(capsys, "finetune", "--model", tiny_encoder, "--task", pairs, "--store", store, *SMALL)
    assert teacher["records"][0]["task"]["labels"] == [] and "pearson" in teacher["summary"]
    folder = teacher["folders"][0]
    _, student = call(capsys, "distill", "--teacher", folder, "--task", pairs, "--student", "bilstm", "--dim", 6,
                      "--hidden", 7, "--store", store, *SMALL)  # fmt: skip
    for model in (folder, student["folders"][0]):
        assert main(["predict", model, str(pairs)]) == 0
        answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert len(answers) == 200 and set(answers[0]) == {"value"}
        single = tmp_path / "single.txt"
        single.write_text("one text\n")
        assert "reads two texts" in error(capsys, "predict", model, single)


DAMAGE = {
    "config.json": "{}",
    "tokenizer.json": "{}",
    "record.json": "{}",
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_folder_gets_a_message(capsys, distilled, sentiment, tmp_path, name):
    folder = shutil.copytree(distilled["folders"][0], tmp_path / "damaged")
    (folder / name).write_text(DAMAGE[name])
    said = error(capsys, "evaluate", folder, "--store", tmp_path / "runs")
    assert str(folder) in said


def test_a_folder_without_its_vocabulary_is_refused(capsys, trained, tmp_path):
    folder = shutil.copytree(trained["folders"][0], tmp_path / "copy")
    (folder / "tokenizer.json").unlink()
    assert "no tokenizer" in error(capsys, "predict", folder, __file__)


@pytest.mark.usefixtures("known_rates")
def test_a_recipe_runs_and_then_is_done(capsys, tmp_path, tiny_encoder, sentiment):
    recipe = tmp_path / "r.yaml"
    recipe.write_text(
        f"common: {{task: {sentiment}, max_length: 20, epochs: 1}}\n"
        f"stages:\n  teacher: {{stage: finetune, model: {tiny_encoder}}}\n"
        "  student: {stage: distill, teacher: teacher, student: bag, vocabulary: 50, dim: [3, 4]}\n"
    )
    runs = tmp_path / "runs"
    other = call(capsys, "run", recipe, "--dry-run", "--store", runs, "--set", "clip=2")[1]["jobs"]
    before = call(capsys, "run", recipe, "--dry-run", "--store", runs)[1]["jobs"]
    assert not {job["address"] for job in other} & {job["address"] for job in before}
    assert [job["state"] for job in before] == ["to do"] * 4
    _, found = call(capsys, "run", recipe, "--store", runs)
    assert {Path(folder).name for folder in found["folders"]} == {
        j["address"] for j in before if "label" not in j["address"]
    }
    after = call(capsys, "run", recipe, "--dry-run", "--store", runs)[1]["jobs"]
    assert [job["state"] for job in after] == ["done"] * 4
    shutil.rmtree(next(runs.glob("label-*")))  # done students need no logits
    for more in ((), ("--workers", 2)):
        assert call(capsys, "run", recipe, "--store", runs, *more)[1]["folders"] == found["folders"]
    assert not list(runs.glob("label-*"))


def test_a_reader_that_stops_early_is_no_fault(packed, tmp_path):
    (tmp_path / "t.txt").write_text("good film\n" * 3000)
    program = f"{sys.executable} -m featherlight predict {packed} {tmp_path / 't.txt'}"
    pipe = f"{program} | head -1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", pipe], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0" and "Traceback" not in done.stderr
