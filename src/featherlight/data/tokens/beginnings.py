"""Over-long texts in, beginnings out that give a model the same tokens. Knows no model."""

from collections.abc import Sequence
from typing import Any

_CHARACTERS_PER_TOKEN = 8  # twice what English needs; a text that does not fill its tokens by then is read whole
_SHORT = 1024  # characters; up to here a text costs nothing


def beginnings(tokenizer: Any, texts: Sequence[str], max_length: int) -> Sequence[str]:
    """The texts; of an over-long one only a beginning that gives more than max_length tokens by itself.

    What follows is cut off anyhow, and Hugging Face's tokenizers keep it beside the rest: a line of ten
    megabytes takes half a minute and three gigabytes, two of thirty kilobytes as a pair fifteen gigabytes.
    Of a pair whose texts both overflow, the odd token may go to the other text.
    """
    most = max(_CHARACTERS_PER_TOKEN * max_length, _SHORT)
    rows = [row for row, text in enumerate(texts) if len(text) > most]
    if not rows or tokenizer.truncation_side == "left":
        return texts
    starts = [text[:most].rpartition(" ")[0] or text[:most] for text in (texts[row] for row in rows)]
    tokens = tokenizer(starts, truncation=True, max_length=max_length + 1, add_special_tokens=False)["input_ids"]
    enough = {row: start for row, start, ids in zip(rows, starts, tokens, strict=True) if len(ids) > max_length}
    return [enough.get(row, text) for row, text in enumerate(texts)]
