"""Every family of encoders, from a folder through fine-tuning to predictions, with models made in the test."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from featherlight.cli.main import main
from featherlight.data.registry import load_task
from featherlight.data.task import SELECT, Examples
from featherlight.data.tokens.tokenise import tokenise
from featherlight.errors import UserError
from featherlight.inference.torch_predictor import TorchPredictor
from featherlight.models.device import has_bf16
from featherlight.models.load import load_checkpoint, load_encoder
from featherlight.training.finetune import LabelObjective
from featherlight.training.loop import RunContext, train
from featherlight.training.objective import TrainingSet
from featherlight.training.optimizers import OptimizerOptions
from helpers.tiny_encoders import ENCODERS, MAX_LENGTH, save_encoder
from helpers.toys import GOOD, sentences

TASKS = ("single", "pair", "regression")
QUICK = ("--epochs", "1", "--batch-size", "20", "--max-length", "24", "--learning-rate", "1e-3", "--device", "cpu",
         "--precision", "fp32", "--json")  # fmt: skip


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """The folder of an encoder, by its name; made once."""
    made: dict[str, Path] = {}

    def folder(name: str) -> Path:
        if name not in made:
            made[name] = save_encoder(name, tmp_path_factory.mktemp("encoder"))
        return made[name]

    return folder


@pytest.fixture(scope="module")
def tasks(tmp_path_factory) -> dict[str, Path]:
    """60 rows to train on and 20 for dev, as one text, as two, and as one text with a number."""
    folders = {}
    for name in TASKS:
        folders[name] = tmp_path_factory.mktemp(name)
        rows = sentences(80, seed=7)
        for split, part in (("train", rows[:60]), ("dev", rows[60:])):
            table = [line(name, text, label) for text, label in part]
            (folders[name] / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in table))
    return folders


def line(task: str, text: str, label: str) -> dict[str, object]:
    """One row; capitals make cased vocabularies earn their name."""
    first, _, rest = text.partition(" ")
    if task == "pair":
        return {"text": first.capitalize() + " " + first, "text_pair": rest, "label": label}
    if task == "single":
        return {"text": text.capitalize(), "label": label}
    return {"text": text, "score": len(text) / 50 + any(word in text for word in GOOD)}


def finetune(capsys, model: Path, task: Path, store: Path, *more: str) -> tuple[Path, dict]:
    """Folder and record."""
    code = main(["finetune", "--model", str(model), "--task", str(task), "--store", str(store), *QUICK, *more])
    found = json.loads(capsys.readouterr().out)
    assert code == 0, found
    return Path(found["folders"][0]), found["records"][0]


def plain_logits(folder: Path, task: Path) -> np.ndarray:
    """Dev logits by transformers alone, text by text: no batch, no padding."""
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    rows = [json.loads(line) for line in (task / "dev.jsonl").read_text().splitlines()]
    logits = []
    for row in rows:
        texts = [row["text"]] + ([row["text_pair"]] if "text_pair" in row else [])
        with torch.inference_mode():
            logits.append(model(**tokenizer(*texts, truncation=True, max_length=24, return_tensors="pt")).logits[0])
    return torch.stack(logits).squeeze(-1).numpy()


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("name", ENCODERS)
def test_an_encoder_is_tuned_saved_and_read_again(capsys, encoder, tasks, tmp_path, name, task):
    folder, record = finetune(capsys, encoder(name), tasks[task], tmp_path)
    stored = load_file(folder / "predictions.safetensors")["dev.logits"].numpy()
    assert np.ptp(stored, axis=0).min() > 0.05 and np.allclose(stored, plain_logits(folder, tasks[task]), atol=1e-5)
    select = load_task(str(tasks[task])).splits[SELECT]
    logits = TorchPredictor(folder, device="cpu", precision="fp32")(select.first, select.second)
    guessed, known = torch.from_numpy(logits), torch.from_numpy(select.labels)
    loss = (F.cross_entropy if guessed.ndim == 2 else F.mse_loss)(guessed, known).item()
    if guessed.ndim == 1:  # in deviations of the fitted labels
        loss /= float(np.var(load_task(str(tasks[task])).splits["train"].labels))
    assert record["curves"]["epochs"][0]["select"]["loss"] == pytest.approx(loss, abs=1e-5), "saved is not trained"


PER_TOKENIZER = ("bert cased", "distilbert", "roberta", "mpnet", "modernbert", "deberta", "albert", "xlnet",
                 "deberta v2")  # fmt: skip


@pytest.mark.parametrize("name", PER_TOKENIZER)
def test_an_encoder_teaches_a_student_with_its_own_pieces_and_vectors(capsys, encoder, tasks, tmp_path, name):
    teacher, _ = finetune(capsys, encoder(name), tasks["pair"], tmp_path)
    command = ["distill", "--teacher", str(teacher), "--task", str(tasks["pair"]), "--student", "bag", "--dim", "8",
               "--vocabulary", "400", "--store", str(tmp_path), *QUICK]  # fmt: skip
    assert main(command) == 0
    student = Path(json.loads(capsys.readouterr().out)["folders"][0])
    own, teachers = AutoTokenizer.from_pretrained(student), AutoTokenizer.from_pretrained(teacher)
    rows = [json.loads(line) for line in (tasks["pair"] / "train.jsonl").read_text().splitlines()]
    for row in rows:
        assert own.tokenize(row["text_pair"]) == teachers.tokenize(row["text_pair"])
    model = AutoModelForSequenceClassification.from_pretrained(student).eval()
    stored = load_file(student / "predictions.safetensors")["dev.logits"]
    row = json.loads((tasks["pair"] / "dev.jsonl").read_text().splitlines()[0])
    first, second = (own(row[key], return_tensors="pt")["input_ids"] for key in ("text", "text_pair"))
    assert torch.allclose(model(first, pair_input_ids=second).logits[0], stored[0], atol=1e-5)


@pytest.mark.parametrize("name", ["xlnet", "albert", "distilbert"])
def test_a_student_wider_than_its_teacher_is_refused_before_the_teacher_is_asked(
    capsys, encoder, tasks, tmp_path, name
):
    teacher, _ = finetune(capsys, encoder(name), tasks["single"], tmp_path)
    command = ["distill", "--teacher", str(teacher), "--task", str(tasks["single"]), "--dim", "17"]
    assert main([*command, "--store", str(tmp_path), *QUICK]) == 2
    assert "is wider than the teacher's embeddings" in capsys.readouterr().out
    assert not list(tmp_path.glob("label-*"))


@pytest.mark.parametrize("name", ENCODERS)
def test_the_input_embeddings_have_a_row_per_piece(encoder, name):
    model, tokenizer = load_encoder(str(encoder(name)), labels=("a", "b"), max_length=16)
    assert model.get_input_embeddings().weight.shape[0] == len(tokenizer)


@pytest.mark.skipif(not has_bf16("cpu"), reason="this processor has no bf16 arithmetic")
@pytest.mark.parametrize("name", [name for name in ENCODERS if name != "deberta"])
def test_an_encoder_computes_in_bf16_what_it_computes_in_fp32(capsys, encoder, tasks, tmp_path, name):
    folder, record = finetune(capsys, encoder(name), tasks["pair"], tmp_path, "--precision", "bf16")
    exact = plain_logits(folder, tasks["pair"])
    rounded = load_file(folder / "predictions.safetensors")["dev.logits"].numpy()
    assert record["precision"] == "bf16" and (rounded != exact).any()
    assert np.abs(rounded - exact).max() < 0.15 * np.ptp(exact)  # bf16 keeps three digits; the layers are badly scaled


def test_an_encoder_that_overflows_in_bf16_is_computed_in_fp32(capsys, encoder, tasks, tmp_path):
    command = ["finetune", "--model", str(encoder("deberta")), "--task", str(tasks["single"]), "--store", str(tmp_path)]
    assert main([*command, *QUICK, "--precision", "bf16"]) == 2
    assert "deberta models overflow in bf16. Use --precision fp32." in capsys.readouterr().out
    assert (
        finetune(capsys, encoder("deberta"), tasks["single"], tmp_path, "--precision", "auto")[1]["precision"] == "fp32"
    )


@pytest.mark.parametrize("name", ["albert", "xlnet", "bert uncased", "deberta v2", "roberta", "distilbert"])
def test_a_model_that_knows_two_segments_is_told_which_text_is_which(encoder, tmp_path, name):
    """transformers alone would leave it out for ALBERT and XLNet."""
    _, tokenizer = load_encoder(str(encoder(name)), labels=("a", "b"), max_length=16)
    knows = name in ("albert", "xlnet", "bert uncased")
    tokens = tokenise(tokenizer, Examples(["good"], ["bad"], None, np.arange(1)), max_length=16, apart=False)
    if knows:
        segments = tokens.columns["token_type_ids"].values.tolist()
        pieces = tokenizer.convert_ids_to_tokens(tokens.columns["input_ids"].values.tolist())
        separator = pieces.index(tokenizer.sep_token)
        assert set(segments[1:separator]) == {0} and set(segments[separator + 1 : -1]) == {1}
    elif name != "deberta v2":
        assert "token_type_ids" not in tokens.columns
    tokenizer.save_pretrained(tmp_path)
    assert ("token_type_ids" in AutoTokenizer.from_pretrained(tmp_path)("good", "bad")) == (
        "token_type_ids" in tokens.columns
    )


def test_padding_goes_before_the_text_and_the_class_token_behind_it_for_xlnet(encoder):
    _, tokenizer = load_encoder(str(encoder("xlnet")), labels=("a", "b"), max_length=30)
    first, second = ["good", "good film"], ["bad", "bad plot"]
    batch = tokenise(tokenizer, Examples(first, second, None, np.arange(2)), max_length=30, apart=False).batch(
        np.arange(2)
    )
    expected = tokenizer(first, second, padding=True, return_tensors="pt")
    assert batch.keys() == expected.keys() and all(torch.equal(batch[key], expected[key]) for key in batch)
    assert batch["attention_mask"][0].tolist() == sorted(batch["attention_mask"][0].tolist())
    assert batch["token_type_ids"][:, -1].tolist() == [2, 2]  # the segment of the class token


@pytest.mark.parametrize("name", ["bert uncased", "roberta", "mpnet", "distilbert", "albert", "modernbert", "deberta"])
def test_the_longest_text_that_is_let_in_is_the_longest_that_can_be_read(encoder, name):
    model, _ = load_encoder(str(encoder(name)), labels=("a", "b"), max_length=MAX_LENGTH)
    ids = torch.full((1, MAX_LENGTH), 6)
    assert model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits.isfinite().all()
    with pytest.raises(UserError, match=f"reads at most {MAX_LENGTH} tokens"):
        load_encoder(str(encoder(name)), labels=("a", "b"), max_length=MAX_LENGTH + 1)


@pytest.mark.parametrize("name", ["xlnet", "deberta v2", "deberta v3"])
def test_an_encoder_of_relative_positions_reads_texts_of_any_length(encoder, tmp_path, name):
    model, tokenizer = load_encoder(str(encoder(name)), labels=("a", "b"), max_length=700)
    ids = torch.randint(5, 40, (1, 700), generator=torch.Generator().manual_seed(0))
    assert model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits.isfinite().all()
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    assert load_checkpoint(tmp_path)[1].model_max_length == 700, "a text would be cut otherwise than in training"


@pytest.mark.parametrize(("name", "read"), [("scibert cased", ["The", "film"]), ("bert uncased", ["the", "film"])])
def test_a_vocabulary_without_settings_tells_by_its_capitals_whether_it_is_cased(encoder, tmp_path, name, read):
    """Some repositories, SciBERT's for one, hold a vocab.txt and not a word on case."""
    bare = tmp_path / "bare"
    shutil.copytree(encoder(name), bare)
    pieces = AutoTokenizer.from_pretrained(bare).get_vocab()
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (bare / file).unlink()
    (bare / "vocab.txt").write_text("\n".join(sorted(pieces, key=pieces.__getitem__)) + "\n")
    _, tokenizer = load_encoder(str(bare), labels=("a", "b"), max_length=16)
    assert tokenizer.tokenize("The film") == read
    tokenizer.save_pretrained(tmp_path / "saved")
    assert AutoTokenizer.from_pretrained(tmp_path / "saved").tokenize("The film") == read


class Interrupted(Exception):
    """Stands for a kill."""


@pytest.mark.parametrize("name", ENCODERS)
def test_an_encoder_that_was_cut_off_ends_with_the_same_bits(encoder, tasks, tmp_path, name):
    class CutOff(LabelObjective):
        calls = 0

        def __call__(self, model, batch):
            self.calls += 1
            if self.calls == 3:
                raise Interrupted
            return super().__call__(model, batch)

    options = OptimizerOptions(optimizer="adamw", learning_rate=1e-3, schedule="linear", warmup=0.0, weight_decay=0.01,
                               clip=1.0, epochs=1, batch_size=5, batch_tokens=10_000, patience=0, seed=4)  # fmt: skip

    def trained(objective, context) -> dict[str, torch.Tensor]:
        torch.manual_seed(1)
        model, tokenizer = load_encoder(str(encoder(name)), labels=("a", "b"), max_length=16)
        rows = load_task(str(tasks["pair"])).splits["dev"]
        data = TrainingSet(tokenise(tokenizer, rows, max_length=16, apart=False), {"labels": rows.labels})
        train(model, objective, data, None, options=options, context=context)
        return model.state_dict()

    whole = trained(LabelObjective(), RunContext("cpu", "fp32", tmp_path / "whole"))
    always = RunContext("cpu", "fp32", tmp_path / "cut", checkpoint_seconds=0.0)
    with pytest.raises(Interrupted):
        trained(CutOff(), always)
    resumed = trained(LabelObjective(), always)
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)
