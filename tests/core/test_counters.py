"""Counters have their series from the start, and a histogram's buckets are Prometheus's."""

from __future__ import annotations

from broadcaster.core.counters import Histogram, Meters, from_zero
from broadcaster.core.wire import Ending, Shed, SinkKind


def test_a_histogram_counts_up_to_and_with_each_bound() -> None:
    histogram = Histogram((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 9.0):
        histogram.observe(value)
    assert histogram.buckets() == [("1", 2), ("2", 3), ("+Inf", 4)]
    assert histogram.sum == 12.0


def test_a_value_can_be_observed_several_times_at_once() -> None:
    histogram = Histogram((0.0025, 1.0))
    histogram.observe(0.5, 3)
    histogram.observe(0.001, 0)
    assert histogram.buckets() == [("0.0025", 0), ("1", 3), ("+Inf", 3)]
    assert histogram.sum == 1.5


def test_a_counter_from_zero_has_its_values_before_anything_is_counted() -> None:
    counter = from_zero("a", "b")
    assert dict(counter) == {"a": 0, "b": 0}
    counter["b"] += 1
    assert dict(counter) == {"a": 0, "b": 1}


def test_a_node_s_meters_name_every_reason_and_every_kind_of_sink() -> None:
    meters = Meters()
    assert set(meters.opened) == set(SinkKind)
    assert set(meters.closed) == set(Ending)
    assert set(meters.shed) == set(Shed)
    assert set(meters.pages) == {"events", "empty", "state"}
    assert meters.waiting == 0
    assert not meters.opened.total() + meters.closed.total() + meters.shed.total()


def test_each_stream_has_a_histogram_of_its_own() -> None:
    meters = Meters()
    meters.write_latency_s["a"].observe(0.5)
    assert meters.write_latency_s["a"].buckets()[-1] == ("+Inf", 1)
    assert meters.write_latency_s["b"].buckets()[-1] == ("+Inf", 0)
