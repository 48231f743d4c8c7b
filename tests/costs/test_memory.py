import contextlib
import copy

import pytest
import torch
from transformers import (
    AlbertConfig,
    AutoModelForSequenceClassification,
    BertConfig,
    DebertaConfig,
    DebertaV2Config,
    DistilBertConfig,
    ModernBertConfig,
    MPNetConfig,
    XLNetConfig,
)

from featherlight.costs.activations import TrainingShape
from featherlight.costs.architecture import architecture_of, config_of_sizes
from featherlight.costs.memory import Prediction, largest_batch, predict_memory
from featherlight.costs.optimizer_state import RULES
from featherlight.costs.published_memory import published, published_adapters
from featherlight.errors import UserError
from featherlight.models.adapters import Method, adapt
from featherlight.models.attention import choose_attention, short_attention_in
from featherlight.models.dropout import use_cheap_dropout
from featherlight.models.families import family_of
from featherlight.models.load import checkpoint_layers
from featherlight.training.optimizers import OPTIMIZERS

SMALL = {"vocab_size": 90, "hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4,
         "intermediate_size": 160}  # fmt: skip
CONFIGS = {
    "bert": BertConfig(**SMALL),
    "albert": AlbertConfig(**SMALL, embedding_size=32),
    "distilbert": DistilBertConfig(vocab_size=90, dim=48, n_layers=3, n_heads=4, hidden_dim=160),
}
RELATIVE = {"relative_attention": True, "position_biased_input": False, "pos_att_type": ["c2p", "p2c"]}
V3 = {**RELATIVE, "share_att_key": True, "norm_rel_ebd": "layer_norm"}
OTHERS = {  # kind: config of some sizes
    "xlnet": lambda layers, width, heads, inner: XLNetConfig(
        vocab_size=90, d_model=width, n_layer=layers, n_head=heads, d_inner=inner),
    "deberta": lambda layers, width, heads, inner: DebertaConfig(**sizes(layers, width, heads, inner), **RELATIVE),
    "deberta, near": lambda layers, width, heads, inner: DebertaConfig(
        **sizes(layers, width, heads, inner), **RELATIVE, max_relative_positions=12),
    "deberta-v2": lambda layers, width, heads, inner: DebertaV2Config(
        **sizes(layers, width, heads, inner), **V3, position_buckets=16),
    "deberta-v2, convolution": lambda layers, width, heads, inner: DebertaV2Config(
        **sizes(layers, width, heads, inner), **V3, position_buckets=40, conv_kernel_size=3, conv_act="gelu"),
    "deberta-v2, absolute": lambda layers, width, heads, inner: DebertaV2Config(**sizes(layers, width, heads, inner)),
    "mpnet": lambda layers, width, heads, inner: MPNetConfig(**sizes(layers, width, heads, inner)),
    "modernbert": lambda layers, width, heads, inner: ModernBertConfig(
        **sizes(layers, width, heads, inner), local_attention=16, **dict.fromkeys(
            ("pad_token_id", "bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id"), 0)),
}  # fmt: skip
LAYOUTS = [  # layers, width, heads, feed-forward; batch, length: attention weighs most, width weighs most
    ((3, 48, 4, 160), (6, 40)),
    ((4, 96, 3, 96), (5, 24)),
    ((2, 32, 8, 256), (2, 72)),
]  # fmt: skip
POSSIBLE = [
    (kind, attention, precision)
    for kind in OTHERS
    for attention in ("auto", "eager", "sdpa")
    for precision in ("fp32", "bf16")
    if (attention != "sdpa" or kind == "modernbert") and (precision == "fp32" or family_of(kind.split(",")[0]).bf16)
]
MINILM = architecture_of(BertConfig(hidden_size=384, num_hidden_layers=6, num_attention_heads=12,
                                    intermediate_size=1536))  # fmt: skip


def sizes(layers, width, heads, inner) -> dict[str, int]:
    return {"vocab_size": 90, "hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": heads,
            "intermediate_size": inner}  # fmt: skip


def kept_bytes(config, *, attention: str, precision: str, method: str = "full", dropout: float = 0.0,
               ids: tuple[int, int] = (6, 40)) -> int:  # fmt: skip
    """Bytes of all tensors but the weights that autograd keeps of a forward pass over ids, counted by hooks."""
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_config(copy.deepcopy(config)).train()  # it takes notes in it
    adapt(model, Method(method, rank=4, dropout=dropout, reduction=6))
    use_cheap_dropout(model)
    choose_attention(model, attention)
    inputs = {"input_ids": torch.randint(1, 90, ids), "attention_mask": torch.ones(ids, dtype=torch.int64)}
    inputs["attention_mask"][-1, ids[1] - (ids[0] > 1) :] = 0  # of several texts the last one is a token shorter
    if config.model_type == "xlnet":
        inputs["token_type_ids"] = torch.zeros_like(inputs["input_ids"])  # `load.read_segments`: as in `finetune`
    own = {weight.untyped_storage().data_ptr() for weight in [*model.parameters(), *model.buffers()]}
    found: dict[int, torch.Tensor] = {}

    def keep(tensor):
        storage = tensor.untyped_storage().data_ptr()
        if storage not in own:
            found[storage] = tensor
        return tensor

    low = torch.autocast("cpu", torch.bfloat16) if precision == "bf16" else contextlib.nullcontext()
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), short_attention_in(model), low:
        logits = model(**inputs).logits
    assert logits.requires_grad
    return sum(tensor.untyped_storage().nbytes() for tensor in found.values())


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("attention", ["auto", "eager", "sdpa"])
@pytest.mark.parametrize("kind", CONFIGS)
def test_activations_are_what_autograd_keeps(kind, attention, precision):
    shape = TrainingShape(6, 40, attention=attention, precision=precision)
    _, activations, _ = Prediction(architecture_of(CONFIGS[kind]), shape).moments()["last layer"]
    kept = kept_bytes(CONFIGS[kind], attention=attention, precision=precision)
    assert activations == pytest.approx(kept, rel=0.02)


@pytest.mark.parametrize(("layout", "ids"), LAYOUTS)
@pytest.mark.parametrize(("kind", "attention", "precision"), POSSIBLE)
def test_activations_of_other_families_are_what_autograd_keeps(kind, attention, precision, layout, ids):
    config = OTHERS[kind](*layout)
    shape = TrainingShape(*ids, attention=attention, precision=precision)
    _, activations, _ = Prediction(architecture_of(config), shape).moments()["last layer"]
    assert activations == pytest.approx(kept_bytes(config, attention=attention, precision=precision, ids=ids), rel=0.02)


@pytest.mark.parametrize("length", [8, 60])
@pytest.mark.parametrize("attention", ["auto", "eager", "sdpa"])
def test_a_text_alone_has_a_mask_only_where_a_window_cuts_it(attention, length):
    config = OTHERS["modernbert"](6, 96, 8, 64)
    shape = TrainingShape(1, length, attention=attention)
    _, activations, _ = Prediction(architecture_of(config), shape).moments()["last layer"]
    assert activations == pytest.approx(kept_bytes(config, attention=attention, precision="fp32", ids=(1, length)),
                                        rel=0.02)  # fmt: skip


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(("method", "dropout"), [("lora", 0.0), ("lora", 0.1), ("houlsby", 0.0), ("pfeiffer", 0.0)])
@pytest.mark.parametrize("kind", ["bert", "distilbert", "mpnet"])
def test_activations_beside_frozen_weights_are_what_autograd_keeps(kind, method, dropout, precision):
    shape = TrainingShape(6, 40, precision=precision, method=method, rank=4, bottleneck=8, lora_dropout=dropout)
    config = {**CONFIGS, "mpnet": MPNetConfig(**SMALL)}[kind]
    _, activations, _ = Prediction(architecture_of(config), shape).moments()["last layer"]
    kept = kept_bytes(config, attention="auto", precision=precision, method=method, dropout=dropout)
    assert activations == pytest.approx(kept, rel=0.03)


@pytest.mark.parametrize("kind", CONFIGS)
@pytest.mark.parametrize("method", ["full", "head", "lora", "houlsby", "pfeiffer"])
def test_trained_weights_are_counted_as_they_are_made(method, kind):
    model = AutoModelForSequenceClassification.from_config(CONFIGS[kind])
    adapt(model, Method(method, rank=4, reduction=6))
    found = predict_memory(architecture_of(CONFIGS[kind]), batch=1, length=8, method=method, rank=4, bottleneck=8)
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
    assert tuple(found.terms) == ("parameters", "gradients", "optimizer", "activations", "workspace")
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
    assert found.trainable == 384 * 384 + 384 + 384 * 2 + 2  # pooler and classifier
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


@pytest.mark.parametrize(
    ("kind", "how", "complaint"),
    [
        ("xlnet", {"attention": "sdpa"}, "--attention sdpa: xlnet models have one attention only"),
        ("deberta-v2", {"attention": "sdpa"}, "--attention sdpa: deberta-v2 models have one"),
        ("xlnet", {"checkpointing": True}, "--checkpointing: xlnet models cannot"),
        ("modernbert", {"method": "lora"}, "--method lora: what modernbert models keep beside frozen weights is not"),
    ],
)
def test_what_a_family_cannot_do_is_refused(kind, how, complaint):
    with pytest.raises(UserError, match=complaint):
        predict_memory(architecture_of(OTHERS[kind](*LAYOUTS[0][0])), batch=2, length=8, **how)


@pytest.mark.parametrize("kind", OTHERS)
def test_families_agree_with_what_choosing_an_attention_and_computing_layers_again_say(kind):
    config = OTHERS[kind](*LAYOUTS[0][0])
    architecture = architecture_of(config)
    model = AutoModelForSequenceClassification.from_config(config)
    for how, act in (({"attention": "eager"}, lambda: choose_attention(model, "eager")),
                     ({"attention": "sdpa"}, lambda: choose_attention(model, "sdpa")),
                     ({"checkpointing": True}, lambda: checkpoint_layers(model))):  # fmt: skip
        assert refused(act) == refused(lambda how=how: predict_memory(architecture, batch=2, length=8, **how))


def refused(act) -> bool:
    try:
        act()
    except UserError:
        return True
    return False
