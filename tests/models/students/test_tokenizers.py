import hashlib
from collections import Counter

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from featherlight.errors import UserError
from featherlight.models.students.tokenizers import (
    HashTokenizer,
    cut_vocabulary,
    letters,
    student_tokenizer,
    train_byte_pairs,
    utf8_bytes,
)

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
    cut = cut_vocabulary(AutoTokenizer.from_pretrained(tiny_encoder), TEXTS, 40)
    for number, student in enumerate((cut, train_byte_pairs(TEXTS, 50), letters(), utf8_bytes(), HashTokenizer(70))):
        student.save_pretrained(tmp_path / str(number))
        loaded = AutoTokenizer.from_pretrained(tmp_path / str(number))
        assert len(loaded) == len(student)
        for texts in (TEXTS, ["[PAD] é\n", ""]):
            assert loaded(texts)["input_ids"] == student(texts)["input_ids"]


def test_letters_have_34_rows_with_padding_and_drop_what_they_do_not_know():
    tokenizer = letters()
    assert len(tokenizer) == 34 and tokenizer.pad_token_id == 0
    assert "".join(tokenizer.tokenize("Oh, NO: 3 Cafés!")) == "oh, no:  cafs!"
    assert 0 not in tokenizer("[PAD] #1")["input_ids"]


@pytest.mark.parametrize("text", ["Café, 7 €!\n", "[PAD]", "漢字 \x00 \U0001f600", " two  spaces "])
def test_bytes_drop_nothing(text):
    tokenizer = utf8_bytes()
    assert len(tokenizer) == 257
    ids = tokenizer(text)["input_ids"]
    assert len(ids) == len(text.encode()) and 0 not in ids
    # One id per byte, the same for the same byte: the text can be told from its ids.
    alphabet = {value: tokenizer(bytes([value]).decode())["input_ids"][0] for value in range(128)}
    assert [alphabet[value] for value in text.encode() if value < 128] == [
        number for number, value in zip(ids, text.encode(), strict=True) if value < 128
    ]


def test_a_word_is_three_md5_hashes():
    ids = HashTokenizer(5000)("Good, good")["input_ids"]
    rest, buckets = ids[0], []
    for _ in range(3):
        rest, bucket = divmod(rest, 5001)
        buckets.append(bucket)
    assert buckets == [1 + int(hashlib.md5(f"good{i}".encode()).hexdigest(), 16) % 5000 for i in range(3)]
    assert len(ids) == 3 and ids[0] == ids[2] != ids[1]


def test_hashes_are_cut_to_max_length():
    assert len(HashTokenizer(50)(["a b c d"], truncation=True, max_length=3)["input_ids"][0]) == 3


def test_the_size_counts_pieces_without_padding():
    texts = [f"{a}{b}{c}" for a in "abcdefgh" for b in "ijklmnop" for c in "qrstuvwx"]
    assert len(student_tokenizer("bpe", texts, 60, teacher=None)) == 61
    assert len(student_tokenizer("hash", texts, 60, teacher=None)) == 61


def test_more_buckets_than_fit_into_a_number_are_refused():
    with pytest.raises(UserError, match="at most 2,000,000"):
        student_tokenizer("hash", [], 2_000_001, teacher=None)


def test_a_hash_tokenizer_is_called_as_any_other():
    tokenizer = HashTokenizer(50)
    batch = tokenizer(["a b c", "[PAD]"], padding=True, truncation=True, max_length=2, return_tensors="pt")
    assert batch["input_ids"].shape == (2, 2) and batch["attention_mask"].tolist() == [[1, 1], [1, 1]]
    assert 0 not in batch["input_ids"] and tokenizer.decode([0, 7]) == "[PAD] [UNK]"
