"""`prune` and `distill --prune` as commands: folders, records, what is printed, what is refused."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from featherlight.cli.main import main
from featherlight.inference.torch_predictor import TorchPredictor
from featherlight.models.load import load_checkpoint
from featherlight.planning.jobs import run_jobs
from featherlight.planning.recipe import plan_recipe
from featherlight.stages.recovery import Provenance

QUICK = ("--device", "cpu", "--precision", "fp32", "--checkpoint-seconds", "0.01")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return tmp_path_factory.mktemp("store")


def call(capsys, *arguments):
    """(the JSON object that a command prints, the record of its folder)."""
    code = main([*(str(argument) for argument in arguments), "--json"])
    shown = json.loads(capsys.readouterr().out)
    assert code == 0, shown
    folder = shown["folder"] if "folder" in shown else shown["folders"][0]
    return shown, json.loads(Path(folder, "record.json").read_text())


def error(capsys, *arguments) -> str:
    """The message of a command that must fail as the user's mistake."""
    assert main([str(argument) for argument in arguments]) == 2
    return capsys.readouterr().err


def matrices(folder: Path) -> dict[str, torch.Tensor]:
    return {name: tensor for name, tensor in load_file(folder / "model.safetensors").items() if tensor.dim() > 1}


def zeros(tensors: dict[str, torch.Tensor]) -> float:
    return sum(int((tensor == 0).sum()) for tensor in tensors.values()) / sum(t.numel() for t in tensors.values())


@pytest.mark.parametrize("model", ["bag", "rnn", "bilstm", "teacher"])
@pytest.mark.parametrize("options", [("magnitude",), ("topv", "--scope", "global"), ("random",)])
def test_the_folder_has_the_zeros_that_the_record_and_the_command_state(capsys, students, store, model, options):
    shown, record = call(capsys, "prune", students[model], "--store", store, "--sparsity", 0.5, "--method", *options)
    assert set(shown) == {"folder", "before", "after", "zeros", "flips", "p_value"}
    kept, was = matrices(Path(shown["folder"])), matrices(students[model])
    assert shown["zeros"] == record["zeros"] == zeros(kept) == pytest.approx(0.5, abs=0.01)
    assert record["zeros_asked"] == 0.5
    for name, tensor in kept.items():
        assert torch.equal(tensor, was[name] * (tensor != 0)), "a weight that stays keeps its value"
        assert record["parts_changed"][name] == {"zeros": int((tensor == 0).sum()), "parameters": tensor.numel()}
    if model != "teacher":
        assert shown["after"]["packed_bytes"] < 0.9 * shown["before"]["packed_bytes"]


@pytest.mark.parametrize("method", ["topv", "movement", "nm"])
def test_a_student_recovers_with_its_own_teachers_logits(capsys, students, store, method):
    share = () if method == "nm" else ("--sparsity", 0.5)
    command = ("prune", students["bag"], "--store", store, "--method", method, *share, "--epochs", 2, *QUICK)
    shown, record = call(capsys, *command)
    labels = json.loads((students["bag"] / "record.json").read_text())["inputs"]["labels"]
    assert record["recovery"] == {"epochs": 2, "from": labels}
    assert record["inputs"] == {"model": students["bag"].name, "labels": labels}
    assert record["zeros"] == pytest.approx(0.5 if method != "nm" else 0.45, abs=0.06)
    whole = (1, 2) if method == "nm" else (2,)  # in the first epoch the others' zeros still rise
    assert len(record["curves"]["epochs"]) == 2 and record["best"]["epoch"] in whole
    kept, was = matrices(Path(shown["folder"])), matrices(students["bag"])
    there = kept["classifier.hidden.weight"] != 0
    assert not torch.equal(kept["classifier.hidden.weight"][there], was["classifier.hidden.weight"][there])


def test_without_the_logits_labels_are_enough_and_the_record_says_so(capsys, students, store, tmp_path):
    moved = tmp_path / "elsewhere"
    shutil.copytree(students["bag"], moved)
    command = ("prune", moved, "--store", store, "--method", "topv", "--sparsity", 0.5, "--epochs", 1, *QUICK)
    _, record = call(capsys, *command)
    assert record["recovery"]["from"].startswith("labels alone: label-")
    assert list(record["inputs"]) == ["model"]


def test_an_encoder_recovers_on_fewer_rows_where_that_is_asked(capsys, students, store):
    command = ("prune", students["teacher"], "--store", store, "--method", "topv", "--sparsity", 0.5, "--epochs", 1,
               "--examples", 50, "--learning-rate", 1e-3, *QUICK)  # fmt: skip
    _, record = call(capsys, *command)
    assert len(record["curves"]["loss"]) == 2  # 50 rows by 25, the batch size of its own training
    assert max(record["curves"]["learning_rate"]) == 1e-3
    assert record["recovery"]["from"] == "labels alone: there was no teacher"


@pytest.mark.parametrize(("model", "method", "share"), [
    ("teacher", "heads", 0.5), ("teacher", "neurons", 0.5), ("teacher", "layers", 0.5), ("bilstm", "units", 1 / 3),
    ("rnn", "columns", 0.5), ("teacher", "vocabulary", None),
])  # fmt: skip
@pytest.mark.parametrize("epochs", [0, 1])
def test_what_is_removed_makes_the_folder_smaller_and_it_loads_as_any_other(
    capsys, students, store, model, method, share, epochs
):
    asked = () if share is None else ("--sparsity", share)
    more = ("--epochs", epochs, "--examples", 60, *QUICK) if epochs else ()
    command = ("prune", students[model], "--store", store, "--method", method, *asked, *more)
    shown, record = call(capsys, *command)
    before, _ = load_checkpoint(students[model])
    after, _ = load_checkpoint(Path(shown["folder"]))
    sizes = [{name: weight.numel() for name, weight in found.named_parameters()} for found in (before, after)]
    lost = sum(sizes[0].values()) - sum(sizes[1].values())
    changed = record["parts_changed"].values()
    assert lost == sum(part["parameters_before"] - part["parameters"] for part in changed) > 0
    assert shown["after"]["bytes"] < shown["before"]["bytes"]
    assert 0 < record["zeros"] < 1 and record["zeros_asked"] == share
    score = shown["after"]["metrics"]["accuracy"]["value"]
    assert record["metrics"]["dev"]["scores"]["accuracy"]["value"] == score


def test_taylor_scores_need_no_recovery(capsys, students, store):
    command = ("prune", students["teacher"], "--store", store, "--method", "heads", "--sparsity", 0.25)
    _, by_size = call(capsys, *command)
    _, by_loss = call(capsys, *command, "--score", "taylor", "--device", "cpu")
    assert {len(kept) for kept in by_loss["kept"].values()} == {3} and by_loss["address"] != by_size["address"]


def test_zeros_stay_zero_while_a_model_recovers_from_losing_units(capsys, students, store):
    first, _ = call(capsys, "prune", students["bilstm"], "--store", store, "--method", "topv", "--sparsity", 0.4)
    command = (
        "prune",
        first["folder"],
        "--store",
        store,
        "--method",
        "units",
        "--sparsity",
        0.3,
        "--epochs",
        1,
        *QUICK,
    )
    shown, record = call(capsys, *command)
    assert zeros(matrices(Path(shown["folder"]))) > 0.35
    origin = Provenance.of(Path(shown["folder"]))
    assert origin == Provenance.of(students["bilstm"]) and origin.settings["student"] == "bilstm"
    assert record["recovery"]["from"].startswith("labels alone: label-"), "the other store has the logits"


def test_a_student_can_be_pruned_while_it_is_distilled(capsys, students, store, sentiment):
    command = ("distill", "--teacher", students["teacher"], "--task", sentiment, "--student", "bag", "--dim", 8,
               "--vocabulary", 60, "--classifier", 12, "--epochs", 4, "--max-length", 20, "--store", store,
               "--prune", "topv", "--sparsity", 0.6, "--sparsity-embedding", 0.3, *QUICK)  # fmt: skip
    shown, record = call(capsys, *command)
    tensors = matrices(Path(shown["folders"][0]))
    assert zeros({"": tensors["classifier.hidden.weight"]}) == pytest.approx(0.6, abs=0.01)
    assert zeros({"": tensors["embedding.weight"]}) == pytest.approx(0.3, abs=0.01)
    assert record["zeros"] == zeros(tensors) and record["zeros_asked"] == pytest.approx(record["zeros"], abs=0.01)
    assert record["name"].endswith(f"topv {record['zeros_asked']:.0%}")


def test_a_distillation_without_pruning_has_the_address_that_it_had_before_there_was_any(students):
    identity = json.loads((students["bag"] / "record.json").read_text())["identity"]
    assert not {"prune", "sparsity", "scope", "ramp"} & identity.keys()


def test_a_recipe_chains_distill_prune_and_evaluate_at_the_planned_addresses(students, sentiment, tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(f"""
common: {{task: {sentiment}, max_length: 20, device: cpu, precision: fp32, batch_size: 25}}
stages:
  small: {{stage: distill, teacher: {students["teacher"]}, student: bag, dim: 8, vocabulary: 60, epochs: 1}}
  thinner: {{stage: prune, model: small, method: [topv, neurons], sparsity: 0.5, epochs: [0, 1]}}
  again: {{stage: prune, model: thinner, method: columns, sparsity: 0.5, epochs: 1}}
  scored: {{stage: evaluate, model: again}}
""")
    jobs = plan_recipe(recipe, store=tmp_path / "store", common={})
    planned = [job.folder for job in jobs]
    folders = run_jobs(jobs)
    assert set(folders) <= set(planned) and all(folder.exists() for folder in planned)
    assert [job.folder for job in plan_recipe(recipe, store=tmp_path / "store", common={})] == planned
    labels = next(folder.name for folder in planned if folder.name.startswith("label-"))
    again = [json.loads((job.folder / "record.json").read_text()) for job in jobs if job.name == "again"]
    assert len(again) == 4 and all(record["inputs"]["labels"] == labels for record in again)


@pytest.mark.parametrize(("options", "said"), [
    (("topv", "--sparsity", 1.5), "--sparsity 1.5: input should be less than 1"),
    (("topv", "--sparsity", -0.1), "greater than or equal to 0"),
    (("topv", "--sparsity", 0), "sparsity 0 changes nothing"),
    (("topv",), "sparsity is missing"),
    (("topf", "--sparsity", 0.5), "--method 'topf'"),
    (("topv", "--sparsity", 0.5, "--parts", "embeding"), "Did you mean 'embedding'"),
    (("topv", "--sparsity", 0.5, "--sparsity-recurrent", 0.1), "there is no recurrent part"),
    (("topv", "--sparsity", 0.5, "--scope", "global", "--sparsity-linear", 0.1), "weighs all parts together"),
    (("topv", "--sparsity", 0.99), "leaves nothing of classifier.out.weight"),
    (("topv", "--sparsity", 0.5, "--pattern", "1:4"), "pattern: has no effect with method topv, only with nm"),
    (("topv", "--sparsity", 0.5, "--score", "taylor"), "score: has no effect with method topv"),
    (("topv", "--sparsity", 0.5, "--learning-rate", 1), "learning_rate: has no effect without recovery epochs"),
    (("topv", "--sparsity", 0.5, "--threshold", 1), "threshold: has no effect with method topv"),
    (("magnitude", "--sparsity", 0.5, "--threshold", 1), "threshold says which weights go"),
    (("magnitude", "--threshold", 1e-9), "nothing changed"),
    (("movement", "--sparsity", 0.5), "give it at least --epochs 1"),
    (("nm", "--pattern", "4:4"), "the first number must be smaller"),
    (("nm", "--sparsity", 0.75), "leave sparsity out"),
    (("heads", "--sparsity", 0.5), "cannot lose heads, only models of type bert, roberta, distilbert"),
    (("columns", "--sparsity", 0.01), "would remove nothing"),
])  # fmt: skip
def test_what_cannot_work_ends_in_one_sentence(capsys, students, store, options, said):
    assert said in error(capsys, "prune", students["bag"], "--store", store, "--method", *options)


def test_to_prune_the_same_again_changes_nothing_and_is_an_error(capsys, students, store):
    command = ("--store", store, "--method", "topv", "--sparsity", 0.4)
    shown, _ = call(capsys, "prune", students["bag"], *command)
    assert "nothing changed: 40." in error(capsys, "prune", shown["folder"], *command)


def test_a_quantized_model_is_refused(capsys, students, store):
    shown, _ = call(capsys, "quantize", students["bag"], "--store", store)
    said = error(capsys, "prune", shown["folder"], "--store", store, "--method", "topv", "--sparsity", 0.5)
    assert "is quantized or packed. Prune first" in said


def test_a_folder_without_a_record_needs_the_task_named(capsys, students, store, sentiment, tmp_path):
    bare = tmp_path / "bare"
    shutil.copytree(students["bag"], bare)
    (bare / "record.json").unlink()
    command = ("prune", bare, "--store", store, "--method", "topv", "--sparsity", 0.5, "--epochs", 1, *QUICK)
    assert "no record.json says what it was trained on. Name the task with --task" in error(capsys, *command)
    _, record = call(capsys, *command, "--task", sentiment)
    assert record["recovery"]["from"] == "labels alone: there was no teacher"


def test_options_of_pruning_without_prune_are_refused_by_distill(capsys, students, sentiment, store):
    command = ("distill", "--teacher", students["teacher"], "--task", sentiment, "--sparsity", 0.5, "--store", store)
    assert "sparsity: has no effect without prune" in error(capsys, *command)


def test_people_see_before_and_after(capsys, students, store):
    assert main(["prune", str(students["bag"]), "--store", str(store), "--method", "topv", "--sparsity", "0.55"]) == 0
    said = capsys.readouterr().out
    assert "before" in said and "after" in said and "of 55% asked" in said and "predictions flipped" in said


def test_a_pruned_model_predicts_with_its_own_tokenizer(capsys, students, store):
    shown, _ = call(capsys, "prune", students["teacher"], "--store", store, "--method", "vocabulary")
    texts = ["a great film", "the plot was dull"]  # of words that train has
    first, second = (
        TorchPredictor(Path(folder), device="cpu")(texts) for folder in (students["teacher"], shown["folder"])
    )
    assert abs(first - second).max() < 1e-4
