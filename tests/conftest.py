"""Tiny things that many tests need: an encoder with random weights, a sentiment file, real data where it is."""

import json
import os
from pathlib import Path

import pytest

from helpers.toys import BAD, FILLERS, GOOD, sentences, write_csv


@pytest.fixture(scope="session", autouse=True)
def frozen_libraries() -> None:
    """What the libraries hold is no garbage: thousands of runs need not look at it in each collection, for 0.2 s."""
    import gc

    import featherlight.stages.table  # noqa: F401  # brings all of them

    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of 20 dimensions with random weights and a word-piece vocabulary, saved as a folder."""
    import torch
    from transformers import BertConfig, BertModel

    folder = tmp_path_factory.mktemp("encoder")
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{c}" for c in letters)]
    pieces += [*GOOD, *BAD, *(word for word in FILLERS if len(word) > 1)]
    (folder / "vocab.txt").write_text("\n".join(pieces) + "\n")
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "BertTokenizer", "do_lower_case": True, "model_max_length": 48})
    )
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(pieces), hidden_size=20, num_hidden_layers=2, num_attention_heads=4, intermediate_size=28,
        max_position_embeddings=48,
    )  # fmt: skip
    BertModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def sentiment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with train.csv (300 rows) and dev.csv (60 rows)."""
    folder = tmp_path_factory.mktemp("sentiment")
    rows = sentences(360, seed=5)
    write_csv(folder / "train.csv", rows[:300])
    write_csv(folder / "dev.csv", rows[300:])
    return folder


@pytest.fixture(scope="session")
def students(tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Path, sentiment: Path) -> dict[str, Path]:
    """Folders of a teacher and one student of each kind that have learned the sentiment file, in one store."""
    from featherlight.planning.jobs import jobs_of, run_jobs
    from featherlight.stages.distill.stage import DISTILL
    from featherlight.stages.finetune.stage import FINETUNE

    store = tmp_path_factory.mktemp("students")
    common = {"task": str(sentiment), "max_length": 20, "device": "cpu", "precision": "fp32", "batch_size": 25}
    teacher = jobs_of(FINETUNE, {**common, "model": str(tiny_encoder), "epochs": 2, "learning_rate": 2e-3}, {},
                      store=store, where="a test")  # fmt: skip
    small = {**common, "dim": 8, "vocabulary": 60, "classifier": 12, "epochs": 6, "learning_rate": 1e-2}
    kinds = {"bag": {}, "rnn": {"hidden": 10}, "bilstm": {"hidden": 9}}
    found = {"teacher": run_jobs(teacher)[0]}
    for student, more in kinds.items():
        jobs = jobs_of(DISTILL, {**small, "student": student, **more}, {"teacher": found["teacher"]}, store=store,
                       where="a test")  # fmt: skip
        found[student] = run_jobs(jobs)[-1]
    return found


@pytest.fixture
def known_rates(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that needs no half minute to be known: every count takes a nanosecond."""
    from featherlight.costs import estimate
    from featherlight.costs.seconds import COUNTED, MachineRates

    same = {kind: [1e-9] * len(names) for kind, names in COUNTED.items()}
    monkeypatch.setattr(estimate, "rates_of", lambda *machine: MachineRates(same, same, {}))


@pytest.fixture(scope="session")
def mpnet() -> Path:
    """The folder of MPNet-base with its published weights; tests that need it are skipped where it is missing."""
    folder = os.environ.get("FEATHERLIGHT_MPNET")
    if not folder or not (Path(folder) / "model.safetensors").exists():
        pytest.skip("no MPNet-base here: set FEATHERLIGHT_MPNET to its folder")
    return Path(folder)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data sets; tests that need it are skipped where it is missing."""
    folder = Path(os.environ.get("FEATHERLIGHT_DATA") or Path(__file__).parents[2] / "shared" / "data")
    if not (folder / "glue").is_dir():
        pytest.skip("no real data here: set FEATHERLIGHT_DATA")
    return folder
