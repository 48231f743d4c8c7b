"""The tokenizer of an exported folder as a function from texts to lists of token ids. Needs no torch.

Students are read by the runtime's tokenizers, where it knows theirs; everything else by `tokenizers` alone, from a
tokenizer.json that says how to cut and pad: a tenth of the time of a call through `transformers`.
House shapes: N texts.
"""

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from featherlight.data.tokens.beginnings import beginnings
from featherlight.errors import UserError, missing_extra
from featherlight.files import read_json
from featherlight.packing.tokenizers import tokenizer
from featherlight.runtime.text import beginning, tokenizer_of

Columns = Mapping[str, Sequence[Sequence[int]]]
TOKENIZER = "tokenizer.json"
IDS, _PAIR_IDS, _SEGMENTS = "input_ids", "pair_input_ids", "token_type_ids"


# Readers take N texts, or N pairs, and give columns of integers, a list for each text. Their `pads` fill a column up;
# `left`: whether padding goes before the text.


class RuntimeReader:
    """A student's texts by the runtime's tokenizer."""

    pads: Mapping[str, int] = {}
    left = False

    def __init__(self, description: Mapping[str, Any], max_length: int):
        self.tokenizer, self.max_length = tokenizer_of(dict(description)), max_length

    def __call__(self, first: Sequence[str], second: Sequence[str] | None) -> Columns:
        """input_ids; of a pair pair_input_ids too."""
        columns = {IDS: self.ids(first)}
        return columns if second is None else {**columns, _PAIR_IDS: self.ids(second)}

    def ids(self, texts: Sequence[str]) -> Sequence[Sequence[int]]:
        """The ids of each text, cut."""
        return [beginning(text, self.tokenizer, self.max_length) for text in texts]


class FileReader:
    """Texts by a tokenizer.json. apart: a pair is two columns (students), not one sequence."""

    def __init__(self, folder: Path, settings: Mapping[str, Any], *, apart: bool):
        try:
            from tokenizers import Tokenizer
        except ImportError:
            raise missing_extra("tokenizers", "onnx") from None
        self.tokenizer, self.apart = Tokenizer.from_file(str(folder / TOKENIZER)), apart
        padding, truncation = self.tokenizer.padding, self.tokenizer.truncation
        if padding is None or truncation is None:
            raise UserError(f"{folder / TOKENIZER}: does not say how to pad and cut. Export the model again.")
        self.tokenizer.no_padding()  # batches are padded when they are made
        self.tokenizer.encode_special_tokens = bool(settings.get("split_special_tokens"))
        self.pads: Mapping[str, int] = {
            IDS: padding["pad_id"],
            _PAIR_IDS: padding["pad_id"],
            _SEGMENTS: padding["pad_type_id"],
        }
        self.left = padding["direction"] == "left"
        self.max_length, self.uncut = truncation["max_length"], _Uncut(folder / TOKENIZER, truncation["direction"])

    def __call__(self, first: Sequence[str], second: Sequence[str] | None) -> Columns:
        """input_ids and token_type_ids; or input_ids and pair_input_ids."""
        if not self.apart:
            return self.columns(first, second)
        columns = {IDS: self.columns(first)[IDS]}
        return columns if second is None else {**columns, _PAIR_IDS: self.columns(second)[IDS]}

    def columns(self, first: Sequence[str], second: Sequence[str] | None = None) -> Columns:
        """Ids and segments of texts, or of pairs as one sequence, cut."""
        texts = beginnings(self.uncut, first, self.max_length)
        others = None if second is None else beginnings(self.uncut, second, self.max_length)
        if len(texts) == 1:  # a batch of one takes twice as long
            encodings = [self.tokenizer.encode(texts[0], None if others is None else others[0])]
        else:
            rows = texts if others is None else zip(texts, others, strict=True)
            encodings = self.tokenizer.encode_batch_fast(list(rows))
        return {IDS: [row.ids for row in encodings], _SEGMENTS: [row.type_ids for row in encodings]}


class _Uncut:
    """A tokenizer as `beginnings` asks one: ids without special tokens, cut to a length of its own."""

    def __init__(self, file: Path, truncation_side: str):
        self.file, self.truncation_side = file, truncation_side

    @functools.cached_property
    def tokenizer(self) -> Any:
        """Read when the first over-long text comes."""
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(self.file))
        tokenizer.no_padding()
        tokenizer.no_truncation()
        return tokenizer

    def __call__(self, texts: Sequence[str], *, max_length: int, **_: Any) -> Mapping[str, list[list[int]]]:
        """{"input_ids": the first ids of each text}."""
        encodings = self.tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return {IDS: [encoding.ids[:max_length] for encoding in encodings]}


def reader_of(folder: Path, *, student: bool, max_length: int) -> RuntimeReader | FileReader:
    """What reads the texts of an exported folder."""
    settings = read_json(folder / "tokenizer_config.json")
    if not student:
        return FileReader(folder, settings, apart=False)
    try:
        described = tokenizer(folder, settings)
    except UserError:  # one that the runtime could not follow to the letter, of a teacher that is no BERT
        return FileReader(folder, settings, apart=True)
    return RuntimeReader(described, max_length)
