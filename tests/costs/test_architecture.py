import pytest
import torch
from transformers import (
    AlbertConfig,
    AutoModelForSequenceClassification,
    BertConfig,
    DebertaConfig,
    DebertaV2Config,
    DistilBertConfig,
    ElectraConfig,
    GPT2Config,
    ModernBertConfig,
    MPNetConfig,
    RobertaConfig,
    XLNetConfig,
)

from featherlight.costs.architecture import architecture_of, config_of_sizes
from featherlight.errors import UserError

ALBERT_BASE = {"hidden_size": 768, "num_attention_heads": 12, "intermediate_size": 3072}
ROBERTA_BASE = {"vocab_size": 50265, "max_position_embeddings": 514, "type_vocab_size": 1}

XLNET_BASE = {"d_model": 768, "n_layer": 12, "n_head": 12, "d_inner": 3072}
RELATIVE = {"relative_attention": True, "position_biased_input": False, "pos_att_type": ["c2p", "p2c"]}
V3_BASE = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072,
           "share_att_key": True, "norm_rel_ebd": "layer_norm", "position_buckets": 256, **RELATIVE}  # fmt: skip


@pytest.mark.parametrize(
    ("config", "parameters"),
    [  # with a head of two classes, as `run_glue.py` counts them
        (BertConfig(), 109_483_778),
        (RobertaConfig(**ROBERTA_BASE), 124_647_170),
        (DistilBertConfig(), 66_955_010),
        (AlbertConfig(**ALBERT_BASE), 11_685_122),
        (XLNetConfig(**XLNET_BASE), 117_310_466),
        (DebertaConfig(**RELATIVE), 139_193_858),
        (DebertaV2Config(**V3_BASE), 184_423_682),
        (ModernBertConfig(), 149_606_402),
        (MPNetConfig(vocab_size=30527, max_position_embeddings=514), 109_488_002),
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
    assert found.count("layer", "embedding", "head") == found.count()
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


@pytest.mark.parametrize(
    ("config", "what"),
    [
        (ModernBertConfig(mlp_dropout=0.1), "'modernbert' with dropout"),
        (
            DebertaConfig(**{**RELATIVE, "pos_att_type": ["c2p"]}),
            "'deberta' with distances in one direction, or talking heads",
        ),
        (DebertaV2Config(**{**RELATIVE, "pos_att_type": None}), "'deberta-v2' with distances in one direction"),
        (XLNetConfig(use_mems_train=True), "'xlnet' with memories in training"),
    ],
)
def test_a_known_family_with_a_part_that_is_not_known_is_refused(config, what):
    with pytest.raises(UserError, match=f"{what}: .* is not known here"):
        architecture_of(config)


@pytest.mark.parametrize(
    ("config", "found"),
    [  # ten buckets in both directions; without buckets as many as there are positions
        (DebertaV2Config(**{**V3_BASE, "position_buckets": 10}), 20),
        (DebertaConfig(**RELATIVE, max_position_embeddings=30), 60),
        (DebertaConfig(**RELATIVE, max_relative_positions=7), 14),
        (DebertaV2Config(), 0),
        (BertConfig(), 0),
    ],
)
def test_distances_are_the_rows_of_their_table(config, found):
    assert architecture_of(config).distances == found


def test_of_three_layers_of_modernbert_two_look_no_further_than_a_window():
    assert (architecture_of(ModernBertConfig()).local, architecture_of(ModernBertConfig()).window) == (14, 64)
