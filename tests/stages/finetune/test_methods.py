"""`finetune --method`: what is trained, saved, loaded, merged, distilled and exported is one model."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from featherlight.data.task import Examples
from featherlight.errors import UserError
from featherlight.inference.torch_predictor import TorchPredictor
from featherlight.models.load import load_checkpoint
from featherlight.models.source import ADAPTER
from featherlight.models.switch import AdapterSet
from featherlight.stages.finetune.settings import FinetuneSettings
from featherlight.stages.prune.settings import PruneSettings
from featherlight.stages.recovery import Provenance
from helpers.commands import call
from helpers.toys import FILLERS

SMALL = ("lora", "dora", "ia3", "prompt_tuning", "houlsby", "pfeiffer")
OWN = {
    "lora": ("--rank", "2"),
    "prompt_tuning": ("--virtual-tokens", "3"),
    "houlsby": ("--reduction", "4"),
    "pfeiffer": ("--reduction", "4"),
}


def finetune(capsys, tiny_encoder, sentiment, store, method, *more):
    """The record of a short training."""
    command = ("finetune", "--model", tiny_encoder, "--task", sentiment, "--method", method, "--max-length", "20",
               "--epochs", "2", "--device", "cpu", "--precision", "fp32", "--store", store, *OWN.get(method, ()),
               *more)  # fmt: skip
    code, found = call(capsys, *command)
    assert code == 0, found
    return found["records"][0]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return tmp_path_factory.mktemp("methods")


@pytest.mark.parametrize("method", SMALL)
def test_what_was_scored_is_what_the_folder_loads(capsys, tiny_encoder, sentiment, store, method):
    record = finetune(capsys, tiny_encoder, sentiment, store, method)
    folder = store / record["address"]
    assert not (folder / "model.safetensors").exists() and (folder / ADAPTER).exists()
    code, again = call(capsys, "evaluate", folder, "--store", store)
    expected = record["metrics"]["dev"]["scores"]
    assert code == 0 and {name: again["metrics"][name] for name in expected} == expected
    encoder = record["parameters"] - sum(tensor.numel() for tensor in load_file(folder / ADAPTER).values())
    files = sum((folder / name).stat().st_size
                for name in (ADAPTER, "config.json", "tokenizer.json", "tokenizer_config.json"))  # fmt: skip
    record_of_evaluation = json.loads((Path(again["folder"]) / "record.json").read_text())
    assert record_of_evaluation["bytes"] == record["bytes"] == files + 4 * encoder
    stored = load_file(folder / "predictions.safetensors")
    predictor = TorchPredictor(folder, device="cpu", precision=record["precision"])
    rows = [line.rsplit(",", 1)[0].strip('"') for line in (sentiment / "dev.csv").read_text().splitlines()[1:]]
    logits = predictor.logits(predictor.tokens(Examples(rows, None, None, np.arange(len(rows)))))
    assert np.allclose(logits, stored["dev.logits"].numpy(), atol=1e-5)


@pytest.mark.parametrize("method", ["full", "lora"])
def test_picked_layers_are_stated_and_come_back(capsys, tiny_encoder, sentiment, store, method):
    record = finetune(capsys, f"{tiny_encoder}:2-2", sentiment, store, method)
    assert record["layers"] == [2]
    code, again = call(capsys, "evaluate", store / record["address"], "--store", store)
    expected = record["metrics"]["dev"]["scores"]
    assert code == 0 and {name: again["metrics"][name] for name in expected} == expected
    assert "layers" not in finetune(capsys, f"{tiny_encoder}:1", sentiment, store, method)


@pytest.mark.parametrize("method", ["head", "lora", "houlsby"])
def test_the_encoder_stays_as_it_was(capsys, tiny_encoder, sentiment, store, method):
    record = finetune(capsys, tiny_encoder, sentiment, store, method)
    model, _ = load_checkpoint(store / record["address"])
    own = load_file(tiny_encoder / "model.safetensors")
    after = model.bert.state_dict()
    same = [name for name in own if name in after and "LayerNorm" not in name and "pooler" not in name]
    assert len(same) > 10 and all(torch.equal(own[name], after[name]) for name in same)
    trained = record["trained_parameters"]
    assert trained < 0.5 * record["parameters"]
    assert record["bytes"] > 4 * (record["parameters"] - trained), "an adapter needs its encoder's bytes too"


def test_a_killed_training_goes_on_from_small_checkpoints(capsys, tiny_encoder, sentiment, tmp_path, monkeypatch):
    from featherlight.training import loop

    whole = finetune(capsys, tiny_encoder, sentiment, tmp_path / "whole", "lora")
    own, sizes = loop.write_checkpoint, []

    def dies(folder, *more, **named):
        own(folder, *more, **named)
        sizes.append(sum(path.stat().st_size for path in folder.glob("*.safetensors")))
        raise MemoryError("no more of this")

    monkeypatch.setattr(loop, "write_checkpoint", dies)
    with pytest.raises(AssertionError):
        finetune(capsys, tiny_encoder, sentiment, tmp_path / "killed", "lora")
    monkeypatch.setattr(loop, "write_checkpoint", own)
    again = finetune(capsys, tiny_encoder, sentiment, tmp_path / "killed", "lora")
    first, second = (load_file(tmp_path / name / whole["address"] / ADAPTER) for name in ("whole", "killed"))
    assert again["curves"]["loss"] == whole["curves"]["loss"] and first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert sizes[0] < 5 * 4 * whole["trained_parameters"] + 30_000, "frozen weights are in no checkpoint"


def test_a_frozen_encoder_of_two_bytes_wants_products_of_two_bytes(capsys, tiny_encoder, sentiment, store):
    more = ("--frozen-precision", "bf16", "--precision")
    record = finetune(capsys, tiny_encoder, sentiment, store, "lora", *more, "bf16")
    code, again = call(capsys, "evaluate", store / record["address"], "--precision", "bf16", "--store", store)
    expected = record["metrics"]["dev"]["scores"]
    assert code == 0 and {name: again["metrics"][name] for name in expected} == expected
    code, found = call(capsys, "finetune", "--model", tiny_encoder, "--task", sentiment, "--method", "lora",
                       "--max-length", "20", *more, "fp32", "--store", store)  # fmt: skip
    assert code == 2 and "add --precision bf16" in found["error"]


def test_a_prompt_takes_its_share_of_the_length(capsys, tiny_encoder, sentiment, store):
    code, found = call(capsys, "finetune", "--model", tiny_encoder, "--task", sentiment, "--method", "prompt_tuning",
                       "--max-length", "40", "--virtual-tokens", "9", "--store", store)  # fmt: skip
    assert code == 2 and "max-length plus --virtual-tokens 49: this model reads at most 4" in found["error"]


def test_a_merged_model_is_a_plain_one_and_is_not_merged_twice(capsys, tiny_encoder, sentiment, store):
    record = finetune(capsys, tiny_encoder, sentiment, store, "lora", "--examples", "60")
    code, found = call(capsys, "merge", store / record["address"], "--store", store)
    merged = found["records"][0]
    assert code == 0 and merged["worst_difference"] < 1e-4
    assert merged["metrics"]["dev"]["scores"]["accuracy"] == record["metrics"]["dev"]["scores"]["accuracy"]
    folder = store / merged["address"]
    assert (folder / "model.safetensors").exists() and not (folder / ADAPTER).exists()
    code, found = call(capsys, "merge", folder, "--store", store)
    assert code == 2 and "was merged before" in found["error"]
    own = Provenance.of(folder)
    assert own.settings["examples"] == record["settings"]["examples"] == 60
    pruning = PruneSettings(task=str(sentiment), method="topv", sparsity=0.5, epochs=1)
    recovery = own.training_again(dict(pruning), student=False, epochs=1, max_length=20)
    assert recovery.examples == 60 and recovery.learning_rate == FinetuneSettings(task="x", model="y").learning_rate
    (store / "empty").mkdir()
    code, found = call(capsys, "merge", store / "empty", "--store", store)
    assert code == 2 and "has no adapter" in found["error"]
    houlsby = finetune(capsys, tiny_encoder, sentiment, store, "houlsby")
    code, found = call(capsys, "merge", store / houlsby["address"], "--store", store)
    assert code == 2 and "cannot be folded into" in found["error"]


@pytest.mark.parametrize("method", ["lora", "prompt_tuning", "houlsby"])
def test_an_adapter_teaches_and_is_exported(capsys, tiny_encoder, sentiment, store, method):
    record = finetune(capsys, tiny_encoder, sentiment, store, method)
    folder = store / record["address"]
    code, found = call(capsys, "distill", "--teacher", folder, "--task", sentiment, "--student", "bag", "--dim", "8",
                       "--vocabulary", "60", "--epochs", "1", "--store", store)  # fmt: skip
    assert code == 0, found
    code, found = call(capsys, "export", folder, "--store", store)
    assert code == 0 and found["bytes"] > 0, found


@pytest.mark.parametrize("command", [("prune", "--method", "magnitude", "--sparsity", "0.5"), ("quantize",)])
def test_an_adapter_is_merged_before_it_is_compressed(capsys, tiny_encoder, sentiment, store, command):
    record = finetune(capsys, tiny_encoder, sentiment, store, "lora")
    name, *more = command
    code, found = call(capsys, name, store / record["address"], *more, "--store", store)
    assert code == 2 and "featherlight merge" in found["error"]
    houlsby = finetune(capsys, tiny_encoder, sentiment, store, "houlsby")
    code, found = call(capsys, name, store / houlsby["address"], *more, "--store", store)
    assert code == 2 and "cannot be folded" in found["error"] and "featherlight merge" not in found["error"]


def test_an_adapter_is_no_encoder_to_begin_with(capsys, tiny_encoder, sentiment, store):
    folder = store / finetune(capsys, tiny_encoder, sentiment, store, "lora")["address"]
    code, found = call(capsys, "finetune", "--model", folder, "--task", sentiment, "--store", store)
    assert code == 2 and f"featherlight merge {folder}" in found["error"]
    code, found = call(capsys, "inspect", folder)
    assert code == 2 and "featherlight merge" in found["error"]
    with pytest.raises(UserError, match="no adapter in it"):
        AdapterSet({"plain": tiny_encoder})


@pytest.mark.slow
def test_an_encoder_of_pairs_is_merged_exported_and_quantized(capsys, tiny_encoder, tmp_path):
    words = [(one, two, other) for one in FILLERS for other in FILLERS for two in ("good", "bad")]
    rows = [f"{one} {two} {other},{other} good {one},{int(two == 'good')}" for one, two, other in words]
    for split, part in (("train", rows[20:]), ("dev", rows[:20])):
        (tmp_path / f"{split}.csv").write_text("\n".join(["text,second,label", *part]) + "\n")
    pairs = ("--text", "text", "--text-pair", "second")
    record = finetune(capsys, tiny_encoder, tmp_path, tmp_path / "store", "lora", *pairs)
    code, found = call(capsys, "merge", tmp_path / "store" / record["address"], "--store", tmp_path / "store")
    assert code == 0, found
    merged = tmp_path / "store" / found["records"][0]["address"]
    for command in (("export", "--int8"), ("quantize",)):
        code, found = call(capsys, command[0], merged, *command[1:], "--store", tmp_path / "store")
        assert code == 0, found


def test_a_lora_without_its_encoder_says_so(capsys, tiny_encoder, sentiment, tmp_path):
    own = shutil.copytree(tiny_encoder, tmp_path / "own")
    record = finetune(capsys, own, sentiment, tmp_path / "store", "lora")
    folder = tmp_path / "store" / record["address"]
    config = json.loads((own / "config.json").read_text())
    (own / "config.json").write_text(json.dumps({**config, "hidden_act": "relu"}))
    with pytest.raises(UserError, match=r"the files of its encoder .* have changed"):
        load_checkpoint(folder)
    shutil.rmtree(own)
    with pytest.raises(UserError, match="holds an adapter and needs its encoder"):
        load_checkpoint(folder)


@pytest.mark.parametrize(("given", "said"), [
    ({"method": "full", "rank": 4}, "rank: belongs to method lora or dora, not to full"),
    ({"method": "lora", "reduction": 4}, "reduction: belongs to method houlsby or pfeiffer"),
    ({"method": "full", "frozen_precision": "bf16"}, "frozen_precision: belongs to method lora or dora"),
    ({"method": "lora", "virtual_tokens": 4}, "virtual_tokens: belongs to method prompt_tuning"),
    ({"method": "lora", "rank": 0}, "greater than or equal to 1"),
    ({"method": "adapter"}, "Input should be"),
    ({"method": "lora", "targets": " ,"}, "targets: names no layer"),
    ({"method": "head", "checkpointing": True}, "checkpointing: has no effect with method head"),
])  # fmt: skip
def test_settings_belong_to_their_method(given, said):
    with pytest.raises(ValueError, match=said):
        FinetuneSettings(model="minilm", task="sst2", **given)


def test_each_method_has_its_learning_rate_and_full_keeps_its_address():
    rates = {method: FinetuneSettings(model="m", task="own", method=method).learning_rate
             for method in ("full", "head", "lora", "houlsby", "prompt_tuning")}  # fmt: skip
    assert rates == {"full": 5e-5, "head": 1e-3, "lora": 5e-4, "houlsby": 5e-4, "prompt_tuning": 1e-2}
    assert "method" not in FinetuneSettings(model="m", task="own").identity()
    assert FinetuneSettings(model="m", task="own", method="lora").identity()["method"] == "lora"


@pytest.fixture(scope="module")
def several(tiny_encoder, sentiment, store, tmp_path_factory):
    """Folders of adapters on one encoder: two tasks, four kinds."""
    from featherlight.planning.jobs import jobs_of, run_jobs
    from featherlight.stages.finetune.stage import FINETUNE

    three = tmp_path_factory.mktemp("three") / "three.csv"
    lines = (sentiment / "train.csv").read_text().splitlines()
    three.write_text("\n".join([lines[0], *(f"{line.rsplit(',', 1)[0]},{i % 3}" for i, line in enumerate(lines[1:]))]))
    kinds = {"lora": (sentiment, {"rank": 2}), "dora": (three, {"rank": 3}), "houlsby": (sentiment, {"reduction": 4}),
             "pfeiffer": (three, {"reduction": 5}), "prompt_tuning": (sentiment, {"virtual_tokens": 2})}  # fmt: skip
    found = {}
    for method, (task, more) in kinds.items():
        values = {"model": str(tiny_encoder), "task": str(task), "method": method, "max_length": 20, "epochs": 1,
                  "device": "cpu", "precision": "fp32", **more}  # fmt: skip
        found[method] = run_jobs(jobs_of(FINETUNE, values, {}, store=store, where="a test"))[0]
    return found


def test_one_encoder_answers_as_each_of_its_adapters(several):
    together = AdapterSet(several)
    alone = {name: load_checkpoint(folder)[0] for name, folder in several.items()}
    inputs = together.tokenizer(["good film", "bad film"], padding=True, return_tensors="pt")
    for name in (*several, *reversed(several)):
        together.use(name)
        with torch.no_grad():
            found, expected = together.model(**inputs).logits, alone[name](**inputs).logits
        assert torch.allclose(found, expected, atol=1e-6), name
        assert found.shape[1] == len(together.model.config.id2label) == (3 if name in ("dora", "pfeiffer") else 2)
    with pytest.raises(UserError, match="no adapter called 'lore'"):
        together.use("lore")


def test_an_adapter_of_another_encoder_cannot_join(capsys, several, sentiment, tmp_path):
    record = finetune(capsys, "random:1x32", sentiment, tmp_path, "houlsby")
    with pytest.raises(UserError, match="was made for random:1x32, the first adapter for"):
        AdapterSet({**several, "other": tmp_path / record["address"]})
