"""Settings, a task and a teacher in; a student that has not learned yet, and its tokenizer, out."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from featherlight.costs.meta_models import MetaModel
from featherlight.data.task import TaskData
from featherlight.models.heads import head_options
from featherlight.models.load import load_checkpoint
from featherlight.models.students.bag import BagConfig, BagForSequenceClassification
from featherlight.models.students.embeddings import vectors_from_file, vectors_from_teacher
from featherlight.models.students.recurrent import (
    BiLSTMConfig,
    BiLSTMForSequenceClassification,
    RNNConfig,
    RNNForSequenceClassification,
)
from featherlight.models.students.tokenizers import student_tokenizer
from featherlight.seeds import seed_torch
from featherlight.stages.distill.settings import DistillSettings
from featherlight.stages.rows import train_rows

_PIECES = 5000  # texts that the pieces of a student to come are chosen for
_HIDDEN = {"bilstm": 150, "rnn": 100}
_CLASSIFIER = {"bilstm": 200, "rnn": 100, "bag": 100}


def new_student(
    settings: DistillSettings, data: TaskData, teacher: Path, texts: Sequence[str]
) -> tuple[Any, Any, dict[str, Any]]:
    """(model, tokenizer, what the record should say about the start). texts: what the pieces are chosen for."""
    teacher_model, teacher_tokenizer = load_checkpoint(teacher)
    tokenizer = student_tokenizer(settings.embedding, texts, settings.vocabulary, teacher=teacher_tokenizer)
    tokenizer.model_max_length = settings.max_length
    seed_torch(settings.seed, "initial weights")
    model = student_body(settings, data, vocabulary=len(tokenizer))
    if settings.vectors is not None:
        vectors, known = vectors_from_file(tokenizer, settings.vectors, model.embedding.weight.detach().numpy())
        model.embedding.weight.data.copy_(torch.from_numpy(vectors))
        return model, tokenizer, {"start": {"vectors": settings.vectors.name, "known": known, "pieces": len(tokenizer)}}
    if settings.start == "teacher":
        table = teacher_model.get_input_embeddings().weight.detach().numpy()
        vectors = vectors_from_teacher(tokenizer, teacher_tokenizer, table, dim=settings.dim)
        model.embedding.weight.data.copy_(torch.from_numpy(vectors))
    return model, tokenizer, {}


def meta_model_of_student(settings: DistillSettings, data: TaskData, teacher: Any) -> MetaModel:
    """A student to come, with pieces that a sample of its texts brings. teacher: its tokenizer."""
    texts = list(train_rows(data, settings.examples, settings.seed).first[:_PIECES])
    tokenizer = student_tokenizer(settings.embedding, texts, settings.vocabulary, teacher=teacher)
    with torch.device("meta"):
        model = student_body(settings, data, vocabulary=settings.vocabulary + 1)
    return MetaModel(model, tokenizer, settings.max_length)


def student_body(settings: DistillSettings, data: TaskData, *, vocabulary: int) -> Any:
    """An untrained student; hidden units double for pairs (Tang et al. 2019). vocabulary: rows, padding included."""
    pair = data.task.is_pair
    common = {
        "vocab_size": vocabulary,
        "embedding": "hash" if settings.embedding == "hash" else "table",
        "dim": settings.dim,
        "classifier": settings.classifier or _CLASSIFIER[settings.student] * (1 + pair),
        "dropout": settings.dropout,
        "pair": pair,
        **head_options(data.task.labels),
    }
    if settings.student == "bag":
        return BagForSequenceClassification(BagConfig(**common))
    common |= {"hidden": settings.hidden or _HIDDEN[settings.student] * (1 + pair), "pooling": settings.pooling}
    if settings.student == "rnn":
        return RNNForSequenceClassification(RNNConfig(**common))
    return BiLSTMForSequenceClassification(BiLSTMConfig(**common))
