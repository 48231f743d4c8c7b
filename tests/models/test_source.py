import pytest
import torch
from safetensors.torch import load_file
from transformers import AlbertConfig, AutoModel, DistilBertConfig, ModernBertConfig, XLNetConfig

from featherlight.errors import UserError
from featherlight.models.load import fingerprint, load_checkpoint, load_encoder
from featherlight.models.source import minilm_folder, source_of

LABELS = ("no", "yes")


def test_a_cut_has_the_first_layers_of_the_file(tiny_encoder):
    model, _ = load_encoder(f"{tiny_encoder}:1", labels=LABELS, max_length=16)
    stored = load_file(tiny_encoder / "model.safetensors")
    assert len(model.bert.encoder.layer) == model.config.num_hidden_layers == 1
    weight = model.bert.encoder.layer[0].output.dense.weight
    assert torch.equal(weight, stored["encoder.layer.0.output.dense.weight"])


def test_a_cut_that_was_saved_loads_as_any_other_model(tiny_encoder, tmp_path):
    model, tokenizer = load_encoder(f"{tiny_encoder}:1", labels=LABELS, max_length=16)
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    again, _ = load_checkpoint(tmp_path)
    assert again.state_dict().keys() == model.state_dict().keys()


@pytest.mark.parametrize("config", [
    DistilBertConfig(vocab_size=50, dim=16, hidden_dim=32, n_heads=2, n_layers=3),
    XLNetConfig(vocab_size=50, d_model=16, n_layer=3, n_head=2, d_inner=32),
    ModernBertConfig(vocab_size=50, hidden_size=16, intermediate_size=32, num_hidden_layers=3, num_attention_heads=2,
                     pad_token_id=0, cls_token_id=1, sep_token_id=2, bos_token_id=1, eos_token_id=2),
    AlbertConfig(vocab_size=50, embedding_size=8, hidden_size=16, intermediate_size=32, num_hidden_layers=3,
                 num_attention_heads=2),
])  # fmt: skip
def test_every_family_is_cut_by_its_own_word_for_layers(config, tmp_path):
    AutoModel.from_config(config).save_pretrained(tmp_path)
    cut = AutoModel.from_config(source_of(f"{tmp_path}:2").config())
    assert cut.config.num_hidden_layers == 2
    with torch.no_grad():
        states = cut(torch.ones(1, 4, dtype=torch.long), output_hidden_states=True).hidden_states
    assert len(states) == 3  # the embeddings, and what each layer makes of them


def test_a_random_encoder_has_bert_tinys_weights_in_number():
    model, tokenizer = load_encoder("random:2x128", labels=LABELS, max_length=16)
    assert sum(weight.numel() for weight in model.bert.parameters()) == 4_385_920  # google/bert_uncased_L-2_H-128_A-2
    assert model.config.num_attention_heads == 2 and len(tokenizer) == 30522


def test_every_cut_has_an_address_of_its_own(tiny_encoder):
    names = (str(tiny_encoder), f"{tiny_encoder}:1", f"{tiny_encoder}:2", "minilm", "random:2x128", "random:4x128")
    assert len({fingerprint(name) for name in names}) == len(names)


def test_a_name_with_a_colon_that_is_a_folder_is_that_folder(tmp_path):
    (tmp_path / "model:3").mkdir()
    assert source_of(str(tmp_path / "model:3")).layers is None
    assert source_of("minilm").folder == minilm_folder()


@pytest.mark.parametrize(("name", "complaint"), [
    ("minilm:7", "minilm has only 6 layers"), ("minilm:0", "at least one layer"), ("random:2", "random:LAYERSxWIDTH"),
    ("random:0x128", "at least one layer"), ("random:2x100", "a width below 64 or a multiple"),
    ("./none:3", "no such folder"),
])  # fmt: skip
def test_what_cannot_be_made_is_refused(name, complaint):
    with pytest.raises(UserError, match=complaint):
        load_encoder(name, labels=LABELS, max_length=16)
