import pytest
import torch
from torch import nn

from featherlight.compression.parts import changed, parts_of, share_of_zeros, zeros
from featherlight.errors import UserError
from featherlight.models.students.recurrent import RNNConfig, RNNForSequenceClassification
from helpers.tiny_encoders import ENCODERS


@pytest.fixture
def student() -> nn.Module:
    torch.manual_seed(0)
    return RNNForSequenceClassification(RNNConfig(vocab_size=30, dim=5, hidden=7, classifier=6))


def test_a_students_matrices_are_told_apart_and_biases_are_none(student):
    kinds = {part.name: part.kind for part in parts_of(student)}
    assert kinds == {
        "embedding.weight": "embedding",
        **{f"body.network.weight_{what}_l0{side}": "recurrent" for what in ("ih", "hh") for side in ("", "_reverse")},
        "classifier.hidden.weight": "linear",
        "classifier.out.weight": "linear",
    }


@pytest.mark.parametrize(
    ("name", "count"),
    [("linear", 2), ("recurrent", 4), ("classifier", 2), ("classifier.out", 1), ("body.network.weight_hh_l0", 1)],
)
def test_parts_are_named_by_kind_or_by_words_of_their_names(student, name, count):
    assert len(parts_of(student, [name])) == count


@pytest.mark.parametrize(("name", "near"), [("recurent", "recurrent"), ("classifier.outt", "classifier.out")])
def test_a_part_that_is_not_there_is_refused_with_the_nearest(student, name, near):
    with pytest.raises(UserError, match=f"Did you mean '{near}'"):
        parts_of(student, [name])


@pytest.mark.parametrize("name", ["bert uncased", "xlnet", "albert", "deberta v2"])
def test_no_part_of_an_encoder_is_a_bias_or_a_norm(name):
    tokenizer, config = ENCODERS[name]
    from transformers import AutoModel

    tokens = tokenizer()
    shape = config(tokens)
    shape.vocab_size = len(tokens)
    found = parts_of(AutoModel.from_config(shape))
    assert not [part.name for part in found if "bias" in part.name or "norm" in part.name.lower()]
    assert {part.kind for part in found} == {"embedding", "linear"}


def test_zeros_are_counted_over_all_matrices_together(student):
    parts = parts_of(student, ["classifier"])  # 6 x 14 and 2 x 6 weights
    before = {part.name: zeros(part.weight) for part in parts}
    with torch.no_grad():
        parts[1].weight[0] = 0
    assert share_of_zeros(parts) == pytest.approx(6 / 96)
    assert changed(before, parts) == {"classifier.out.weight": {"zeros": 6, "parameters": 12}}
