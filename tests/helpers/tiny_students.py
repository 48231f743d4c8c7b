"""Students of every architecture and embedding with random weights, as folders."""

from pathlib import Path
from typing import Any

import torch

from featherlight.models import STUDENTS
from featherlight.models.heads import head_options
from featherlight.models.students.embeddings import HashEmbedding
from featherlight.models.students.tokenizers import HashTokenizer, cut_vocabulary, letters, train_byte_pairs, utf8_bytes
from helpers.tiny_encoders import SENTENCES, albert_tokenizer, wordpiece

LABELS = ("negative", "positive")
MAX_LENGTH = 30
CONFIGS = {config.model_type.removeprefix("featherlight-"): config for config in STUDENTS}
TOKENIZERS = {
    "wordpiece": lambda: cut_vocabulary(wordpiece("BertTokenizer", lower=True), SENTENCES, 50),
    "bpe": lambda: train_byte_pairs(SENTENCES, 90),
    "char": letters,
    "byte": utf8_bytes,
    "hash": lambda: HashTokenizer(40),
    "unigram": lambda: cut_vocabulary(albert_tokenizer(), SENTENCES, 60),  # one that the runtime does not know
}


def new_student(student: str, embedding: str = "wordpiece", *, labels: tuple[str, ...] = LABELS, **more: Any) -> Any:
    """(model, tokenizer); every dimension has another size."""
    tokenizer = TOKENIZERS[embedding]()
    tokenizer.model_max_length = MAX_LENGTH
    sizes = {} if student == "bag" else {"hidden": 7}
    kind = "hash" if embedding == "hash" else "table"
    config = CONFIGS[student](
        **{"vocab_size": len(tokenizer), "embedding": kind, "dim": 5, "classifier": 6, **sizes, **more},
        **head_options(labels),
    )
    torch.manual_seed(1)
    model = STUDENTS[type(config)](config).eval()
    assert kind == "table" or isinstance(model.embedding, HashEmbedding)
    return model, tokenizer


def save_student(folder: Path, student: str, embedding: str = "wordpiece", **more: Any) -> Path:
    """The same as a folder that `distill` might have made."""
    model, tokenizer = new_student(student, embedding, **more)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
