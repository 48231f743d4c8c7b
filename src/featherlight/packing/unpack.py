"""A .light file in, the folder that it was made of out: config, tokenizer, and the file itself for its weights."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerBase

from featherlight.models import STUDENTS
from featherlight.models.heads import head_options
from featherlight.models.source import quiet_transformers
from featherlight.models.students.tokenizers import HashTokenizer, letters, utf8_bytes, wrapped
from featherlight.packing.folder import BODIES
from featherlight.runtime.model import load
from featherlight.runtime.packed import LIGHT, Packed
from featherlight.runtime.text import HASHES, BytePairs, WordPiece

_Json = Mapping[str, Any]


def unpack(file: Path, folder: Path) -> None:
    """Fill a folder with what `models.load.load_checkpoint` reads; UserError for a damaged file."""
    model = load(file)
    packed, description = model.packed, model.packed.about["tokenizer"]
    tokenizer = _TOKENIZERS[description["kind"]](model.tokenizer, description)
    tokenizer.model_max_length = model.max_length
    with quiet_transformers():
        _student_config(packed).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    shutil.copy(file, folder / LIGHT)


def _student_config(packed: Packed) -> Any:
    """The config of a packed student; what its header does not say, the shapes of its tensors do."""
    architecture = packed.about["architecture"]
    shapes = {name: encoded.shape for name, encoded in packed.tensors.items()}
    sizes = {"classifier": shapes["classifier.hidden.weight"][0]}
    if architecture["embedding"] == "table":
        sizes["vocab_size"], sizes["dim"] = shapes["embedding.weight"]
    else:
        sizes["vocab_size"] = shapes["embedding.importance.weight"][0] // HASHES
        sizes["dim"] = shapes["embedding.vectors.weight"][1]
    if architecture["body"] != "mean":
        sizes |= {"hidden": shapes["body.network.weight_hh_l0"][1], "pooling": architecture["pooling"]}
    kind = next(config for config in STUDENTS if BODIES[config.model_type] == architecture["body"])
    frame = {name: architecture[name] for name in ("embedding", "pair")}
    config = kind(**sizes, **frame, **head_options(packed.about["labels"]))
    config.architectures = [STUDENTS[kind].__name__]
    return config


def _word_pieces(known: WordPiece, description: _Json) -> PreTrainedTokenizerBase:
    """As `models.students.tokenizers.cut_vocabulary` makes them of BERT's."""
    unknown = next(piece for piece, row in known.ids.items() if row == known.unknown)
    tokenizer = Tokenizer(
        models.WordPiece(known.ids, unk_token=unknown, continuing_subword_prefix=known.prefix)  # type: ignore[arg-type]
    )
    tokenizer.normalizer = normalizers.BertNormalizer(
        clean_text=True, handle_chinese_chars=known.chinese, strip_accents=known.accents, lowercase=known.lower
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return wrapped(tokenizer, unk_token=unknown)


def _byte_pairs(known: BytePairs, description: _Json) -> PreTrainedTokenizerBase:
    """As `models.students.tokenizers.train_byte_pairs` makes them; the ids of merged pieces follow from the merges."""
    pieces = dict(enumerate(description["letters"]))
    merges = []
    for (left, right), (_, merged) in known.ranks.items():
        merges.append((pieces[left], pieces[right]))
        pieces.setdefault(merged, pieces[left] + pieces[right])
    unknown = pieces[known.unknown]
    vocabulary = {piece: row for row, piece in pieces.items()}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, unk_token=unknown))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement=known.mark)
    return wrapped(tokenizer, unk_token=unknown)


_TOKENIZERS: Mapping[str, Callable[[Any, _Json], PreTrainedTokenizerBase]] = {
    "wordpiece": _word_pieces,
    "bpe": _byte_pairs,
    "char": lambda known, description: letters(),
    "byte": lambda known, description: utf8_bytes(),
    "hash": lambda known, description: HashTokenizer(description["buckets"]),
}
