import hashlib
import json
import random
import tarfile
import time
import unicodedata

import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from featherlight.errors import UserError
from featherlight.models.students.tokenizers import (
    PAD,
    UNKNOWN,
    HashTokenizer,
    cut_vocabulary,
    letters,
    train_byte_pairs,
    utf8_bytes,
)
from featherlight.packing.tokenizers import characters_of, front_code, tokenizer
from featherlight.runtime import text as runtime_text
from featherlight.runtime.text import beginning, checked_texts, front_coded, ids_of, tokenizer_of
from helpers.toys import sentences

MOST_UNKNOWN = 600  # of 1,112,064: characters that `tokenizers` knows from older or newer tables than Python
RECLASSIFIED = set("\u166d\u1734\u1885\u1886")  # marks and signs of 1999 that became something else after 2016
WORDS = ("Ǆungla", "naïve", "ÅNGSTRÖM", "İstanbul", "ΣΊΣΥΦΟΣ", "straße", "ﬁn", "½", "中文", "カタカナ", "한국어",
         "हिन्दी", "e\u0301\u0323", "\u0345\u0314Α", "[PAD]", "[UNK]", "##a", "▁", "a▁b", "\u00a0", "\u3000", "\u2003",
         "\u200b", "\u200d", "\ufeff", "\u00ad", "\t", "\n", "\r\n", "\x00", "\x1c", "\x85", "\ufffd", "\U0001f600",
         "\U00020000", "..", "can't", "a-b", "$5.00", "x" * 99, "x" * 101, "", "the", "film", "good")  # fmt: skip


def assigned(c):
    """Whether a character was there in Unicode 3.2, whose tables Python has as well, and is still the same."""
    return unicodedata.ucd_3_2_0.category(c) != "Cn" and c not in RECLASSIFIED


OLD = [c for c in map(chr, range(0x30000)) if not "\ud800" <= c <= "\udfff" and assigned(c)]


def word_pieces(pieces, **settings):
    """A WordPiece tokenizer of transformers over these pieces, with BERT's rules."""
    described = Tokenizer(
        models.WordPiece({piece: i for i, piece in enumerate([PAD, UNKNOWN, *pieces])}, unk_token=UNKNOWN)
    )
    described.normalizer = normalizers.BertNormalizer(**settings)
    described.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return PreTrainedTokenizerFast(
        tokenizer_object=described, pad_token=PAD, unk_token=UNKNOWN, split_special_tokens=True
    )


def packed(peer, folder):
    """What the runtime makes of a tokenizer that was saved to a folder."""
    peer.save_pretrained(folder)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    return tokenizer_of(json.loads(json.dumps(tokenizer(folder, settings))))


def odd_texts(count, seed):
    """Texts of odd words, toy sentences and single characters of old Unicode, with all kinds of gaps between."""
    draw = random.Random(seed)
    plain = [text for text, _ in sentences(50, seed)]
    for _ in range(count):
        kinds = ([draw.choice(WORDS)], [draw.choice(plain)], draw.choices(OLD, k=draw.choice((1, 3))))
        parts = ["".join(draw.choice(kinds)) for _ in range(draw.randrange(8))]
        yield draw.choice((" ", "", "  ", "\n")).join(parts)


PIECES = [*dict.fromkeys("abcdefghijklmnopqrstuvwxyz0123456789αβσςäåéöß中文カ한.,-'#[]▁½")]
PIECES += [f"##{c}" for c in PIECES] + ["the", "film", "##ood", "good", "##ilm", "x" * 50, "i̇", "ǆ", "naive", "PAD"]
PEERS = {
    "wordpiece": lambda: word_pieces(PIECES),
    "wordpiece, cased": lambda: word_pieces([*PIECES, "P", "##A", "Å", "É"], lowercase=False, strip_accents=False),
    "wordpiece, accents kept": lambda: word_pieces(PIECES, strip_accents=False, handle_chinese_chars=False),
    "bpe": lambda: train_byte_pairs([text for text, _ in sentences(300, 1)] + list(WORDS) * 5, 400),
    "char": letters,
    "byte": utf8_bytes,
    "hash": lambda: HashTokenizer(97),
}


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory):
    """Each peer, and what the runtime makes of it."""
    peers = {name: make() for name, make in PEERS.items()}
    return {name: (peer, packed(peer, tmp_path_factory.mktemp("peer"))) for name, peer in peers.items()}


@pytest.mark.parametrize("name", PEERS)
def test_odd_texts_get_the_ids_of_the_peer(tokenizers, name):
    peer, ours = tokenizers[name]
    texts = [*WORDS, *odd_texts(700, seed=3)]
    assert ours.size == len(peer)
    for text, expected in zip(texts, peer(texts)["input_ids"], strict=True):
        assert ours(text) == expected, repr(text)
        assert ours(text) == expected, "remembered otherwise"


def differing(ours, theirs):
    """Characters that two functions of a text read differently between two letters."""
    texts = ((c, f"a{c}b") for c in map(chr, range(0x110000)) if not "\ud800" <= c <= "\udfff")
    return [c for c, text in texts if ours(text) != theirs(text)]


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{}, {"lowercase": False}, {"strip_accents": False}], ids=str)
def test_every_character_is_cleaned_and_split_as_by_tokenizers(tmp_path, settings):
    peer = word_pieces("ab", **settings)
    split, normalize = peer.backend_tokenizer.pre_tokenizer, peer.backend_tokenizer.normalizer
    found = differing(
        packed(peer, tmp_path).words,
        lambda text: [word for word, _ in split.pre_tokenize_str(normalize.normalize_str(text))],
    )
    assert len(found) < MOST_UNKNOWN and not any(map(assigned, found))


@pytest.mark.slow
def test_every_character_is_folded_as_by_tokenizers():
    peer = train_byte_pairs(["ab"], 10).backend_tokenizer.normalizer
    found = differing(
        lambda text: runtime_text.lowered(unicodedata.normalize("NFKC", text)), lambda text: peer.normalize_str(text)
    )
    assert len(found) < MOST_UNKNOWN and not any(map(assigned, found))


@pytest.mark.slow
@pytest.mark.parametrize("peer", [letters(), utf8_bytes(), HashTokenizer(97)], ids=["char", "byte", "hash"])
def test_every_character_gets_the_ids_of_the_peer(tmp_path, peer):
    ours = packed(peer, tmp_path)
    for start in range(0, 0x110000, 2048):
        text = " ".join(f"a{c}b" for c in map(chr, range(start, start + 2048)) if not "\ud800" <= c <= "\udfff")
        assert ours(text) == peer(text)["input_ids"]


@pytest.fixture(scope="module")
def wikipedia(real_data):
    """Paragraphs of Wikipedia, a million characters in all."""
    texts, room = [], 1_000_000
    with tarfile.open(real_data / "corpus" / "wikipedia_en.tar.gz") as archive:
        for member in archive:
            for line in archive.extractfile(member) if member.isfile() else ():
                texts.append(json.loads(line)["text"] if line.startswith(b"{") else line.decode())
                room -= len(texts[-1])
                if room < 0:
                    return texts
    raise AssertionError("less than a million characters")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["wordpiece", "bpe", "char", "byte", "hash"])
def test_a_million_characters_of_wikipedia_get_the_ids_of_the_peer(tmp_path, wikipedia, real_data, kind):
    vocabulary = real_data / "vocab" / "bert-base-uncased" / "tokenizer.json"
    peer = {
        "wordpiece": lambda: cut_vocabulary(
            PreTrainedTokenizerFast(tokenizer_file=str(vocabulary), unk_token=UNKNOWN), wikipedia, 5001
        ),
        "bpe": lambda: train_byte_pairs(wikipedia, 5001),
        "char": letters,
        "byte": utf8_bytes,
        "hash": lambda: HashTokenizer(5000),
    }[kind]()
    ours = packed(peer, tmp_path)
    expected = peer(wikipedia, truncation=False)["input_ids"]
    found = [ours(text) for text in wikipedia]
    assert sum(map(len, found)) > 150_000 and found == expected


# --- beginnings of long texts


class Counted:
    """A tokenizer that remembers how much it was given to read."""

    def __init__(self, tokenizer):
        self.tokenizer, self.size, self.read = tokenizer, tokenizer.size, 0

    def __call__(self, text):
        self.read += len(text)
        return self.tokenizer(text)


LONG = {
    "words": "the film was good " * 50_000,
    "one word": "x" * 1_000_000,
    "a word that cannot be spelled": "q" * 1_000_000,
    "long words": ("x" * 99 + " ") * 10_000,
    "all different": " ".join(map(str, range(150_000))),
    "spaces": " " * 1_000_000,
    "signs": "." * 1_000_000,
    "chinese": "中文" * 500_000,
    "digits": "0" * 1_000_000,
    "controls": "\x00" * 1_000_000,
    "accents": "e\u0301\u0323" * 300_000,
    "a space at the start": "a " + "é" * 1_000_000,
    "cut in a word": "a," * 511 + "thefilm" * 100_000,
}


@pytest.mark.parametrize("name", PEERS)
@pytest.mark.parametrize("text", LONG)
def test_the_beginning_of_a_megabyte_is_that_of_the_whole_and_takes_no_second(tokenizers, name, text):
    _, ours = tokenizers[name]
    start = time.perf_counter()
    found = beginning(LONG[text], ours, 128)
    seconds = time.perf_counter() - start
    enough = LONG[text] if name == "hash" else LONG[text][:20_000]  # a hash is one of a whole word
    assert found == ours(enough)[:128]
    assert seconds < 2  # one on a machine with nothing else to do


def test_no_more_is_read_than_is_needed(tokenizers):
    ours = Counted(tokenizers["wordpiece"][1])
    assert len(beginning(LONG["words"], ours, 128)) == 128 and ours.read <= 1024
    ours.read = 0
    assert len(beginning(LONG["long words"], ours, 128)) == 128 and ours.read < 30_000
    ours.read = 0
    beginning(LONG["spaces"], ours, 128)
    assert ours.read < 3 * len(LONG["spaces"])


def test_words_are_remembered_without_end_in_sight_in_bounded_memory(tokenizers, monkeypatch):
    monkeypatch.setattr(runtime_text, "MOST_REMEMBERED", 50)
    for name in ("wordpiece", "bpe", "hash"):
        _, ours = tokenizers[name]
        for number in range(500):
            ours(f"word{number} {'y' * 500}{number}")
        assert len(ours.cache) <= 60 and max(map(len, ours.cache)) <= 100


# --- what a file says


def test_pieces_are_written_as_what_differs_from_the_one_before():
    assert front_coded("A[PAD] A##a Dble Eove Aof Cfice") == ["[PAD]", "##a", "##able", "##above", "of", "office"]
    assert front_code(["[PAD]", "##a", "##able", "##above", "of", "office"]) == "A[PAD] A##a Dble Eove Aof Cfice"


def test_ids_are_written_as_characters_beyond_the_surrogates_too():
    ids = [0, 1, 65, 0xD7FF - 32, 0xD800 - 32, 0xE000 - 32, 100_000]
    assert [hex(ord(c)) for c in characters_of(ids)] == [
        "0x20", "0x21", "0x61", "0xd7ff", "0xe000", "0xe800", hex(100_000 + 32 + 0x800)
    ]  # fmt: skip
    assert ids_of(characters_of(ids)) == ids


def test_a_hashed_word_is_three_buckets_in_one_number():
    digits = [1 + int(hashlib.md5(f"film{i}".encode()).hexdigest(), 16) % 50 for i in range(3)]
    assert tokenizer_of({"kind": "hash", "buckets": 50})("FILM") == [digits[0] + digits[1] * 51 + digits[2] * 51**2]


WORD_PIECE = {"kind": "wordpiece", "pieces": "A[PAD] A[UNK] Aa A##a", "unknown": 1, "prefix": "##", "lower": True,
              "strip_accents": True, "chinese": True}  # fmt: skip
PAIRS = {"kind": "bpe", "letters": [PAD, UNKNOWN, "▁", "a"], "left": characters_of([2, 4]),
         "right": characters_of([3, 3]), "unknown": 1, "mark": "▁"}  # fmt: skip


def test_the_descriptions_that_are_damaged_below_are_sound():
    assert tokenizer_of(WORD_PIECE)("aaa b") == [2, 3, 3, 1]
    assert tokenizer_of(PAIRS)("aaa a b") == [5, 3, 4, 2, 1]


@pytest.mark.parametrize(
    "change",
    [
        {"kind": None}, {"kind": "unigram"}, {"kind": ["wordpiece"]}, {"pieces": None}, {"pieces": ["a"]},
        {"pieces": ""}, {"pieces": "A[PAD]  Aa"}, {"pieces": "B[PAD]"}, {"pieces": "Aa Aa"}, {"pieces": "Aab @b"},
        {"pieces": "Aa" + "a" * 300}, {"pieces": "A" * 30 + "".join(f" {chr(65 + 9 * i)}{'a' * 9}" for i in range(60))},
        {"unknown": 4}, {"unknown": -1}, {"unknown": True}, {"unknown": 1.0}, {"unknown": "a"}, {"prefix": None},
        {"prefix": "#" * 10**6}, {"lower": 1}, {"strip_accents": None}, {"chinese": "yes"},
    ],
    ids=lambda change: str(change)[:40],
)  # fmt: skip
def test_a_word_piece_vocabulary_with_one_wrong_field_is_refused(change):
    with pytest.raises(UserError, match="damaged") as caught:
        tokenizer_of({**WORD_PIECE, **change})
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    "change",
    [
        {"letters": None}, {"letters": "ab"}, {"letters": []}, {"letters": [1, 2, 3, 4]}, {"letters": [PAD, "a", "a"]},
        {"letters": [[PAD]]}, {"left": None}, {"left": [2, 4]}, {"left": "#"}, {"left": characters_of([2, 5])},
        {"left": characters_of([2, 10**6])}, {"right": "\x00\x00"}, {"right": ""}, {"unknown": 6}, {"unknown": -1},
        {"mark": ""}, {"mark": "▁▁"}, {"mark": 3},
    ],
    ids=str,
)  # fmt: skip
def test_byte_pairs_with_one_wrong_field_are_refused(change):
    with pytest.raises(UserError, match="damaged"):
        tokenizer_of({**PAIRS, **change})


def test_pieces_that_double_with_each_merge_are_refused_before_they_fill_the_memory():
    doubling = characters_of([3, *range(4, 60)])
    with pytest.raises(UserError, match="too long"):
        tokenizer_of({**PAIRS, "left": doubling, "right": doubling})


@pytest.mark.parametrize("buckets", [None, 0, 9, -5, 2.5, True, "10", 2_000_001, 2**70])
def test_a_number_of_buckets_that_cannot_be_is_refused(buckets):
    with pytest.raises(UserError, match="damaged"):
        tokenizer_of({"kind": "hash", "buckets": buckets})


# --- texts


@pytest.mark.parametrize("texts", ["a text", b"bytes", None, 3, 2.5])
def test_what_is_no_list_of_texts_is_refused_with_what_to_give(texts):
    with pytest.raises(UserError, match="give a list of texts"):
        checked_texts(texts)


def test_a_text_that_is_no_string_is_named_by_its_row():
    for odd, kind in ((None, "NoneType"), (b"x", "bytes"), (3, "int"), (["a"], "list")):
        with pytest.raises(UserError, match=f"text 1 is a {kind}, not a string"):
            checked_texts(["fine", odd])


def test_half_of_a_surrogate_pair_is_refused_by_its_row():
    with pytest.raises(UserError, match="text 2 holds half of a surrogate pair"):
        checked_texts(["fine", "\U0001f600", "a \ud800"])


def test_anything_that_can_be_listed_is_read_once():
    assert checked_texts(text for text in "ab") == checked_texts(("a", "b")) == ["a", "b"]
