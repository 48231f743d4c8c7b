"""The stage that makes one small file of a student, and scores that file."""

from pathlib import Path
from typing import Any

from featherlight.files import write_atomically
from featherlight.inference.packed_predictor import PackedPredictor
from featherlight.kinds import Kind
from featherlight.measurement.anatomy import HEADER, part_of
from featherlight.packing.folder import pack_folder
from featherlight.runtime.packed import LIGHT
from featherlight.stages.identity import resolved
from featherlight.stages.model_folders import about_model, checked_predictor
from featherlight.stages.pack.settings import PackSettings
from featherlight.stages.rows import data_source, describe_task, load_task_of
from featherlight.stages.scoring import proved_alike, scored_and_timed
from featherlight.store.phases import Phases
from featherlight.store.records import name_of
from featherlight.store.stage import Stage, Work

_ROUNDING = 1e-3  # between logits in torch and in numpy, for each unit of the largest


def _run(work: Work[PackSettings], out: Path) -> dict[str, Any]:
    """model.light, its scores, latency and bytes by part."""
    data, folder, phases = work.task_data, work.inputs["model"], Phases()
    with phases("load"):
        source = checked_predictor(folder, data, work.settings)
    with phases("pack"):
        write_atomically(out / LIGHT, pack_folder(folder))
    predictor = PackedPredictor(out / LIGHT)
    with phases("compare"):
        worst = proved_alike(source, predictor, data, _ROUNDING, what=f"{folder}, packed")
    parts: dict[str, int] = {}
    for name, stored in predictor.model.packed.stored.items():
        parts[part_of(name)] = parts.get(part_of(name), 0) + stored
    header = (out / LIGHT).stat().st_size - sum(parts.values())  # the vocabulary for the most part
    return {
        "name": f"{name_of(folder)}, packed",
        "task": describe_task(data),
        **scored_and_timed(predictor, data, phases, out=out),
        "seconds": phases.seconds,
        "worst_difference": worst,
        "parts": {HEADER: header, **parts},
        **about_model(predictor, out / LIGHT),
    }


PACK = Stage(
    name="pack",
    version=1,
    settings=PackSettings,
    load=load_task_of,
    inputs=("model",),
    sources=data_source,
    identity=lambda work: resolved(work.settings, encoder=False),
    makes=lambda settings, kinds: Kind.PACKED,
    run=_run,
)
