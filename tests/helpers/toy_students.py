"""Students of a few hundred weights, drawn at random and saved as folders, for tests of what reads such folders."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from featherlight.models import (
    BagConfig,
    BagForSequenceClassification,
    BiLSTMConfig,
    BiLSTMForSequenceClassification,
    RNNConfig,
    RNNForSequenceClassification,
)
from featherlight.models.heads import head_options
from featherlight.models.students.tokenizers import PAD, UNKNOWN, HashTokenizer, letters, train_byte_pairs, utf8_bytes
from helpers.toys import BAD, FILLERS, GOOD, sentences

BODIES = {
    "bilstm": (BiLSTMConfig, BiLSTMForSequenceClassification, {"hidden": 7}),
    "rnn": (RNNConfig, RNNForSequenceClassification, {"hidden": 6}),
    "bag": (BagConfig, BagForSequenceClassification, {}),
}
LABELS = ("bad", "good", "neither")
ONE, PAIR, VALUE = TASKS = ("one text", "two texts", "a value")


def word_pieces(max_length: int = 24) -> PreTrainedTokenizerFast:
    """BERT's rules over the letters and words of the toy sentences, in no particular order."""
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    pieces = [PAD, UNKNOWN, *FILLERS, *letters, *GOOD, "##ing", *(f"##{c}" for c in letters), *BAD, "中"]
    ids = {piece: i for i, piece in enumerate(dict.fromkeys(pieces))}
    tokenizer = Tokenizer(models.WordPiece(ids, unk_token=UNKNOWN))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=PAD, unk_token=UNKNOWN, split_special_tokens=True,
        model_input_names=["input_ids", "attention_mask"],
    )  # fmt: skip


TOKENIZERS = {
    "wordpiece": word_pieces,
    "bpe": lambda: train_byte_pairs([text for text, _ in sentences(100, 2)], 90),
    "char": letters,
    "byte": utf8_bytes,
    "hash": lambda: HashTokenizer(53),
}


def tiny_student(
    folder: Path,
    body: str = "bilstm",
    kind: str = "wordpiece",
    *,
    task: str = ONE,
    max_length: int = 24,
    **more: object,
) -> Path:
    """A student's folder. kind: of its tokenizer. more: of its config."""
    tokenizer = TOKENIZERS[kind]()
    tokenizer.model_max_length = max_length
    config, model, own = BODIES[body]
    common = {"vocab_size": len(tokenizer), "dim": 5, "classifier": 9, "pair": task == PAIR}
    embedding = "hash" if kind == "hash" else "table"
    torch.manual_seed(3)
    whole = model(config(embedding=embedding, **common, **own, **more, **head_options(() if task == VALUE else LABELS)))
    with torch.no_grad():
        for tensor in whole.parameters():
            tensor *= 2  # logits of a size at which a difference would show
    whole.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
