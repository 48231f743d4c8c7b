import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from featherlight.data.tokens.beginnings import beginnings

LENGTH = 21  # room for as many tokens of one text of a pair as of the other
LONG = "a good film " * 150  # two much longer ones as a pair would fill the memory with what is cut off


@pytest.fixture(scope="module")
def byte_pairs():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=300, initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(["a good film", "長い文章です"], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


TEXTS = {
    "words": LONG,
    "no spaces": "長い文章です" * 400,
    "one endless word and then others": "x" * 2000 + " good film" * 50,
    "white space": " " * 2000 + "good film",
    "short": "good film",
    "empty": "",
}


@pytest.mark.parametrize("case", TEXTS)
@pytest.mark.parametrize("kind", ["wordpiece", "byte_pairs"])
@pytest.mark.parametrize("pair", [None, LONG, "bad"])
def test_a_beginning_gives_the_same_tokens_as_the_whole_text(tiny_encoder, byte_pairs, kind, case, pair):
    tokenizer = byte_pairs if kind == "byte_pairs" else AutoTokenizer.from_pretrained(tiny_encoder)
    texts = [TEXTS[case]]
    seconds = [] if pair is None else [[pair]]
    whole = tokenizer(texts, *seconds, truncation=True, max_length=LENGTH)
    cut = [beginnings(tokenizer, column, LENGTH) for column in (texts, *seconds)]
    assert dict(tokenizer(*cut, truncation=True, max_length=LENGTH)) == dict(whole)


def test_an_over_long_text_is_hardly_read_and_others_are_left_alone(byte_pairs):
    first, second = beginnings(byte_pairs, [LONG, "good"], LENGTH)
    assert len(first) <= 1024 and second == "good"


def test_a_tokenizer_that_keeps_the_end_sees_whole_texts(byte_pairs, monkeypatch):
    monkeypatch.setattr(byte_pairs, "truncation_side", "left")
    assert beginnings(byte_pairs, [LONG], LENGTH) == [LONG]
