"""What --dry-run prints: each job with its address, done or to do, and what it will take."""

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
    """A line for each job, and the sums of those that are still to do."""
    known = estimates(jobs)
    took = {job: _taken_by(job) for job in jobs}
    left = [job for job in jobs if job.state != "done" and needed(job, jobs)]
    total = _summed([known[job] for job in left])
    if as_json:
        rows = [{"stage": job.name, "address": job.folder.name, "state": job.state, **_about(known[job], factors),
                 "took_seconds": took[job].seconds, "took_memory_bytes": took[job].memory} for job in jobs]  # fmt: skip
        stated = {"watts": factors.watts, "price": factors.price, "grid": factors.grid}
        return print_json({"jobs": rows, "to_do": _about(total, factors), "factors": stated})
    print_rows([_line(job, known[job], took[job], factors) for job in jobs])
    if any(known[job].seconds is not None and took[job].seconds for job in jobs):
        print("time, memory: predicted, and in brackets measured where a job is done.")
    for reason in dict.fromkeys(found.why for found in known.values() if found.why):
        print(f"not predicted: {reason}")
    unknown = sum(known[job].seconds is None for job in left)
    print(f"to do: {len(left)} of {len(jobs)}" + (f"; {unknown} of them not predicted, the others" if unknown else ""))
    if total.seconds:
        cost = f"money {plain(factors.money(total.seconds), 3)}, CO2 {with_grams(factors.grams(total.seconds))}"
        print(f"  time {_clock(total.seconds)}, {cost} ({factors}: --watts, --price, --grid)")
        memory = with_unit(total.memory, BYTES) if total.memory else NOTHING
        print(f"  memory {memory} at most, disk {with_unit(total.disk, BYTES)}, and up to "
              f"{with_unit(total.scratch, BYTES)} for checkpoints on the way")  # fmt: skip
    _print_errors("time", [(known[job].seconds, took[job].seconds) for job in jobs])
    _print_errors("memory", [(known[job].memory, took[job].memory) for job in jobs])


def _print_errors(what: str, pairs: Sequence[tuple[float | None, float | None]]) -> None:
    """How far the predictions were off, where there is something to compare them with."""
    off = [abs(told / seen - 1) for told, seen in pairs if told and seen]
    if off:
        print(f"{what}, predicted against measured, {len(off)} done: off by {np.median(off):.0%} at the median, "
              f"{max(off):.0%} at most")  # fmt: skip


def _taken_by(job: Job) -> Estimate:
    """What a job took, as far as it is done: seconds of all its phases together, and the peak of its process.

    A cell of `time` says what its calls took, and shares its process with others.
    """
    if job.state != "done" or job.stage.alone:
        return Estimate()
    record = read_records([job.folder])[0]
    seconds = record.get("seconds")
    took = float(sum(seconds.values())) if isinstance(seconds, dict) else None
    return Estimate(took, record.get("peak_memory_bytes"))


def _summed(found: Sequence[Estimate]) -> Estimate:
    """Jobs one after the other: seconds and disk add up, memory does not."""
    return Estimate(
        sum(one.seconds or 0.0 for one in found),
        max((one.memory or 0 for one in found), default=0),
        sum(one.disk or 0 for one in found),
        max((one.scratch for one in found), default=0),
    )


def _about(found: Estimate, factors: Factors) -> dict[str, Any]:
    """An estimate as programs get it; null where nothing is predicted."""
    seconds = found.seconds
    return {
        "seconds": seconds,
        "memory_bytes": found.memory,
        "disk_bytes": found.disk,
        "money": None if seconds is None else factors.money(seconds),
        "co2_grams": None if seconds is None else factors.grams(seconds),
        **({"not_predicted": found.why} if found.why else {}),
    }


def _line(job: Job, found: Estimate, took: Estimate, factors: Factors) -> dict[str, Any]:
    """A line of the table."""
    seconds = found.seconds
    return {
        "stage": job.name.replace(" (teacher's logits)", ", logits"),
        "address": job.folder.name,
        "state": job.state,
        "time": NOTHING
        if seconds is None
        else _clock(seconds) + (f" ({_clock(took.seconds)})" if took.seconds else ""),
        "memory": with_unit(found.memory, BYTES) + (f" ({with_unit(took.memory, BYTES)})" if took.memory else ""),
        "disk": with_unit(found.disk, BYTES),
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
    """So many digits, and zeros where a power of ten would stand: "0.0012", "2.3", "1,200"."""
    rounded = f"{value:.{digits}g}"
    return rounded if value < 10**digits and "e+" not in rounded else f"{float(rounded):,.0f}"
