"""The machine's own energy counters in, joules out; None where it has none that may be read. Nothing is estimated here.

Processors: Intel's and AMD's RAPL counters, as Linux shows them (whole packages, so idle cores count too; readable by
root alone on most machines). NVIDIA GPUs: the counter of NVML since Volta, if `pynvml` is installed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Counter:
    """A counter of joules. limit: where it starts again from zero; None if it does not."""

    name: str
    read: Callable[[], float]
    limit: float | None = None


def rapl_counters(root: Path = Path("/sys/class/powercap")) -> list[Counter]:
    """A counter for each processor package that may be read."""
    counters = []
    for folder in sorted(root.glob("intel-rapl:?")):  # the parts of a package are called intel-rapl:0:1
        try:
            int((folder / "energy_uj").read_text())
            limit = int((folder / "max_energy_range_uj").read_text()) * 1e-6
            name = (folder / "name").read_text().strip()
        except (OSError, ValueError):
            continue
        counters.append(Counter(name, lambda file=folder / "energy_uj": int(file.read_text()) * 1e-6, limit))  # type: ignore[misc]
    return counters


def nvml_counters(nvml: Any = None) -> list[Counter]:
    """A counter for each NVIDIA GPU that has one."""
    try:
        nvml = nvml or import_module("pynvml")
        nvml.nvmlInit()
        handles = [nvml.nvmlDeviceGetHandleByIndex(place) for place in range(nvml.nvmlDeviceGetCount())]
        for handle in handles:
            nvml.nvmlDeviceGetTotalEnergyConsumption(handle)
    except Exception:  # there are as many as drivers, and all say that there is no counter
        return []
    return [Counter(f"gpu {place}", lambda handle=handle: nvml.nvmlDeviceGetTotalEnergyConsumption(handle) * 1e-3)  # type: ignore[misc]
            for place, handle in enumerate(handles)]  # fmt: skip


class Meter:
    """Joules of all counters between two readings."""

    def __init__(self, counters: Sequence[Counter]):
        self.counters = tuple(counters)

    @property
    def names(self) -> list[str]:
        """The counters' names."""
        return [counter.name for counter in self.counters]

    def read(self) -> tuple[float, ...]:
        """All counters, now."""
        return tuple(counter.read() for counter in self.counters)

    def since(self, start: tuple[float, ...]) -> float | None:
        """Joules since a reading; None without counters. A counter that started again is unwound once."""
        readings = zip(self.counters, start, self.read(), strict=True)
        joules = [now - before + (counter.limit or 0.0 if now < before else 0.0) for counter, before, now in readings]
        return sum(joules) if joules else None


def meter_for(device: str) -> Meter:
    """What this machine counts while it computes on a device."""
    return Meter([*rapl_counters(), *(nvml_counters() if device == "cuda" else [])])


@dataclass(frozen=True)
class Factors:
    """What turns seconds into money and CO2, stated beside every result. watts: of the machine, where it counts none.

    price: of a kilowatt-hour, in whatever money; grid: grams of CO2 a kilowatt-hour. The defaults: a desktop processor
    at work; a household's price; the world's electricity in 2023 (Ember, Global Electricity Review 2024).
    """

    watts: float = 65.0
    price: float = 0.30
    grid: float = 480.0

    def kilowatt_hours(self, seconds: float, joules: float | None = None) -> float:
        """From joules that were counted, or from watts that were stated."""
        return (self.watts * seconds if joules is None else joules) / 3.6e6

    def money(self, seconds: float, joules: float | None = None) -> float:
        """What it costs."""
        return self.price * self.kilowatt_hours(seconds, joules)

    def grams(self, seconds: float, joules: float | None = None) -> float:
        """Of CO2."""
        return self.grid * self.kilowatt_hours(seconds, joules)

    def __str__(self) -> str:
        return f"{self.watts:g} W, {self.price:g} a kWh, {self.grid:g} g CO2 a kWh"
