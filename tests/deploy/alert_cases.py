"""Series for which each alert must fire, and others for which it must not.

They are in promtool's notation. A case names the differences from two healthy nodes with one
stream. There is one sample a minute. `0+60x120` is a counter that grows by 60 a minute for two
hours. `5x120` is a gauge that stays at 5.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

A, B = "a:8000", "b:8000"
Series = dict[str, str]


class Case(NamedTuple):
    """When an alert fires, and when it stays silent.

    Attributes:
        alert: its name.
        bad: series that make it fire.
        good: series near to those that make no alert fire.
    """

    alert: str
    bad: Series
    good: Series


def of(name: str, instance: str = A, **labels: str) -> str:
    """A series of a node's only process."""
    given = {"job": "broadcaster", "instance": instance, "process": "0", **labels}
    pairs = ",".join(f'{label}="{value}"' for label, value in given.items())
    return f"broadcaster_{name}{{{pairs}}}"


def up(instance: str) -> str:
    """Return True if Prometheus can read a node's metrics."""
    return f'up{{job="broadcaster",instance="{instance}"}}'


def on_both(name: str, values: str, **labels: str) -> Series:
    """The same on both nodes."""
    return {of(name, instance, **labels): values for instance in (A, B)}


def stays(value: float) -> str:
    """A gauge that has this value throughout, or a counter that does not move."""
    return f"{value:g}x120"


def grows(per_minute: float) -> str:
    """A counter from 0 on."""
    return f"0+{per_minute:g}x120"


def histogram(name: str, per_minute: dict[str, float], **labels: str) -> Series:
    """A histogram's buckets on both nodes, by their upper bounds; cumulative, as usual."""
    return {
        of(f"{name}_bucket", instance, le=bound, **labels): grows(count)
        for bound, count in per_minute.items()
        for instance in (A, B)
    }


def latency(below_1_s: float) -> Series:
    """A hundred writes a minute, so many of them within a second."""
    counts = {"0.1": below_1_s / 2, "1.0": below_1_s, "5.0": 100, "+Inf": 100}
    return histogram("write_latency_seconds", counts, stream="orders")


def loop_lag(below_200_ms: float) -> Series:
    """A hundred looks a minute, so many of them in time."""
    counts = {"0.1": below_200_ms / 2, "0.2": below_200_ms, "1.0": 100, "+Inf": 100}
    return histogram("event_loop_lag_seconds", counts)


def resets(per_minute: float, reason: str) -> Series:
    """Resets on one node."""
    return {of("resets_total", stream="orders", reason=reason): grows(per_minute)}


def _healthy() -> Iterator[Series]:
    yield {up(instance): stays(1) for instance in (A, B)}
    yield on_both("info", stays(1), version="0.1.0")
    yield on_both("ready", stays(1))
    yield on_both("healthy", stays(1))
    yield on_both("draining", stays(0))
    yield on_both("connections", stays(500), state="live")
    yield on_both("connections", stays(5), state="lagging")
    yield on_both("connections_waiting", stays(2))
    yield on_both("connections_limit", stays(1000))
    yield on_both("connections_opened_total", grows(120), sink="transport")
    yield on_both("connections_opened_total", stays(0), sink="asgi")
    yield on_both("connections_closed_total", grows(118), reason="client")
    yield on_both("connections_closed_total", grows(2), reason="send_timeout")
    yield on_both("connections_closed_total", stays(0), reason="error")
    yield on_both("connections_shed_total", grows(3), reason="draining")
    for reason in ("full", "loading", "redis", "refused"):
        yield on_both("connections_shed_total", stays(0), reason=reason)
    for reason in ("trimmed", "rollback", "unknown", "invalid"):
        yield on_both("resets_total", stays(0), stream="orders", reason=reason)
    for name, values in _STREAM.items():
        yield on_both(name, values, stream="orders")
    yield latency(below_1_s=100)
    yield loop_lag(below_200_ms=100)


_STREAM = {
    "tailer_up": stays(1),
    "tailer_lag_seconds": stays(0.002),
    "tailer_reconnects_total": stays(1),
    "stream_entries": stays(1000),
    "trim_edge_entries": stays(1000),
    "stream_ahead_seconds": stays(0),
    "checkpoint_lag_seconds": stays(0.3),
    "malformed_entries_total": stays(7),
}

HEALTHY: Series = {name: values for part in _healthy() for name, values in part.items()}

CASES = [
    Case(
        "BroadcasterNoReadyNode",
        on_both("ready", stays(0)) | on_both("healthy", stays(0)),
        {of("ready", A): "1x30 0x2 1x88", of("ready", B): "1x30 0x1 1x89"},
    ),
    Case("BroadcasterNodeDown", {up(A): stays(0)}, {up(A): "1x115 0x1 1x4"}),
    Case(
        "BroadcasterNodeNotReady",
        {of("healthy", A): stays(0)},
        {of("healthy", A): stays(0), of("draining", A): "0x97 1x3"},
    ),
    Case(
        "BroadcasterDrainingLong",
        {of("draining", A): stays(1), of("ready", A): stays(0), of("healthy", A): stays(0)},
        {of("draining", A): "0x97 1x23", of("ready", A): "1x97 0x23"},
    ),
    Case("BroadcasterEventLoopLag", loop_lag(below_200_ms=98.9), loop_lag(below_200_ms=99.5)),
    Case(
        "BroadcasterMixedVersions",
        {of("info", A, version="0.2.0"): stays(1)},
        {of("info", A, version="0.2.0"): "_x50 1x70"},
    ),
    Case(
        "BroadcasterNoHealthyTailer",
        on_both("tailer_up", stays(0), stream="orders"),
        {of("tailer_up", A, stream="orders"): "1x97 0x23"},
    ),
    Case(
        "BroadcasterTailerDown",
        {of("tailer_up", stream="orders"): stays(0)},
        {of("tailer_up", stream="orders"): "1x97 0x23"},
    ),
    Case(
        "BroadcasterTailerLag",
        {of("tailer_lag_seconds", stream="orders"): stays(6)},
        {
            of("tailer_lag_seconds", A, stream="orders"): stays(4),
            of("tailer_lag_seconds", B, stream="orders"): "0x96 100x24",  # Redis is away
            of("tailer_up", B, stream="orders"): "1x96 0x24",
        },
    ),
    Case(
        "BroadcasterTailerReconnects",
        {of("tailer_reconnects_total", stream="orders"): grows(1)},
        {of("tailer_reconnects_total", stream="orders"): grows(0.4)},
    ),
    Case(
        "BroadcasterNearTrimEdge",
        {of("trim_edge_entries", stream="orders"): stays(200)},
        {
            of("trim_edge_entries", A, stream="orders"): stays(300),
            of("trim_edge_entries", B, stream="orders"): stays(0),  # nothing is retained at all
            of("stream_entries", B, stream="orders"): stays(0),
        },
    ),
    Case("BroadcasterRollback", resets(0.2, "rollback"), resets(0, "rollback")),
    Case("BroadcasterResets", resets(4, "trimmed"), resets(2, "unknown")),
    Case(
        "BroadcasterMalformedEntries",
        {of("malformed_entries_total", stream="orders"): grows(0.2)},
        {of("malformed_entries_total", stream="orders"): "0x80 7x40"},
    ),
    Case(
        "BroadcasterStreamAhead",
        {of("stream_ahead_seconds", stream="orders"): stays(3600)},
        {of("stream_ahead_seconds", stream="orders"): stays(2)},
    ),
    Case(
        "BroadcasterCheckpointLag",
        {of("checkpoint_lag_seconds", stream="orders"): stays(90)},
        {of("checkpoint_lag_seconds", stream="orders"): "0x60 90x3 0x57"},
    ),
    Case(
        "BroadcasterNearConnectionLimit",
        {of("connections", state="live"): stays(500), of("connections_waiting"): stays(360)},
        {of("connections", state="live"): stays(840)},
    ),
    Case(
        "BroadcasterShedding",
        {of("connections_shed_total", reason="full"): grows(1)},
        {of("connections_shed_total", reason="draining"): grows(100)},
    ),
    Case("BroadcasterSlowDelivery", latency(below_1_s=98), latency(below_1_s=99.5)),
    Case(
        "BroadcasterLaggingClients",
        {of("connections", state="lagging"): stays(130)},
        {of("connections", state="lagging"): stays(120)},
    ),
    Case(
        "BroadcasterSendTimeouts",
        {of("connections_closed_total", reason="send_timeout"): grows(10)},
        {  # half of what is closed, but a handful
            of("connections_closed_total", reason="client"): grows(0.5),
            of("connections_closed_total", reason="send_timeout"): grows(0.5),
        },
    ),
    Case(
        "BroadcasterClosedByErrors",
        {of("connections_closed_total", reason="error"): grows(0.2)},
        {of("connections_closed_total", reason="error"): stays(40)},
    ),
    Case(
        "BroadcasterAsgiSink",
        {of("connections_opened_total", sink="asgi"): grows(1)},
        {of("connections_opened_total", sink="asgi"): stays(12)},
    ),
]
