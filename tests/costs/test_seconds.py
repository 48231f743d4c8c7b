import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import BertConfig, BertModel

from featherlight.costs.seconds import COUNTED, WIDTHS, MachineRates, ModelSizes, fit_rates, hats


@pytest.mark.parametrize(("rows", "length"), [(2, 16), (3, 40)])
def test_operations_of_an_encoder_are_those_that_torch_counts(rows, length):
    config = BertConfig(vocab_size=50, hidden_size=128, num_hidden_layers=3, num_attention_heads=2,
                        intermediate_size=512, attn_implementation="eager")  # fmt: skip
    model = BertModel(config, add_pooling_layer=False).eval()
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        model(torch.ones(rows, length, dtype=torch.long))
    sizes = ModelSizes("encoder", 3, 128, 512, 0, heads=2)
    counted = dict(zip(COUNTED["encoder"], sizes.counts(np.array([rows]), np.array([length])), strict=True))
    assert counted["scores"] == 3 * 2 * rows * length**2
    assert counted["products at 128"] + counted["attention"] == pytest.approx(counter.get_total_flops())


@pytest.mark.parametrize(("kind", "gates"), [("bilstm", 4), ("rnn", 1)])
def test_operations_of_a_recurrent_student_are_its_weights_per_token(kind, gates):
    network = (torch.nn.LSTM if gates == 4 else torch.nn.RNN)(25, 150, bidirectional=True, bias=False)
    weights = sum(weight.numel() for weight in network.parameters())
    counted = ModelSizes(kind, 1, 150, 25, 0).counts(np.array([4]), np.array([7]))
    assert counted[0] == 2 * 4 * 7 * weights


def test_counts_of_batches_add_up():
    sizes = ModelSizes("encoder", 6, 384, 1536, 1000)
    both = sizes.counts(np.array([8, 3]), np.array([16, 50]))
    assert both == pytest.approx(
        sizes.counts(np.array([8]), np.array([16])) + sizes.counts(np.array([3]), np.array([50]))
    )


def test_a_width_between_two_calibrated_ones_has_a_share_of_both():
    assert hats(128) == [1, 0, 0] and hats(5000) == [0, 0, 1] and hats(16) == [1, 0, 0]
    assert sum(hats(512)) == pytest.approx(1) and hats(512)[0] == 0 < min(hats(512)[1:])
    assert len(WIDTHS) == 3


def test_rates_are_found_again_and_none_is_negative():
    generator = np.random.default_rng(0)
    counts, true = generator.uniform(1, 9, size=(30, 4)), np.array([2.0, 0.0, 0.5, 3.0])
    assert fit_rates(list(counts), list(counts @ true)) == pytest.approx(true, abs=1e-9)
    noisy = counts @ np.array([2.0, -0.1, 0.5, 3.0])
    assert fit_rates(list(counts), list(noisy)).min() >= 0


def test_seconds_are_counts_times_rates():
    rates = MachineRates({"bag": [1.0, 0.0, 2.0, 0.0]}, {"bag": [0.0, 0.0, 0.0, 1.0]}, {})
    sizes = ModelSizes("bag", 1, 3, 2, 7)
    assert rates.seconds(sizes, np.array([2]), np.array([5]), training=False) == 2 * 5 * (3 + 2) + 2
    assert rates.seconds(sizes, np.array([2, 2]), np.array([5, 1]), training=True) == 14
