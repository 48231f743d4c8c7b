"""Every family of encoders, from a folder through fine-tuning to predictions, with models made in the test."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from featherlight.cli import main
from featherlight.data.task import SELECT
from featherlight.data.registry import load_task
from featherlight.measurement.evaluate import Predictor
from tiny_encoders import ENCODERS, save_encoder
from toys import GOOD, sentences

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
    logits = Predictor(folder, device="cpu", precision="fp32")(select.first, select.second)
    guessed, known = torch.from_numpy(logits), torch.from_numpy(select.labels)
    loss = (F.cross_entropy if guessed.ndim == 2 else F.mse_loss)(guessed, known).item()
    assert record["curves"]["epochs"][0]["select"]["loss"] == pytest.approx(loss, abs=1e-5), "saved is not trained"
