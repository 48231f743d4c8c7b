"""Texts to token ids by way of their words: each word is tokenised once, however often it occurs.

Only for tokenizers whose words do not see each other; for those the ids are the very ids of the
tokenizer itself. After the words all is arithmetic on flat arrays. House shapes: N texts.
"""

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Self

import numpy as np
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from featherlight.data.tokens.ragged import Ragged, offsets_of, spans

_SPACE = " "  # the one separator; Python and the tokenizers do not agree on what else is white space


def is_word_by_word(tokenizer: Any) -> bool:
    """Whether the ids of "a b" are those of "a" and then those of "b", special tokens aside.

    True of BERT's normalizer (what it does to accents, case and control characters never reaches
    across a space), its pre-tokenizer (a space always separates) and WordPiece. Added tokens must
    hold no white space and be looked for in the text as it was written.
    """
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        return False
    if type(tokenizer).__call__ is not PreTrainedTokenizerBase.__call__:
        return False  # a class of its own, that came with a model, say
    if type(tokenizer)._encode_plus is not PreTrainedTokenizerFast._encode_plus:
        return False
    backend = tokenizer.backend_tokenizer
    kinds = (
        (backend.normalizer, normalizers.BertNormalizer),
        (backend.pre_tokenizer, pre_tokenizers.BertPreTokenizer),
        (backend.model, models.WordPiece),
    )
    added = backend.get_added_tokens_decoder()
    return (
        all(type(part) is kind for part, kind in kinds)
        and not any(token.normalized or token.content.split() != [token.content] for token in added.values())
        and (backend.post_processor is None or "single" in _described(backend.post_processor))
        and _without_frame(backend).get_added_tokens_decoder() == added
    )


def _described(part: Any) -> dict[str, Any]:
    """The JSON form of a part of a tokenizer; only a template of special tokens has a key "single"."""
    return dict(json.loads(part.__getstate__()))


def _without_frame(backend: Tokenizer) -> Tokenizer:
    """The same tokenizer over the same vocabulary, without special tokens around a text, cutting and padding."""
    bare = Tokenizer(backend.model)
    bare.normalizer, bare.pre_tokenizer = backend.normalizer, backend.pre_tokenizer
    added = [token for _, token in sorted(backend.get_added_tokens_decoder().items())]
    bare.add_tokens(added)  # each keeps its own flag of being special
    bare.encode_special_tokens = backend.encode_special_tokens
    return bare


class Words:
    """Token ids of texts, by a tokenizer that is word by word; remembers every word that it has seen."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast):
        self.tokenizer = tokenizer
        self.bare = _without_frame(tokenizer.backend_tokenizer)
        self.bare.encode_special_tokens = tokenizer.split_special_tokens
        self.numbers: defaultdict[str, int] = defaultdict()
        self.numbers.default_factory = self.numbers.__len__  # a new word gets the next number
        self.ids = Ragged.of([])  # of word i

    def columns(self, texts: Sequence[Sequence[str]], max_length: int) -> dict[str, Ragged]:
        """What a call of the tokenizer gives for N texts or pairs, cut to max_length tokens, except the mask."""
        frame = _Frame.of(self.tokenizer.backend_tokenizer.post_processor, pair=len(texts) == 2)
        cut_left = self.tokenizer.truncation_side == "left"
        ids, segments = frame.around([self.uncut(part) for part in texts], max_length=max_length, cut_left=cut_left)
        columns = {"input_ids": ids, "token_type_ids": segments}
        return {name: column for name, column in columns.items() if name in self.tokenizer.model_input_names}

    def uncut(self, texts: Sequence[str]) -> Ragged:
        """Token ids of N texts, at least one, without special tokens."""
        words = _SPACE.join(texts).split(_SPACE)
        numbers = np.fromiter(map(self.numbers.__getitem__, words), dtype=np.int64, count=len(words))
        new = list(islice(self.numbers, len(self.ids), None))
        encodings = self.bare.encode_batch_fast(new, add_special_tokens=False)
        self.ids = Ragged.joined([self.ids, Ragged.of([encoding.ids for encoding in encodings])])
        by_word = self.ids.take(numbers)
        counts = np.fromiter((text.count(_SPACE) + 1 for text in texts), dtype=np.int64, count=len(texts))
        return Ragged(by_word.values, by_word.offsets[offsets_of(counts)])


@dataclass(frozen=True)
class _Frame:
    """What a tokenizer puts around and between its texts.

    pieces: in their order, (0 or 1 for a text, or the ids of a special token; its segment number).
    """

    pieces: tuple[tuple[int | list[int], int], ...]

    @classmethod
    def of(cls, post_processor: Any, *, pair: bool) -> Self:
        """The frame of one text or of a pair; None frames nothing."""
        if post_processor is None:
            return cls(((0, 0), (1, 1))[: 1 + pair])
        template = _described(post_processor)
        pieces: list[tuple[int | list[int], int]] = []
        for piece in template["pair" if pair else "single"]:
            ((kind, entry),) = piece.items()
            name, segment = entry["id"], entry["type_id"]
            special = kind == "SpecialToken"
            pieces.append((template["special_tokens"][name]["ids"] if special else "AB".index(name), segment))
        return cls(tuple(pieces))

    def around(self, texts: Sequence[Ragged], *, max_length: int, cut_left: bool) -> tuple[Ragged, Ragged]:
        """One row per text or pair, at most max_length long: token ids, and the segment number of each."""
        specials = sum(len(piece) for piece, _ in self.pieces if isinstance(piece, list))
        lengths = kept_lengths([text.lengths for text in texts], max_length - specials)
        offsets = offsets_of(np.sum(lengths, axis=0) + specials)
        ids, segments = np.empty(offsets[-1], dtype=np.int64), np.empty(offsets[-1], dtype=np.int64)
        at = offsets[:-1].copy()
        for piece, segment in self.pieces:
            if isinstance(piece, list):
                for i in piece:
                    ids[at], segments[at] = i, segment
                    at += 1
            else:
                text, length = texts[piece], lengths[piece]
                places = spans(at, length)
                ids[places] = text.values[spans(text.offsets[1:] - length if cut_left else text.offsets[:-1], length)]
                segments[places] = segment
                at += length
        return Ragged(ids, offsets), Ragged(segments, offsets)


def kept_lengths(lengths: Sequence[np.ndarray], room: int) -> list[np.ndarray]:
    """How many tokens of each text stay so that all of a row's texts fit into `room`: [N] for one text or two.

    Of a pair the longer one is cut first and, where that is not enough, both to one length; the odd
    token goes to the longer one (the second if equal): the rule of Hugging Face `tokenizers`.
    """
    if len(lengths) == 1:
        return [np.minimum(lengths[0], room)]
    first, second = lengths
    short, long = np.minimum(first, second), np.maximum(first, second)
    both = 2 * short > room
    short_kept = np.where(both, room // 2, short)
    long_kept = np.minimum(long, room - short_kept)
    swapped = first > second
    return [np.where(swapped, long_kept, short_kept), np.where(swapped, short_kept, long_kept)]
