import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification

from featherlight.measurement.footprint import parameters
from featherlight.models import BagConfig, BagForSequenceClassification, BiLSTMConfig, BiLSTMForSequenceClassification
from featherlight.models.recurrent import POOLINGS, BiLSTM

TEXTS = torch.tensor([[3, 4, 5, 6], [7, 8, 0, 0]])
MASK = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])


def bilstm(pooling: str = "last", **settings: object) -> BiLSTMForSequenceClassification:
    torch.manual_seed(1)
    config = BiLSTMConfig(vocab_size=11, dim=5, hidden=7, classifier=6, pooling=pooling, num_labels=3, **settings)
    return BiLSTMForSequenceClassification(config).eval()


def test_a_bag_is_the_mean_of_its_embeddings_whatever_the_padding():
    model = BagForSequenceClassification(BagConfig(vocab_size=11, dim=5, classifier=6, num_labels=3)).eval()
    table = model.embedding.weight.detach()
    expected = torch.stack([table[[3, 4, 5, 6]].mean(0), table[[7, 8]].mean(0)])
    assert torch.allclose(model.vector(TEXTS, MASK), expected)


def test_an_empty_text_in_a_bag_is_zero():
    model = BagForSequenceClassification(BagConfig(vocab_size=11, dim=5, num_labels=3)).eval()
    assert model.vector(torch.zeros(1, 1, dtype=torch.long), torch.zeros(1, 1)).abs().sum() == 0


def states_by_hand(cell: BiLSTM, vectors: torch.Tensor, *, backward: bool) -> torch.Tensor:
    """One direction of an LSTM step by step, from the equations of its paper."""
    suffix = "_reverse" if backward else ""
    w_in, w_state, b_in, b_state = (
        getattr(cell.lstm, name + suffix) for name in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    )
    state = memory = torch.zeros(cell.lstm.hidden_size)
    states = []
    for vector in reversed(vectors) if backward else vectors:
        gates = w_in @ vector + b_in + w_state @ state + b_state
        enter, forget, candidate, leave = gates.chunk(4)
        memory = forget.sigmoid() * memory + enter.sigmoid() * candidate.tanh()
        state = leave.sigmoid() * memory.tanh()
        states.append(state)
    return torch.stack(states)


@pytest.mark.parametrize("row", [0, 1])
def test_last_is_the_state_of_each_direction_after_the_whole_text(row):
    model = bilstm("last")
    vectors = model.embedding(TEXTS[row, : MASK[row].sum()])
    forward = states_by_hand(model.body, vectors, backward=False)[-1]
    backward = states_by_hand(model.body, vectors, backward=True)[-1]
    assert torch.allclose(model.vector(TEXTS, MASK)[row], torch.cat([forward, backward]), atol=1e-6)


@pytest.mark.parametrize("row", [0, 1])
def test_max_and_mean_run_over_the_real_tokens_only(row):
    for pooling in ("max", "mean"):
        model = bilstm(pooling)
        vectors = model.embedding(TEXTS[row, : MASK[row].sum()])
        forward = states_by_hand(model.body, vectors, backward=False)
        backward = states_by_hand(model.body, vectors, backward=True).flip(0)
        states = torch.cat([forward, backward], dim=1)
        expected = states.max(0).values if pooling == "max" else states.mean(0)
        assert torch.allclose(model.vector(TEXTS, MASK)[row], expected, atol=1e-6)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_an_empty_text_gives_finite_logits(pooling):
    logits = bilstm(pooling)(torch.tensor([[0, 0], [3, 4]]), torch.tensor([[0, 0], [1, 1]])).logits
    assert torch.isfinite(logits).all()


def test_a_pair_is_read_as_u_v_difference_and_product():
    model = bilstm(pair=True)
    u, v = model.vector(TEXTS, MASK), model.vector(TEXTS[:, :2], MASK[:, :2])
    by_hand = model.classifier(torch.cat([u, v, (u - v).abs(), u * v], dim=1))
    given = model(TEXTS, MASK, pair_input_ids=TEXTS[:, :2], pair_attention_mask=MASK[:, :2]).logits
    assert torch.allclose(given, by_hand)


def test_parameter_counts_agree_with_the_published_ones():
    """Table 7.1 of the thesis behind `featherweight_sst2_distillation.csv`: 4.0e5 and 1.3e5, vectors K + 1."""
    recurrent = BiLSTMForSequenceClassification(BiLSTMConfig(vocab_size=5001, dim=25, hidden=150, classifier=200))
    bag = BagForSequenceClassification(BagConfig(vocab_size=5001, dim=25, classifier=100))
    assert f"{parameters(recurrent):.1e}" == "4.0e+05"
    assert f"{parameters(bag):.1e}" == "1.3e+05"


def test_initial_weights_are_those_of_pytorch():
    """torch draws recurrent weights from U(-1/sqrt(H), 1/sqrt(H)), whose sd is 1/sqrt(3H); embeddings have sd 1."""
    model = BiLSTMForSequenceClassification(BiLSTMConfig(vocab_size=2000, dim=25, hidden=150))
    assert model.embedding.weight.std().item() == pytest.approx(1.0, abs=0.03)
    assert model.body.lstm.weight_hh_l0.std().item() == pytest.approx(1 / np.sqrt(3 * 150), rel=0.05)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_a_saved_student_loads_with_the_plain_auto_class(pooling, tmp_path):
    model = bilstm(pooling, pair=True)
    model.save_pretrained(tmp_path)
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    assert isinstance(loaded, BiLSTMForSequenceClassification)
    inputs = {"input_ids": TEXTS, "attention_mask": MASK, "pair_input_ids": TEXTS, "pair_attention_mask": MASK}
    assert torch.equal(loaded(**inputs).logits, model(**inputs).logits)
