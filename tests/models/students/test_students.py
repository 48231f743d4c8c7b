import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification

from featherlight.data.task import Task, TaskData
from featherlight.measurement.footprint import parameters
from featherlight.models import (
    BagConfig,
    BagForSequenceClassification,
    BiLSTMConfig,
    BiLSTMForSequenceClassification,
    RNNConfig,
    RNNForSequenceClassification,
)
from featherlight.models.students.embeddings import HashEmbedding
from featherlight.models.students.recurrent import POOLINGS, Recurrent
from featherlight.models.students.tokenizers import student_tokenizer
from featherlight.stages.distill.settings import DistillSettings
from featherlight.stages.distill.student import student_body

TEXTS = torch.tensor([[3, 4, 5, 6], [7, 8, 0, 0]])
MASK = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])


def bilstm(pooling: str = "last", **settings: object) -> BiLSTMForSequenceClassification:
    torch.manual_seed(1)
    config = BiLSTMConfig(vocab_size=11, dim=5, hidden=7, classifier=6, pooling=pooling, num_labels=3, **settings)
    return BiLSTMForSequenceClassification(config).eval()


def rnn(pooling: str = "last", **settings: object) -> RNNForSequenceClassification:
    torch.manual_seed(1)
    config = RNNConfig(vocab_size=11, dim=5, hidden=7, classifier=6, pooling=pooling, num_labels=3, **settings)
    return RNNForSequenceClassification(config).eval()


RECURRENT = pytest.mark.parametrize("student", [bilstm, rnn])


def test_a_bag_is_the_mean_of_its_embeddings_whatever_the_padding():
    model = BagForSequenceClassification(BagConfig(vocab_size=11, dim=5, classifier=6, num_labels=3)).eval()
    table = model.embedding.weight.detach()
    expected = torch.stack([table[[3, 4, 5, 6]].mean(0), table[[7, 8]].mean(0)])
    assert torch.allclose(model.vector(TEXTS, MASK), expected)


@RECURRENT
@pytest.mark.parametrize("pooling", POOLINGS)
def test_training_and_prediction_compute_the_same(student, pooling):
    model = student(pooling)
    trained = model.vector(TEXTS, MASK)
    with torch.no_grad():
        assert torch.allclose(trained, model.vector(TEXTS, MASK), atol=1e-6)


def test_an_empty_text_in_a_bag_is_zero():
    model = BagForSequenceClassification(BagConfig(vocab_size=11, dim=5, num_labels=3)).eval()
    assert model.vector(torch.zeros(1, 1, dtype=torch.long), torch.zeros(1, 1)).abs().sum() == 0


def states_by_hand(cell: Recurrent, vectors: torch.Tensor, *, backward: bool) -> torch.Tensor:
    """One direction of an LSTM or an Elman RNN step by step, from the equations of its paper."""
    suffix = "_reverse" if backward else ""
    w_in, w_state, b_in, b_state = (
        getattr(cell.network, name + suffix) for name in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    )
    state = memory = torch.zeros(cell.network.hidden_size)
    states = []
    for vector in reversed(vectors) if backward else vectors:
        gates = w_in @ vector + b_in + w_state @ state + b_state
        if isinstance(cell.network, torch.nn.RNN):
            state = gates.tanh()
            states.append(state)
            continue
        enter, forget, candidate, leave = gates.chunk(4)
        memory = forget.sigmoid() * memory + enter.sigmoid() * candidate.tanh()
        state = leave.sigmoid() * memory.tanh()
        states.append(state)
    return torch.stack(states)


@RECURRENT
@pytest.mark.parametrize("row", [0, 1])
def test_last_is_the_state_of_each_direction_after_the_whole_text(student, row):
    model = student("last")
    vectors = model.embedding(TEXTS[row, : MASK[row].sum()])
    forward = states_by_hand(model.body, vectors, backward=False)[-1]
    backward = states_by_hand(model.body, vectors, backward=True)[-1]
    assert torch.allclose(model.vector(TEXTS, MASK)[row], torch.cat([forward, backward]), atol=1e-6)


@RECURRENT
@pytest.mark.parametrize("row", [0, 1])
def test_as_published_the_backward_half_has_read_one_token(student, row):
    model = student("last_as_published")
    vectors = model.embedding(TEXTS[row, : MASK[row].sum()])
    forward = states_by_hand(model.body, vectors, backward=False)[-1]
    backward = states_by_hand(model.body, vectors[-1:], backward=True)[0]
    assert torch.allclose(model.vector(TEXTS, MASK)[row], torch.cat([forward, backward]), atol=1e-6)


@RECURRENT
@pytest.mark.parametrize("row", [0, 1])
def test_max_and_mean_run_over_the_real_tokens_only(student, row):
    for pooling in ("max", "mean"):
        model = student(pooling)
        vectors = model.embedding(TEXTS[row, : MASK[row].sum()])
        forward = states_by_hand(model.body, vectors, backward=False)
        backward = states_by_hand(model.body, vectors, backward=True).flip(0)
        states = torch.cat([forward, backward], dim=1)
        expected = states.max(0).values if pooling == "max" else states.mean(0)
        assert torch.allclose(model.vector(TEXTS, MASK)[row], expected, atol=1e-6)


@RECURRENT
@pytest.mark.parametrize("pooling", POOLINGS)
def test_an_empty_text_gives_finite_logits(student, pooling):
    logits = student(pooling)(torch.tensor([[0, 0], [3, 4]]), torch.tensor([[0, 0], [1, 1]])).logits
    assert torch.isfinite(logits).all()


def test_a_pair_is_read_as_u_v_difference_and_product():
    model = bilstm(pair=True)
    u, v = model.vector(TEXTS, MASK), model.vector(TEXTS[:, :2], MASK[:, :2])
    by_hand = model.classifier(torch.cat([u, v, (u - v).abs(), u * v], dim=1))
    given = model(TEXTS, MASK, pair_input_ids=TEXTS[:, :2], pair_attention_mask=MASK[:, :2]).logits
    assert torch.allclose(given, by_hand)


def published_rows() -> list[dict[str, str]]:
    with (Path(__file__).parents[2] / "reference" / "featherweight_sst2_distillation.csv").open() as file:
        return list(csv.DictReader(file))


SST2 = TaskData(Task("sst2", ("sentence",), ("negative", "positive"), ("accuracy",)), {}, "", "")
KINDS = {"BiLSTM": "bilstm", "RNN": "rnn", "FFN": "bag", "Hash": "hash", "BPE": "bpe", "Char": "char"}


@pytest.mark.parametrize("row", published_rows(), ids=lambda row: "-".join(list(row.values())[:3]))
def test_parameter_counts_agree_with_the_published_ones(row):
    """Table 7.1 of the thesis on featherweight models, column P; * marks a vocabulary of 2,500."""
    kind = row["embedding"]
    size = 2500 if kind.endswith("*") else 5000
    settings = DistillSettings(
        task="sst2", student=KINDS[row["student"]], embedding=KINDS[kind.rstrip("*")], dim=int(row["embedding_dim"]),
        vocabulary=size, preset="published",
    )  # fmt: skip
    # What byte pairs of enough text have; a real tokenizer of that size is made in test_tokenizers.
    rows = size + 1 if kind == "BPE" else len(student_tokenizer(settings.embedding, [], size, teacher=None))
    model = student_body(settings, SST2, vocabulary=rows)
    assert float(f"{parameters(model):.1e}") == float(row["parameters"])


def test_a_hashed_word_is_the_weighted_sum_of_its_three_vectors():
    layer = HashEmbedding(20, 4)
    packed = 7 + 20 * 21 + 11 * 21**2
    scalars, table = layer.importance.weight[:, 0], layer.vectors.weight
    # Sector i of the scalars begins at i x 21; bucket b shares vector 1 + (b - 1) mod 2.
    by_hand = scalars[7] * table[1] + scalars[21 + 20] * table[2] + scalars[42 + 11] * table[1]
    assert torch.allclose(layer(torch.tensor([[packed, 0]]))[0, 0], by_hand)
    assert not layer(torch.tensor([[packed, 0]]))[0, 1].any()


def test_a_hashed_word_starts_with_unit_variance():
    torch.manual_seed(0)
    layer = HashEmbedding(5000, 300)
    layer.reset_parameters()
    words = torch.randint(1, 5001, (2000, 3)) @ torch.tensor([1, 5001, 5001**2])
    assert layer(words[None]).std().item() == pytest.approx(1.0, abs=0.1)


def test_initial_weights_are_those_of_pytorch():
    """torch draws recurrent weights from U(-1/sqrt(H), 1/sqrt(H)), whose sd is 1/sqrt(3H); embeddings have sd 1."""
    model = BiLSTMForSequenceClassification(BiLSTMConfig(vocab_size=2000, dim=25, hidden=150))
    assert model.embedding.weight.std().item() == pytest.approx(1.0, abs=0.03)
    assert model.body.network.weight_hh_l0.std().item() == pytest.approx(1 / np.sqrt(3 * 150), rel=0.05)


@RECURRENT
@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("embedding", ["table", "hash"])
def test_a_saved_student_loads_with_the_plain_auto_class(student, pooling, embedding, tmp_path):
    model = student(pooling, pair=True, embedding=embedding)
    model.save_pretrained(tmp_path)
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    assert type(loaded) is type(model)
    inputs = {"input_ids": TEXTS, "attention_mask": MASK, "pair_input_ids": TEXTS, "pair_attention_mask": MASK}
    # Not bit for bit: matrix products round by how their operands lie in memory.
    assert torch.allclose(loaded(**inputs).logits, model(**inputs).logits, atol=1e-6)
