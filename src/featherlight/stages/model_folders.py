"""Model folders that a stage works on: opened for prediction, checked, described; and the task of their training."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from featherlight.data.registry import task_names
from featherlight.data.task import TaskData
from featherlight.errors import UserError, listed
from featherlight.files import read_json
from featherlight.inference.open import open_predictor
from featherlight.inference.predictor import Predictor
from featherlight.measurement.footprint import needed_bytes
from featherlight.models.adapters import LORA, read_adapter
from featherlight.models.source import ADAPTER
from featherlight.runtime.model import load
from featherlight.stages.settings import RunSettings, TaskSettings
from featherlight.store.layout import RECORD


def predictor_of(folder: Path, settings: RunSettings) -> Predictor:
    """A model folder as a function, computing where and how the settings say."""
    return open_predictor(
        folder, device=settings.device, precision=settings.precision, batch_tokens=settings.batch_tokens,
        compiled=settings.compile, threads=torch.get_num_threads(),
    )  # fmt: skip


def checked_predictor(folder: Path, data: TaskData, settings: RunSettings) -> Predictor:
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


def check_fits_task(folder: Path, predictor: Predictor, data: TaskData) -> None:
    """UserError unless a model answers this task's question."""
    if predictor.labels != data.task.labels:
        raise UserError(
            f"{folder} answers with {listed(predictor.labels) or 'a number'}, but the labels of task {data.task.name} "
            f"are {listed(data.task.labels) or 'numbers'}. Give a model that was trained on this task."
        )
    predictor.check_pair(data.task.is_pair)


def about_model(predictor: Predictor, folder: Path) -> dict[str, Any]:
    """Size of a model that is used as it is, and where and how it computes."""
    return {
        "parameters": predictor.parameters,
        "bytes": needed_bytes(folder, predictor.parameters),
        "precision": predictor.precision,
        "device": predictor.device,
    }


def trained_task(folder: Path, values: Mapping[str, Any], *, scores: bool = False) -> dict[str, Any]:
    """The task settings of a folder's own training, for a command that names no task.

    scores: of a command that does nothing but score: another file of the user's is scored whole then.
    """
    if "task" in values and not Path(values["task"]).is_file():
        return {}
    if not folder.exists():
        raise UserError(f"{folder}: no such folder. Give one that `featherlight finetune` or `distill` made.")
    if folder.is_dir() and not any((folder / name).exists() for name in (RECORD, "config.json")):
        raise UserError(f"{folder}: no model in it. Give a folder that `featherlight finetune` or `distill` made.")
    record = read_json(folder / RECORD) if (folder / RECORD).exists() else {}
    settings = record.get("settings", {})
    if "task" in values:
        same = Path(values["task"]).resolve() == Path(settings.get("task", "")).resolve()
        return {"whole": True} if scores and not same else {}
    if folder.is_file() and (task := load(folder).packed.about.get("task")) in task_names():
        return {"task": task}
    if "task" not in settings:
        raise UserError(f"{folder}: no record.json says what it was trained on. Name the task with --task.")
    if settings["task"] not in task_names() and not Path(settings["task"]).exists():
        raise UserError(
            f"{folder}: was trained on {settings['task']!r}, which is not found from the current folder. "
            "Change to the folder where it was trained, or name the file with --task."
        )
    return {name: settings[name] for name in TaskSettings.model_fields if settings.get(name) is not None}
