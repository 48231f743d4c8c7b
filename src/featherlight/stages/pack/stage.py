"""The stage that makes one small file of a student, and scores that file."""

from pathlib import Path
from typing import Any

import numpy as np

from featherlight.files import write_atomically
from featherlight.inference.packed_predictor import PackedPredictor
from featherlight.kinds import Kind
from featherlight.measurement.anatomy import HEADER, part_of
from featherlight.packing.folder import pack_folder
from featherlight.runtime.packed import LIGHT, Packed
from featherlight.stages.identity import resolved
from featherlight.stages.model_folders import about_model, checked_predictor
from featherlight.stages.pack.settings import PackSettings
from featherlight.stages.rows import data_source, describe_task, select_rows, task_data
from featherlight.stages.scoring import score_splits, time_predictor
from featherlight.store.phases import Phases
from featherlight.store.records import name_of
from featherlight.store.stage import Inputs, Stage

_MOST_DIFFERENCE = 1e-3  # between logits in torch and in numpy, of rounding alone
_COMPARED = 500  # texts of select


def _run_pack(settings: PackSettings, inputs: Inputs, out: Path) -> dict[str, Any]:
    """model.light, its scores, latency and bytes by part."""
    phases = Phases()
    with phases("load"):
        data = task_data(settings)
        folder = checked_predictor(inputs["model"], data, settings)
    with phases("pack"):
        write_atomically(out / LIGHT, pack_folder(inputs["model"]))
    predictor = PackedPredictor(out / LIGHT)
    with phases("compare"):
        rows = select_rows(data)
        rows = rows.take(np.arange(min(len(rows), _COMPARED)))
        worst = float(np.abs(folder.logits(folder.tokens(rows)) - predictor.logits(rows)).max())
    assert worst <= _MOST_DIFFERENCE, f"the packed model's logits differ by {worst}"
    with phases("evaluate"):
        metrics = score_splits(predictor, data, data.task.reported, out=out)
    with phases("latency"):
        latency = time_predictor(predictor, select_rows(data))
    return {
        "name": f"{name_of(inputs['model'])}, packed",
        "task": describe_task(data, settings),
        "metrics": metrics,
        "latency": latency,
        "seconds": phases.seconds,
        "worst_difference": worst,
        "parts": _parts(predictor.model.packed, (out / LIGHT).stat().st_size),
        **about_model(predictor, out / LIGHT),
    }


def _parts(packed: Packed, size: int) -> dict[str, int]:
    """Bytes in the file by kind of part; "tokenizer": the header, which is the vocabulary for the most part."""
    found: dict[str, int] = {}
    for name, stored in packed.stored.items():
        found[part_of(name)] = found.get(part_of(name), 0) + stored
    return {HEADER: size - sum(found.values()), **found}


PACK = Stage(
    "pack",
    1,
    PackSettings,
    data_source,
    lambda settings, inputs, kinds: resolved(settings, encoder=False),
    _run_pack,
    lambda settings, kinds: Kind.PACKED,
    ("model",),
)
