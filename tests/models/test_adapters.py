import copy
import shutil

import pytest
import torch
from peft import LoraConfig, TaskType, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    BertConfig,
    BertForMaskedLM,
    BertForSequenceClassification,
)

from featherlight.errors import UserError
from featherlight.models.adapters import (
    BOTTLENECKS,
    LORA,
    PROMPT,
    Bottleneck,
    Method,
    adapt,
    merge,
    put_in,
    read_adapter,
    trained_weights,
    work_of_a_step,
    write_adapter,
)
from featherlight.models.load import load_adapted, load_encoder, origin_of
from featherlight.models.source import ADAPTER
from featherlight.models.switch import AdapterSet
from featherlight.training.optimizers import OPTIMIZERS, parameter_groups
from helpers.tiny_encoders import ENCODERS, save_encoder

LABELS = ("no", "yes")
SMALL = (*LORA, PROMPT, *BOTTLENECKS)


@pytest.fixture(scope="module")
def encoders(tmp_path_factory):
    """Folders by family, made once."""
    made = {}

    def folder(name):
        if name not in made:
            made[name] = save_encoder(name, tmp_path_factory.mktemp("encoder"))
        return str(made[name])

    return folder


def adapted(folder, method, **more):
    torch.manual_seed(1)
    model, tokenizer = load_encoder(folder, labels=LABELS, max_length=16)
    before = copy.deepcopy(model).eval()
    adapt(model, Method(method, reduction=4, **more))
    return model, tokenizer, before


@pytest.mark.parametrize("family", ENCODERS)
@pytest.mark.parametrize("method", [*LORA, *BOTTLENECKS])
def test_the_start_is_the_encoder_as_it_was_and_only_small_layers_learn(family, method, encoders):
    model, tokenizer, before = adapted(encoders(family), method, rank=2)
    inputs = tokenizer(["good film", "bad bad film"], padding=True, return_tensors="pt")
    found, expected = model.eval()(**inputs).logits, before(**inputs).logits
    bound = 0.0 if method in LORA else 0.02
    assert (found - expected).abs().max() <= bound * expected.abs().max() + 1e-6
    model.train()(**inputs).logits.square().sum().backward()
    frozen = {name for name, weight in model.named_parameters() if not weight.requires_grad}
    assert all(weight.grad is None for name, weight in model.named_parameters() if name in frozen)
    assert all(weight.grad is not None for weight in trained_weights(model).values())
    share = sum(weight.numel() for weight in trained_weights(model).values())
    assert share < 0.5 * sum(weight.numel() for weight in model.parameters())


def test_houlsby_trains_as_many_weights_as_the_formula_says():
    d, h, a = 3, 64, 16
    config = BertConfig(vocab_size=60, hidden_size=h, num_hidden_layers=d, num_attention_heads=2, intermediate_size=128)
    model = BertForSequenceClassification(config)
    adapt(model, Method("houlsby", reduction=h // a))
    head = sum(weight.numel() for part in (model.bert.pooler, model.classifier) for weight in part.parameters())
    biases = 2 * d * (a + h)
    trained = sum(weight.numel() for weight in trained_weights(model).values())
    assert trained - head - biases == 4 * d * h * a + 4 * d * h  # section 2.3.2 of the report on PEFT


@pytest.mark.parametrize("method", ["head", *LORA, PROMPT, *BOTTLENECKS])
def test_a_pooler_is_trained_whole_and_has_no_small_layer(method, encoders):
    model, _, _ = adapted(encoders("bert uncased"), method, targets=("query", "dense") if method in LORA else ())
    assert {name for name in trained_weights(model) if "pooler" in name} == {
        "bert.pooler.dense.weight", "bert.pooler.dense.bias"}  # fmt: skip


def test_the_work_of_a_step_counts_three_products_for_trained_matrices_and_two_for_frozen_ones():
    """A BERT's layer has 12 h h weights; LoRA of rank r on query and value adds 4 h r, on all six matrices 18 h r."""
    h, r = 64, 8
    config = BertConfig(
        vocab_size=60, hidden_size=h, num_hidden_layers=3, num_attention_heads=2, intermediate_size=4 * h
    )

    def work(**how):
        model = BertForSequenceClassification(config)
        adapt(model, Method("lora", rank=r, **how))
        return work_of_a_step(model)

    assert work() == pytest.approx((2 * 12 * h * h + 3 * 4 * h * r) / (3 * 12 * h * h))
    every = work(targets=("query", "key", "value", "dense"))
    assert every == pytest.approx((2 * 12 * h * h + 3 * 18 * h * r) / (3 * 12 * h * h))


def test_a_bottleneck_is_what_its_formula_says():
    layer = Bottleneck(6, 2, "swish")
    torch.nn.init.normal_(layer.up.weight)
    x = torch.randn(3, 6)
    inner = x @ layer.down.weight.T + layer.down.bias
    expected = x + (inner * torch.sigmoid(inner)) @ layer.up.weight.T + layer.up.bias
    assert torch.allclose(layer(x), expected, atol=1e-6)


def test_pfeiffer_has_one_bottleneck_a_layer_and_houlsby_two(encoders):
    def count(method):
        model, _, _ = adapted(encoders("bert uncased"), method)
        return sum(isinstance(module, Bottleneck) for module in model.modules())

    assert (count("pfeiffer"), count("houlsby")) == (2, 4)


def test_a_copy_has_bottlenecks_of_its_own(encoders):
    model, tokenizer, _ = adapted(encoders("bert uncased"), "houlsby")
    twin = copy.deepcopy(model)
    for weight in trained_weights(twin).values():
        torch.nn.init.constant_(weight, 0.3)
    inputs = tokenizer(["good"], return_tensors="pt")
    with torch.no_grad():
        assert not torch.allclose(model.eval()(**inputs).logits, twin.eval()(**inputs).logits)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
def test_lora_computes_what_peft_computes(encoders):
    """The same seed, the same targets: our way of putting it in against `get_peft_model`."""
    model, tokenizer, before = adapted(encoders("bert uncased"), "lora", rank=4, alpha=8.0, dropout=0.0)
    theirs = get_peft_model(before, LoraConfig(r=4, lora_alpha=8, target_modules=["query", "value"],
                                               task_type=TaskType.SEQ_CLS))  # fmt: skip
    own = {name: weight for name, weight in model.named_parameters() if "lora_" in name}
    for name, weight in theirs.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(weight, std=0.2)
            own[name.removeprefix("base_model.model.")].data.copy_(weight)
    inputs = tokenizer(["good film"], return_tensors="pt")
    with torch.no_grad():
        assert torch.allclose(model.eval()(**inputs).logits, theirs.eval()(**inputs).logits, atol=1e-6)


@pytest.mark.parametrize("method", LORA)
def test_merged_logits_are_the_same_and_the_layers_plain(method, encoders):
    model, tokenizer, before = adapted(encoders("distilbert"), method, rank=3)
    for name, weight in model.named_parameters():
        if "lora_B" in name or "ia3" in name:
            torch.nn.init.normal_(weight, mean=1.0, std=0.3)
    inputs = tokenizer(["good film"], return_tensors="pt")
    with torch.no_grad():
        expected = model.eval()(**inputs).logits
        merge(model)
        assert torch.allclose(model(**inputs).logits, expected, atol=1e-4)
    assert model.state_dict().keys() == before.state_dict().keys()


@pytest.mark.parametrize("family", ENCODERS)
def test_a_prompt_of_known_words_reads_like_those_words(family, encoders):
    """What the plain encoder makes of texts with the words put in where the prompt goes, padding or not."""
    model, tokenizer, before = adapted(encoders(family), PROMPT, virtual_tokens=3)
    words = torch.tensor([7, 9, 8])
    with torch.no_grad():
        model.base_model.prompts["default"].embedding.weight.copy_(model.get_input_embeddings()(words))
    inputs = dict(tokenizer(["good film", "bad bad bad film"], padding=True, return_tensors="pt"))
    last = family == "xlnet"  # its head reads the last token

    def with_words(name, value):
        row, more = inputs[name], value.expand(2, -1)
        return torch.cat([row[:, :-1], more, row[:, -1:]] if last else [row[:, :1], more, row[:, 1:]], dim=1)

    longer = {
        "input_ids": with_words("input_ids", words),
        "attention_mask": with_words("attention_mask", words * 0 + 1),
    }
    if "token_type_ids" in inputs:
        longer["token_type_ids"] = with_words("token_type_ids", words * 0)
    with torch.no_grad():
        expected, found = before(**longer).logits, model.eval()(**inputs).logits
        by_place = model(inputs["input_ids"], inputs["attention_mask"])
    assert torch.allclose(found, expected, atol=1e-5)
    assert by_place.logits.shape == expected.shape
    model.train()(**inputs).logits.square().sum().backward()
    assert all(weight.grad is not None for weight in trained_weights(model).values())
    assert all(weight.grad is None for weight in model.parameters() if not weight.requires_grad)


SIZES = {"vocab_size": 60, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
OTHERS = {
    kind: AutoConfig.for_model(kind, **SIZES)
    for kind in ("big_bird", "convbert", "data2vec-text", "electra", "megatron-bert", "rembert", "roformer")
}


@pytest.mark.parametrize("method", ["lora", "houlsby", "pfeiffer", PROMPT])
@pytest.mark.parametrize("kind", OTHERS)
def test_families_that_nobody_listed_learn_as_well(kind, method):
    config = copy.deepcopy(OTHERS[kind])
    if kind == "big_bird":
        config.attention_type = "original_full"
    model = AutoModelForSequenceClassification.from_config(config)
    adapt(model, Method(method, reduction=4, rank=2, virtual_tokens=2))
    inputs = {"input_ids": torch.randint(3, 60, (2, 8)), "attention_mask": torch.ones(2, 8, dtype=torch.long)}
    model.train()(**inputs).logits.square().sum().backward()
    trained = trained_weights(model)
    assert len(trained) > len(list(model.classifier.parameters())) and all(w.grad is not None for w in trained.values())


def test_a_family_without_known_places_is_refused_with_a_way_out():
    config = AutoConfig.for_model("gpt2", vocab_size=60, n_embd=16, n_layer=1, n_head=2)
    model = AutoModelForSequenceClassification.from_config(config)
    with pytest.raises(UserError, match=r"known where they go in a gpt2 model.*named as BERT's. Use --method lora"):
        adapt(model, Method("houlsby"))


@pytest.mark.parametrize("method", SMALL)
@pytest.mark.parametrize("family", ["bert uncased", "xlnet", "modernbert", "deberta v2"])
def test_frozen_matrices_of_two_bytes_compute_and_come_back_as_they_were_rounded(family, method, encoders, tmp_path):
    folder = encoders(family)
    model, tokenizer, before = adapted(folder, method, frozen="bf16")
    held = [weight for weight in model.parameters() if weight.dtype == torch.bfloat16]
    assert held and not any(weight.requires_grad for weight in held)
    assert sum(weight.numel() for weight in held) > 0.6 * sum(weight.numel() for weight in before.parameters())
    assert all(weight.untyped_storage().nbytes() == weight.nbytes for weight in model.parameters()), "a file is mapped"
    inputs = tokenizer(["good film", "bad"], padding=True, return_tensors="pt")
    with torch.autocast("cpu", torch.bfloat16):
        model.train()(**inputs).logits.float().square().sum().backward()
    assert all(weight.grad is not None for weight in trained_weights(model).values())
    write_adapter(tmp_path, model, Method(method, reduction=4, frozen="bf16"), origin_of(folder, None, model))
    model.config.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    again, _ = load_adapted(tmp_path)
    for name, weight in again.named_parameters():
        expected = dict(model.named_parameters())[name].float()
        assert weight.dtype == torch.float32 and torch.equal(weight, expected), name


@pytest.mark.parametrize("method", [*SMALL, "full"])
def test_only_what_is_trained_gets_a_gradient_and_optimiser_state(method, tmp_path):
    """Of all that a first step allocates and keeps, as PyTorch's profiler counts it, frozen weights have nothing."""
    config = BertConfig(vocab_size=3000, hidden_size=128, num_hidden_layers=2, num_attention_heads=2,
                        intermediate_size=512)  # fmt: skip
    model = BertForSequenceClassification(config)
    adapt(model, Method(method))
    inputs = {"input_ids": torch.ones(2, 5, dtype=torch.long), "attention_mask": torch.ones(2, 5, dtype=torch.long)}
    optimizer = OPTIMIZERS["adamw"](parameter_groups(model, 0.01))
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        model(**inputs).logits.sum().backward()
        optimizer.step()
    kept = sum(event.self_cpu_memory_usage for event in profile.key_averages())
    trained = sum(weight.numel() for weight in trained_weights(model).values())
    assert kept == pytest.approx(3 * 4 * trained, rel=0.01, abs=6000)  # gradient and two moments; counters of steps


@pytest.mark.parametrize("method", SMALL)
def test_the_file_holds_what_was_trained_and_the_head(method, encoders, tmp_path):
    folder = encoders("bert uncased")
    model, tokenizer, _ = adapted(folder, method)
    for weight in trained_weights(model).values():
        torch.nn.init.normal_(weight, std=0.2)
    write_adapter(tmp_path, model, Method(method, reduction=4), origin_of(folder, None, model))
    found, origin, tensors = read_adapter(tmp_path)
    assert found.name == method and origin.base == folder and "classifier.weight" in tensors
    assert (tmp_path / ADAPTER).stat().st_size < 40_000
    torch.manual_seed(99)
    other, _ = load_encoder(folder, labels=LABELS, max_length=16)
    adapt(other, found)
    put_in(other, tensors, tmp_path)
    inputs = tokenizer(["good film"], return_tensors="pt")
    with torch.no_grad():
        assert torch.equal(model.eval()(**inputs).logits, other.eval()(**inputs).logits)


@pytest.mark.parametrize(("method", "said"), [
    (Method("lora", targets=("querry",)), r"--targets querry: matches no linear layer.*dense.*key.*query.*value"),
    (Method("houlsby", reduction=1000), "--reduction 1000: the encoder is only 16 wide"),
    (Method("adapter"), "adapter"),
])  # fmt: skip
def test_what_cannot_be_is_refused(method, said, encoders):
    model, _ = load_encoder(encoders("bert uncased"), labels=LABELS, max_length=16)
    with pytest.raises(UserError, match=said):
        adapt(model, method)


def test_an_adapter_of_another_width_is_refused(encoders, tmp_path):
    folder = encoders("minilm")  # 24 wide
    model, _, _ = adapted(folder, "houlsby")
    write_adapter(tmp_path, model, Method("houlsby", reduction=4), origin_of(folder, None, model))
    method, _, tensors = read_adapter(tmp_path)
    other, _ = load_encoder(encoders("bert uncased"), labels=LABELS, max_length=16)
    adapt(other, method)
    with pytest.raises(UserError, match="was made for another encoder"):
        put_in(other, tensors, tmp_path)


def test_a_damaged_file_is_named(tmp_path):
    (tmp_path / ADAPTER).write_bytes(b"no tensors")
    with pytest.raises(UserError, match=r"adapter\.safetensors: damaged"):
        read_adapter(tmp_path)
    save_file({"x": torch.ones(1)}, tmp_path / ADAPTER, {"method": "{}"})
    with pytest.raises(UserError, match="not an adapter of Featherlight"):
        read_adapter(tmp_path)
    assert load_file(tmp_path / ADAPTER)


@pytest.mark.parametrize("method", ["head", "lora", "houlsby"])
def test_what_the_checkpoint_lacked_is_trained_and_comes_back(method, tmp_path):
    """A masked language model has no pooler, and this one no segments: each loading draws others."""
    tokenizer = ENCODERS["bert uncased"][0]()
    config = BertConfig(vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
                        intermediate_size=32, max_position_embeddings=40)  # fmt: skip
    BertForMaskedLM(config).save_pretrained(tmp_path / "mlm")
    weights = load_file(tmp_path / "mlm" / "model.safetensors")
    del weights["bert.embeddings.token_type_embeddings.weight"]
    save_file(weights, tmp_path / "mlm" / "model.safetensors", {"format": "pt"})
    tokenizer.save_pretrained(tmp_path / "mlm")
    model, _, _ = adapted(str(tmp_path / "mlm"), method)
    assert model.bert.pooler.dense.weight.requires_grad
    assert model.bert.embeddings.token_type_embeddings.weight.requires_grad
    if method == "head":
        return
    write_adapter(tmp_path, model, Method(method, reduction=4), origin_of(str(tmp_path / "mlm"), None, model))
    model.config.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    torch.manual_seed(99)
    again, _ = load_adapted(tmp_path)
    together = AdapterSet({"first": tmp_path})
    inputs = tokenizer(["good film"], return_tensors="pt")
    with torch.no_grad():
        expected = model.eval()(**inputs).logits
        assert torch.equal(again(**inputs).logits, expected)
        assert torch.allclose(together.model(**inputs).logits, expected, atol=1e-6)


def test_adapters_of_a_rounded_encoder_stand_together_and_with_no_other(encoders, tmp_path):
    folder = encoders("bert uncased")
    for place, (method, frozen) in enumerate([("lora", "bf16"), ("houlsby", "bf16"), ("pfeiffer", "fp32")]):
        model, tokenizer, _ = adapted(folder, method, frozen=frozen)
        for weight in trained_weights(model).values():
            torch.nn.init.normal_(weight, std=0.2)
        out = tmp_path / str(place)
        out.mkdir()
        write_adapter(out, model, Method(method, reduction=4, frozen=frozen), origin_of(folder, None, model))
        model.config.save_pretrained(out)
        tokenizer.save_pretrained(out)
    together = AdapterSet({"first": tmp_path / "0", "second": tmp_path / "1"})
    inputs = tokenizer(["good film"], return_tensors="pt")
    for name, place in (("second", "1"), ("first", "0"), ("second", "1")):
        together.use(name)
        alone, _ = load_adapted(tmp_path / place)
        with torch.no_grad():
            assert torch.allclose(together.model(**inputs).logits, alone(**inputs).logits, atol=1e-6)
    with pytest.raises(UserError, match="was trained with an encoder in fp32, the first in bf16"):
        together.add("third", tmp_path / "2")


def test_adapters_of_an_encoder_without_a_pooler_in_its_checkpoint_bring_one_each(tmp_path):
    tokenizer = ENCODERS["bert uncased"][0]()
    config = BertConfig(vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
                        intermediate_size=32, max_position_embeddings=40)  # fmt: skip
    BertForMaskedLM(config).save_pretrained(tmp_path / "mlm")
    tokenizer.save_pretrained(tmp_path / "mlm")
    for targets in (("query", "value"), ("query", "dense")):
        model, _, _ = adapted(str(tmp_path / "mlm"), "lora", targets=targets)
        for weight in trained_weights(model).values():
            torch.nn.init.normal_(weight, std=0.2)
        out = tmp_path / targets[1]
        out.mkdir()
        write_adapter(out, model, Method("lora", reduction=4, targets=targets),
                      origin_of(str(tmp_path / "mlm"), None, model))  # fmt: skip
        model.config.save_pretrained(out)
        tokenizer.save_pretrained(out)
    together = AdapterSet({"value": tmp_path / "value", "dense": tmp_path / "dense"})
    inputs = tokenizer(["good film"], return_tensors="pt")
    for name in ("dense", "value", "dense"):
        together.use(name)
        alone, _ = load_adapted(tmp_path / name)
        with torch.no_grad():
            assert torch.allclose(together.model(**inputs).logits, alone(**inputs).logits, atol=1e-6)
    for name, complaint in (("dense", "already"), ("a.b", "cannot be called"), ("keys", "cannot be called")):
        with pytest.raises(UserError, match=complaint):
            together.add(name, tmp_path / "dense")


def test_one_more_adapter_changes_no_answer_and_a_refused_one_stands_in_nobodys_way(encoders, tmp_path):
    folder = encoders("bert uncased")
    for name, method in (("first", "lora"), ("ia3", "ia3"), ("more", "lora")):
        model, tokenizer, _ = adapted(folder, method)
        for weight in trained_weights(model).values():
            torch.nn.init.normal_(weight, std=0.2)
        (tmp_path / name).mkdir()
        write_adapter(tmp_path / name, model, Method(method, reduction=4), origin_of(folder, None, model))
        model.config.save_pretrained(tmp_path / name)
        tokenizer.save_pretrained(tmp_path / name)
    together = AdapterSet({"first": tmp_path / "first"})
    inputs = tokenizer(["good film"], return_tensors="pt")
    with torch.no_grad():
        expected = together.model(**inputs).logits
        with pytest.raises(UserError, match="peft does not mix IA3 and LoRA"):
            together.add("ia3", tmp_path / "ia3")
        together.add("more", tmp_path / "more")
        assert torch.equal(together.model(**inputs).logits, expected)
        together.use("more")
        alone, _ = load_adapted(tmp_path / "more")
        assert torch.allclose(together.model(**inputs).logits, alone(**inputs).logits, atol=1e-6)


def test_an_adapter_keeps_the_commit_of_its_hub_encoder(tmp_path, monkeypatch):
    """The branch goes on; the adapter loads the encoder that it was made for."""
    from huggingface_hub import constants

    cache, commits = tmp_path / "hub", ("a" * 40, "b" * 40)
    repository = cache / "models--someone--tiny"
    for commit in commits:
        shutil.copytree(save_encoder("bert uncased", tmp_path / commit), repository / "snapshots" / commit)
    weights = load_file(repository / "snapshots" / commits[1] / "model.safetensors")
    save_file({key: value + 1 for key, value in weights.items()},
              repository / "snapshots" / commits[1] / "model.safetensors", {"format": "pt"})  # fmt: skip
    branch = repository / "refs" / "main"
    branch.parent.mkdir()
    branch.write_text(commits[0])
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr("featherlight.hub.reachable", lambda: False)
    model, tokenizer, _ = adapted("someone/tiny", "lora")
    origin = origin_of("someone/tiny", None, model)
    assert origin.revision == commits[0] and origin.fingerprint == f"someone/tiny@{commits[0]}"
    write_adapter(tmp_path, model, Method("lora", reduction=4), origin)
    model.config.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    inputs = tokenizer(["good film"], return_tensors="pt")
    branch.write_text(commits[1])
    again, _ = load_adapted(tmp_path)
    with torch.no_grad():
        assert torch.equal(again(**inputs).logits, model.eval()(**inputs).logits)
