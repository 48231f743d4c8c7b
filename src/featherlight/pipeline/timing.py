"""The stage `time`: a model at one batch size and length in; raw samples of its seconds out.

Outside the timed region, and each timed by itself: loading, tokenization, evaluation, checkpoints. Batches are full;
the last, smaller one is left out. A cell is measured in visits, one sample each, so that those of many cells can take
turns (`interleave`): what slows the machine for a while then slows all of them. Samples stand in the draft as they
come.
"""

import functools
import itertools
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from featherlight.data.task import TaskData
from featherlight.data.tokens.batches import Tokens, shuffled_batches
from featherlight.data.tokens.tokenise import tokenise
from featherlight.errors import UserError
from featherlight.files import read_json, write_json
from featherlight.kinds import Kind, Kinds
from featherlight.measurement.energy import Meter, meter_for
from featherlight.measurement.environment import processor
from featherlight.measurement.latency import Sample, spread, summary, visit
from featherlight.models.device import model_precision, resolve_device, wait_for
from featherlight.models.load import check_length, fingerprint, load_encoder
from featherlight.pipeline.engines import KEPT, SHAPED, STUDENTS, engine_of, model_folder
from featherlight.pipeline.fit import describe_task, train_rows
from featherlight.pipeline.inputs import data_source, labelled, task_data
from featherlight.pipeline.time_settings import TimeSettings
from featherlight.progress import say
from featherlight.seeds import numpy_generator, seed_torch
from featherlight.store.address import address_of
from featherlight.store.phases import Phases
from featherlight.store.stage import Inputs, Stage
from featherlight.training.loop import TrainingSet
from featherlight.training.stepper import Trainee, in_training

SAMPLES, ABOUT = ".samples.jsonl", ".about.json"  # in the draft
HALVED = "batch_halvings"  # how often the batches of a training were cut in half because memory was out
BATCHES, TEXTS = 8, 256  # that a sample runs over, at most and about, where they are of unequal length
VISITS, EPOCHS = 20, 3  # samples, if nobody says how many
LEAST, FEWEST = 0.02, 5  # seconds of a visit; samples, whatever time they take
SLOW, FEWEST_SLOW = 5.0, 3  # seconds of a call from which so many samples are enough
NOISY, ALONE = 0.10, 0.90  # a middle half wider than this, or less of the time computing than this, is noise
WARM, PHASED = 3, 8  # steps of training before the clock runs; and then, in parts
LONG = 1.0  # seconds of a call that leaves nothing to warm up


@dataclass
class Cell:
    """One settled measurement. call: runs once over the timed work. about: for the record; "calls": batches in one."""

    settings: TimeSettings
    call: Callable[[], object]
    wait: Callable[[], object]
    about: dict[str, Any]
    meter: Meter
    samples: list[Sample] = field(default_factory=list)

    def visit(self) -> Sample:
        """One sample, in seconds a batch or an epoch."""
        torch.set_num_threads(self.settings.threads)  # another cell may have had the last turn
        calls, training = self.about["calls"], self.settings.what == "finetune"
        found = None
        if training or not self.samples or self.samples[-1].seconds * calls > LONG:  # nothing to warm up, or perhaps
            found = visit(self.call, least=0.0, wait=self.wait, warm=0, meter=self.meter)
        if found is None or not (training or found.seconds > LONG):
            found = visit(self.call, least=LEAST, wait=self.wait, meter=self.meter)
        return Sample(found.seconds / calls, found.share, None if found.joules is None else found.joules / calls)

    @property
    def done(self) -> bool:
        """Whether no more samples are wanted."""
        return enough(self.settings, self.samples, self.about)


def enough(settings: TimeSettings, samples: Sequence[Sample], about: Mapping[str, Any]) -> bool:
    """Whether these samples are as many as were asked for, or as their time allows."""
    if settings.what == "finetune":
        return len(samples) >= (settings.repeats or EPOCHS)
    taken = sum(sample.seconds for sample in samples) * about["calls"]
    return len(samples) >= (again(settings, samples, about) if taken > settings.seconds else settings.repeats or VISITS)


def again(settings: TimeSettings, samples: Sequence[Sample], about: Mapping[str, Any]) -> int:
    """The fewest samples of a cell like this one: all that a second measurement takes."""
    if settings.what == "finetune":
        return settings.repeats or EPOCHS
    slow = sum(sample.seconds for sample in samples) * about["calls"] > SLOW * len(samples)
    return min(settings.repeats or VISITS, FEWEST_SLOW if slow else FEWEST)


def is_noisy(samples: Sequence[Sample]) -> bool:
    """Whether the samples scatter, or another program had the core for part of the time."""
    values = [sample.seconds for sample in samples]
    return spread(values) > NOISY or float(np.median([sample.share for sample in samples])) < ALONE


def new_cell(settings: TimeSettings) -> Cell:
    """Load, tokenise and warm up."""
    device = resolve_device(settings.device)
    if settings.runtime in (*SHAPED, "light"):
        device = "cpu"
    torch.set_num_threads(settings.threads)
    make = training_cell if settings.what == "finetune" else inference_cell
    return make(settings, task_data(settings), device)


def inference_cell(settings: TimeSettings, data: TaskData, device: str) -> Cell:
    """Batches of texts to logits; all of one shape with pad max, so that one is enough."""
    phases = Phases()
    with phases("load"):
        engine = engine_of(model_folder(settings), settings.model, settings.runtime, settings.threads, device)
    rows = train_rows(data, settings.examples, settings.seed)
    unequal = min(max(TEXTS // settings.batch, 2), BATCHES)
    count = min(1 if settings.pad == "max" else unequal, len(rows) // settings.batch)
    if not count:
        raise UserError(f"--batch {settings.batch}: task {data.task.name} has only {len(rows)} rows to fill it with.")
    chosen = rows.take(np.linspace(0, len(rows) - 1, count * settings.batch).astype(int))
    with phases("tokenize"):
        batches = engine.batches(chosen, settings)
    about = {"seconds": phases.seconds, "device": device, "bytes": engine.size, "parameters": engine.parameters,
             "calls": count}  # fmt: skip

    def call() -> None:
        for batch in batches:
            engine.run(batch)

    return new_cell_of(settings, call, device, about)


def training_cell(settings: TimeSettings, data: TaskData, device: str) -> Cell:
    """Epochs of fine-tuning over full batches, one after the other: time does not depend on what is learned."""
    if settings.model in STUDENTS:
        raise UserError(f"{settings.model}: an untrained student is not fine-tuned. Time its inference, or distil it.")
    phases = Phases()
    same = (settings.learning_rate, settings.weight_decay, settings.epsilon, settings.seed)
    trainee, tokenizer, load_seconds = trainee_of(
        settings.model, data.task.labels, settings.runtime, device, settings.threads, *same
    )
    check_length(trainee.run.bare_model.config, settings.length, option="length")
    rows = train_rows(data, settings.examples, settings.seed)
    steps = len(rows) // settings.batch
    if not steps:
        raise UserError(f"--batch {settings.batch}: task {data.task.name} has only {len(rows)} rows to fill it with.")
    with phases("tokenize"):
        tokens = tokenise(tokenizer, rows, max_length=settings.length, apart=False)
        if settings.pad == "max":
            tokens = Tokens(tokens.columns, tokens.pads, tokens.left, settings.length)
    training = TrainingSet(tokens, {"labels": labelled(rows.labels)})
    epochs = itertools.count()
    about: dict[str, Any] = {"seconds": {"load": load_seconds, **phases.seconds}, "device": device, "steps": steps,
                             "parameters": trainee.parameters, "calls": 1}  # fmt: skip

    def call(most: int | None = None) -> None:
        order = numpy_generator(settings.seed, "order", next(epochs))
        batches = [batch for batch in shuffled_batches(tokens.lengths, settings.batch, order)
                   if len(batch) == settings.batch]  # fmt: skip
        trainee.halve(about.get(HALVED, 0))
        trainee.take_steps(training, batches[:most])
        if trainee.run.halvings:
            about[HALVED] = trainee.run.halvings

    call(WARM)
    some = shuffled_batches(tokens.lengths, settings.batch, numpy_generator(settings.seed, "phases"))
    full = [batch for batch in some if len(batch) == settings.batch]
    about["phases"] = trainee.phases(training, full[:PHASED])
    return new_cell_of(settings, call, device, about)


def new_cell_of(settings: TimeSettings, call: Callable[[], object], device: str, about: dict[str, Any]) -> Cell:
    """A cell with what its device needs."""
    meter = meter_for(device)
    if meter.names:
        about["counters"] = meter.names
    return Cell(settings, call, functools.partial(wait_for, device), about, meter)


@functools.lru_cache(maxsize=KEPT)
def trainee_of(
    name: str, labels: tuple[str, ...], runtime: str, device: str, threads: int,
    learning_rate: float, weight_decay: float, epsilon: float, seed: int,
) -> tuple[Trainee, Any, float]:  # fmt: skip
    """A pre-trained encoder with a new head in training; its tokenizer; the seconds that loading took."""
    phases = Phases()
    with phases("load"):
        seed_torch(seed, "initial weights")
        model, tokenizer = load_encoder(name, labels=labels, max_length=4)
    trainee = in_training(
        model, device=device, precision=model_precision(model, "bf16" if runtime == "bf16" else "fp32", device),
        learning_rate=learning_rate, weight_decay=weight_decay, epsilon=epsilon, seed=seed,
    )  # fmt: skip
    return trainee, tokenizer, phases.seconds["load"]


def read_samples(out: Path) -> list[Sample]:
    """What an earlier process has measured of a cell; half a line, at which it was killed, is dropped."""
    found = []
    file = out / SAMPLES
    for line in file.read_text().splitlines() if file.exists() else []:
        try:
            found.append(Sample(**json.loads(line)))
        except ValueError:
            break
    return found


def read_about(out: Path) -> dict[str, Any] | None:
    """What is known of a cell that was begun; None if it was not."""
    return dict(read_json(out / ABOUT)) if (out / ABOUT).exists() else None


def is_measured(settings: TimeSettings, out: Path) -> bool:
    """Whether a draft has all the samples that its cell wants."""
    about = read_about(out)
    return about is not None and enough(settings, read_samples(out), about)


def begun(settings: TimeSettings, out: Path) -> Cell:
    """A cell with the samples that it has in its draft."""
    cell = new_cell(settings)
    cell.samples = read_samples(out)
    earlier = read_about(out) or {}
    cell.about |= {HALVED: earlier[HALVED]} if HALVED in earlier else {}
    write_json(out / ABOUT, cell.about)
    return cell


def take_sample(cell: Cell, out: Path) -> None:
    """Visit a cell and write down what it took; where memory ran out, its samples begin anew, in smaller parts."""
    halvings = cell.about.get(HALVED)
    sample = cell.visit()
    if cell.about.get(HALVED) != halvings:
        cell.samples.clear()
        (out / SAMPLES).unlink(missing_ok=True)
        return write_json(out / ABOUT, cell.about)
    cell.samples.append(sample)
    with (out / SAMPLES).open("a") as file:
        file.write(json.dumps(asdict(cell.samples[-1])) + "\n")


def run_time(settings: TimeSettings, inputs: Inputs, out: Path) -> dict[str, Any]:
    """Measure what is still to be measured, and sum it up. A noisy cell is measured once more, and both are kept."""
    cell, about, samples = None, read_about(out), read_samples(out)
    if about is None or not is_measured(settings, out):
        cell = begun(settings, out)
        while not cell.done:
            take_sample(cell, out)
        samples, about = cell.samples, cell.about
    record: dict[str, Any] = {}
    if is_noisy(samples):
        say("noisy: measured again")
        record["first"] = about_samples(samples)
        cell = cell or new_cell(settings)
        cell.samples = []
        while len(cell.samples) < again(settings, samples, cell.about):
            cell.samples.append(cell.visit())
        samples = cell.samples
    return {
        "name": Path(settings.model).name,
        "task": describe_task(task_data(settings), settings),
        "unit": "s/epoch" if settings.what == "finetune" else "s/batch",
        **about,
        **record,
        **about_samples(samples),
    }


def about_samples(samples: Sequence[Sample]) -> dict[str, Any]:
    """Samples with their summary."""
    values = [sample.seconds for sample in samples]
    assert all(math.isfinite(value) for value in values)
    joules = [sample.joules for sample in samples if sample.joules is not None]
    return {
        "samples": values,
        "computing": [round(sample.share, 4) for sample in samples],
        **({"joules": joules} if len(joules) == len(values) else {}),
        "summary": summary(values),
        "noisy": is_noisy(samples),
    }


def time_sources(settings: TimeSettings) -> Mapping[str, str]:
    """Rows and weights, by their contents."""
    path = Path(settings.model)
    if settings.model in STUDENTS:
        return {**data_source(settings), "model": settings.model}
    made = path.is_file() or (path / "record.json").exists()
    return {**data_source(settings), "model": address_of(path) if made else fingerprint(settings.model, None)}


def time_identity(settings: TimeSettings, inputs: Inputs, kinds: Kinds) -> dict[str, Any]:
    """The settings, and the machine, whose time it is."""
    told = {"task", "model", "text", "text_pair", "label", "kind"}
    known = {name: value for name, value in settings.identity().items() if name not in told}
    device = resolve_device(settings.device)
    gpu = torch.cuda.get_device_name() if device == "cuda" else None
    return {**known, "device": device, "machine": gpu or processor()}


TIME = Stage("time", 1, TimeSettings, time_sources, time_identity, run_time, lambda settings, kinds: Kind.RECORD)
