import numpy as np
import pytest
import torch

from featherlight.models.heads import output_layer
from featherlight.models.load import load_encoder
from featherlight.training.target_scale import TargetScale
from helpers.tiny_encoders import ENCODERS, save_encoder

SCALE = TargetScale(35_000.0, 9_000.0)


def test_labels_get_mean_zero_and_deviation_one_and_come_back():
    labels = np.array([30, 94, 62, np.nan], dtype=np.float32)
    scale = TargetScale.of(labels)
    assert (scale.mean, scale.deviation) == pytest.approx((62, 32 * (2 / 3) ** 0.5))
    standardised = scale.standardised(labels)
    assert standardised[:3] == pytest.approx([-(1.5**0.5), 1.5**0.5, 0], abs=1e-6) and np.isnan(standardised[3])
    assert scale.restored(standardised)[:3] == pytest.approx([30, 94, 62])


def test_classes_and_logits_of_classes_stay_as_they_are():
    ids = np.array([0, 2, 1])
    scale = TargetScale.of(ids)
    assert scale == TargetScale() and scale.standardised(ids) is ids and scale.restored(ids) is ids


@pytest.mark.parametrize("labels", [[7.0, 7.0], [np.nan, np.nan]])
def test_labels_without_spread_have_no_scale(labels):
    assert TargetScale.of(np.array(labels, dtype=np.float32)) == TargetScale()


@pytest.mark.parametrize("family", ENCODERS)
def test_the_last_layer_of_every_family_takes_mean_and_deviation(family, tmp_path):
    torch.manual_seed(0)
    model, tokenizer = load_encoder(str(save_encoder(family, tmp_path)), labels=(), max_length=12)
    model.eval()
    inputs = tokenizer(["a film"], return_tensors="pt")
    with torch.no_grad():
        before = model(**inputs).logits
        SCALE.fold(model)
        folded = model(**inputs).logits
        SCALE.unfold(model)
        after = model(**inputs).logits
    assert folded.item() == pytest.approx(SCALE.mean + SCALE.deviation * before.item(), rel=1e-5)
    assert after.item() == pytest.approx(before.item(), abs=1e-5)
    assert output_layer(model).out_features == 1


def test_a_year_is_told_from_the_next_one_in_half_precision():
    from featherlight.models.device import autocast, in_full_precision

    layer = torch.nn.Linear(1, 1)
    with torch.no_grad():
        layer.weight.fill_(1.0)
        layer.bias.fill_(2026.0)
    years = torch.tensor([[0.0], [1.0]], dtype=torch.bfloat16)
    with autocast("cpu", "bf16"), torch.no_grad():
        assert layer(years)[0] == layer(years)[1], "bfloat16 has eight bits"
        in_full_precision(layer)
        assert layer(years).flatten().tolist() == [2026.0, 2027.0]
