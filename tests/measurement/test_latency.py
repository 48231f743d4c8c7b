import time

import numpy as np
import pytest
import scipy.stats

from featherlight.measurement.latency import Samples, spread, summary, time_each, visit


def test_a_call_that_sleeps_takes_that_long():
    samples = time_each(lambda _: time.sleep(0.01), range(3), warmup=0)
    assert samples.unit == "s"
    assert 0.01 <= samples.median < 0.1


def test_only_repeats_are_counted_but_warm_up_calls_are_made():
    calls = []
    samples = time_each(calls.append, range(6), warmup=4)
    assert (len(calls), len(samples.values)) == (10, 6)


def test_the_clock_waits_for_queued_work():
    samples = time_each(lambda _: None, range(2), warmup=0, wait=lambda: time.sleep(0.01))
    assert min(samples.values) >= 0.01


def test_each_item_is_timed_once_in_order_after_a_warm_up_that_goes_round():
    seen = []
    samples = time_each(seen.append, ["a", "b", "c"], warmup=5)
    assert seen == ["a", "b", "c", "a", "b", "a", "b", "c"]
    assert len(samples.values) == 3


def test_a_slow_item_shows_in_its_own_place():
    samples = time_each(time.sleep, [0.0, 0.03, 0.0], warmup=0)
    assert max(samples.values) == samples.values[1]


def test_no_items_give_no_samples():
    assert time_each(lambda item: item, []).values == ()


def test_the_median_lies_half_way_between_the_middle_two():
    assert Samples("latency", "s", (4.0, 1.0, 3.0, 2.0)).median == 2.5


def test_the_interval_of_the_median_is_scipys_percentile_bootstrap():
    values = np.random.default_rng(3).lognormal(size=40)
    found = summary(values)
    theirs = scipy.stats.bootstrap((values,), np.median, method="percentile", n_resamples=9999, rng=1)
    width = found["high"] - found["low"]
    assert abs(found["low"] - theirs.confidence_interval.low) < 0.15 * width
    assert abs(found["high"] - theirs.confidence_interval.high) < 0.15 * width
    assert found["median"] == np.median(values) and found["min"] == values.min()
    assert (found["p90"], found["p99"]) == tuple(np.quantile(values, (0.9, 0.99)))


def test_a_visit_calls_until_its_time_is_over_and_gives_the_mean(monkeypatch):
    now = iter(range(1000))
    monkeypatch.setattr(time, "perf_counter", lambda: float(next(now)))  # each look at the clock is a second later
    calls = []
    found = visit(lambda: calls.append(1), least=5.0, wait=lambda: None, warm=2)
    assert len(calls) == 2 + 5 and found.seconds == pytest.approx(6 / 5)


def test_spread_is_the_middle_half_over_the_median():
    assert spread([1, 2, 3, 4, 5]) == pytest.approx((4 - 2) / 3)
