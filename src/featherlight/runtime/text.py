"""The students' tokenizers in plain Python: texts in, the ids that `tokenizers` would give out.

A tokenizer is built from what a .light file says of it (`Json`, see docs/light-format.md). It knows no special tokens:
a text is its pieces. Piece 0 is padding. The ids are those of `tokenizers`, but for some hundred characters of Unicode
9 and later, which Python and `tokenizers` know from different versions of its tables.
"""

import hashlib
import heapq
import itertools
import re
import string
import unicodedata
from collections.abc import Callable, Iterable, Mapping

from featherlight.errors import UserError
from featherlight.runtime.packed import Json, damaged, field

LETTERS = " abcdefghijklmnopqrstuvwxyz,.;:?!"
_WORD = re.compile(r"\w+|[^\w\s]")
HASHES = 3
MOST_BUCKETS = 2_000_000  # three of them must fit into one 64-bit number
MOST_PIECES, _LONGEST_PIECE = 2**19, 256  # of a file; more is refused before it takes memory
MOST_CHARACTERS = 2**24  # of all byte-pair pieces: each merge may double one
SHARED, FIRST, SURROGATES = 65, 32, 0x800  # how a file writes counts and ids as characters
MOST_REMEMBERED = 100_000  # words; then all are forgotten, so that endless input needs bounded memory
_CHARACTERS_PER_TOKEN, _SHORT = 8, 1024  # as in `data.tokens.beginnings`
_LONGEST_WORD = 100  # characters; WordPiece takes a longer one as unknown
_WHITE = "\t\n\r"
_GONE = -1  # a letter that was merged into the one before it
_REMOVED = ("Cc", "Cf", "Co", "Cs")
# Chinese characters, each a word of its own: BERT's ranges as `tokenizers` has them (one begins at 2b920 there).
_CHINESE = re.compile(
    "[\u4e00-\u9fff\u3400-\u4dbf\U00020000-\U0002a6df\U0002a700-\U0002b73f\U0002b740-\U0002b81f\U0002b920-\U0002ceaf"
    "\uf900-\ufaff\U0002f800-\U0002fa1f]"
)


class WordPiece:
    """Longest pieces first, word by word (BERT): words are separated by white space and signs.

    pieces: by id, `front_coded`. unknown: the id of a word that cannot be spelled. prefix: how a piece inside a word
    begins.
    """

    def __init__(self, description: Json):
        pieces = front_coded(field(description, "pieces", str))
        self.ids = {piece: row for row, piece in enumerate(pieces)}
        self.size = len(pieces)
        if len(self.ids) < self.size:
            raise damaged("a vocabulary with a duplicate piece")
        self.unknown, self.prefix = _unknown(description, self.size), field(description, "prefix", str)
        self.lower, self.accents = field(description, "lower", bool), field(description, "strip_accents", bool)
        self.chinese = field(description, "chinese", bool)
        self.longest = max(map(len, pieces))
        if len(self.prefix) > self.longest:
            raise damaged("a continuation prefix longer than all pieces")
        self.cache: dict[str, list[int]] = {}

    def __call__(self, text: str) -> list[int]:
        """The ids of a text; every stretch between spaces is tokenised once and remembered."""
        cache, row = self.cache, []
        if len(cache) > MOST_REMEMBERED:
            cache.clear()
        for stretch in text.split(" "):
            ids = cache.get(stretch)
            if ids is None:
                ids = [i for word in self.words(stretch) for i in self.pieces(word)]
                if len(stretch) <= _LONGEST_WORD:
                    cache[stretch] = ids
            row += ids
        return row

    def words(self, text: str) -> list[str]:
        """Words and punctuation signs, cleaned and lower-cased as BERT does."""
        if not (text.isascii() and text.isprintable()):
            kept = (c for c in text if c in _WHITE or (c != "\ufffd" and unicodedata.category(c) not in _REMOVED))
            text = "".join(" " if c.isspace() else c for c in kept)
        if self.chinese:
            text = _CHINESE.sub(r" \g<0> ", text)
        if self.accents:
            text = "".join(c for c in unicodedata.normalize("NFD", text) if unicodedata.category(c) != "Mn")
        if self.lower:
            text = lowered(text)
        if text.isalnum():
            return [text]
        signs = {c for c in set(text) if c in string.punctuation or unicodedata.category(c).startswith("P")}
        return "".join(f" {c} " if c in signs else c for c in text).split()

    def pieces(self, word: str) -> list[int]:
        """The ids of one word."""
        if len(word) > _LONGEST_WORD:
            return [self.unknown]
        ids, start = [], 0
        while start < len(word):
            prefix = self.prefix if start else ""
            for end in range(min(len(word), start + self.longest), start, -1):
                piece = self.ids.get(prefix + word[start:end])
                if piece is not None:
                    break
            else:
                return [self.unknown]
            ids.append(piece)
            start = end
        return ids


def front_coded(text: str) -> list[str]:
    """Pieces from the words of a text: chr(65 + characters shared with the piece before), then the other characters."""
    pieces, before = [], ""
    for word in text.split(" ", MOST_PIECES):
        shared = ord(word[0]) - SHARED if word else -1
        if not 0 <= shared <= len(before) or shared + len(word) > _LONGEST_PIECE:
            raise damaged("a vocabulary piece that cannot be decoded")
        before = before[:shared] + word[1:]
        pieces.append(before)
    return pieces


def lowered(text: str) -> str:
    """Lower case letter by letter; Python alone writes a capital sigma at a word's end in another way."""
    return text.lower() if "\u03a3" not in text else "".join(map(str.lower, text))


class BytePairs:
    """Byte-pair pieces (Sennrich et al. 2016, arXiv:1508.07909) of the text, compatibility forms and case removed.

    letters: padding, unknown and the single letters, by id. left, right: what is merged, for `ids_of`, in the
    order of rank; each merge makes the next id, unless its piece is there already. mark: what a space becomes, and what
    a text begins with.
    """

    def __init__(self, description: Json):
        pieces = [letter for letter in field(description, "letters", list) if type(letter) is str]
        ids = {piece: row for row, piece in enumerate(pieces)}
        left, right = (ids_of(field(description, side, str)) for side in ("left", "right"))
        if not len(ids) == len(description["letters"]) <= MOST_PIECES - len(left) or len(left) != len(right):
            raise damaged("byte-pair letters or merges that are not valid")
        self.ranks: dict[tuple[int, int], tuple[int, int]] = {}
        room = MOST_CHARACTERS
        for rank, pair in enumerate(zip(left, right, strict=True)):
            if not 0 <= min(pair) <= max(pair) < len(pieces):
                raise damaged("a byte-pair merge of pieces that are not in the vocabulary")
            room -= len(pieces[pair[0]]) + len(pieces[pair[1]])
            if room < 0:
                raise damaged("pieces that are too long")
            piece = pieces[pair[0]] + pieces[pair[1]]
            if piece not in ids:
                ids[piece] = len(pieces)
                pieces.append(piece)
            self.ranks[pair] = rank, ids[piece]
        self.letters = {piece: row for piece, row in ids.items() if len(piece) == 1}
        self.mark, self.size = field(description, "mark", str), len(pieces)
        if len(self.mark) != 1:
            raise damaged("a word mark that is not one character")
        self.unknown = _unknown(description, self.size)
        self.cache: dict[str, list[int]] = {}

    def __call__(self, text: str) -> list[int]:
        """The ids of a text."""
        if len(self.cache) > MOST_REMEMBERED:
            self.cache.clear()
        if not text.isascii():
            text = unicodedata.normalize("NFKC", text)
        text = lowered(text).replace(" ", self.mark)
        if not text:
            return []
        row = []
        for word in text.removeprefix(self.mark).split(self.mark):
            ids = self.cache.get(word)
            if ids is None:
                ids = self.merged([self.letters.get(c, self.unknown) for c in self.mark + word])
                if len(word) <= _LONGEST_WORD:
                    self.cache[word] = ids
            row += ids
        return row

    def merged(self, ids: list[int]) -> list[int]:
        """One word's letters, merged pair by pair: the lowest rank first, of equals the leftmost."""
        ranks, alive = self.ranks, len(ids)
        after = list(range(1, alive + 1))
        before = list(range(-1, alive - 1))
        pairs = enumerate(itertools.pairwise(ids))
        waiting = [(ranks[pair][0], place, ranks[pair][1]) for place, pair in pairs if pair in ranks]
        heapq.heapify(waiting)
        while waiting:
            rank, place, merged = heapq.heappop(waiting)
            right = after[place]
            if ids[place] == _GONE or right == alive or ranks.get((ids[place], ids[right])) != (rank, merged):
                continue  # one of the two was merged with another neighbour meanwhile
            ids[place], ids[right] = merged, _GONE
            after[place] = after[right]
            if after[place] < alive:
                before[after[place]] = place
            for left, other in ((before[place], place), (place, after[place])):
                if left >= 0 and other < alive and (ids[left], ids[other]) in ranks:
                    rank, merged = ranks[ids[left], ids[other]]
                    heapq.heappush(waiting, (rank, left, merged))
        return [i for i in ids if i != _GONE]


def ids_of(text: str) -> list[int]:
    """Ids from characters: the number of each less 32, and as if there were no surrogates."""
    return [ord(c) - FIRST - SURROGATES * (c >= "\ue000") for c in text]


def _unknown(description: Json, size: int) -> int:
    unknown: int = field(description, "unknown", int)
    if not 0 <= unknown < size:
        raise damaged("an unknown token that is not in the vocabulary")
    return unknown


class _Letters:
    """One piece per letter: a to z, ``,.;:?!`` and the space; capitals made small, everything else dropped."""

    def __init__(self, description: Json):
        self.ids = {sign: row for row, sign in enumerate(LETTERS, start=1)}
        self.size = len(LETTERS) + 1

    def __call__(self, text: str) -> list[int]:
        """The ids of a text."""
        return [self.ids[c] for c in lowered(text) if c in self.ids]


class _Bytes:
    """One piece per byte of the text's UTF-8; visible bytes of Latin-1 come first, as GPT-2's byte signs are sorted."""

    def __init__(self, description: Json):
        hidden = {*range(33), *range(127, 161), 173}
        order = sorted(range(256), key=lambda byte: (byte in hidden, byte))
        self.rows, self.size = bytes(map(order.index, range(256))), 257

    def __call__(self, text: str) -> list[int]:
        """The ids of a text."""
        return [row + 1 for row in text.encode().translate(self.rows)]


class _Hashed:
    """Words and signs, lower-cased, as three buckets each, written as one number; see `models.students.tokenizers`."""

    def __init__(self, description: Json):
        self.buckets = field(description, "buckets", int)
        if not 10 <= self.buckets <= MOST_BUCKETS:
            raise damaged("a number of buckets out of range")
        self.size = self.buckets + 1
        self.cache: dict[str, int] = {}

    def __call__(self, text: str) -> list[int]:
        """The packed buckets of a text's words."""
        if len(self.cache) > MOST_REMEMBERED:
            self.cache.clear()
        ids = []
        for word in _WORD.findall(text.lower()):
            number = self.cache.get(word)
            if number is None:
                number = packed_buckets(word, self.buckets)
                if len(word) <= _LONGEST_WORD:
                    self.cache[word] = number
            ids.append(number)
        return ids


def packed_buckets(word: str, buckets: int) -> int:
    """The three buckets of a word as one number; see `models.students.tokenizers.HashTokenizer`."""
    words = [f"{word}{place}".encode("utf-8", "surrogatepass") for place in range(HASHES)]
    digests = [int.from_bytes(hashlib.md5(salted, usedforsecurity=False).digest(), "big") for salted in words]
    return sum((1 + digest % buckets) * (buckets + 1) ** place for place, digest in enumerate(digests))


# From a text to its ids; `size`: of the vocabulary, padding included.
Tokenizer = WordPiece | BytePairs | _Letters | _Bytes | _Hashed
_TOKENIZERS: Mapping[str, Callable[[Json], Tokenizer]] = {
    "wordpiece": WordPiece,
    "bpe": BytePairs,
    "char": _Letters,
    "byte": _Bytes,
    "hash": _Hashed,
}


def tokenizer_of(description: Json) -> Tokenizer:
    """The tokenizer that a file describes; UserError if it does not describe one."""
    kind = field(description, "kind", str)
    if kind not in _TOKENIZERS:
        raise damaged("a tokenizer that this version does not know")
    return _TOKENIZERS[kind](description)


def beginning(text: str, tokenize: Tokenizer, most: int) -> list[int]:
    """The first `most` ids of a text; of an over-long one, only as much is read as gives enough of them."""
    reach = max(_CHARACTERS_PER_TOKEN * most, _SHORT)
    while len(text) > reach:
        start = text[:reach].rpartition(" ")[0]
        ids = tokenize(start or text[:reach])
        if len(ids) > most + (0 if start else _LONGEST_WORD):  # a word that was cut may be read otherwise
            return ids[:most]
        reach *= 4
    return tokenize(text)[:most]


def checked_texts(texts: Iterable[str]) -> list[str]:
    """The texts as a list; UserError for what is no list of texts."""
    if isinstance(texts, (str, bytes)) or not isinstance(texts, Iterable):
        raise UserError('give a list of texts, not one text: predict(["..."]).')
    rows = list(texts)
    for row, text in enumerate(rows):
        if not isinstance(text, str):
            raise UserError(f"text {row} is a {type(text).__name__}, not a string.")
        try:
            text.encode()
        except UnicodeEncodeError:
            raise UserError(f"text {row} holds half of a surrogate pair, which is no character. Remove it.") from None
    return rows


def checked_sides(first: Iterable[str], second: Iterable[str] | None) -> tuple[list[str], list[str] | None]:
    """The texts, and the second ones of pairs, as lists; UserError unless they are lists of texts, of one length."""
    firsts, seconds = checked_texts(first), None if second is None else checked_texts(second)
    if seconds is not None and len(firsts) != len(seconds):
        raise UserError(f"{len(firsts)} first texts and {len(seconds)} second ones: give as many of each.")
    return firsts, seconds


def check_pair(pair: bool | None, given: bool) -> None:
    """UserError if a model reads pairs and was given single texts, or the other way round. pair: None for both."""
    if pair not in (None, given):
        needs, got = ("two texts", "one") if pair else ("one text", "two")
        raise UserError(f"this model reads {needs} per example and was given {got}.")
