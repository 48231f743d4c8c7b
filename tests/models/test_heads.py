import pytest
import torch
from transformers import BertConfig

from featherlight.errors import UserError
from featherlight.models.heads import CLASSES, HEADS
from featherlight.models.load import load_encoder

SMALL = {"vocab_size": 40, "hidden_size": 20, "num_hidden_layers": 1, "num_attention_heads": 5, "intermediate_size": 28}


@pytest.mark.parametrize(("labels", "outputs"), [(("a", "b", "c"), 3), (("a", "b"), 2), ((), 1)])
def test_classes_are_an_output_per_label_and_one_for_a_number(labels, outputs):
    head = HEADS[CLASSES]
    model = head.model.from_config(BertConfig(**SMALL, **head.options(labels)))
    logits = model(input_ids=torch.arange(4, 16).view(2, 6)).logits
    assert logits.shape == (2, outputs)
    assert model.config.problem_type == ("single_label_classification" if labels else "regression")


def test_a_head_that_is_not_known_is_refused(tiny_encoder):
    with pytest.raises(UserError, match=r"no head called 'clases'. Did you mean 'classes'"):
        load_encoder(str(tiny_encoder), labels=("a", "b"), max_length=16, head="clases")
