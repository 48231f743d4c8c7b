"""The plan that --dry-run prints: each job with its address, done or to do, and its predicted cost."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from featherlight.commands.console import print_json
from featherlight.costs.estimate import Estimate
from featherlight.measurement.energy import Factors
from featherlight.planning.estimate import estimates
from featherlight.planning.jobs import Job, needed
from featherlight.reports.sections import NOTHING
from featherlight.reports.tables import BYTES, with_unit
from featherlight.reports.terminal import print_rows
from featherlight.store.records import read_records

_MINUTE, _HOUR = 60, 3600


def show_plan(jobs: Sequence[Job], factors: Factors, *, as_json: bool) -> None:
    """A row for each job, and the sums over those that are still to do."""
    predicted = estimates(jobs)
    measured = {job: _measured(job) for job in jobs}
    to_do = [job for job in jobs if job.state != "done" and needed(job, jobs)]
    costs = [predicted[job] for job in to_do]
    total = Estimate(  # of one after the other: seconds and disk add up, memory does not
        sum(cost.seconds or 0.0 for cost in costs),
        max((cost.memory or 0 for cost in costs), default=0),
        sum(cost.disk or 0 for cost in costs),
        max((cost.scratch for cost in costs), default=0),
    )
    if as_json:
        rows = [{"stage": job.name, "address": job.folder.name, "state": job.state,
                 **_as_object(predicted[job], factors), "took_seconds": measured[job].seconds,
                 "took_memory_bytes": measured[job].memory} for job in jobs]  # fmt: skip
        return print_json({"jobs": rows, "to_do": _as_object(total, factors), "factors": vars(factors)})
    print_rows([_row(job, predicted[job], measured[job], factors) for job in jobs])
    if any(predicted[job].seconds is not None and measured[job].seconds for job in jobs):
        print("time, memory: predicted; in brackets measured, where a job is done.")
    for reason in dict.fromkeys(estimate.why for estimate in predicted.values() if estimate.why):
        print(f"not predicted: {reason}")
    unknown = sum(predicted[job].seconds is None for job in to_do)
    print(f"to do: {len(to_do)} of {len(jobs)}" + (f"; {unknown} of them not predicted, the others" if unknown else ""))
    if total.seconds:
        cost = f"money {plain(factors.money(total.seconds), 3)}, CO2 {with_grams(factors.grams(total.seconds))}"
        print(f"  time {_clock(total.seconds)}, {cost} ({factors}: --watts, --price, --grid)")
        memory = with_unit(total.memory, BYTES) if total.memory else NOTHING
        print(f"  memory {memory} at most, disk {with_unit(total.disk, BYTES)}, and up to "
              f"{with_unit(total.scratch, BYTES)} for checkpoints on the way")  # fmt: skip
    _print_errors("time", [(predicted[job].seconds, measured[job].seconds) for job in jobs])
    _print_errors("memory", [(predicted[job].memory, measured[job].memory) for job in jobs])


def _print_errors(quantity: str, pairs: Sequence[tuple[float | None, float | None]]) -> None:
    if errors := [abs(predicted / measured - 1) for predicted, measured in pairs if predicted and measured]:
        print(f"{quantity}, predicted against measured, {len(errors)} done: off by {np.median(errors):.0%} at the "
              f"median, {max(errors):.0%} at most")  # fmt: skip


def _measured(job: Job) -> Estimate:
    """Seconds of all phases of a job that is done, and the peak of its process; cells of `time` share theirs."""
    if job.state != "done" or job.stage.alone:
        return Estimate()
    record = read_records([job.folder])[0]
    seconds = record.get("seconds")
    total = float(sum(seconds.values())) if isinstance(seconds, dict) else None
    return Estimate(total, record.get("peak_memory_bytes"))


def _as_object(predicted: Estimate, factors: Factors) -> dict[str, Any]:
    """An estimate as --json prints it; null where nothing is predicted."""
    seconds = predicted.seconds
    return {
        "seconds": seconds,
        "memory_bytes": predicted.memory,
        "disk_bytes": predicted.disk,
        "money": None if seconds is None else factors.money(seconds),
        "co2_grams": None if seconds is None else factors.grams(seconds),
        **({"not_predicted": predicted.why} if predicted.why else {}),
    }


def _row(job: Job, predicted: Estimate, measured: Estimate, factors: Factors) -> dict[str, Any]:
    seconds = predicted.seconds
    time, memory = NOTHING if seconds is None else _clock(seconds), with_unit(predicted.memory, BYTES)
    return {
        "stage": job.name.replace(" (teacher's logits)", ", logits"),
        "address": job.folder.name,
        "state": job.state,
        "time": f"{time} ({_clock(measured.seconds)})" if seconds is not None and measured.seconds else time,
        "memory": f"{memory} ({with_unit(measured.memory, BYTES)})" if measured.memory else memory,
        "disk": with_unit(predicted.disk, BYTES),
        "money": NOTHING if seconds is None else plain(factors.money(seconds)),
        "CO2": NOTHING if seconds is None else with_grams(factors.grams(seconds)),
    }


def _clock(seconds: float) -> str:
    """41 s, 12 min, 3.5 h."""
    if seconds < 2 * _MINUTE:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / _MINUTE:.0f} min" if seconds < 2 * _HOUR else f"{seconds / _HOUR:.1f} h"


def with_grams(grams: float) -> str:
    """In grams or kilograms."""
    return f"{plain(grams / 1000)} kg" if grams >= 1000 else f"{plain(grams)} g"


def plain(value: float, digits: int = 2) -> str:
    """So many significant digits, without a power of ten: "0.0012", "2.3", "1,200"."""
    rounded = f"{value:.{digits}g}"
    return rounded if value < 10**digits and "e+" not in rounded else f"{float(rounded):,.0f}"
