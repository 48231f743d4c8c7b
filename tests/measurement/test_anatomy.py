import numpy as np
import pytest
from safetensors.numpy import save_file

from featherlight.errors import UserError
from featherlight.measurement.anatomy import by_part, histogram, part_of, summed, tensors_of, under


@pytest.fixture
def folder(tmp_path):
    weights = {
        "bert.embeddings.word_embeddings.weight": np.array([[0.0, 0.5], [-2.0, 0.0]], dtype="f4"),
        "bert.encoder.layer.0.attention.self.query.weight": np.full((3, 2), 0.01, dtype="f4"),
        "bert.encoder.layer.0.output.dense.weight": np.zeros((2, 5), dtype="f4"),
        "bert.encoder.layer.0.output.LayerNorm.weight": np.ones(2, dtype="f4"),
        "classifier.weight": np.ones((2, 2), dtype="f4"),
        "bert.embeddings.position_ids": np.arange(48, dtype="i8"),  # no weight
    }
    save_file(weights, tmp_path / "model.safetensors")
    return tmp_path


def test_parts_are_counted_by_hand(folder):
    tensors = tensors_of(folder, None)
    parts = by_part(tensors)
    assert list(parts) == ["feed-forward", "attention", "embedding", "head", "norms and other"]
    assert parts["embedding"] == {"parameters": 4, "bytes": 16, "packed_bytes": None, "zeros": 0.5}
    assert parts["feed-forward"]["zeros"] == 1.0
    assert summed(tensors)["parameters"] == 4 + 6 + 10 + 2 + 4
    assert summed(tensors)["zeros"] == pytest.approx(12 / 26)


def test_the_share_under_a_threshold_counts_those_on_it(folder):
    assert under(tensors_of(folder, None), [0.0, 0.01, 0.5, 2.0]) == pytest.approx(
        {0.0: 12 / 26, 0.01: 18 / 26, 0.5: 19 / 26, 2.0: 1.0}
    )


def test_the_histogram_counts_every_weight_once(folder):
    found = histogram(tensors_of(folder, None))
    assert sum(found["counts"]) == 26 and len(found["edges"]) == len(found["counts"]) + 1


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("embedding.importance.weight", "embedding"),
        ("body.network.bias_hh_l0_reverse", "recurrent"),
        ("classifier.hidden.weight", "linear"),
        ("distilbert.transformer.layer.1.attention.q_lin.weight", "attention"),
        ("distilbert.transformer.layer.1.ffn.lin1.weight", "feed-forward"),
        ("roberta.encoder.layer.3.intermediate.dense.bias", "feed-forward"),
        ("roberta.encoder.layer.3.attention.output.dense.bias", "attention"),
        ("albert.encoder.albert_layer_groups.0.albert_layers.0.ffn_output.weight", "feed-forward"),
        ("model.layers.0.mlp.Wi.weight", "feed-forward"),
        ("transformer.layer.0.rel_attn.q", "attention"),
        ("bert.pooler.dense.weight", "head"),
        ("mpnet.encoder.layer.0.attention.attn.q.weight", "attention"),
        ("mpnet.encoder.layer.0.output.dense.weight", "feed-forward"),
        ("mpnet.encoder.relative_attention_bias.weight", "attention"),
        ("classifier.out_proj.weight", "head"),
    ],
)
def test_a_tensor_belongs_where_its_name_says(name, part):
    assert part_of(name) == part


def test_a_folder_without_weights_is_refused(tmp_path):
    with pytest.raises(UserError, match="no model"):
        tensors_of(tmp_path, None)
