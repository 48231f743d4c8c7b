import pytest
import torch
from transformers import (
    AlbertConfig,
    AutoModelForSequenceClassification,
    BertConfig,
    DistilBertConfig,
    ElectraConfig,
    GPT2Config,
    RobertaConfig,
)

from featherlight.errors import UserError
from featherlight.measurement.architecture import architecture_of, config_of_sizes

ALBERT_BASE = {"hidden_size": 768, "num_attention_heads": 12, "intermediate_size": 3072}
ROBERTA_BASE = {"vocab_size": 50265, "max_position_embeddings": 514, "type_vocab_size": 1}


@pytest.mark.parametrize(
    ("config", "parameters"),
    [  # with a head of two classes, as `run_glue.py` counts them
        (BertConfig(), 109_483_778),
        (RobertaConfig(**ROBERTA_BASE), 124_647_170),
        (DistilBertConfig(), 66_955_010),
        (AlbertConfig(**ALBERT_BASE), 11_685_122),
    ],
)
def test_the_published_models_have_their_published_number_of_parameters(config, parameters):
    assert architecture_of(config).count() == parameters


@pytest.mark.parametrize("cls", [BertConfig, RobertaConfig, AlbertConfig, ElectraConfig])
@pytest.mark.parametrize("labels", [1, 3])
def test_the_count_is_that_of_a_model_with_real_weights(cls, labels):
    config = cls(
        vocab_size=50, hidden_size=24, num_hidden_layers=2, num_attention_heads=3, intermediate_size=20,
        embedding_size=16, num_labels=labels,
    )  # fmt: skip
    found = architecture_of(config)
    model = AutoModelForSequenceClassification.from_config(config)
    assert found.count() == sum(weight.numel() for weight in model.parameters())
    layers = model.base_model.encoder
    assert found.count("layer") + found.count("embedding") + found.count("head") == found.count()
    assert found.count("layer") == sum(w.numel() for n, w in layers.named_parameters() if "mapping_in" not in n)


def test_nothing_is_allocated():
    found = architecture_of(config_of_sizes(layers=64, hidden=1920, heads=32, ffn=7680, vocab=50_000, length=128))
    assert found.count() > 2.9e9 and torch.zeros(1).device.type == "cpu"


def test_heads_must_share_the_width():
    with pytest.raises(UserError, match="--hidden 100 --heads 3"):
        config_of_sizes(layers=1, hidden=100, heads=3, ffn=1, vocab=1, length=1)


def test_a_family_that_is_not_known_says_which_are():
    with pytest.raises(UserError, match=r"'gpt2'.*Known: albert, bert"):
        architecture_of(GPT2Config())
