"""Train a model on a loaded task, choose on select, report on dev: what finetune and distill share.

Model, tokenizer, objective and rows in; a saved folder and the common part of a record out.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from featherlight import distributed
from featherlight.costs.estimate import CostModel, Estimate, Trained, Update, Where
from featherlight.costs.meta_models import MetaModel
from featherlight.data.task import POSITIVE_OF, SELECT, Examples, Target, TaskData
from featherlight.data.tokens.batches import Tokens
from featherlight.data.tokens.tokenise import tokenise
from featherlight.errors import UserError, listed, pick
from featherlight.inference.torch_predictor import TorchPredictor, logits_of
from featherlight.measurement.footprint import needed_bytes
from featherlight.measurement.metrics import metrics_of, predictions
from featherlight.measurement.metrics import value as metric_value
from featherlight.models.compiled import compile_in_place
from featherlight.models.device import is_encoder, model_precision, resolve_device
from featherlight.models.source import quiet_transformers
from featherlight.progress import say
from featherlight.stages.rows import (
    class_weights,
    describe_task,
    joined,
    labelled,
    select_rows,
    select_split,
    train_rows,
)
from featherlight.stages.scoring import TIMED_TEXTS, scored_and_timed
from featherlight.stages.settings import TrainSettings
from featherlight.store.layout import DRAFT
from featherlight.store.phases import Phases
from featherlight.store.stage import Work
from featherlight.training.checkpoint import Progress
from featherlight.training.finetune import label_loss
from featherlight.training.loop import RunContext, WeightHook, train
from featherlight.training.memory import MOST_BATCH_HALVINGS, batch_halvings, is_memory_out, write_batch_halvings
from featherlight.training.objective import Objective, TrainingSet
from featherlight.training.optimizers import OptimizerOptions
from featherlight.training.target_scale import TargetScale
from featherlight.training.tracking import Tracking

_MOST_TRAIN_ROWS_SCORED = 1000
_LOSS = "loss"
ALL_WEIGHTS = Trained()
FIT, REFIT = ".fit", ".refit"  # in a draft: where the trainings keep their checkpoints
_T = TypeVar("_T")


def _train_rows_scored(own: int, select: int) -> int:
    """How many rows of train a point of its curve is computed from: as sharp as that of select, and as cheap."""
    return min(own, select, _MOST_TRAIN_ROWS_SCORED)


class TaskTraining:
    """One model on its way from rows to a saved folder.

    hook: makes what prunes it meanwhile, anew for a refit. scale: of the numbers that a model which was trained before
    predicts, taken out of it already; None: what is fitted decides, and the last layer is new.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: PreTrainedTokenizerBase,
        data: TaskData,
        settings: TrainSettings,
        *,
        out: Path,
        phases: Phases,
        hook: Callable[[], WeightHook | None] = lambda: None,
        trust_remote_code: bool = False,
        scale: TargetScale | None = None,
    ):
        self.model, self.tokenizer, self.data, self.settings = model, tokenizer, data, settings
        self.out, self.phases, self.hook, self.trust_remote_code = out, phases, hook, trust_remote_code
        self.scale = scale or TargetScale()
        self.is_scaled = scale is not None
        self.device = resolve_device(settings.device)
        self.precision = model_precision(model, settings.precision, self.device)
        self.metric = _known_metric(settings.select_metric, data)
        self.trained = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
        self.watch: Callable[[Mapping[str, float], int], None] | None = None
        self.write: Callable[[Path, Any], None] | None = None  # the weights, where they are not the whole model's
        if settings.compile:
            compile_in_place(model, self.device)

    def tokens(self, examples: Examples) -> Tokens:
        """A split as this model's tokens."""
        return tokenise(self.tokenizer, examples, max_length=self.settings.max_length, apart=not is_encoder(self.model))

    def run(
        self, objective: Objective, rows: Examples, targets: Mapping[str, Mapping[str, np.ndarray]]
    ) -> dict[str, Any]:
        """Train, save and score; see `train`. A tracker, if there is one, sees losses and scores."""
        if self.settings.track is None or distributed.rank():
            return {**self.train(objective, rows, targets), **self.report()}
        tracking = Tracking(
            self.settings.track, self.out.name.removeprefix(DRAFT), self.settings.model_dump(mode="json")
        )
        self.watch = tracking.log
        record = {**self.train(objective, rows, targets), **self.report()}
        scores = {
            f"{split}_{name}": score["value"]
            for split, result in record["metrics"].items()
            for name, score in result["scores"].items()
        }
        tracking.log(scores, record["curves"]["step"][-1])
        tracking.finish()
        return record

    def train(
        self, objective: Objective, rows: Examples, targets: Mapping[str, Mapping[str, np.ndarray]]
    ) -> dict[str, Any]:
        """Train and save. rows: what is fitted. targets: split name ("train", "select") -> name -> rows."""
        settings, data = self.settings, self.data
        select = select_rows(data)
        if not self.is_scaled:
            self.scale = TargetScale.of(rows.labels)
        targets = {split: {name: self.scale.standardised(values) for name, values in named.items()}
                   for split, named in targets.items()}  # fmt: skip
        with self.phases("tokenize"):
            train_tokens, select_tokens = self.tokens(rows), self.tokens(select)
        initial = {name: tensor.clone() for name, tensor in self.model.state_dict().items()} if settings.refit else {}
        own = len(train_rows(data, settings.examples, settings.seed))  # behind them: texts without labels
        sample = np.linspace(0, own - 1, _train_rows_scored(own, len(select))).astype(int)
        scored = {"train": (train_tokens.take(sample), rows.take(sample)), "select": (select_tokens, select)}

        def evaluate(model: Any, epoch: float) -> tuple[float, dict[str, dict[str, float]]]:
            with self.phases("select"):
                points = {split: self.curve_point(model, tokens, part) for split, (tokens, part) in scored.items()}
            value = points["select"][self.metric]
            return (-value if self.metric == _LOSS else value), points

        options = _optimisation(settings)
        training = TrainingSet(train_tokens, targets["train"])
        context, hook = self.context(FIT), self.hook()
        progress = train(self.model, objective, training, evaluate, options=options, context=context, hook=hook)
        self.phases.seconds["train"] = progress.seconds
        value = -progress.best_score if self.metric == _LOSS else progress.best_score
        best = {"epoch": progress.best_epoch, "metric": self.metric, "value": value, "split": select_split(data)}
        record = {"curves": _curves(progress), "best": best, **self.conditions()}
        if settings.refit:
            record["refit"] = self.refit(objective, rows, targets, initial, progress.best_epoch)
        if distributed.rank():
            raise distributed.TookPart
        self.scale.fold(self.model)
        self.save()
        return record

    def refit(self, objective: Objective, rows: Examples, targets: Any, initial: Any, epochs: float) -> dict[str, Any]:
        """Once more from the same start, on train and select together, for the number of epochs that won."""
        self.model.load_state_dict(initial)
        both = joined(rows, self.data.splits[SELECT])
        merged = {name: np.concatenate([targets["train"][name], targets[SELECT][name]]) for name in targets["train"]}
        options = replace(_optimisation(self.settings), epochs=epochs, patience=0, evaluate_every=0)
        training, context, hook = TrainingSet(self.tokens(both), merged), self.context(REFIT), self.hook()
        progress = train(self.model, objective, training, None, options=options, context=context, hook=hook)
        self.phases.seconds["refit"] = progress.seconds
        return {"rows": len(both), "epochs": epochs, "curves": _curves(progress)}

    def context(self, name: str) -> RunContext:
        """Where one training keeps its checkpoints; its steps are in parts as small as an earlier one needed."""
        folder = self.out / name
        folder.mkdir(exist_ok=True)
        if self.batch_halvings > batch_halvings(folder):
            write_batch_halvings(folder, self.batch_halvings)
        return RunContext(self.device, self.precision, folder, self.settings.checkpoint_seconds, self.watch)

    @property
    def batch_halvings(self) -> int:
        """How often memory was out."""
        return max(batch_halvings(self.out / name) for name in (FIT, REFIT))

    def in_passes(self, compute: Callable[[int], _T]) -> _T:
        """compute(most tokens of a pass), with half as many tokens as often as memory is out."""
        while True:
            tokens = max(self.settings.batch_tokens >> self.batch_halvings, 1)
            try:
                return compute(tokens)
            except (RuntimeError, MemoryError) as error:
                if not is_memory_out(error) or self.batch_halvings >= MOST_BATCH_HALVINGS:
                    raise
            write_batch_halvings(self.out / FIT, self.batch_halvings + 1)
            say(f"out of memory: texts are scored in passes of at most {max(tokens // 2, 1):,} tokens from here on")

    def curve_point(self, model: Any, tokens: Tokens, examples: Examples) -> dict[str, float]:
        """Loss and metrics of one split, without intervals."""
        where = {"device": self.device, "precision": self.precision}
        model.to(self.device).eval()
        logits = self.in_passes(lambda most: logits_of(model, tokens, batch_tokens=most, **where))
        labels = examples.labels
        assert labels is not None
        raw = torch.from_numpy(logits if logits.ndim == 2 else logits[:, None])
        names = dict.fromkeys([*self.data.task.metrics, *([] if self.metric == _LOSS else [self.metric])])
        loss = float(label_loss(raw, torch.from_numpy(self.scale.standardised(labels))))
        predicted = predictions(self.scale.restored(logits), self.data.task.kind)
        return {_LOSS: loss, **{name: metric_value(name, labels, predicted) for name in names}}

    def conditions(self) -> dict[str, Any]:
        """What the numbers depend on beyond the settings."""
        task = describe_task(self.data, self.settings.examples)
        return {"device": self.device, "precision": self.precision, "task": task}

    def save(self) -> None:
        """Write the model folder."""
        with self.phases("save"), quiet_transformers():
            self.tokenizer.model_max_length = self.settings.max_length
            self.model.config.pair = self.data.task.is_pair  # so that `predict` knows how many texts to ask for
            if self.data.task.positive:
                self.model.config.positive = self.data.task.positive
            self.model.to("cpu")
            if self.write is None:
                self.model.save_pretrained(self.out)
            else:
                self.write(self.out, self.model)
                self.model.config.save_pretrained(self.out)
            self.tokenizer.save_pretrained(self.out)
            if self.tokenizer.is_fast:  # the same again without indentation: a third of the bytes
                backend = self.tokenizer.backend_tokenizer
                backend.enable_truncation(self.settings.max_length, direction=self.tokenizer.truncation_side)
                backend.no_padding()
                backend.save(str(self.out / "tokenizer.json"), pretty=False)

    def report(self) -> dict[str, Any]:
        """Scores on the reported splits, time per text, size: all measured on the saved folder."""
        predictor = TorchPredictor(
            self.out, device=self.device, precision=self.precision, compiled=self.settings.compile,
            trust_remote_code=self.trust_remote_code,
        )  # fmt: skip

        def measured(tokens: int) -> dict[str, Any]:
            predictor.batch_tokens = tokens
            return scored_and_timed(predictor, self.data, self.phases, out=self.out)

        return {
            **self.in_passes(measured),
            "seconds": self.phases.seconds,
            "parameters": predictor.parameters,
            "trained_parameters": self.trained,
            "bytes": needed_bytes(self.out, predictor.parameters),
            **({"batch_halvings": self.batch_halvings} if self.batch_halvings else {}),  # see training.memory
        }


def _optimisation(settings: TrainSettings) -> OptimizerOptions:
    return OptimizerOptions(**{name: getattr(settings, name) for name in OptimizerOptions.__dataclass_fields__})


def _known_metric(name: str | None, data: TaskData) -> str:
    """The score that selects: the one named, if it can score this task, or the task's first; "loss" is one too."""
    fitting = metrics_of(data.task.kind)
    known = {metric: metric for metric in fitting if metric not in POSITIVE_OF or metric in data.task.metrics}
    for metric in POSITIVE_OF.keys() & known.keys():
        known["f1"] = metric  # that of the positive class, whichever it is
    return pick("metric for this task", name or data.task.metrics[0], {**known, _LOSS: _LOSS})


def _curves(progress: Progress) -> dict[str, Any]:
    return {
        "step": progress.steps,
        "loss": progress.loss,
        "learning_rate": progress.learning_rate,
        "epochs": progress.epochs,
    }


def estimated_training(
    work: Work[Any], costs: CostModel, model: MetaModel, *, rows: int, trained: Trained = ALL_WEIGHTS
) -> Estimate:
    """What a training of these settings will take. rows: that are fitted."""
    settings: TrainSettings = work.settings
    select = len(select_rows(work.task_data))
    return costs.training(
        model,
        work.task_data,
        Where(settings.device, settings.precision),
        Update(settings.optimizer, settings.learning_rate, settings.weight_decay, settings.epsilon, settings.betas),
        trained,
        rows=rows,
        batch_size=settings.batch_size,
        batch_tokens=settings.batch_tokens,
        epochs=settings.epochs,
        refit=settings.refit,
        evaluate_every=settings.evaluate_every,
        scored=[(SELECT, select), ("train", _train_rows_scored(rows, select))],
        timed_texts=TIMED_TEXTS,
    )


def check_training(work: Work[Any]) -> None:
    """UserError for what can be known to be wrong before anything is computed."""
    settings: TrainSettings = work.settings
    rows = train_rows(work.task_data, settings.examples, settings.seed)
    task = work.task_data.task
    if task.kind is Target.CLASSES:
        fitted = np.unique(labelled(rows.labels))
        if len(fitted) < 2:
            cut = " Take more --examples." if settings.examples else " Add rows of other classes."
            raise UserError(f"{settings.task}: all {len(rows):,} rows to fit on are {task.labels[fitted[0]]!r}.{cut}")
        if settings.examples and (lost := [name for index, name in enumerate(task.labels) if index not in fitted]):
            say(f"--examples {settings.examples}: no row of {listed([repr(name) for name in lost])} is fitted on")
    class_weights(settings.class_weights, rows, task)
    _known_metric(settings.select_metric, work.task_data)
