"""The stages as functions: settings in as keywords, a finished result out.

They plan as the commands do, so that either finds what the other has computed. What a function takes is declared by
its stage's settings class; this module adds the models that it works on, and the store. A setting that is None counts
as not given. Nothing is printed; mistakes raise a `UserError`.
"""

import inspect
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from featherlight.config import Settings
from featherlight.errors import UserError, naming_extras
from featherlight.files import copy_atomically, read_json
from featherlight.runtime.packed import LIGHT
from featherlight.stages.distill.settings import DistillSettings
from featherlight.stages.evaluate.settings import EvaluateSettings
from featherlight.stages.finetune.settings import FinetuneSettings
from featherlight.stages.pack.settings import PackSettings
from featherlight.stages.prune.settings import PruneSettings
from featherlight.stages.quantize.settings import QuantizeSettings
from featherlight.store.layout import RECORD

_F = TypeVar("_F", bound="Callable[..., Result]")
StrPath = str | os.PathLike[str]


@dataclass(frozen=True)
class Result:
    """A finished result. It stands for its folder wherever a path is taken: `load(result)`, `prune(result, ...)`."""

    folder: Path

    def __fspath__(self) -> str:
        return str(self.folder)

    @cached_property
    def record(self) -> Mapping[str, Any]:
        """What record.json says: settings, hashes of data and weights, scores, curves, timings, machine."""
        record: Mapping[str, Any] = read_json(self.folder / RECORD)
        return record

    @property
    def scores(self) -> Mapping[str, Mapping[str, float]]:
        """{metric: {"value", "low", "high"}} on the split that the task reports; low to high: 95 % bootstrap."""
        from featherlight.store.records import reported_scores

        return reported_scores(self.record)


@naming_extras()
def run_stage(
    name: str, values: Mapping[str, Any], inputs: Mapping[str, Path], *, store: Path, where: str
) -> list[Path]:
    """The finished folders of a stage, one for each choice from the lists in values; computed only if not there yet.

    inputs: the model folders by their roles. A stage that works on a `model` has that model's own task where values
    name none. where: as in `config.build`.
    """
    from featherlight.planning.jobs import jobs_of, run_jobs
    from featherlight.stages.model_folders import trained_task
    from featherlight.stages.table import STAGES

    if "model" in inputs:
        values = {**trained_task(inputs["model"], values, scores=name == "evaluate"), **values}
    return run_jobs(jobs_of(STAGES[name], values, inputs, store=store, where=where))


def _takes(cls: type[Settings]) -> Callable[[_F], _F]:
    """Give a function the settings of this class as keywords, for `help`, editors and notebooks."""

    def decorate(function: _F) -> _F:
        signature = inspect.signature(function)
        parameters = [p for p in signature.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
        fields = dict(sorted(cls.model_fields.items(), key=lambda item: not item[1].is_required()))
        for name, field in fields.items():
            default, annotation = inspect.Parameter.empty if field.is_required() else field.default, field.annotation
            if name in ("task", "model"):  # a name or a path
                annotation = StrPath
            if name == "task" and "model" in signature.parameters:  # whose record has the task
                default, annotation = None, StrPath | None
            keyword = inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
            parameters.append(keyword)
        function.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        described = [f"        {name}: {field.description}" for name, field in fields.items()]
        function.__doc__ = "\n".join([str(function.__doc__).rstrip(), "", "    Settings:", *described, ""])
        return function

    return decorate


def _result(name: str, settings: Mapping[str, Any], inputs: Mapping[str, StrPath], store: StrPath) -> Result:
    where = f"{name}()"
    values = {key: os.fspath(value) if isinstance(value, os.PathLike) else value
              for key, value in settings.items() if value is not None}  # fmt: skip
    for key, value in values.items():
        if isinstance(value, list):
            raise UserError(f"{where}: {key} is a list, and one call makes one result. Call it once for each value.")
    folders = {role: Path(folder) for role, folder in inputs.items()}
    return Result(run_stage(name, values, folders, store=Path(store), where=where)[-1])


@_takes(FinetuneSettings)
def finetune(*, store: StrPath = "runs", **settings: Any) -> Result:
    """Fine-tune a pre-trained encoder on a task.

    In: `task`, a name or the path of a file, and `model`. Out: a Hugging Face folder in the store.

        teacher = featherlight.finetune(task="reviews.csv", model="minilm", epochs=2)
    """
    return _result("finetune", settings, {}, store)


@_takes(DistillSettings)
def distill(*, teacher: StrPath, store: StrPath = "runs", **settings: Any) -> Result:
    """Train a small model to imitate a teacher.

    In: `task`, and the folder of a model that was fine-tuned on it. Out: the student's folder.

        student = featherlight.distill(teacher=teacher, task="reviews.csv", student="bag", dim=25)
    """
    return _result("distill", settings, {"teacher": teacher}, store)


@_takes(PruneSettings)
def prune(model: StrPath, *, store: StrPath = "runs", **settings: Any) -> Result:
    """Zero weights of a model, or remove parts of it; `epochs` of recovery mend it.

    In: a model's folder. Out: a folder of the same kind; its record has the scores before and after.

        sparse = featherlight.prune(student, method="topv", sparsity=0.5, epochs=1)
    """
    return _result("prune", settings, {"model": model}, store)


@_takes(QuantizeSettings)
def quantize(model: StrPath, *, store: StrPath = "runs", **settings: Any) -> Result:
    """Store a student's weights in fewer bits; or compute an encoder in int8.

    In: a model's folder. Out: a folder with fewer bytes; its record has the scores before and after.

        small = featherlight.quantize(student, bits=4)
    """
    return _result("quantize", settings, {"model": model}, store)


@_takes(PackSettings)
def pack(model: StrPath, *, out: StrPath | None = None, store: StrPath = "runs", **settings: Any) -> Result:
    """Make one small file of a student: tokenizer and labels included, it runs without torch.

    In: a student's folder. Out: a folder that holds `model.light`. out: where a copy of that file goes.

        packed = featherlight.pack(small, out="model.light")
    """
    result = _result("pack", settings, {"model": model}, store)
    if out is not None:
        copy_atomically(result.folder / LIGHT, Path(out))
    return result


@_takes(EvaluateSettings)
def evaluate(model: StrPath, *, store: StrPath = "runs", **settings: Any) -> Result:
    """Score a model; without `task`, on the task that it was trained on.

    In: a folder or a .light file. Out: a folder with a record and the predictions.

        featherlight.evaluate("model.light", task="more-reviews.csv").scores["accuracy"]["value"]
    """
    return _result("evaluate", settings, {"model": model}, store)
