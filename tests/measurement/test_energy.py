import pytest

from featherlight.measurement.energy import Factors, Meter, nvml_counters, rapl_counters
from featherlight.measurement.latency import visit


def package(root, name, energy, limit=1_000_000):
    folder = root / name
    folder.mkdir()
    (folder / "energy_uj").write_text(f"{energy}\n")
    (folder / "max_energy_range_uj").write_text(f"{limit}\n")
    (folder / "name").write_text("package\n")
    return folder / "energy_uj"


def test_packages_are_counted_and_their_parts_are_not(tmp_path):
    first, second = package(tmp_path, "intel-rapl:0", 100), package(tmp_path, "intel-rapl:1", 0)
    package(tmp_path, "intel-rapl:0:0", 50)
    meter = Meter(rapl_counters(tmp_path))
    start = meter.read()
    first.write_text("600\n")
    second.write_text("250\n")
    assert meter.since(start) == pytest.approx(750e-6) and meter.names == ["package", "package"]


def test_a_counter_that_starts_again_is_unwound(tmp_path):
    counter = package(tmp_path, "intel-rapl:0", 999_000)
    meter = Meter(rapl_counters(tmp_path))
    start = meter.read()
    counter.write_text("500\n")
    assert meter.since(start) == pytest.approx(1_500e-6)


def test_without_counters_there_are_no_joules(tmp_path):
    meter = Meter(rapl_counters(tmp_path / "none"))
    assert meter.since(meter.read()) is None
    assert visit(lambda: None, least=0, wait=lambda: None).joules is None


def test_a_package_that_may_not_be_read_is_none(tmp_path):
    package(tmp_path, "intel-rapl:0", 0).unlink()
    assert rapl_counters(tmp_path) == []


def test_joules_of_a_visit_are_those_of_one_call(tmp_path):
    counter = package(tmp_path, "intel-rapl:0", 0)
    calls = []

    def call():
        calls.append(0)
        counter.write_text(str(1000 * len(calls)))

    found = visit(call, least=0.01, wait=lambda: None, meter=Meter(rapl_counters(tmp_path)))
    assert found.joules == pytest.approx(1e-3)


class Nvml:
    def __init__(self, broken=False):
        self.energy, self.broken = 5000, broken

    def nvmlInit(self):  # noqa: N802 (its name)
        if self.broken:
            raise RuntimeError("no driver")

    def nvmlDeviceGetCount(self):  # noqa: N802
        return 1

    def nvmlDeviceGetHandleByIndex(self, place):  # noqa: N802
        return place

    def nvmlDeviceGetTotalEnergyConsumption(self, handle):  # noqa: N802
        return self.energy


def test_nvml_counts_in_millijoules_and_a_missing_driver_counts_nothing():
    nvml = Nvml()
    meter = Meter(nvml_counters(nvml))
    start = meter.read()
    nvml.energy = 7000
    assert meter.since(start) == pytest.approx(2.0)
    assert nvml_counters(Nvml(broken=True)) == []


def test_a_kilowatt_for_an_hour_is_a_kilowatt_hour():
    factors = Factors(watts=1000, price=0.25, grid=400)
    assert factors.kilowatt_hours(3600) == pytest.approx(1.0)
    assert factors.money(3600) == pytest.approx(0.25) and factors.grams(3600) == pytest.approx(400)
    assert factors.kilowatt_hours(1.0, joules=7.2e6) == pytest.approx(2.0), "counted joules go before watts"
