"""Parts that are removed: what had no effect can go without one, and the loss says what has little."""

import pytest
import torch
from torch import nn

from featherlight.compression.families import families_of
from featherlight.compression.structured import gradients_of, shrink
from featherlight.data.tokens.batches import Tokens
from featherlight.data.tokens.ragged import Ragged
from featherlight.errors import UserError
from featherlight.models.load import load_checkpoint, load_encoder
from featherlight.models.students.bag import BagConfig, BagForSequenceClassification
from featherlight.models.students.recurrent import (
    BiLSTMConfig,
    BiLSTMForSequenceClassification,
    RNNConfig,
    RNNForSequenceClassification,
)
from featherlight.training.finetune import LabelObjective
from featherlight.training.objective import TrainingSet
from helpers.tiny_encoders import save_encoder

FRAME = {"vocab_size": 31, "dim": 6, "classifier": 8, "num_labels": 3, "dropout": 0.0}
STUDENTS = {
    "bilstm": lambda **more: BiLSTMForSequenceClassification(BiLSTMConfig(hidden=10, **FRAME, **more)),
    "rnn": lambda **more: RNNForSequenceClassification(RNNConfig(hidden=10, **FRAME, **more)),
    "bag": lambda **more: BagForSequenceClassification(BagConfig(**FRAME, **more)),
}
ENCODED = ("bert cased", "roberta", "distilbert", "mpnet")
CASES = [
    *((name, method, {}) for name in ENCODED for method in ("heads", "neurons", "layers")),
    *((name, "units", more) for name in ("bilstm", "rnn") for more in ({}, {"pair": True}, {"pooling": "max"})),
    *((name, "columns", more) for name in STUDENTS for more in ({}, {"pair": True})),
    ("bilstm", "columns", {"embedding": "hash"}),
    ("bag", "neurons", {}),
]  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A model by its name and config, the same weights each time."""
    folders = {}

    def model(name: str, **more) -> nn.Module:
        torch.manual_seed(3)
        if name in STUDENTS:
            return STUDENTS[name](**more).eval()
        if name not in folders:
            folders[name] = save_encoder(name, tmp_path_factory.mktemp("encoder"))
        found, _ = load_encoder(str(folders[name]), labels=("a", "b", "c"), max_length=40)
        found.config.hidden_dropout_prob = 0.0
        return found.eval()

    return model


def inputs_of(model: nn.Module) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(5, 30, (4, 7), generator=generator)
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if getattr(model.config, "pair", False):
        inputs |= {"pair_input_ids": ids.flip(1), "pair_attention_mask": torch.ones_like(ids)}
    return inputs


def logits(model: nn.Module) -> torch.Tensor:
    with torch.inference_mode():
        return model(**inputs_of(model)).logits


@torch.no_grad()
def silence(model: nn.Module, method: str, *, shrink_by: float = 0.01) -> dict[str, list[int]]:
    """Make members of each family have no effect, and the rest of their weights small (or large); which ones."""
    weights, silent = dict(model.named_parameters()), {}
    for number, family in enumerate(families_of(model, method)):
        chosen = [number % 2] if method == "layers" else [number % 2, family.members - 1]
        silent[family.name] = chosen
        if method == "layers":
            for name, weight in weights.items():
                last = name.removesuffix(".weight").removesuffix(".bias")
                if f".layer.{chosen[0]}." in name and last.endswith(("output.dense", "out_lin", "lin2", "attn.o")):
                    weight.zero_()
        for part in family.slices:
            for member in chosen:
                where = part.positions[member]
                index = (where,) if part.dim == 0 else (slice(None), where)
                weights[part.tensor][index] *= 0 if part.outgoing else shrink_by
    return silent


@pytest.mark.parametrize(("name", "method", "more"), CASES)
def test_what_had_no_effect_is_removed_without_one(name, method, more, made):
    model = made(name, **more)
    silent = silence(model, method)
    members = families_of(model, method)[0].members
    gone = len(next(iter(silent.values())))
    smaller, kept = shrink(model, method, gone / members)
    assert kept == {family: [i for i in range(members) if i not in chosen] for family, chosen in silent.items()}
    assert torch.allclose(logits(smaller), logits(model), atol=1e-5)
    assert sum(weight.numel() for weight in smaller.parameters()) < sum(w.numel() for w in model.parameters())


@pytest.mark.parametrize(("name", "method", "more"), [CASES[0], CASES[4], CASES[9], CASES[12], CASES[-1]])
def test_a_smaller_model_is_saved_and_loaded_as_any_other(name, method, more, made, tmp_path):
    from transformers import AutoModelForSequenceClassification

    smaller, _ = shrink(made(name, **more), method, 0.5)
    smaller.save_pretrained(tmp_path)
    loaded, info = AutoModelForSequenceClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values())
    assert torch.equal(logits(loaded.eval()), logits(smaller))


def test_heads_can_go_twice(made):
    model = made("bert cased")
    once, _ = shrink(model, "heads", 0.25)
    twice, _ = shrink(once, "heads", 1 / 3)
    assert [found.config.kept_heads for found in (once, twice)] == [3, 2]
    assert twice.bert.encoder.layer[1].attention.self.query.weight.shape == (8, 16)  # a head is 16 / 4 wide
    assert logits(twice).shape == (4, 3)


def examples(model: nn.Module) -> TrainingSet:
    rows = inputs_of(model)["input_ids"].tolist()
    return TrainingSet(
        Tokens({"input_ids": Ragged.of(rows)}, {"input_ids": 0}), {"labels": torch.tensor([0, 2, 1, 0]).numpy()}
    )


@pytest.mark.parametrize(
    ("name", "method"), [("bert cased", "heads"), ("distilbert", "neurons"), ("bilstm", "units"), ("bag", "columns")]
)
def test_by_taylor_what_has_no_effect_goes_however_large_its_weights(name, method, made):
    model = made(name)
    silent = silence(model, method, shrink_by=30.0)
    before = logits(model)
    gradients = gradients_of(model, LabelObjective(), examples(model), device="cpu", seed=1)
    smaller, kept = shrink(model, method, 2 / families_of(model, method)[0].members, gradients=gradients)
    assert all(not set(kept[family]) & set(chosen) for family, chosen in silent.items())
    assert torch.allclose(logits(smaller), before, atol=1e-5)


def test_a_taylor_score_is_the_slope_of_the_loss_along_the_members_output(made):
    from featherlight.compression.structured import member_scores

    model = made("bilstm")
    families = families_of(model, "units")
    labels = {"labels": torch.tensor([0, 2, 1, 0])}
    found = member_scores(model, families, gradients_of(model, LabelObjective(), examples(model), device="cpu", seed=1))
    weights = dict(model.named_parameters())
    step = 1e-2
    for family, scores in zip(families, found, strict=True):
        for member in (0, 4):
            losses = []
            for factor in (1 - step, 1 + step):
                with torch.no_grad():
                    for part in family.slices:
                        if part.outgoing:
                            weights[part.tensor][:, part.positions[member]] *= factor
                    losses.append(model(**inputs_of(model), **labels).loss.double())
                    for part in family.slices:
                        if part.outgoing:
                            weights[part.tensor][:, part.positions[member]] /= factor
            assert scores[member].item() == pytest.approx(
                abs(losses[1] - losses[0]).item() / (2 * step), rel=0.05, abs=1e-5
            )


@pytest.mark.parametrize(
    ("name", "method"), [("bag", "heads"), ("bag", "units"), ("albert", "heads"), ("bert cased", "columns")]
)
def test_a_model_without_such_parts_is_refused_and_those_that_have_them_are_named(name, method, made):
    with pytest.raises(UserError, match=r"only models of type .* can"):
        shrink(made(name), method, 0.5)


@pytest.mark.parametrize(("share", "what"), [(0.05, "would remove nothing"), (0.95, "would remove everything")])
def test_to_remove_all_heads_or_none_is_refused(share, what, made):
    with pytest.raises(UserError, match=rf"of 4 heads {what}. Give at least 0.25, at most 0.75"):
        shrink(made("bert cased"), "heads", share)


def test_each_head_keeps_its_own_bias_when_heads_go_twice_and_layers_after_them(made):
    """In MPNet all layers read one table of biases, a column per head; layers lose different heads."""
    model = made("mpnet")
    once, kept = shrink(model, "heads", silence_one(model, (0, 1)))
    assert torch.allclose(logits(once), logits(model), atol=1e-5)
    twice, more = shrink(once, "heads", silence_one(once, (2, 1)))
    assert torch.allclose(logits(twice), logits(once), atol=1e-5)
    layers = [f"mpnet.encoder.layer.{i}" for i in range(2)]
    assert [kept[layer] for layer in layers] == [[1, 2, 3], [0, 2, 3]]
    assert [more[layer] for layer in layers] == [[0, 1], [0, 2]]
    last, which = shrink(twice, "layers", 0.5)
    found = last.mpnet.encoder.layer[0].attention.attn.bias_heads
    assert found.tolist() == [[1, 2], [0, 3]][which["layers"][0]]


@torch.no_grad()
def silence_one(model: nn.Module, members: tuple[int, int]) -> float:
    """One head of each layer has no effect and is small; the share of heads that this is."""
    families, weights = families_of(model, "heads"), dict(model.named_parameters())
    for family, member in zip(families, members, strict=True):
        for part in family.slices:
            index = (part.positions[member],) if part.dim == 0 else (slice(None), part.positions[member])
            weights[part.tensor][index] *= 0 if part.outgoing else 0.01
    return 1 / families[0].members


@pytest.mark.parametrize("name", ["roberta", "mpnet"])
def test_a_narrow_encoder_still_counts_its_positions_from_padding(name, made, tmp_path):
    from helpers.tiny_encoders import ENCODERS

    smaller, _ = shrink(made(name), "heads", 0.5)
    tokenizer = ENCODERS[name][0]()
    smaller.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    assert load_checkpoint(tmp_path)[1].model_max_length == 40
