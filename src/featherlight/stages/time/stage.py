"""The stage `time`: a model at one batch size and length in; raw samples of its seconds out.

Outside the timed region, and each timed by itself: loading, tokenization, evaluation, checkpoints. Batches are full;
the last, smaller one is left out. A cell is measured in visits, one sample each, so that those of many cells can take
turns (`interleave`): what slows the machine for a while then slows all of them. Samples stand in the draft as they
come.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from featherlight.data.task import TaskData
from featherlight.files import read_json, write_json
from featherlight.kinds import Kind
from featherlight.measurement.environment import processor
from featherlight.measurement.latency import Sample, summary
from featherlight.models.device import resolve_device
from featherlight.models.load import fingerprint
from featherlight.progress import say
from featherlight.stages.identity import TOLD_BY_SOURCES
from featherlight.stages.rows import data_source, describe_task, load_task_of
from featherlight.stages.time.backends import STUDENTS, is_result
from featherlight.stages.time.cells import HALVED, Cell, again, enough, is_noisy, new_cell
from featherlight.stages.time.estimate import estimate_cell
from featherlight.stages.time.settings import TimeSettings
from featherlight.store.address import address_of
from featherlight.store.stage import Stage, Work

SAMPLES, _ABOUT = ".samples.jsonl", ".about.json"  # in the draft


def read_samples(out: Path) -> list[Sample]:
    """What an earlier process has measured of a cell; half a line, at which it was killed, is dropped."""
    samples = []
    file = out / SAMPLES
    for line in file.read_text().splitlines() if file.exists() else []:
        try:
            samples.append(Sample(**json.loads(line)))
        except ValueError:
            break
    return samples


def _read_about(out: Path) -> dict[str, Any] | None:
    """What is known of a cell that was begun; None if it was not."""
    return dict(read_json(out / _ABOUT)) if (out / _ABOUT).exists() else None


def is_measured(settings: TimeSettings, out: Path) -> bool:
    """Whether a draft has all the samples that its cell wants."""
    about = _read_about(out)
    return about is not None and enough(settings, read_samples(out), about["calls"])


def begun(settings: TimeSettings, data: TaskData, out: Path) -> Cell:
    """A cell with the samples that it has in its draft."""
    cell = new_cell(settings, data)
    cell.samples = read_samples(out)
    earlier = _read_about(out) or {}
    cell.about |= {HALVED: earlier[HALVED]} if HALVED in earlier else {}
    write_json(out / _ABOUT, cell.about)
    return cell


def take_sample(cell: Cell, out: Path) -> None:
    """Visit a cell and write down what it took; where memory ran out, its samples begin anew, in smaller parts."""
    batch_halvings = cell.about.get(HALVED)
    sample = cell.visit()
    if cell.about.get(HALVED) != batch_halvings:
        cell.samples.clear()
        (out / SAMPLES).unlink(missing_ok=True)
        return write_json(out / _ABOUT, cell.about)
    cell.samples.append(sample)
    with (out / SAMPLES).open("a") as file:
        file.write(json.dumps(asdict(cell.samples[-1])) + "\n")


def _run(work: Work[TimeSettings], out: Path) -> dict[str, Any]:
    """Measure what is still to be measured, and sum it up. A noisy cell is measured once more, and both are kept."""
    settings, data = work.settings, work.task_data
    cell, about, samples = None, _read_about(out), read_samples(out)
    if about is None or not is_measured(settings, out):
        cell = begun(settings, data, out)
        while not cell.done:
            take_sample(cell, out)
        samples, about = cell.samples, cell.about
    record: dict[str, Any] = {}
    if is_noisy(samples):
        say("noisy: measured again")
        record["first"] = _about_samples(samples)
        cell = cell or new_cell(settings, data)
        cell.samples = []
        while len(cell.samples) < again(settings, samples, cell.about["calls"]):
            cell.samples.append(cell.visit())
        samples = cell.samples
    return {
        "name": Path(settings.model).name,
        "task": describe_task(data, settings.examples),
        "unit": "s/epoch" if settings.what == "finetune" else "s/batch",
        **about,
        **record,
        **_about_samples(samples),
    }


def _about_samples(samples: Sequence[Sample]) -> dict[str, Any]:
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


def _sources(work: Work[TimeSettings]) -> Mapping[str, str]:
    model, path = work.settings.model, Path(work.settings.model)
    if model in STUDENTS:
        return {**data_source(work), "model": model}
    return {**data_source(work), "model": address_of(path) if is_result(path) else fingerprint(model, None)}


def _identity(work: Work[TimeSettings]) -> dict[str, Any]:
    """The settings, and the machine, whose time it is."""
    identity = {name: value for name, value in work.settings.identity().items() if name not in TOLD_BY_SOURCES}
    device = resolve_device(work.settings.device)
    gpu = torch.cuda.get_device_name() if device == "cuda" else None
    return {**identity, "device": device, "machine": gpu or processor()}


TIME = Stage(
    name="time",
    version=1,
    settings=TimeSettings,
    load=load_task_of,
    sources=_sources,
    identity=_identity,
    makes=lambda settings, kinds: Kind.RECORD,
    run=_run,
    estimate=estimate_cell,
    alone=True,
)
