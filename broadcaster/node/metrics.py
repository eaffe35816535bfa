"""Metrics of a node, for Prometheus. docs/metrics.md says what each means.

A scrape reads the counters where they are kept. No label has values whose number grows with keys or
clients. A scrape of one `serve --workers N` returns the metrics of all its processes. The label
`process` of each sample tells them apart, so sums are right and a replaced process shows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from typing import TypeVar

from prometheus_client import ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import CollectorRegistry

from broadcaster.backend.log import Retained, Status
from broadcaster.core.counters import Histogram
from broadcaster.core.event import ZERO, EventId
from broadcaster.core.fanout.hub import Hub
from broadcaster.core.history.window import Place, Window
from broadcaster.core.log import KeyState
from broadcaster.core.state.fold import Fold
from broadcaster.errors import BroadcasterError
from broadcaster.node.health import Watched
from broadcaster.node.peers import Peers
from broadcaster.version import VERSION

_PREFIX = "broadcaster_"
_COUNT_S = 1.0
_AT_ONCE = 2  # so one that is late holds up no other, and many take few connections

_By = Mapping[str, float]
_T = TypeVar("_T")


class Metrics:
    """The metrics of one node, and of the processes that share its port."""

    def __init__(self, node: Watched, peers: Peers) -> None:
        self._node = node
        self._peers = peers

    async def scrape(self, *, details: bool) -> bytes:
        """Return the metrics of this process and of its peers, for `/metrics`.

        Args:
            details: False leaves the values of the label `version` empty, and leaves out the
                streams of channels that are not listed.

        Returns:
            Prometheus's text format, with the label `process`.
        """
        processes = await self._peers.gather(self.own)
        if details:
            return together(processes)
        return together(processes, hidden=self._node.settings.channels.unlisted, version=False)

    async def own(self) -> bytes:
        """Return the metrics of this process, without the label `process`."""
        node = self._node
        retained, checkpoints = await asyncio.gather(
            in_time({name: partial(node.log.retained, name) for name in node.hub.windows}),
            in_time(node.folds.checkpoints()),
        )
        process = ProcessCollector(registry=CollectorRegistry())
        ours = (*_connections(self._node), *_streams(self._node, retained), *_node(self._node))
        now_s = self._node.clock.now_ms() / 1000
        states = (*_states(self._node.hub), *_checkpoints(self._node.hub, checkpoints, now_s))
        return _render([*ours, *states, *process.collect()])


async def in_time(
    questions: Mapping[str, Callable[[], Awaitable[_T]]], limit_s: float = _COUNT_S
) -> dict[str, _T]:
    """Return the answers that come in time. One that is late or fails is missing alone."""
    found, places = dict[str, _T](), asyncio.Semaphore(_AT_ONCE)

    async def answer(name: str, ask: Callable[[], Awaitable[_T]]) -> None:
        with suppress(BroadcasterError, TimeoutError):
            async with asyncio.timeout(limit_s), places:
                found[name] = await ask()

    await asyncio.gather(*(answer(*one) for one in questions.items()))
    return found


def together(
    processes: Mapping[str, bytes], *, hidden: Collection[str] = (), version: bool = True
) -> bytes:
    """Join the metrics of several processes, and add the label `process` to each sample.

    Args:
        processes: the metrics of each process as text, by its name.
        hidden: streams and channels whose samples are left out.
        version: False leaves the values of the label `version` empty.
    """
    families: dict[str, Metric] = {}
    for process, text in processes.items():
        for family in text_string_to_metric_families(text.decode()):
            whole = families.setdefault(
                family.name, Metric(family.name, family.documentation, family.type)
            )
            for sample in family.samples:
                labels = {**sample.labels, "process": process}
                if not version and "version" in labels:
                    labels["version"] = ""
                if not any(labels.get(name) in hidden for name in ("stream", "channel")):
                    whole.samples.append(sample._replace(labels=labels))
    return _render(families.values())


def _render(families: Iterable[Metric]) -> bytes:
    class Collected(CollectorRegistry):
        def collect(self) -> Iterator[Metric]:
            return iter(families)

    return generate_latest(Collected())


def _connections(node: Watched) -> Iterator[Metric]:
    hub, meters = node.hub, node.meters
    states = {"live": hub.live, "lagging": len(hub.subscribers) - hub.live}
    yield _gauge("connections", "Open event streams.", states, "state")
    text = "Open connections without a request that is being answered."
    yield _gauge("connections_waiting", text, meters.waiting)
    limit = node.settings.max_connections
    yield _gauge("connections_limit", "Connections above which newcomers are shed.", limit)
    yield _counter("connections_opened", "Event streams opened, by sink.", meters.opened, "sink")
    yield _counter("connections_closed", "Event streams ended, by cause.", meters.closed, "reason")
    yield _counter("connections_shed", "Newcomers shed, to come back later.", meters.shed, "reason")
    text = "Connections closed without the application's answer."
    yield _counter("connections_refused", text, meters.refused, "reason")
    text = "Requests refused because they ask for too much."
    yield _counter("requests_exceeding", text, meters.exceeded, "limit")
    yield _counter("pages", "Pages of the log that were answered.", meters.pages, "content")
    text = "How often a replay had to wait because of its limit."
    yield _counter("replays_slowed", text, node.limits.slowed)
    text = "Events published over HTTP."
    yield _counter("published_events", text, node.publishing.published, "channel")
    yield _gauge("publishing_requests", "Requests that publish now.", node.publishes)
    yield _counter("deliveries", "Events written, once per client.", hub.deliveries)
    yield _counter("delivered_bytes", "Bytes of events written.", hub.delivered_bytes)
    reads = node.log.reads
    yield _counter("replay_reads", "Reads of the past in Redis.", reads)
    yield _counter("resumes", "Clients that came with a cursor.", hub.resumes, "outcome")
    resets = CounterMetricFamily(
        _PREFIX + "resets",
        "Clients reset for a possible gap.",
        labels=("stream", "reason"),
    )
    for (stream, reason), count in hub.resets.items():
        resets.add_metric((stream, reason), count)
    yield resets
    text = "Events that clients were not sent, as newer ones followed."
    yield _counter("superseded_events", text, hub.states.passes.superseded, "stream")


def _streams(node: Watched, retained: Mapping[str, Retained]) -> Iterator[Metric]:
    yield from _tailers({name: node.log.status(name) for name in node.hub.windows})
    yield from _windows(node.hub.windows, node.clock.now_ms() / 1000)
    yield from _retained(retained)
    yield _histogram(
        "write_latency_seconds",
        "From the time in the id until the event was written.",
        node.meters.write_latency_s,
        "stream",
    )


def _tailers(statuses: Mapping[str, Status]) -> Iterator[Metric]:
    def gauge(name: str, text: str, value: Callable[[Status], float]) -> Metric:
        return _gauge(name, text, {n: value(status) for n, status in statuses.items()}, "stream")

    def counter(name: str, text: str, value: Callable[[Status], float]) -> Metric:
        return _counter(name, text, {n: value(status) for n, status in statuses.items()}, "stream")

    yield gauge("tailer_up", "Whether the stream can be read now.", lambda s: not s.problem)
    text = "Time since everything in the stream had been read."
    yield gauge("tailer_lag_seconds", text, lambda s: s.lag_s)
    text = "How often the stream could be read again after it could not."
    yield counter("tailer_reconnects", text, lambda s: s.reconnects)
    yield counter("frames_encoded", "Events encoded, once per node.", lambda s: s.frames)
    text = "Entries that can't be sent and were passed over."
    yield counter("malformed_entries", text, lambda s: s.malformed)


def _windows(windows: Mapping[str, Window], now_s: float) -> Iterator[Metric]:

    def gauge(name: str, text: str, values: _By) -> Metric:
        return _gauge(name, text, values, "stream")

    yield gauge("window_events", "Events in memory.", {n: len(w) for n, w in windows.items()})
    yield gauge("window_bytes", "Their bytes.", {n: w.bytes for n, w in windows.items()})
    oldest = {name: window.oldest() for name, window in windows.items()}
    ages = {name: max(0.0, now_s - id_.ms / 1000) for name, id_ in oldest.items() if id_}
    yield gauge("window_oldest_age_seconds", "Age of the oldest event in memory.", ages)
    heads = {name: window.head for name, window in windows.items() if window.head > ZERO}
    ahead = {name: max(0.0, head.ms / 1000 - now_s) for name, head in heads.items()}
    yield gauge("stream_ahead_seconds", "How far the newest id lies in the future.", ahead)


def _retained(retained: Mapping[str, Retained]) -> Iterator[Metric]:
    lengths = {name: found.length for name, found in retained.items()}
    yield _gauge("stream_entries", "Entries retained in Redis.", lengths, "stream")
    yield _gauge(
        "trim_edge_entries",
        "Retained entries before the one that is read next: at 0, trimming loses events.",
        {n: max(0, r.length - r.unread) for n, r in retained.items() if r.unread is not None},
        "stream",
    )


def _states(hub: Hub) -> Iterator[Metric]:
    folds = hub.states.folds

    def gauge(name: str, text: str, value: Callable[[Fold], float]) -> Metric:
        return _gauge(name, text, {n: value(fold) for n, fold in folds.items()}, "stream")

    yield gauge("state_offered", "Whether clients get the state now.", lambda f: f.offered)
    yield gauge("state_keys", "Keys of the state.", lambda f: f.keys)
    yield gauge("state_bytes", "Bytes of its values.", lambda f: f.bytes)
    text = "Whether it has more bytes than state_bytes, so that nothing of it is in memory."
    yield gauge("state_too_large", text, lambda f: f.too_large)
    text = "Whether events may be missing in it."
    yield gauge("state_incomplete", text, lambda f: f.since is not None)


def _checkpoints(
    hub: Hub, checkpoints: Mapping[str, KeyState | None], now_s: float
) -> Iterator[Metric]:
    usable = {n: found is not None and found.start is not None for n, found in checkpoints.items()}
    text = "Whether a node that starts can use the checkpoint."
    yield _gauge("checkpoint_usable", text, usable, "stream")
    lacks = {n: _lacking(hub.windows[n], found) for n, found in checkpoints.items() if found}
    ages = {name: max(0.0, now_s - id_.ms / 1000) if id_ else 0.0 for name, id_ in lacks.items()}
    text = "Age of the oldest event that the checkpoint lacks."
    yield _gauge("checkpoint_lag_seconds", text, ages, "stream")


def _lacking(window: Window, found: KeyState) -> EventId | None:
    """Return the oldest event that a checkpoint lacks, or its position if that is not in memory."""
    match window.place(found.position):
        case Place.AHEAD:
            return None
        case Place.COVERED:
            frames, _ = window.after(found.position, max_bytes=1)
            return frames[0].id if frames else None
    return found.position


def _node(node: Watched) -> Iterator[Metric]:
    yield _gauge("info", "Version.", {VERSION: 1}, "version")
    yield _gauge("draining", "Whether it is shutting down.", node.draining)
    yield _gauge("ready", "Whether it is ready, as /readyz says.", not node.health.reasons())
    yield _gauge(
        "healthy", "Whether nothing is wrong, as /v1/health says.", not node.health.problems()
    )
    lag = {"": node.meters.loop_lag_s}
    yield _histogram("event_loop_lag_seconds", "How late the event loop was.", lag, "")
    # Counting takes 1 µs per task. Once per scrape, that is cheap.
    yield _gauge("tasks", "Tasks of the event loop.", len(asyncio.all_tasks()))


def _gauge(name: str, text: str, values: _By | float, label: str = "") -> Metric:
    return _filled(GaugeMetricFamily(_PREFIX + name, text, labels=_labels(label)), values)


def _counter(name: str, text: str, values: _By | float, label: str = "") -> Metric:
    return _filled(CounterMetricFamily(_PREFIX + name, text, labels=_labels(label)), values)


def _filled(family: GaugeMetricFamily | CounterMetricFamily, values: _By | float) -> Metric:
    if isinstance(values, Mapping):
        for value_of_label, value in values.items():
            family.add_metric((value_of_label,), value)
    else:
        family.add_metric((), values)
    return family


def _histogram(name: str, text: str, values: Mapping[str, Histogram], label: str) -> Metric:
    family = HistogramMetricFamily(_PREFIX + name, text, labels=_labels(label))
    for value_of_label, histogram in values.items():
        labels = (value_of_label,) if label else ()
        family.add_metric(labels, histogram.buckets(), histogram.sum)
    return family


def _labels(label: str) -> tuple[str, ...]:
    return (label,) if label else ()
