"""The main job in one go: docs, MiniLM, a BiLSTM and a bag, both packed; one table, one page. Needs no network."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from featherlight.commands.console import print_json
from featherlight.commands.settings import QuickstartSettings
from featherlight.config import build
from featherlight.data.registry import LoadedTasks
from featherlight.files import read_json
from featherlight.kinds import Kind
from featherlight.planning.jobs import Input, Job, jobs_of, run_jobs
from featherlight.progress import say
from featherlight.reports.results import print_tables, write_report
from featherlight.runtime.packed import LIGHT
from featherlight.stages.distill.stage import DISTILL
from featherlight.stages.finetune.stage import FINETUNE
from featherlight.stages.pack.stage import PACK
from featherlight.stages.quantize.stage import QUANTIZE
from featherlight.store.layout import RECORD
from featherlight.store.stage import Stage

_WHERE = "quickstart"
_TITLE = "Featherlight quickstart: which package does a docstring come from?"
_TEACHER = {"model": "minilm", "epochs": 2, "learning_rate": 1e-4, "max_length": 64}
_STUDENT = {"student": ["bilstm", "bag"], "epochs": 10, "batch_size": 50, "learning_rate": 3e-3, "max_length": 64}


def run_quickstart(values: Mapping[str, Any], *, store: Path, as_json: bool) -> None:
    """Fine-tune, distil twice, quantize, pack; write the results to standard output, report.md and report.html."""
    start = time.monotonic()
    folders = run_jobs(quickstart_jobs(values, store=store))
    records = [read_json(folder / RECORD) for folder in folders]
    pages = {"html": store / "report.html", "markdown": store / "report.md"}
    write_report(records, title=_TITLE, headline=True, **pages)
    say(f"{time.monotonic() - start:.0f} s")
    if as_json:
        return print_json({"records": records, **{kind: str(path) for kind, path in pages.items()}})
    print_tables(records, headline=True)
    print(f"\nThe same with figures: {pages['html']}, {pages['markdown']}")
    print(f"Try a packed model:    featherlight predict {folders[-1] / LIGHT}")


def quickstart_jobs(values: Mapping[str, Any], *, store: Path) -> list[Job]:
    """The stages of the quickstart, in order."""
    settings = build(QuickstartSettings, values, where=_WHERE).model_dump()
    common = {"task": "docs", "device": settings["device"], "precision": settings["precision"]}
    tasks = LoadedTasks()

    def planned(stage: Stage, values: Mapping[str, Any], inputs: Mapping[str, Input]) -> list[Job]:
        return jobs_of(stage, {**common, **values}, inputs, store=store, where=_WHERE, tasks=tasks)

    jobs = planned(FINETUNE, {**settings, **_TEACHER}, {})
    jobs += planned(DISTILL, {**settings, **_STUDENT}, {"teacher": jobs[0]})
    for student in [job for job in jobs if job.kind is Kind.STUDENT]:
        quantized = planned(QUANTIZE, {}, {"model": student})
        jobs += [*quantized, *planned(PACK, {}, {"model": quantized[0]})]
    return jobs
