"""Tokenizers of the students: a teacher's vocabulary cut to a task, byte pairs of it, letters, bytes, hashed words.

Texts and sizes in, a Hugging Face tokenizer out. Students see no special tokens: a text is its
pieces. Piece 0 is padding; where a piece can be unknown, that is piece 1.
"""

import functools
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from featherlight.errors import UserError, pick
from featherlight.runtime.text import LETTERS, MOST_BUCKETS, packed_buckets

PAD, UNKNOWN = "[PAD]", "[UNK]"
_INPUTS = ["input_ids", "attention_mask"]
_WORD = re.compile(r"\w+|[^\w\s]")
_MOST_COUNTED = 20_000  # letters of a text that tell which pieces are needed; no student reads further


def wrapped(tokenizer: Tokenizer, **unknown: str) -> PreTrainedTokenizerFast:
    """A Hugging Face tokenizer around a plain one whose piece 0 is padding; unknown: unk_token, where there is one.

    "[PAD]" in a text is five signs of that text (split_special_tokens).
    """
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=PAD, model_input_names=_INPUTS, split_special_tokens=True, **unknown
    )


def letters() -> PreTrainedTokenizerFast:
    """One piece per letter: a to z, ``,.;:?!`` and the space; capitals made small, everything else dropped."""
    tokenizer = Tokenizer(models.WordLevel({sign: row for row, sign in enumerate([PAD, *LETTERS])}, unk_token=PAD))
    kept = f"[^{re.escape(LETTERS)}]"
    tokenizer.normalizer = normalizers.Sequence([normalizers.Lowercase(), normalizers.Replace(Regex(kept), "")])
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    return wrapped(tokenizer)


def utf8_bytes() -> PreTrainedTokenizerFast:
    """One piece per byte of the text's UTF-8: 257 rows with padding; nothing is dropped or changed."""
    signs = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {sign: row for row, sign in enumerate([PAD, *signs])}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    return wrapped(tokenizer)


class HashTokenizer(PreTrainedTokenizer):
    """Words and signs, lower-cased, as three buckets each, written as one number: no vocabulary at all.

    buckets: K. The i-th bucket of a word is 1 + md5(word + i) mod K; the number is the sum of
    bucket_i x (K + 1)^i. 0 is padding. `models.embeddings.HashEmbedding` takes the number apart.
    """

    model_input_names = _INPUTS

    def __init__(self, buckets: int = 5000, **inherited: Any):
        self.buckets = buckets
        pad = inherited.pop("pad_token", PAD)
        inherited["split_special_tokens"] = True  # "[PAD]" in a text is three signs of that text
        super().__init__(pad_token=pad, buckets=buckets, **inherited)  # type: ignore[no-untyped-call]

    @property
    def vocab_size(self) -> int:
        """Buckets and padding."""
        return self.buckets + 1

    def __len__(self) -> int:
        return self.vocab_size

    def get_vocab(self) -> dict[str, int]:
        """Padding alone has a name."""
        return {PAD: 0}

    def _tokenize(self, text: str, **_: Any) -> list[str]:
        return _WORD.findall(text.lower())

    def _convert_token_to_id(self, token: str) -> int:
        return 0 if token == PAD else _packed_buckets(token, self.buckets)

    def _convert_id_to_token(self, index: int) -> str:
        """Padding by its name; a word cannot be told from its hashes."""
        return PAD if index == 0 else UNKNOWN

    def save_vocabulary(self, save_directory: str, filename_prefix: str | None = None) -> tuple[str, ...]:
        """There is none."""
        return ()


_packed_buckets = functools.lru_cache(maxsize=200_000)(packed_buckets)


def train_byte_pairs(texts: Sequence[str], size: int) -> PreTrainedTokenizerFast:
    """Byte-pair pieces of these texts, lower-cased (Sennrich et al. 2016, arXiv:1508.07909).

    size: most pieces in all; at most half of them are single letters. Small texts may give fewer.
    """
    tokenizer = Tokenizer(models.BPE(unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.BpeTrainer(
        vocab_size=size, limit_alphabet=size // 2, special_tokens=[PAD, UNKNOWN], show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer, length=len(texts))
    return wrapped(tokenizer, unk_token=UNKNOWN)


def cut_vocabulary(teacher: PreTrainedTokenizerBase, texts: Sequence[str], size: int) -> PreTrainedTokenizerFast:
    """The teacher's tokenizer with only the `size` pieces that these texts need most.

    Single characters of the texts stay in where there is room, so that a word whose piece is gone
    can still be spelled. Works on WordPiece, byte-pair and unigram vocabularies.
    """
    description = json.loads(teacher.backend_tokenizer.to_str())
    counts = count_pieces(teacher, texts)
    cut = pick("kind of teacher vocabulary", description["model"]["type"], _CUTTERS)
    description["model"] = cut(description["model"], counts, size)
    description["post_processor"] = None  # it would add special tokens
    description["added_tokens"] = []
    description["truncation"] = description["padding"] = None
    tokenizer = Tokenizer.from_str(json.dumps(description))
    return wrapped(tokenizer, unk_token=UNKNOWN)


def count_pieces(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> Counter[str]:
    """How often each piece stands in the texts, special tokens aside."""
    plain = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    plain.no_padding()  # a published tokenizer.json may pad or cut every text to a fixed length
    plain.no_truncation()
    counts: Counter[int] = Counter()
    for start in range(0, len(texts), 4096):
        part = [text[:_MOST_COUNTED] for text in texts[start : start + 4096]]
        for encoding in plain.encode_batch_fast(part, add_special_tokens=False):
            counts.update(encoding.ids)
    pieces = tokenizer.convert_ids_to_tokens(list(counts))
    special = set(tokenizer.all_special_tokens)
    return Counter({piece: count for piece, count in zip(pieces, counts.values(), strict=True) if piece not in special})


def _most_needed(counts: Mapping[str, int], room: int) -> list[str]:
    """The most frequent pieces; ties go by name, so that the order never depends on the machine."""
    return sorted(counts, key=lambda piece: (-counts[piece], piece))[:room]


def with_letters(counts: Counter[str], known: Iterable[str], mark: Callable[[str], str]) -> Counter[str]:
    """counts, where each known single-character piece has at least the count of the words it could spell.

    mark: a piece without its continuation mark. A letter counts as often as the rarest tenth of
    the pieces that hold it, which keeps common letters and leaves out symbols seen once.
    """
    letters: Counter[str] = Counter()
    for piece, count in counts.items():
        if len(mark(piece)) > 1:
            letters.update({letter: count for letter in set(mark(piece))})
    raised = Counter(counts)
    for piece in known:
        if len(mark(piece)) == 1 and letters[mark(piece)]:
            raised[piece] = max(raised[piece], letters[mark(piece)] // 10)
    return raised


def _cut_wordpiece(model: dict[str, Any], counts: Counter[str], size: int) -> dict[str, Any]:
    prefix = model["continuing_subword_prefix"]
    raised = with_letters(counts, model["vocab"], lambda piece: piece.removeprefix(prefix))
    pieces = [PAD, UNKNOWN, *_most_needed(raised, size - 2)]
    return {**model, "unk_token": UNKNOWN, "vocab": {piece: i for i, piece in enumerate(pieces)}}


def _cut_byte_pairs(model: dict[str, Any], counts: Counter[str], size: int) -> dict[str, Any]:
    """A byte-pair model of at most `size` pieces: a piece brings along the pieces that it is merged from."""
    merges = [tuple(merge) if isinstance(merge, list) else tuple(merge.split(" ")) for merge in model["merges"]]
    made_from = {left + right: (left, right) for left, right in reversed(merges)}
    letters: Counter[str] = Counter()
    for piece, count in counts.items():
        letters.update({letter: count for letter in set(piece) & model["vocab"].keys()})
    kept = set(_most_needed(letters, size // 2))
    for piece in _most_needed(counts, len(counts)):
        needed, waiting = set(), [piece]
        while waiting:
            part = waiting.pop()
            if part not in kept and part not in needed:
                needed.add(part)
                waiting.extend(made_from.get(part, ()))
        if len(kept) + len(needed) <= size - 2:
            kept |= needed
    pieces = [PAD, UNKNOWN, *sorted(kept, key=lambda piece: model["vocab"][piece])]
    merges = [merge for merge in merges if merge[0] in kept and merge[1] in kept and "".join(merge) in kept]
    vocabulary = {piece: i for i, piece in enumerate(pieces)}
    return {**model, "unk_token": UNKNOWN, "vocab": vocabulary, "merges": [list(merge) for merge in merges]}


def _cut_unigram(model: dict[str, Any], counts: Counter[str], size: int) -> dict[str, Any]:
    scores = dict(model["vocab"])
    raised = with_letters(counts, scores, lambda piece: piece.removeprefix("▁"))
    pieces = _most_needed(raised, size - 2)
    vocabulary = [[PAD, 0.0], [UNKNOWN, 0.0], *([piece, scores[piece]] for piece in pieces)]
    return {**model, "unk_id": 1, "vocab": vocabulary, "byte_fallback": False}


_CUTTERS = {"WordPiece": _cut_wordpiece, "BPE": _cut_byte_pairs, "Unigram": _cut_unigram}


def student_tokenizer(
    kind: str, texts: Sequence[str], size: int, *, teacher: PreTrainedTokenizerBase
) -> PreTrainedTokenizerBase:
    """A tokenizer of one of KINDS. size: pieces (byte-pair, word pieces) or buckets (hash), padding not counted."""
    if kind == "char":
        return letters()
    if kind == "byte":
        return utf8_bytes()
    if kind == "hash":
        if size > MOST_BUCKETS:
            raise UserError(f"--vocabulary {size}: a hash embedding has at most {MOST_BUCKETS:,} buckets.")
        return HashTokenizer(size)
    if kind == "bpe":
        return train_byte_pairs(texts, size + 1)
    if not teacher.is_fast:
        raise UserError("the teacher's tokenizer has no fast version to cut. Use --embedding bpe.")
    return cut_vocabulary(teacher, texts, size + 1)
