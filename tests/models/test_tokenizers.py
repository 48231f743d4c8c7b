from collections import Counter

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from featherlight.models.tokenizers import cut_vocabulary, train_byte_pairs

TEXTS = ["the film was good", "the plot was awful", "good actor", "the music is bright and lovely"] * 3


@pytest.fixture(params=["BPE", "Unigram"])
def other_teacher(request):
    tokenizer = Tokenizer(models.BPE() if request.param == "BPE" else models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = {"BPE": trainers.BpeTrainer, "Unigram": trainers.UnigramTrainer}[request.param]
    tokenizer.train_from_iterator(
        [*TEXTS, "an entirely different sentence about trains and boats"],
        trainer(vocab_size=90, special_tokens=["<pad>", "<unk>"], show_progress=False),
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>")


def test_a_cut_vocabulary_reads_frequent_words_as_the_teacher_does(tiny_encoder):
    teacher = AutoTokenizer.from_pretrained(tiny_encoder)
    student = cut_vocabulary(teacher, TEXTS, 60)
    assert len(student) <= 60
    for text in TEXTS:
        assert student.tokenize(text) == teacher.tokenize(text)


def test_the_pieces_are_the_most_frequent_ones(tiny_encoder):
    teacher = AutoTokenizer.from_pretrained(tiny_encoder)
    student = cut_vocabulary(teacher, TEXTS, 2 + 3)
    words = Counter(word for text in TEXTS for word in text.split())
    assert words.most_common(1)[0][0] == "the"
    assert {"the", "was", "good"} <= set(student.get_vocab())


def test_a_word_whose_piece_is_gone_is_spelled(tiny_encoder):
    teacher = AutoTokenizer.from_pretrained(tiny_encoder)
    student = cut_vocabulary(teacher, TEXTS, 60)
    assert "scene" in teacher.get_vocab() and "scene" not in student.get_vocab()
    assert student.tokenize("scene")[0] == "s"
    assert "[UNK]" not in student.tokenize("scene")


def test_other_kinds_of_vocabulary_are_cut_too(other_teacher):
    size = len(other_teacher) - 5
    student = cut_vocabulary(other_teacher, TEXTS, size)
    assert len(student) <= size
    for text in TEXTS:
        assert student.unk_token not in student.tokenize(text)
        assert "".join(student.tokenize(text)).replace("▁", " ").strip() == text


def test_padding_is_piece_zero_and_no_special_tokens_are_added(tiny_encoder):
    for student in (
        cut_vocabulary(AutoTokenizer.from_pretrained(tiny_encoder), TEXTS, 40),
        train_byte_pairs(TEXTS, 50),
    ):
        assert student.pad_token_id == 0 and student.unk_token_id == 1
        assert "".join(student.tokenize("the film")).replace("▁", "") == "thefilm"
        assert not set(student("the film")["input_ids"]) & {0, 1}
        assert student("")["input_ids"] == []


def test_byte_pairs_begin_with_the_most_frequent_pair():
    pieces = train_byte_pairs(["ab ab ab ac"], 2 + 4 + 2).get_vocab()
    assert set(pieces) == {"[PAD]", "[UNK]", "a", "b", "c", "▁", "▁a", "▁ab"}  # four times "▁a", then three times "▁ab"


def test_a_saved_tokenizer_reads_the_same(tiny_encoder, tmp_path):
    for number, student in enumerate((cut_vocabulary(AutoTokenizer.from_pretrained(tiny_encoder), TEXTS, 40),
                                      train_byte_pairs(TEXTS, 50))):  # fmt: skip
        student.save_pretrained(tmp_path / str(number))
        loaded = AutoTokenizer.from_pretrained(tmp_path / str(number))
        assert loaded(TEXTS)["input_ids"] == student(TEXTS)["input_ids"]
