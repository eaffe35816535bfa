"""Health of a node: readiness, event-loop lag, write lag, and clock skew of its streams.

There are two questions. *Is it ready* is for balancers: a node that serves newcomers from its
windows is ready, even while Redis is away for a moment. *Is it healthy* is for people, alerts and
tests: each problem counts.

A problem has two texts. The public text is written by us and may be shown to any client. The detail
may quote Redis or the network, with addresses and user names. It is for operators and the log. This
module only reports: it does not change what a client is sent.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from operator import attrgetter
from typing import Any, NamedTuple, Protocol

from broadcaster.backend.clock import Clock
from broadcaster.backend.driver.urls import redacted
from broadcaster.backend.log import Log
from broadcaster.core.counters import Meters
from broadcaster.core.event import CLOCK_TOLERANCE_S, EventId
from broadcaster.core.fanout.hub import Hub
from broadcaster.core.log import KeyState
from broadcaster.core.sse import Frame
from broadcaster.core.ticks import until_tick
from broadcaster.node.limits import Limits
from broadcaster.node.publishing import Publishing
from broadcaster.node.revoking import Revoking
from broadcaster.settings import Settings
from broadcaster.version import VERSION

logger = logging.getLogger(__name__)

_LOOP_TICK_S = 0.05
_NOT_LOADED = ": the window is not loaded"
_ms = attrgetter("id.ms")


class Loading(Protocol):
    """Loads windows. `loaded` has one asyncio event per stream, set once its window is loaded."""

    loaded: dict[str, asyncio.Event]


class Checkpoints(Protocol):
    """Knows how far the checkpoints of streams go."""

    def checkpoints(self) -> Mapping[str, Callable[[], Awaitable[KeyState | None]]]:
        """Return what asks for it, by stream; None is for a checkpoint that can't be used."""


class Watched(Protocol):
    """The part of a node that health, metrics and the registry read."""

    settings: Settings
    name: str
    hub: Hub
    clock: Clock
    log: Log
    meters: Meters
    limits: Limits
    revoking: Revoking
    publishing: Publishing
    publishes: int
    health: Health
    draining: bool

    @property
    def pump(self) -> Loading:
        """Loads the node's windows."""

    @property
    def folds(self) -> Checkpoints:
        """Has the node's states."""


class Problem(NamedTuple):
    """One reason why a node is not healthy.

    Attributes:
        public: a text of ours, which names a stream of a listed channel at the most.
        detail: the error's own text as well.
    """

    public: str
    detail: str


class Health:
    """Watches one node.

    Attributes:
        write_lag_ms: milliseconds from the time in the newest event's id, which is Redis's clock,
            until the event was written to its clients.
        loop_lag_ms: milliseconds by which the event loop was late at the last measurement.
    """

    def __init__(self, node: Watched) -> None:
        self.write_lag_ms = 0.0
        self.loop_lag_ms = 0.0
        self._node = node
        self._ahead: set[str] = set()  # streams whose newest id is in the future
        self._unlisted = node.settings.channels.unlisted

    def problems(self) -> list[Problem]:
        """Return why the node is not healthy; empty if it is healthy."""
        found = [Problem("draining", "draining")] if self._node.draining else []
        for name, loaded in self._node.pump.loaded.items():
            status, shown = self._node.log.status(name), self._shown(name)
            if not loaded.is_set():
                found.append(Problem(shown + _NOT_LOADED, name + _NOT_LOADED))
            if status.problem:
                found.append(Problem(f"{shown}: can't be read", f"{name}: {status.problem}"))
            elif status.lag_s > self._node.settings.ready_lag_s:
                text = f": {status.lag_s:.1f} s behind"
                found.append(Problem(shown + text, name + text))
        if problem := self._node.revoking.problem:
            text = "the revocations can't be read"
            found.append(Problem(text, f"{text}: {problem}"))
        return found

    def reasons(self) -> list[str]:
        """Return why the node is not ready for newcomers, in public texts; empty if it is.

        A stream that can't be read, or is read late, is no reason: its window has what newcomers
        need, and clients of other streams are served as usual.
        """
        found = ["draining"] if self._node.draining else []
        for name, loaded in self._node.pump.loaded.items():
            if not loaded.is_set():
                found.append(self._shown(name) + _NOT_LOADED)
        if not self._node.revoking.read.is_set():
            found.append("the revocations are not read")
        grace_s = self._node.settings.ready_grace_s
        if self._away_s() > grace_s:
            found.append(f"Redis has been away for more than {grace_s:g} s")
        return found

    def _shown(self, stream: str) -> str:
        """Return what any client may call a stream."""
        return "a channel that is not listed" if stream in self._unlisted else stream

    def _away_s(self) -> float:
        """Return the seconds since any stream could be read; 0 if one can be read now."""
        statuses = [self._node.log.status(name) for name in self._node.pump.loaded]
        return min((status.lag_s if status.problem else 0.0 for status in statuses), default=0.0)

    def report(self, *, details: bool) -> dict[str, Any]:
        """Describe the node's state, for `/v1/health`.

        Args:
            details: True includes versions, names, addresses and error texts, and the channels
                that are not listed.

        Returns:
            A dict that JSON can hold. `status` is `ready` exactly if `reasons` is empty, that
            is, if nothing is wrong: this is stricter than `/readyz`.
        """
        problems, hidden = self.problems(), frozenset[str]() if details else self._unlisted
        report: dict[str, Any] = {
            "status": "not ready" if problems else "ready",
            "reasons": [p.detail if details else p.public for p in problems],
            "clients": len(self._node.hub.subscribers),
            "write_lag_ms": round(self.write_lag_ms, 1),
            "loop_lag_ms": round(self.loop_lag_ms, 1),
            "streams": {
                name: self._stream(name, details)
                for name in self._node.hub.windows
                if name not in hidden
            },
        }
        return {**report, **self._identity()} if details else report

    def _identity(self) -> dict[str, Any]:
        settings = self._node.settings
        ports = {"port": settings.port, "metrics_port": settings.metrics_port}
        return {
            "node": self._node.name,
            "version": VERSION,
            "listening": {"host": settings.host, **ports},
            "redis": redacted(settings.redis_url),
        }

    def _stream(self, name: str, details: bool) -> dict[str, Any]:
        status, window = self._node.log.status(name), self._node.hub.windows[name]
        state: Mapping[str, Any] = {
            "loaded": self._node.pump.loaded[name].is_set(),
            "readable": not status.problem,
            "lag_s": round(status.lag_s, 3),
            "newest": str(window.head),
            "events": len(window),
            "bytes": window.bytes,
            "reconnects": status.reconnects,
            "malformed": status.malformed,
        }
        return {**state, "problem": status.problem} if details else dict(state)

    def measure(self, stream: str, frames: Sequence[Frame]) -> None:
        """Record the write latency of frames that have just been written; look at their time."""
        now_ms = self._node.clock.now_ms()
        latency_s = self._node.meters.write_latency_s  # a stream without frames gets no figure
        # Events of one batch often share a millisecond, so each value is observed once.
        for ms, times in Counter(map(_ms, frames)).items():
            self.write_lag_ms = max(0.0, now_ms - ms)
            latency_s[stream].observe(self.write_lag_ms / 1000, times)
        head = self._node.hub.windows[stream].head
        ahead_s = (head.ms - now_ms) / 1000
        if (ahead_s > CLOCK_TOLERANCE_S) != (stream in self._ahead):
            self._note_future(stream, head, ahead_s)

    def _note_future(self, stream: str, head: EventId, ahead_s: float) -> None:
        """Log that a stream's newest id is in the future, or that it no longer is."""
        if ahead_s > CLOCK_TOLERANCE_S:
            self._ahead.add(stream)
            logger.warning(
                "stream %r: the id %s is %.0f s in the future. A producer chose it, or Redis's "
                "clock is wrong; all ids after it are in the future as well, and no time can be "
                "found",
                stream,
                head,
                ahead_s,
            )
        else:
            self._ahead.remove(stream)
            logger.warning("stream %r: its ids are in step with the clock again", stream)

    async def watch_loop(self) -> None:
        """Measure how late the event loop is, until cancelled."""
        while True:
            wait_s = until_tick(_LOOP_TICK_S, asyncio.get_running_loop().time())
            due_s = time.monotonic() + wait_s
            await asyncio.sleep(wait_s)
            late_s = max(0.0, time.monotonic() - due_s)
            self.loop_lag_ms = late_s * 1000
            self._node.meters.loop_lag_s.observe(late_s)
