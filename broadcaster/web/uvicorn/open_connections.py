"""The connections of a server that have no request to be answered, and how long they may wait.

It counts them for `max_connections`, since an open connection costs a file and memory with or
without a request. This module does not import uvicorn.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from functools import partial
from typing import NamedTuple, Protocol

from broadcaster.core.counters import Meters
from broadcaster.core.wire import Refusal
from broadcaster.settings import Settings
from broadcaster.web.head import Headers, cors_headers
from broadcaster.web.spread import Spread
from broadcaster.web.ticks import tick

_SWEEP_S = 1.0
_LEAST_RESERVE = 100


class Bounds(NamedTuple):
    """The limits of what a client may send, and of the time that it may take.

    Attributes:
        max_head_bytes: bytes of a request's head. As many may come behind a request that is still
            being answered.
        max_headers: headers of a request.
        head_timeout_s: seconds from the first byte of a request, or from the beginning of its
            connection, until its head is complete.
        max_connections: connections above which newcomers are shed.
        cors: returns the headers by which pages can read a refusal, for the headers of its request.
    """

    max_head_bytes: int
    max_headers: int
    head_timeout_s: float
    max_connections: int
    cors: Callable[[Headers], Headers] = lambda _: []

    @classmethod
    def of(cls, settings: Settings) -> Bounds:
        """Return the bounds that an operator has set."""
        return cls(
            settings.max_head_bytes,
            settings.max_headers,
            settings.head_timeout_s,
            settings.max_connections,
            lambda headers: cors_headers(settings, {"headers": headers}),
        )


class Closable(Protocol):
    """A connection."""

    def close_for(self, reason: Refusal) -> None:
        """Close it, because it waits too long, or because too many wait."""


class OpenConnections:
    """The connections of one server, and which of them wait.

    A connection is in one of three states. It is *expected* to send the head of a request, from its
    beginning or from the first byte of a further request; this has a time limit. It *rests* after
    an answer; the server's keep-alive limits this. Or it is *served*.

    Attributes:
        bounds: what connections may do.
        meters: counts those that wait, and those that are refused.
        spread: lets few of them send a request, or be closed, in one turn of the event loop.
        count: the number of all connections.
    """

    def __init__(self, bounds: Bounds, meters: Meters, spread: Spread | None = None) -> None:
        """Begin without connections.

        Args:
            bounds: what connections may do.
            meters: `waiting` and `refused` are kept there.
            spread: None is a new one.
        """
        self.bounds = bounds
        self.meters = meters
        self.spread = spread or Spread()
        self.count = 0
        # Newcomers above `max_connections` are answered, so they need room for their request.
        self._most = bounds.max_connections + max(_LEAST_RESERVE, bounds.max_connections // 10)
        # Both are in the order in which the connections began to wait.
        self._expected: dict[Closable, float] = {}
        self._resting: dict[Closable, None] = {}

    def enter(self, connection: Closable) -> None:
        """Add a new connection. If there are too many, the one that waits longest is closed."""
        self.count += 1
        self.expect(connection)
        if self.count > self._most:
            longest = next(iter(self._resting or self._expected))
            self.serve(longest)
            longest.close_for(Refusal.FULL)

    def expect(self, connection: Closable) -> None:
        """Limit the time until the head of a request is complete. Call it once per request."""
        self._resting.pop(connection, None)
        self._expected[connection] = time.monotonic() + self.bounds.head_timeout_s
        self._measure()

    def rest(self, connection: Closable) -> None:
        """Wait for a further request without a limit of our own."""
        self._expected.pop(connection, None)
        self._resting[connection] = None
        self._measure()

    def serve(self, connection: Closable) -> None:
        """Note that a request's head is complete. The connection waits no longer."""
        self._expected.pop(connection, None)
        self._resting.pop(connection, None)
        self._measure()

    def leave(self, connection: Closable) -> None:
        """Forget a connection that is gone."""
        self.serve(connection)
        self.count -= 1

    def sweep(self) -> None:
        """Close connections whose time is over, a few in each turn of the event loop."""
        now_s = time.monotonic()
        for connection, until_s in list(self._expected.items()):
            if until_s > now_s:
                return
            self.spread.call(partial(self._give_up, connection))

    def _give_up(self, connection: Closable) -> None:
        """Close a connection, unless its request has come at last."""
        if self._expected.get(connection, math.inf) <= time.monotonic():
            self.serve(connection)
            connection.close_for(Refusal.SLOW)

    async def watch(self) -> None:
        """Sweep again and again, until cancelled."""
        while True:
            await tick(min(_SWEEP_S, self.bounds.head_timeout_s / 4))
            self.sweep()

    def _measure(self) -> None:
        self.meters.waiting = len(self._expected) + len(self._resting)
