import pytest
import torch
from transformers import AutoModelForSequenceClassification, BertConfig, DistilBertConfig, MPNetConfig, RobertaConfig

from featherlight.models.attention import use_short_attention
from featherlight.models.narrow import NARROW_MODELS, narrowed

SMALL = {"vocab_size": 40, "max_position_embeddings": 30, "num_labels": 3}
BERT = {"hidden_size": 20, "num_hidden_layers": 2, "num_attention_heads": 5, "intermediate_size": 28}
CONFIGS = [
    BertConfig(**SMALL, **BERT),
    RobertaConfig(**SMALL, **BERT),
    DistilBertConfig(**SMALL, dim=20, n_layers=2, n_heads=5, hidden_dim=28),
    MPNetConfig(**SMALL, **BERT),
]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.model_type)
def test_a_narrow_encoder_has_heads_of_the_old_size_and_comes_back_from_its_folder(config, tmp_path):
    torch.manual_seed(0)
    small = narrowed(config, 3)
    model = NARROW_MODELS[type(small)](small).eval()
    widths = {
        weight.shape
        for name, weight in model.named_parameters()
        if any(word in name for word in ("quer", "q_lin", ".q."))
    }
    assert widths == {(12, 20), (12,)}  # three heads of 20 / 5
    model.save_pretrained(tmp_path)
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    ids = torch.arange(4, 20).view(2, 8)
    with torch.inference_mode():
        expected = model(input_ids=ids).logits
        assert torch.equal(loaded(input_ids=ids).logits, expected)
        assert use_short_attention(loaded) or config.model_type == "mpnet"  # which has an attention of its own
        assert torch.allclose(loaded(input_ids=ids, attention_mask=torch.ones_like(ids)).logits, expected, atol=1e-6)


def test_what_the_plain_config_says_is_kept():
    config = BertConfig(
        **SMALL, **BERT, id2label={0: "a", 1: "b", 2: "c"}, problem_type="regression", layer_norm_eps=0.5
    )
    small = narrowed(narrowed(config, 4), 2)
    assert (small.kept_heads, small.num_attention_heads, small.model_type) == (2, 5, "narrow-bert")
    assert small.id2label == config.id2label and small.problem_type == "regression" and small.layer_norm_eps == 0.5
