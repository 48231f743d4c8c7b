"""Encoders of every supported family with random weights and a tokenizer of the right kind, as folders.

Each has its family's own classes; every dimension has another size, and no tokenizer numbers its
special tokens alike.
"""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoModel, PreTrainedTokenizerFast

from helpers.toys import BAD, FILLERS, GOOD

MAX_LENGTH = 40
WORDS = (*GOOD, *BAD, *FILLERS)
SENTENCES = [" ".join(WORDS[i:] + WORDS[:i]) for i in range(len(WORDS))]
LETTERS = [chr(code) for code in range(ord("a"), ord("z") + 1)]
SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 28}


def wordpiece(cls: str, *, lower: bool, unused: Iterable[str] = ()) -> Any:
    """Whole words and letters; a cased one knows capitals and capitalised words too."""
    capitals = [] if lower else [*(letter.upper() for letter in LETTERS), *(word.capitalize() for word in WORDS)]
    specials = ("[PAD]", *unused, "[UNK]", "[CLS]", "[SEP]", "[MASK]")
    pieces = dict.fromkeys([*specials, *LETTERS, *(f"##{letter}" for letter in LETTERS), *WORDS, *capitals])
    return getattr(transformers, cls)(vocab={piece: i for i, piece in enumerate(pieces)}, do_lower_case=lower)


def byte_pairs(specials: list[str]) -> tuple[dict[str, int], list[tuple[str, str]], Tokenizer]:
    """Byte-level byte pairs: vocabulary, merges, and the tokenizer that was trained."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=340,
        special_tokens=specials,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    return model["vocab"], [tuple(merge) for merge in model["merges"]], tokenizer


def roberta_tokenizer() -> Any:
    """`<s> a </s></s> b </s>`, no segments."""
    vocabulary, merges, _ = byte_pairs(["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
    return transformers.RobertaTokenizer(vocab=vocabulary, merges=merges)


def deberta_tokenizer() -> Any:
    """Byte pairs in BERT's frame."""
    vocabulary, merges, _ = byte_pairs(["[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]"])
    return transformers.DebertaTokenizer(vocab=vocabulary, merges=merges)


def modernbert_tokenizer() -> Any:
    """Byte pairs whose special tokens stand at the end of the vocabulary, as the published ones do."""
    _, _, tokenizer = byte_pairs([])
    specials = ["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"]
    tokenizer.add_special_tokens(specials)
    tokenizer.normalizer = normalizers.NFC()
    cls, sep = (tokenizer.token_to_id(token) for token in ("[CLS]", "[SEP]"))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=[("[CLS]", cls), ("[SEP]", sep)]
    )
    names = dict(zip(("unk_token", "cls_token", "sep_token", "pad_token", "mask_token"), specials, strict=True))
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_input_names=["input_ids", "attention_mask"], **names
    )


def mpnet_tokenizer() -> Any:
    """BERT's pieces in RoBERTa's frame: `<s> a </s></s> b </s>`; what is unknown has a name of BERT's."""
    specials = ("<s>", "<pad>", "</s>", "[UNK]")
    pieces = dict.fromkeys([*specials, *LETTERS, *(f"##{letter}" for letter in LETTERS), *WORDS, "<mask>"])
    return transformers.MPNetTokenizer(vocab={piece: i for i, piece in enumerate(pieces)})


def unigrams(specials: list[str]) -> list[tuple[str, float]]:
    """Pieces with scores, as sentencepiece makes them."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=90, special_tokens=specials, unk_token="<unk>", show_progress=False)
    tokenizer.train_from_iterator([*SENTENCES, *LETTERS], trainer)
    return [(piece, score) for piece, score in json.loads(tokenizer.to_str())["model"]["vocab"]]


def albert_tokenizer() -> Any:
    return transformers.AlbertTokenizer(vocab=unigrams(["<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]"]))


def xlnet_tokenizer() -> Any:
    """Special tokens and padding at the other end."""
    return transformers.XLNetTokenizer(
        vocab=unigrams(["<unk>", "<s>", "</s>", "<cls>", "<sep>", "<pad>", "<mask>", "<eod>", "<eop>"])
    )


def deberta_v2_tokenizer() -> Any:
    return transformers.DebertaV2Tokenizer(vocab=unigrams(["[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]"]), unk_id=3)


def bert(tokenizer: Any, **changed: Any) -> Any:
    return transformers.BertConfig(**{**SMALL, "max_position_embeddings": MAX_LENGTH, **changed})


def relative(cls: Any, **changed: Any) -> Any:
    """DeBERTa as published: positions are relative, and for v2 and v3 nothing else."""
    return cls(
        **SMALL, relative_attention=True, pos_att_type=["p2c", "c2p"], max_position_embeddings=MAX_LENGTH,
        type_vocab_size=0, **changed,
    )  # fmt: skip


ENCODERS: dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]] = {
    "bert uncased": (lambda: wordpiece("BertTokenizer", lower=True), bert),
    "bert cased": (lambda: wordpiece("BertTokenizer", lower=False), bert),
    "scibert cased": (lambda: wordpiece("BertTokenizer", lower=False, unused=("[unused0]", "[unused1]")), bert),
    "scibert uncased": (lambda: wordpiece("BertTokenizer", lower=True, unused=("[unused0]",)), bert),
    "minilm": (lambda: wordpiece("BertTokenizer", lower=True), lambda t: bert(t, hidden_size=24, num_hidden_layers=3)),
    "distilbert": (
        lambda: wordpiece("DistilBertTokenizer", lower=True),
        lambda t: transformers.DistilBertConfig(
            dim=16, n_layers=2, n_heads=4, hidden_dim=28, max_position_embeddings=MAX_LENGTH
        ),
    ),
    "distilbert cased": (
        lambda: wordpiece("DistilBertTokenizer", lower=False),
        lambda t: transformers.DistilBertConfig(
            dim=16, n_layers=2, n_heads=4, hidden_dim=28, max_position_embeddings=MAX_LENGTH
        ),
    ),
    "roberta": (
        roberta_tokenizer,
        lambda t: transformers.RobertaConfig(**SMALL, max_position_embeddings=MAX_LENGTH + 2, type_vocab_size=1),
    ),
    "mpnet": (
        mpnet_tokenizer,
        lambda t: transformers.MPNetConfig(**SMALL, max_position_embeddings=MAX_LENGTH + 2),
    ),
    "albert": (
        albert_tokenizer,
        lambda t: transformers.AlbertConfig(**SMALL, embedding_size=12, max_position_embeddings=MAX_LENGTH),
    ),
    "xlnet": (
        xlnet_tokenizer,
        lambda t: transformers.XLNetConfig(d_model=16, n_layer=2, n_head=4, d_inner=28),
    ),
    "modernbert": (
        modernbert_tokenizer,
        lambda t: transformers.ModernBertConfig(
            **SMALL, max_position_embeddings=MAX_LENGTH, local_attention=8, global_attn_every_n_layers=2,
            bos_token_id=t.cls_token_id, eos_token_id=t.sep_token_id, cls_token_id=t.cls_token_id,
            sep_token_id=t.sep_token_id,
        ),
    ),
    "deberta": (deberta_tokenizer, lambda t: relative(transformers.DebertaConfig)),
    "deberta v2": (
        deberta_v2_tokenizer,
        lambda t: relative(
            transformers.DebertaV2Config, position_biased_input=False, share_att_key=True, position_buckets=16,
            norm_rel_ebd="layer_norm",
        ),
    ),
    "deberta v3": (
        deberta_v2_tokenizer,
        lambda t: relative(
            transformers.DebertaV2Config, position_biased_input=False, share_att_key=True, position_buckets=8,
            norm_rel_ebd="layer_norm", conv_kernel_size=0,
        ),
    ),
}  # fmt: skip


def save_encoder(name: str, folder: Path) -> Path:
    """Make the encoder of this name, without a head, and save it as a hub repository would hold it."""
    make_tokenizer, make_config = ENCODERS[name]
    tokenizer = make_tokenizer()
    tokenizer.model_max_length = MAX_LENGTH
    config = make_config(tokenizer)
    config.vocab_size, config.pad_token_id = len(tokenizer), tokenizer.pad_token_id
    config.initializer_range = 0.3  # 0.02, as published, would leave so small a model blind to its input
    torch.manual_seed(0)
    AutoModel.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
