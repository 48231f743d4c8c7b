"""A split's texts in, its tokens out: tokenised once, into flat arrays. Knows no model."""

from collections.abc import Sequence
from typing import Any

from featherlight.data.task import Examples
from featherlight.data.tokens.batches import Tokens
from featherlight.data.tokens.beginnings import beginnings
from featherlight.data.tokens.ragged import Ragged
from featherlight.data.tokens.words import Words, is_word_by_word

_AT_ONCE = 4096  # texts that are read in one go; bounds memory
FEW = 64  # texts for which remembering their words is not worth the preparation
_EMPTY = {"input_ids": Ragged.of([])}


def tokenise(tokenizer: Any, examples: Examples, *, max_length: int, apart: bool) -> Tokens:
    """Run a Hugging Face tokenizer over a split, once.

    apart: the two texts of a pair become two columns (students), else one joined sequence
    (encoders). max_length: most tokens per row and column, special tokens included.
    """
    if apart:
        columns = {"input_ids": ids(tokenizer, examples.first, None, max_length)["input_ids"]}
        if examples.second is not None:
            columns["pair_input_ids"] = ids(tokenizer, examples.second, None, max_length)["input_ids"]
    else:
        columns = ids(tokenizer, examples.first, examples.second, max_length)
    pad, pad_type = tokenizer.pad_token_id, int(getattr(tokenizer, "pad_token_type_id", 0))  # XLNet's type is its own
    pads = {name: pad if name.endswith("input_ids") else pad_type for name in columns}
    return Tokens(columns, pads, left=tokenizer.padding_side == "left")


def ids(tokenizer: Any, first: Sequence[str], second: Sequence[str] | None, max_length: int) -> dict[str, Ragged]:
    """Every column of integers that the tokenizer makes for its model, except the mask."""
    first = beginnings(tokenizer, first, max_length)
    second = None if second is None else beginnings(tokenizer, second, max_length)
    by_words = len(first) > FEW and is_word_by_word(tokenizer)
    by_words = by_words and max_length >= tokenizer.num_special_tokens_to_add(pair=second is not None)
    words = Words(tokenizer) if by_words else None
    parts = []
    for start in range(0, len(first), _AT_ONCE):
        texts = [list(column[start : start + _AT_ONCE]) for column in (first, second) if column is not None]
        if words:
            parts.append(words.columns(texts, max_length))
        else:
            encoded = tokenizer(*texts, truncation=True, max_length=max_length, return_attention_mask=False)
            parts.append({name: Ragged.of(rows) for name, rows in encoded.items()})
    return {name: Ragged.joined([part[name] for part in parts]) for name in parts[0]} if parts else _EMPTY
