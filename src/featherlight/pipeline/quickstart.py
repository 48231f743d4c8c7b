"""The main job in one go: docs, MiniLM, a BiLSTM and a bag; one table, one page. Needs no network."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from featherlight.analysis.report import print_tables, write_report
from featherlight.config import build
from featherlight.files import read_json
from featherlight.pipeline.plan import Job, jobs_of, run_jobs
from featherlight.pipeline.settings import QuickstartSettings
from featherlight.pipeline.show import print_json
from featherlight.pipeline.stages import DISTILL, FINETUNE
from featherlight.pipeline.store import RECORD
from featherlight.progress import say

WHERE = "quickstart"
TITLE = "Featherlight quickstart: which package does a docstring come from?"
TEACHER = {"model": "minilm", "epochs": 2, "learning_rate": 1e-4, "max_length": 64}
STUDENT = {"student": ["bilstm", "bag"], "epochs": 10, "batch_size": 50, "learning_rate": 3e-3, "max_length": 64}


def run_quickstart(values: Mapping[str, Any], *, store: Path, as_json: bool) -> None:
    """Fine-tune, distil twice, and write what came of it to standard output, report.md and report.html."""
    start = time.monotonic()
    folders = run_jobs(quickstart_jobs(values, store=store))
    records = [read_json(folder / RECORD) for folder in folders]
    pages = {"html": store / "report.html", "markdown": store / "report.md"}
    write_report(records, title=TITLE, headline=True, **pages)
    say(f"{time.monotonic() - start:.0f} s")
    if as_json:
        return print_json({"records": records, **{kind: str(path) for kind, path in pages.items()}})
    print_tables(records, headline=True)
    print(f"\nThe same with figures: {pages['html']}, {pages['markdown']}")
    print(f"Try a model:           featherlight predict {folders[-1]}")


def quickstart_jobs(values: Mapping[str, Any], *, store: Path) -> list[Job]:
    """The stages of the quickstart, in order."""
    common = {"task": "docs", **build(QuickstartSettings, values, where=WHERE).model_dump()}
    teacher = jobs_of(FINETUNE, {**common, **TEACHER}, {}, store=store, where=WHERE)
    students = jobs_of(DISTILL, {**common, **STUDENT}, {"teacher": teacher[0].folder}, store=store, where=WHERE)
    return [*teacher, *students]
