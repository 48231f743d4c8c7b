import contextlib
import copy

import pytest
import torch
from transformers import AlbertConfig, AutoModelForSequenceClassification, BertConfig, DistilBertConfig

from featherlight.errors import UserError
from featherlight.measurement.architecture import architecture_of, config_of_sizes
from featherlight.measurement.memory import (
    LAZY_FROM,
    TERMS,
    Prediction,
    Shape,
    largest_batch,
    predict_memory,
)
from featherlight.measurement.optimizer_state import RULES
from featherlight.measurement.published_memory import published, published_adapters
from featherlight.models.adapters import Method, adapt
from featherlight.models.attention import choose_attention, short_attention_in
from featherlight.models.dropout import use_cheap_dropout
from featherlight.training.lazy_rows import SMALLEST
from featherlight.training.optimizers import OPTIMIZERS

SMALL = {"vocab_size": 90, "hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4,
         "intermediate_size": 160}  # fmt: skip
CONFIGS = {
    "bert": BertConfig(**SMALL),
    "albert": AlbertConfig(**SMALL, embedding_size=32),
    "distilbert": DistilBertConfig(vocab_size=90, dim=48, n_layers=3, n_heads=4, hidden_dim=160),
}
MINILM = architecture_of(BertConfig(hidden_size=384, num_hidden_layers=6, num_attention_heads=12,
                                    intermediate_size=1536))  # fmt: skip


def kept_bytes(config, *, attention: str, precision: str, method: str = "full", dropout: float = 0.0) -> int:
    """Bytes of all tensors but the weights that autograd keeps of a forward pass over 6 x 40 ids, counted by hooks."""
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_config(copy.deepcopy(config)).train()  # it takes notes in it
    adapt(model, Method(method, rank=4, dropout=dropout, reduction=6))
    use_cheap_dropout(model)
    choose_attention(model, attention)
    ids, mask = torch.randint(1, 90, (6, 40)), torch.ones(6, 40, dtype=torch.int64)
    mask[5, 39:] = 0
    own = {weight.untyped_storage().data_ptr() for weight in [*model.parameters(), *model.buffers()]}
    found: dict[int, torch.Tensor] = {}

    def keep(tensor):
        storage = tensor.untyped_storage().data_ptr()
        if storage not in own:
            found[storage] = tensor
        return tensor

    low = torch.autocast("cpu", torch.bfloat16) if precision == "bf16" else contextlib.nullcontext()
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), short_attention_in(model), low:
        logits = model(ids, attention_mask=mask).logits
    assert logits.requires_grad
    return sum(tensor.untyped_storage().nbytes() for tensor in found.values())


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("attention", ["auto", "eager", "sdpa"])
@pytest.mark.parametrize("kind", CONFIGS)
def test_activations_are_what_autograd_keeps(kind, attention, precision):
    shape = Shape(6, 40, attention=attention, precision=precision)
    _, activations, _ = Prediction(architecture_of(CONFIGS[kind]), shape).moments()["last layer"]
    kept = kept_bytes(CONFIGS[kind], attention=attention, precision=precision)
    assert activations == pytest.approx(kept, rel=0.02)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(("method", "dropout"), [("lora", 0.0), ("lora", 0.1), ("houlsby", 0.0), ("pfeiffer", 0.0)])
@pytest.mark.parametrize("kind", ["bert", "distilbert"])
def test_activations_beside_frozen_weights_are_what_autograd_keeps(kind, method, dropout, precision):
    shape = Shape(6, 40, precision=precision, method=method, rank=4, bottleneck=8, lora_dropout=dropout)
    _, activations, _ = Prediction(architecture_of(CONFIGS[kind]), shape).moments()["last layer"]
    kept = kept_bytes(CONFIGS[kind], attention="auto", precision=precision, method=method, dropout=dropout)
    assert activations == pytest.approx(kept, rel=0.03)


@pytest.mark.parametrize("method", ["lora", "houlsby", "pfeiffer"])
def test_trained_weights_are_counted_as_they_are_made(method):
    model = AutoModelForSequenceClassification.from_config(CONFIGS["bert"])
    adapt(model, Method(method, rank=4, reduction=6))
    found = predict_memory(architecture_of(CONFIGS["bert"]), batch=1, length=8, method=method, rank=4, bottleneck=8)
    assert found.trainable == sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    assert found.parameters == sum(weight.numel() for weight in model.parameters())


def test_less_that_is_trained_takes_less_memory():
    totals = [predict_memory(MINILM, batch=8, length=128, method=method).total_bytes
              for method in ("full", "lora", "houlsby", "pfeiffer", "head")]  # fmt: skip
    assert totals == sorted(totals, reverse=True)


def test_the_published_formula_of_adapters_gives_the_published_polynomial():
    """Section 2.3.2 of the report on PEFT: 1.27e10 + 1.11e6 b l bytes for its shape, with bottlenecks of 120."""
    config = config_of_sizes(layers=64, hidden=1920, heads=32, ffn=7680, vocab=50_000, length=512)
    large = architecture_of(config)

    def total(batch, length):
        return published_adapters(large, batch=batch, length=length, bottleneck=120).total_bytes

    assert total(0, 1) == pytest.approx(1.27e10, rel=0.005)
    assert total(2, 300) - total(1, 300) == pytest.approx(1.11e6 * 300, rel=0.005)
    assert total(2, 300) - total(1, 300) == total(1, 600) - total(1, 300)


@pytest.mark.parametrize("name", RULES)
def test_the_optimisers_state_is_as_large_as_predicted(name):
    model = AutoModelForSequenceClassification.from_config(CONFIGS["bert"])
    for weight in model.parameters():
        weight.grad = torch.ones_like(weight)
    optimizer = OPTIMIZERS[name]([{"params": list(model.parameters())}])
    optimizer.step()
    held = sum({value.data_ptr(): value.nbytes for state in optimizer.state.values() for value in state.values()
               if isinstance(value, torch.Tensor) and value.dim()}.values())  # fmt: skip
    found = predict_memory(architecture_of(CONFIGS["bert"]), batch=1, length=8, optimizer=name)
    assert found.terms["optimizer"].bytes == pytest.approx(held, rel=0.001)
    assert set(RULES) == set(OPTIMIZERS)


def test_the_published_formula_gives_the_published_polynomial():
    """X. Wang, section 2.3.1: 4.68e10 + 1.84e4 b l^2 + 8.11e6 b l bytes."""
    large = architecture_of(config_of_sizes(layers=64, hidden=1920, heads=32, ffn=7680, vocab=50_000, length=512))

    def total(batch, length):
        return published(large, batch=batch, length=length).total_bytes

    constant = 3 * total(1, 1) - 3 * total(1, 2) + total(1, 3)  # the parabola through three lengths, at 0
    square = (total(1, 3) - 2 * total(1, 2) + total(1, 1)) / 2
    linear = total(1, 2) - total(1, 1) - 3 * square
    assert f"{constant:.2e} {square:.2e} {linear:.2e}" == "4.68e+10 1.84e+04 8.11e+06"
    assert total(5, 7) == constant + 5 * 49 * square + 5 * 7 * linear


def test_terms_add_up_and_each_has_formula_and_source():
    found = predict_memory(MINILM, batch=8, length=128)
    assert tuple(found.terms) == TERMS
    assert found.total_bytes == sum(term.bytes for term in found.terms.values())
    assert all(term.formula and term.source for term in found.terms.values())
    assert found.terms["parameters"].bytes == 4 * found.parameters == 4 * 22_713_986


def activations(**how) -> int:
    return predict_memory(MINILM, **{"batch": 8, "length": 256, **how}).terms["activations"].bytes


def test_only_fused_attention_grows_with_the_length_alone():
    long = {name: activations(length=512, batch=1, attention=name) for name in ("eager", "sdpa")}
    short = {name: activations(length=256, batch=2, attention=name) for name in ("eager", "sdpa")}
    assert long["eager"] - short["eager"] == 6 * 12 * 12 * 512 * (512 - 256)  # d x 12 bytes x a x tokens x more length
    assert long["sdpa"] <= short["sdpa"]  # a single text has no mask


def test_each_way_to_save_memory_saves_some():
    usual = predict_memory(MINILM, batch=8, length=256).total_bytes
    for how in ({"checkpointing": True}, {"precision": "bf16"}, {"attention": "sdpa"}, {"optimizer": "sgd"},
                {"method": "head"}):  # fmt: skip
        assert predict_memory(MINILM, batch=8, length=256, **how).total_bytes < usual


def test_shared_layers_are_kept_once_and_run_often():
    def albert(layers):
        config = AlbertConfig(**{**SMALL, "num_hidden_layers": layers})
        return predict_memory(architecture_of(config), batch=4, length=64)

    few, many = albert(2), albert(6)
    assert few.parameters == many.parameters
    assert many.terms["activations"].bytes > 2 * few.terms["activations"].bytes


def test_a_frozen_encoder_trains_its_head_alone():
    found = predict_memory(MINILM, batch=8, length=128, method="head")
    assert found.trainable == 384 * 2 + 2
    assert found.terms["optimizer"].bytes == 8 * found.trainable
    assert found.terms["activations"].bytes == 0


@pytest.mark.parametrize("room", [5 * 10**8, 10**9, 16 * 10**9])
def test_the_largest_batch_fits_and_the_next_one_does_not(room):
    batch = largest_batch(MINILM, room, length=128, precision="bf16")
    assert predict_memory(MINILM, batch=batch, length=128, precision="bf16").total_bytes <= room
    assert predict_memory(MINILM, batch=batch + 1, length=128, precision="bf16").total_bytes > room


def test_nothing_fits_into_nothing():
    assert largest_batch(MINILM, 10**6, length=128) == 0


def test_names_are_checked():
    with pytest.raises(UserError, match="no optimizer called 'adamq'"):
        predict_memory(MINILM, batch=1, length=1, optimizer="adamq")


def test_tables_are_trained_lazily_from_the_size_that_training_states():
    assert LAZY_FROM == SMALLEST
