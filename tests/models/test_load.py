import hashlib
import json
import shutil
from collections import Counter

import pytest
import torch
from transformers import AutoModel, XLNetConfig

from featherlight import files, hub
from featherlight.errors import UserError
from featherlight.models import load
from featherlight.models.load import check_folder, checkpoint_layers, fingerprint, load_checkpoint, load_encoder

LABELS = ("no", "yes")


@pytest.fixture
def copy(tiny_encoder, tmp_path):
    return shutil.copytree(tiny_encoder, tmp_path / "copy")


def test_a_new_head_has_an_output_per_label(tiny_encoder):
    model, tokenizer = load_encoder(str(tiny_encoder), labels=("a", "b", "c"), max_length=16)
    assert model(**tokenizer("good film", return_tensors="pt")).logits.shape == (1, 3)
    assert model.config.id2label == {0: "a", 1: "b", 2: "c"}
    assert len(tokenizer("good " * 40, truncation=True)["input_ids"]) == 16


def test_a_regression_has_one_output(tiny_encoder):
    model, _ = load_encoder(str(tiny_encoder), labels=(), max_length=16)
    assert model.config.num_labels == 1 and model.config.problem_type == "regression"


def test_the_pretrained_weights_are_the_files_own(tiny_encoder):
    from safetensors.torch import load_file

    model, _ = load_encoder(str(tiny_encoder), labels=LABELS, max_length=16)
    stored = load_file(tiny_encoder / "model.safetensors")
    assert torch.equal(model.bert.embeddings.word_embeddings.weight, stored["embeddings.word_embeddings.weight"])


def test_weights_that_are_cut_short_are_named(copy):
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"model\.safetensors: damaged or cut short"):
        load_checkpoint(copy)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_missing_file_is_named(copy, name):
    (copy / name).unlink()
    with pytest.raises(UserError, match=name.replace(".", r"\.")):
        check_folder(copy)


def test_a_config_that_is_cut_short_is_named(copy):
    config = copy / "config.json"
    config.write_text(config.read_text()[:40])
    with pytest.raises(UserError, match=r"config\.json: not valid JSON"):
        check_folder(copy)


def test_a_missing_tokenizer_is_named(copy):
    for path in copy.glob("*"):
        if path.name.startswith(("vocab", "tokenizer")):
            path.unlink()
    with pytest.raises(UserError, match="no tokenizer"):
        check_folder(copy)


def test_a_pickle_is_refused_and_not_opened(copy):
    (copy / "model.safetensors").unlink()
    (copy / "pytorch_model.bin").write_bytes(b"cos\nsystem\n")
    with pytest.raises(UserError, match="pickles are never loaded"):
        check_folder(copy)


def test_an_encoder_without_a_head_is_no_checkpoint(tiny_encoder):
    with pytest.raises(UserError, match="Is this a fine-tuned model"):
        load_checkpoint(tiny_encoder)


def test_more_tokens_than_positions_are_refused(tiny_encoder):
    with pytest.raises(UserError, match="reads at most 48 tokens"):
        load_encoder(str(tiny_encoder), labels=LABELS, max_length=64)


def test_a_hub_that_does_not_answer_is_said_with_the_local_alternative(monkeypatch):
    monkeypatch.setattr(hub, "reachable", lambda: False)
    with pytest.raises(UserError, match=r"[Hh]ub.*--model minilm"):
        load_encoder("nobody/no-such-model", labels=LABELS, max_length=16)


def test_a_folder_that_is_not_there_is_not_taken_for_a_hub_name():
    with pytest.raises(UserError, match="no such folder"):
        load_encoder("./no/such/folder", labels=LABELS, max_length=16)


def test_the_cells_of_one_encoder_read_its_files_once(tiny_encoder, sentiment, tmp_path, monkeypatch):
    from featherlight.planning.jobs import jobs_of
    from featherlight.stages.finetune.stage import FINETUNE

    read = Counter()
    digest, parse = hashlib.file_digest, files.read_json
    monkeypatch.setattr(hashlib, "file_digest", lambda file, kind: read.update([file.name]) or digest(file, kind))
    monkeypatch.setattr(files, "read_json", lambda path: read.update([f"parsed {path}"]) or parse(path))
    monkeypatch.setattr(files, "TICK", 0)  # its files need not rest for two seconds
    load.CHECKED.clear()
    files.hash_version.cache_clear()
    settings = {"task": str(sentiment), "model": str(tiny_encoder), "seed": [1, 2, 3, 4, 5, 6]}
    jobs = jobs_of(FINETUNE, settings, {}, store=tmp_path, where="a test")
    for job in jobs:
        job.folder.mkdir()
        assert job.run() == job.folder
    assert str(tiny_encoder / "model.safetensors") in read and set(read.values()) == {1}, read


def test_the_fingerprint_follows_the_weights_and_not_the_path(copy, tiny_encoder):
    assert fingerprint(str(copy)) == fingerprint(str(tiny_encoder))
    weights = bytearray((copy / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (copy / "model.safetensors").write_bytes(weights)
    assert fingerprint(str(copy)) != fingerprint(str(tiny_encoder))


def test_checkpointed_layers_have_the_same_gradients_and_keep_less(tiny_encoder):
    found = {}
    for checkpointing in (False, True):
        torch.manual_seed(0)
        model, tokenizer = load_encoder(str(tiny_encoder), labels=LABELS, max_length=16)
        if checkpointing:
            checkpoint_layers(model)
        kept = []
        torch.manual_seed(1)  # dropout
        with torch.autograd.graph.saved_tensors_hooks(lambda tensor, kept=kept: kept.append(tensor.numel()) or tensor,
                                                      lambda tensor: tensor):  # fmt: skip
            loss = model.train()(**tokenizer(["good film", "bad plot"], return_tensors="pt")).logits.square().sum()
        kept = sum(kept)
        loss.backward()
        found[checkpointing] = kept, torch.cat([weight.grad.flatten() for weight in model.parameters()])
    assert torch.equal(found[True][1], found[False][1])
    assert found[True][0] < 0.6 * found[False][0]


def test_a_model_that_cannot_recompute_says_so():
    with pytest.raises(UserError, match="--checkpointing: xlnet"):
        checkpoint_layers(AutoModel.from_config(XLNetConfig(d_model=16, n_layer=1, n_head=4, d_inner=8, vocab_size=9)))


def test_weights_of_other_sizes_than_the_configs_are_named(copy):
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, "intermediate_size": config["intermediate_size"] + 4}))
    with pytest.raises(UserError, match=r"do not fit its config\.json: .*intermediate.* there, and .* by the config"):
        load_encoder(str(copy), labels=("no", "yes"), max_length=16)


CODE = """
from transformers import BertForSequenceClassification
class Doubled(BertForSequenceClassification):
    def forward(self, *given, **named):
        found = super().forward(*given, **named)
        found.logits = 2 * found.logits
        return found
"""


def test_code_that_comes_with_a_model_runs_for_those_who_trust_it_alone(copy, tmp_path, monkeypatch):
    (copy / "modeling_doubled.py").write_text(CODE)
    config = json.loads((copy / "config.json").read_text())
    auto = {"AutoModelForSequenceClassification": "modeling_doubled.Doubled"}
    (copy / "config.json").write_text(json.dumps({**config, "auto_map": auto}))
    model, tokenizer = load_encoder(str(copy), labels=("no", "yes"), max_length=16, trust_remote_code=True)
    assert type(model).__name__ == "Doubled"
    model.save_pretrained(tmp_path / "trained")
    tokenizer.save_pretrained(tmp_path / "trained")
    with pytest.raises(UserError, match=f"trained: runs code that came with its model.*{files.TRUST}=1"):
        load_checkpoint(tmp_path / "trained")
    again, _ = load_checkpoint(tmp_path / "trained", trust_remote_code=True)
    monkeypatch.setenv(files.TRUST, "1")
    also, _ = load_checkpoint(tmp_path / "trained")
    inputs = tokenizer(["good film"], return_tensors="pt")
    with torch.no_grad():
        expected = model.eval()(**inputs).logits
        plain = super(type(again), again).forward(**inputs).logits
        assert torch.equal(again(**inputs).logits, expected) and torch.equal(also(**inputs).logits, expected)
        assert torch.equal(2 * plain, expected)
