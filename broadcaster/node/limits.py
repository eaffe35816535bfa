"""The limits of a node's clients: for their event streams, and for the past that they are sent.

[Design note 006](../../docs/design/006-limits.md) says what is counted, and why here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from broadcaster.core.access.allowance import Allowance
from broadcaster.core.access.stream_counts import Owners, StreamCounts
from broadcaster.core.wire import Shed
from broadcaster.settings import Settings

_REASONS = (Shed.ADDRESS, Shed.SUBJECT)  # in the order of `Owners`
_MINUTE_S = 60.0


class Limits:
    """Counts the event streams of a node, by address and by subject.

    Attributes:
        places: of each kind of owner.
        counts: False if there is no limit, so that nothing has to be counted.
        pacing: returns the allowance of a client that is sent the past; None if there is no limit.
        slowed: how often a replay had to wait.
    """

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin without streams.

        Args:
            settings: have the limits.
            clock: returns seconds, and never goes back.
        """
        most = settings.max_connections_per_address, settings.max_connections_per_subject
        self.places = {kind: StreamCounts(n) for kind, n in zip(Owners._fields, most, strict=True)}
        self.slowed = 0
        self._clock = clock
        self._arrivals: Allowance | None = None
        if per_s := settings.max_new_connections_per_s:
            self._arrivals = Allowance(per_s, max(1.0, per_s), clock())
        self._replays = settings.max_replayed_events_per_min, settings.max_replayed_bytes_per_min
        self.pacing = self._pace if any(self._replays) else None
        self.counts = bool(per_s or any(places.most for places in self.places.values()))

    def refusal(self, owners: Owners) -> Shed | None:
        """Return the reason why a newcomer has to come back later; None if it need not."""
        if reason := self.crowded(owners):
            return reason
        if self._arrivals and self._arrivals.left(self._clock()) < 1.0:
            return Shed.RATE
        return None

    def crowded(self, owners: Owners) -> Shed | None:
        """Return which owner has all the places that it may have; None if neither has."""
        for owner, places, reason in zip(owners, self.places.values(), _REASONS, strict=True):
            if places.full(owner):
                return reason
        return None

    def take(self, owners: Owners, *, arrives: bool = True) -> None:
        """Count a stream that is about to be served. `free` must follow.

        Args:
            owners: of it.
            arrives: False for a request that is no new event stream, and takes a place all the
                same.
        """
        for owner, places in zip(owners, self.places.values(), strict=True):
            places.take(owner)
        if self._arrivals and arrives:
            self._arrivals.spend(1.0, self._clock())

    def free(self, owners: Owners) -> None:
        """Count a stream no more: its response has ended."""
        for owner, places in zip(owners, self.places.values(), strict=True):
            places.free(owner)

    # Over several nodes

    def for_others(self) -> dict[str, dict[str, int]]:
        """Return what other nodes need to know, as JSON can hold it."""
        return {kind: places.for_others() for kind, places in self.places.items() if places.most}

    def learn(self, lines: Iterable[Mapping[str, Any]]) -> None:
        """Take what the other nodes have published, in the place of what they had before."""
        counts = [line if isinstance(line, dict) else {} for line in lines]
        for kind, places in self.places.items():
            places.learn(line.get(kind) for line in counts)

    # The past

    def _pace(self) -> Pace:
        return Pace(self, *self._replays, self._clock)


class Pace:
    """The limit of the past that one connection is sent in a minute."""

    __slots__ = ("_bytes", "_clock", "_events", "_limits")

    def __init__(self, limits: Limits, events: int, size: int, clock: Callable[[], float]) -> None:
        """Begin with a whole minute's worth. 0 is no limit."""
        self._limits = limits
        self._clock = clock
        now_s = clock()
        self._events, self._bytes = (
            Allowance(most / _MINUTE_S, most, now_s) if most else None for most in (events, size)
        )

    def wait_s(self, events: int, size: int) -> float:
        """Note what was sent, and return the seconds to wait before more is."""
        now_s = self._clock()
        by_events = self._events.spend(events, now_s) if self._events else 0.0
        by_bytes = self._bytes.spend(size, now_s) if self._bytes else 0.0
        wait_s = max(by_events, by_bytes)
        self._limits.slowed += wait_s > 0
        return wait_s
