"""The command `time`: lists of settings in, a table of cells out."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from typer import Exit

from featherlight import distributed
from featherlight.commands.console import print_json
from featherlight.commands.plan import with_grams
from featherlight.config import COMMAND_LINE
from featherlight.errors import UserError
from featherlight.execution.turns import interleave
from featherlight.measurement.energy import Factors
from featherlight.planning.jobs import jobs_of, once
from featherlight.reports.tables import SECONDS, with_unit
from featherlight.reports.terminal import print_rows
from featherlight.stages.time.stage import TIME
from featherlight.store.records import read_records


def run_time_command(values: Mapping[str, Any], factors: Factors, *, stated: bool, store: Path, as_json: bool) -> None:
    """Measure every combination of the lists. stated: whether --watts was given.

    Exit code 1 if a cell crashed; 2 if some failed, and the user can put all of them right.
    """
    if distributed.world_size() > 1:
        raise UserError("cells that are timed in several processes slow each other down. Call without a launcher.")
    jobs = once(jobs_of(TIME, values, {}, store=store, where=COMMAND_LINE))
    failures = interleave(jobs, store=store)
    done = [job.folder for job in jobs if job not in failures]
    if as_json:
        failed = [{"error": failure.error, "settings": job.settings.model_dump(mode="json")}
                  for job, failure in failures.items()]  # fmt: skip
        print_json({"cells": [row_of(record) for record in read_records(done)], "failed": failed})
    else:
        show_cells(done)
        _show_energy(done, factors, stated=stated)
        for job, failure in failures.items():
            print(f"failed: {job.folder.name}: {failure.last}")
    if failures:
        raise Exit(2 if all(failure.users for failure in failures.values()) else 1)


def show_cells(folders: Sequence[Path]) -> None:
    """The cells as a table."""
    if not folders:
        return
    rows = [row_of(record) for record in read_records(folders)]
    print_rows([_printed(row) for row in rows])
    if trainings := [row for row in rows if "phases" in row]:  # the time of a training step by phase
        print_rows([
            {"model": row["model"], "task": row["task"], "shape": _shape(row),
             "a step": with_unit(row["step"], SECONDS),
             **{phase: f"{seconds / sum(row['phases'].values()):.0%}" for phase, seconds in row["phases"].items()}}
            for row in trainings
        ])  # fmt: skip
    for line in best_throughputs(rows):
        print(line)
    print("Medians of samples that took turns, and their 95 % bootstrap intervals. All samples: --json.")
    if any(row["noisy"] for row in rows):
        print("noisy: measured twice, and both times the samples scattered or another program used the processor.")


def _shape(row: Mapping[str, Any]) -> str:
    """ "32 x 128", or "32 x 128 at most" where batches are padded to their longest text only."""
    return f"{row['batch']} x {row['length']}{' at most' if row['pad'] == 'longest' else ''}"


def best_throughputs(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """For each model and runtime with several batch sizes: the one with the highest throughput."""
    groups: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["model"], row["task"], row["runtime"], row["what"]), []).append(row)
    lines = []
    for (model, task, runtime, _), cells in groups.items():
        if len({row["batch"] for row in cells}) > 1:
            best = max(cells, key=lambda row: row["examples_per_second"])
            lines.append(f"most examples a second: {best['examples_per_second']:,.0f}, {model} on {task} in {runtime}, "
                         f"{best['batch']} at a time, length {best['length']}, pad {best['pad']}")  # fmt: skip
    return lines


def _printed(row: Mapping[str, Any]) -> dict[str, Any]:
    each, throughput = row["unit"].removeprefix("s/"), row["examples_per_second"]
    return {
        **{name: row[name] for name in ("model", "task", "runtime")},
        "batch": _shape(row),
        f"time {'an' if each == 'epoch' else 'a'} {each}": with_unit(row["median"], SECONDS),
        "examples a second": f"{throughput:,.3g}" if throughput < 100 else f"{throughput:,.0f}",
        "95 % interval": f"{with_unit(row['low'], SECONDS)} to {with_unit(row['high'], SECONDS)}",
        "": "noisy" if row["noisy"] else "",
    }


def _show_energy(folders: Sequence[Path], factors: Factors, *, stated: bool) -> None:
    """The energy, money and CO2 of a million examples, where joules were counted or --watts was given."""
    rows = []
    for cell in [row_of(record) for record in read_records(folders)]:
        if "joules" in cell or stated:
            seconds = 1_000_000 / cell["examples_per_second"]
            joules = cell["joules"] * seconds / cell["median"] if "joules" in cell else None
            rows.append({
                "model": cell["model"], "runtime": cell["runtime"], "batch": _shape(cell),
                "kWh": f"{factors.kilowatt_hours(seconds, joules):.3g}",
                "money": f"{factors.money(seconds, joules):.3g}", "CO2": with_grams(factors.grams(seconds, joules)),
                "from": "joules counted" if joules else "watts stated",
            })  # fmt: skip
    if rows:
        print_rows(rows)
        print(f"Of a million examples; {factors}. Joules are those of the whole processor and GPU.")


def row_of(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record of `time` as --json prints it."""
    settings, summary = record["settings"], record["summary"]
    examples = settings["batch"] * (record["steps"] if settings["what"] == "finetune" else 1)
    return {
        "model": record["name"],
        "task": record["task"]["name"],
        **{name: settings[name] for name in ("length", "batch", "pad", "runtime", "threads")},
        "what": settings["what"],
        "device": record["device"],
        "unit": record["unit"],
        "samples": record["samples"],
        **summary,
        "examples_per_second": examples / summary["median"],
        **({"joules": float(np.median(record["joules"]))} if "joules" in record else {}),
        **({"step": summary["median"] / record["steps"]} if settings["what"] == "finetune" else {}),
        **{name: record[name] for name in ("phases", "batch_halvings") if name in record},
        "noisy": record["noisy"],
        "load_seconds": record["seconds"]["load"],
        "tokenize_seconds": record["seconds"]["tokenize"],
        "address": record["address"],
    }
