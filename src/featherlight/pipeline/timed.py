"""The command `time`: lists of settings in, a table of cells out."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from typer import Exit

from featherlight.pipeline import show
from featherlight.pipeline.interleave import row_of, time_in_turns
from featherlight.pipeline.plan import jobs_of, once
from featherlight.pipeline.timing import TIME

SHOWN = ("model", "task", "runtime", "length", "batch", "pad", "unit")


def run_time_command(values: Mapping[str, Any], *, store: Path, as_json: bool) -> None:
    """Measure every combination of the lists; exit code 1 if one could not be."""
    jobs = once(jobs_of(TIME, values, {}, store=store, where="the command line"))
    failed = time_in_turns(jobs, store=store)
    rows = [row_of(record) for record in show.read_records([job.folder for job in jobs if job not in failed])]
    lost = [{"error": why, "settings": job.settings.model_dump(mode="json")} for job, why in failed.items()]
    if as_json:
        show.print_json({"cells": rows, "failed": lost})
    else:
        show.print_rows([about(row) for row in rows])
        print("Medians of samples that took turns, 95 % bootstrap interval of the median; noisy: see `--json`.")
        for cell in lost:
            print(f"failed: {cell['error']}")
    if failed:
        raise Exit(1)


def about(row: Mapping[str, Any]) -> dict[str, Any]:
    """A line of the table."""
    digits = {name: f"{row[name]:.4g}" for name in ("median", "min", "p90")}
    interval = f"{row['low']:.4g} to {row['high']:.4g}"
    same = {name: row[name] for name in SHOWN}
    return {**same, **digits, "interval": interval, "n": len(row["samples"]), "noisy": "noisy" if row["noisy"] else ""}
