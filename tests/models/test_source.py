import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AlbertConfig, AutoModel, DistilBertConfig, ModernBertConfig, XLNetConfig

from featherlight.errors import UserError
from featherlight.models.families import family_of
from featherlight.models.load import fingerprint, load_checkpoint, load_encoder
from featherlight.models.source import minilm_folder, source_of
from helpers.tiny_encoders import ENCODERS, save_encoder

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


def weights_of(layer) -> torch.Tensor:
    return torch.cat([weight.flatten() for weight in layer.parameters()])


def test_picked_layers_are_those_of_the_file_in_their_order():
    whole, _ = load_encoder("minilm", labels=LABELS, max_length=16)
    picked, tokenizer = load_encoder("minilm:1,3-4,6", labels=LABELS, max_length=16)
    assert picked.config.num_hidden_layers == 4
    for place, number in enumerate((1, 3, 4, 6)):
        own, theirs = picked.bert.encoder.layer[place], whole.bert.encoder.layer[number - 1]
        assert torch.equal(weights_of(own), weights_of(theirs))
    assert torch.equal(weights_of(picked.bert.embeddings), weights_of(whole.bert.embeddings))
    assert picked.new_weights == whole.new_weights and len(tokenizer) == 30522


@pytest.mark.parametrize("name", ENCODERS)
def test_a_picked_layer_reads_the_embeddings_as_if_the_others_were_skipped(name, tmp_path):
    folder = save_encoder(name, tmp_path / "encoder")
    models = []
    for layers in ("", ":2-2"):
        torch.manual_seed(0)  # the new head
        model, tokenizer = load_encoder(f"{folder}{layers}", labels=LABELS, max_length=16)
        models.append(model.eval())
    whole, picked = models
    family = family_of(whole.config.model_type)
    inputs = tokenizer(["good film", "bad"], padding=True, return_tensors="pt")
    if not family.shared_layers:
        second = whole.base_model.get_submodule(family.layers)[1]
        whole.base_model.set_submodule(family.layers, torch.nn.ModuleList([second]))
        if name == "modernbert":  # its first layer has no norm of its own, whichever that is
            second.attn_norm = torch.nn.Identity()
    else:
        whole.config.num_hidden_layers = 1
    with torch.no_grad():
        assert torch.allclose(picked(**inputs).logits, whole(**inputs).logits, atol=1e-6)
    picked.save_pretrained(tmp_path / "picked")
    tokenizer.save_pretrained(tmp_path / "picked")
    again, _ = load_checkpoint(tmp_path / "picked")
    with torch.no_grad():
        assert torch.equal(again(**inputs).logits, picked(**inputs).logits)


def test_the_same_layers_have_the_same_address_however_they_are_written():
    same = {fingerprint(f"minilm:{layers}") for layers in ("3", "1-3", "1,2,3", "1,2-3")}
    assert same == {fingerprint("minilm") + "[layers=3]"}
    assert fingerprint("minilm:2-4") == fingerprint("minilm:2,3,4") == fingerprint("minilm") + "[picked=2,3,4]"
    assert len({fingerprint(f"minilm:{layers}") for layers in ("3", "3-3", "1", "1,3", "2-3")}) == 5


def test_what_is_laid_aside_with_a_picked_layer_is_new_there_too(tmp_path):
    """A checkpoint without a tensor of its second layer: of layer two alone that is one of the first."""
    folder = save_encoder("bert uncased", tmp_path)
    weights = load_file(folder / "model.safetensors")
    del weights["encoder.layer.1.output.dense.bias"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    picked, _ = load_encoder(f"{folder}:2-2", labels=LABELS, max_length=16)
    assert "bert.encoder.layer.0.output.dense.bias" in picked.new_weights


def test_a_random_encoder_has_bert_tinys_weights_in_number():
    model, tokenizer = load_encoder("random:2x128", labels=LABELS, max_length=16)
    assert sum(weight.numel() for weight in model.bert.parameters()) == 4_385_920  # google/bert_uncased_L-2_H-128_A-2
    assert model.config.num_attention_heads == 2 and len(tokenizer) == 30522


def test_every_cut_has_an_address_of_its_own(tiny_encoder):
    names = (str(tiny_encoder), f"{tiny_encoder}:1", f"{tiny_encoder}:2", "minilm", "random:2x128", "random:4x128")
    assert len({fingerprint(name) for name in names}) == len(names)


def test_a_name_with_a_colon_that_is_a_folder_is_that_folder(tmp_path):
    (tmp_path / "model:3").mkdir()
    (tmp_path / "model:1,2").mkdir()
    assert source_of(str(tmp_path / "model:3")).layers is source_of(str(tmp_path / "model:1,2")).layers is None
    assert source_of(f"{tmp_path / 'model:3'}:2,4").layers == (2, 4)
    assert [source_of(name).base for name in (r"C:\models\bert", "D:3", "someone/tiny")] == [
        r"C:\models\bert", "D:3", "someone/tiny"]  # fmt: skip
    assert source_of("minilm").folder == minilm_folder()


@pytest.mark.parametrize(("name", "complaint"), [
    ("minilm:7", "it has only 6 layers"), ("minilm:0", "at least one layer"), ("random:2", "random:LAYERSxWIDTH"),
    ("random:0x128", "at least one layer"), ("random:2x100", "a width below 64 or a multiple"),
    ("./none:3", "no such folder"), ("minilm:2,7", "it has only 6 layers, and no layer 7"),
    ("minilm:0,1", "counted from 1"), ("minilm:0-2", "counted from 1"), ("minilm:2,2", "each layer once"),
    ("minilm:1-3,2", "each layer once"), ("minilm:4,1", "the lower ones first"), ("minilm:4-1", "the lower ones first"),
    ("minilm:", "write :3 for its first three"), ("minilm:1,,2", "write :3"), ("minilm:2-", "write :3"),
    ("minilm:-2", "write :3"), ("minilm:99999", "write :3"),
])  # fmt: skip
def test_what_cannot_be_made_is_refused(name, complaint):
    with pytest.raises(UserError, match=complaint):
        load_encoder(name, labels=LABELS, max_length=16)
