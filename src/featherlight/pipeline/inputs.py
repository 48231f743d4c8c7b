"""What stages work on: settings and folders in; rows, targets, models and what an address must cover out.

Below every stage, so that each kind of stage can stand in a file of its own.
"""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

from featherlight.data.registry import load_task
from featherlight.data.task import SELECT, Examples, TaskData
from featherlight.distillation.task_specific import TaskDistillation
from featherlight.errors import UserError, listed
from featherlight.files import hash_file
from featherlight.inference.open import open_predictor
from featherlight.inference.predictor import TextModel
from featherlight.kinds import LOGITS, Kind
from featherlight.measurement.footprint import needed_bytes
from featherlight.models.adapters import LORA, Method, read_adapter
from featherlight.models.device import resolve_device, resolve_precision
from featherlight.models.source import ADAPTER
from featherlight.pipeline.fit import select_rows, train_rows
from featherlight.pipeline.settings import DistillSettings, FinetuneSettings, RunSettings, TaskSettings, TrainSettings
from featherlight.training.finetune import LabelObjective, balanced_weights
from featherlight.training.loop import Objective

UNLABELLED = "unlabelled"
TASK_OPTIONS = tuple(name for name in TaskSettings.model_fields if name != "task")
TOLD_BY_SOURCES = {"task", "model", "revision", "text", "text_pair", "label", "kind"}


def task_data(settings: TaskSettings) -> TaskData:
    """The task that the settings name, loaded once per process."""
    options = tuple((name, getattr(settings, name)) for name in TASK_OPTIONS)
    return cached_task(settings.task, options)


@functools.lru_cache(maxsize=8)
def cached_task(name: str, options: tuple[tuple[str, Any], ...]) -> TaskData:
    """`load_task`; the address and the run of a stage see the same rows, read once."""
    return load_task(name, **dict(options))


def data_source(settings: TaskSettings) -> Mapping[str, str]:
    """A hash of the rows and what their columns mean: where they lie and what the task is called do not matter."""
    return {"task": task_data(settings).fingerprint}


def files_named(**paths: Path | None) -> dict[str, str]:
    """A hash of each file that is given; UserError for one that is not there."""
    for name, path in paths.items():
        if path is not None and not path.is_file():
            raise UserError(f"--{name} {path}: no such file.")
    return {name: hash_file(path) for name, path in paths.items() if path is not None}


def resolved(settings: Any, *, encoder: bool) -> dict[str, Any]:
    """What can change the result; what the sources say by content (rows, columns, weights) is left to them."""
    identity = {name: value for name, value in settings.identity().items() if name not in TOLD_BY_SOURCES}
    return {**identity, "precision": precision_of(settings, encoder=encoder)}


def precision_of(settings: RunSettings, *, encoder: bool) -> str:
    """The precision that `auto` means here."""
    return resolve_precision(settings.precision, resolve_device(settings.device), encoder=encoder)


def chooses_precision(kind: Kind, folder: Path) -> bool:
    """Whether `auto` may mean bf16 for a model in an address: for encoders in torch.

    A folder that `pack` made computes in one way, but its addresses have always been those of an encoder.
    """
    return kind is Kind.ENCODER or (kind is Kind.PACKED and not folder.is_file())


def labelled(labels: np.ndarray | None) -> np.ndarray:
    """Labels that are known to be there."""
    if labels is None:
        raise UserError("the train split has no labels.")
    return labels


def label_targets(data: TaskData, rows: Examples) -> dict[str, dict[str, np.ndarray]]:
    """The labels of the rows that are fitted, and of select."""
    return {"train": {"labels": labelled(rows.labels)}, SELECT: {"labels": labelled(select_rows(data).labels)}}


def class_weights(data: TaskData, settings: TrainSettings) -> torch.Tensor | None:
    """[C] weights from the labels of train, if they are asked for; UserError for a regression."""
    if settings.class_weights == "none":
        return None
    if data.task.is_regression:
        raise UserError("--class-weights balanced: this task is a regression and has no classes. Leave it out.")
    labels = labelled(train_rows(data, settings.examples, settings.seed).labels)
    return torch.from_numpy(balanced_weights(labels, len(data.task.labels)))


def loss_of(settings: DistillSettings) -> str:
    """The loss that `auto` means: the one that did best on select for the student (docs/design.md)."""
    if settings.loss != "auto":
        return settings.loss
    return "kl" if settings.student == "bag" and not task_data(settings).task.is_regression else "mse"


def imitation(settings: DistillSettings, data: TaskData) -> Objective:
    """What a student minimises: the labels' loss and, unless alpha is 1, its distance from the teacher."""
    weights = class_weights(data, settings)
    if settings.alpha == 1:
        return LabelObjective(weights)
    return TaskDistillation(
        alpha=settings.alpha, loss=loss_of(settings), temperature=settings.temperature, class_weights=weights
    )


def add_teacher(targets: dict[str, dict[str, np.ndarray]], labels: Path) -> None:
    """Put the stored logits beside the labels; those of texts without labels follow the ones of train."""
    stored = {split: logits.numpy() for split, logits in load_file(labels / LOGITS).items()}
    if UNLABELLED in stored:
        stored["train"] = np.concatenate([stored["train"], stored.pop(UNLABELLED)])
    for split, logits in stored.items():
        if len(logits) != len(targets[split]["labels"]):
            raise UserError(
                f"{labels}: holds logits of {len(logits)} {split} rows, not {len(targets[split]['labels'])}."
            )
        targets[split]["teacher"] = logits


def numpy_tensor(values: np.ndarray) -> Any:
    """A torch tensor over the same memory, always [N, C]."""
    return torch.from_numpy(values if values.ndim == 2 else values[:, None].copy())


def predictor_of(folder: Path, settings: RunSettings) -> TextModel:
    """A model folder as a function, computing where and how the settings say."""
    return open_predictor(
        folder, device=settings.device, precision=settings.precision, batch_tokens=settings.batch_tokens,
        compiled=settings.compile, threads=torch.get_num_threads(),
    )  # fmt: skip


def checked_predictor(folder: Path, data: TaskData, settings: RunSettings) -> TextModel:
    """A model folder as a function, after a check that it answers this task's question."""
    predictor = predictor_of(folder, settings)
    check_fits_task(folder, predictor, data)
    return predictor


def check_plain(folder: Path) -> None:
    """UserError for an encoder with an adapter beside it, which has no weights of its own to change."""
    if not (folder / ADAPTER).exists():
        return
    method = read_adapter(folder)[0].name
    if method in LORA:
        raise UserError(
            f"{folder}: holds an adapter, not a model of its own. Make one first: featherlight merge {folder}"
        )
    raise UserError(
        f"{folder}: holds {method} layers beside an encoder, which cannot be folded into it. Give a model that was "
        "trained with --method full or lora; `export --int8` and `distill` take this one as it is."
    )


def check_fits_task(folder: Path, predictor: TextModel, data: TaskData) -> None:
    """UserError unless a model answers this task's question."""
    if predictor.labels != data.task.labels:
        raise UserError(
            f"{folder} answers with {listed(predictor.labels) or 'a number'}, but the labels of task {data.task.name} "
            f"are {listed(data.task.labels) or 'numbers'}. Give a model that was trained on this task."
        )
    predictor.check_pair(data.task.is_pair)


def about_model(predictor: TextModel, folder: Path) -> dict[str, Any]:
    """Size of a model that is used as it is, and where and how it computes."""
    return {
        "parameters": predictor.parameters,
        "bytes": needed_bytes(folder, predictor.parameters),
        "precision": predictor.precision,
        "device": predictor.device,
    }


def method_of(settings: FinetuneSettings) -> Method:
    """What is trained, as `models.adapters` takes it."""
    targets = tuple(name.strip() for name in (settings.targets or "").split(",") if name.strip())
    return Method(settings.method, settings.rank, settings.lora_alpha, settings.lora_dropout, targets,
                  settings.reduction, settings.adapter_activation, settings.virtual_tokens,
                  settings.frozen_precision)  # fmt: skip
