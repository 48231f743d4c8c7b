import pytest
import torch
from transformers import PreTrainedTokenizerFast

from featherlight.compression.vocabulary import shrink_vocabulary
from featherlight.errors import UserError
from featherlight.models.load import load_checkpoint, load_encoder
from featherlight.models.students.bag import BagConfig, BagForSequenceClassification
from featherlight.models.students.tokenizers import HashTokenizer, student_tokenizer, train_byte_pairs
from helpers.tiny_encoders import ENCODERS, SENTENCES, save_encoder

TEXTS = [" ".join(sentence.split()[:4]) for sentence in SENTENCES[:4]]
OTHER = "zebra music, awful Quiz"


def logits(model, tokenizer, texts=TEXTS) -> torch.Tensor:
    with torch.inference_mode():
        return model(**tokenizer(texts, padding=True, return_tensors="pt")).logits


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    def model(name: str):
        if name in ("bpe", "char", "byte"):
            found = student_tokenizer(name, SENTENCES, 60, teacher=None)
            torch.manual_seed(0)
            return BagForSequenceClassification(BagConfig(vocab_size=len(found), dim=5, num_labels=3)).eval(), found
        folder = save_encoder(name, tmp_path_factory.mktemp("encoder"))
        found, tokenizer = load_encoder(str(folder), labels=("a", "b", "c"), max_length=40)
        return found.eval(), tokenizer

    return model


@pytest.mark.parametrize("name", [*ENCODERS, "bpe", "char"])
def test_texts_without_the_lost_pieces_keep_tokens_and_logits(name, made, tmp_path):
    model, tokenizer = made(name)
    smaller, cut = shrink_vocabulary(model, tokenizer, TEXTS, None)
    assert len(cut) < len(tokenizer) and smaller.get_input_embeddings().weight.shape[0] == len(cut)
    for text in TEXTS:
        tokens = [found.convert_ids_to_tokens(found(text).input_ids) for found in (tokenizer, cut)]
        assert tokens[0] == tokens[1]
    assert torch.allclose(logits(smaller, cut), logits(model, tokenizer), atol=1e-5)
    smaller.save_pretrained(tmp_path)
    cut.save_pretrained(tmp_path)
    again, loaded = load_checkpoint(tmp_path)
    assert torch.allclose(logits(again, loaded), logits(smaller, cut), atol=1e-6)
    assert max(loaded(OTHER).input_ids) < len(cut)


@pytest.mark.parametrize("name", ["bert uncased", "roberta", "albert", "bpe"])
def test_a_share_takes_so_many_pieces_the_rarest_first(name, made):
    model, tokenizer = made(name)
    smaller, cut = shrink_vocabulary(model, tokenizer, SENTENCES, 0.2)
    wanted = 0.8 * len(tokenizer)
    assert len(cut) == pytest.approx(wanted, abs=3)
    assert logits(smaller, cut, [OTHER]).shape == (1, 3)


def test_the_pieces_that_stay_are_those_that_occur_and_letters_to_spell_with(made):
    _, cut = shrink_vocabulary(*made("bert uncased"), ["good film", "a plot"], None)
    kept = set(cut.get_vocab())
    assert {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "film", "a", "plot"} <= kept
    assert {"g", "##g", "t", "##t"} <= kept and not {"bad", "actor", "z", "##z"} & kept


def test_a_byte_pair_brings_along_what_it_is_merged_from():
    tokenizer = train_byte_pairs(["lower lowest newer newest wider widest"] * 9, 60)
    model = BagForSequenceClassification(BagConfig(vocab_size=len(tokenizer), dim=5, num_labels=3))
    _, cut = shrink_vocabulary(model, tokenizer, ["newest"], None)
    assert cut.tokenize("newest") == tokenizer.tokenize("newest")
    assert isinstance(cut, PreTrainedTokenizerFast) and len(cut) < len(tokenizer)


@pytest.mark.parametrize(("name", "texts", "share", "said"), [
    ("byte", SENTENCES, None, "use every piece"),
    ("bert uncased", SENTENCES, 0.99, "no piece but special ones"),
])  # fmt: skip
def test_all_pieces_or_none_is_refused(name, texts, share, said, made):
    with pytest.raises(UserError, match=said):
        shrink_vocabulary(*made(name), texts, share)


def test_hashed_words_have_no_vocabulary():
    model = BagForSequenceClassification(BagConfig(vocab_size=21, embedding="hash", dim=5, num_labels=3))
    with pytest.raises(UserError, match="hashed words have no vocabulary"):
        shrink_vocabulary(model, HashTokenizer(20), TEXTS, None)
