"""The requests of a node's clients that perhaps no worker has taken yet. Pure.

A node strikes out a request some time after its last client here has left. So clients that leave at
once can't fill Redis, and don't keep the workers busy. A client that loses its connection has the
time to come back for its run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from broadcaster.core.event import EventId
from broadcaster.core.log import Known

MAX_LEFT = 16
"""The most requests without a client that a node leaves in place. Above that, the request that was
left first is struck out at once, so that others need not wait for it."""
LOOK_S = 5.0
"""Seconds after which a node looks again whether a request still waits."""
FIRST_LOOK_S = 1.0
"""Seconds after which it first looks, so that a client without a worker learns it soon."""


class Due(NamedTuple):
    """The requests to look at now.

    Attributes:
        strike: to be struck out if no worker has taken them.
        look: their clients are here. A request that is gone would leave them waiting for ever.
    """

    strike: list[Known]
    look: list[Known]


@dataclass(slots=True)
class _Request:
    asked_s: float
    looked_s: float
    left_s: float | None = field(default=None)


class Pending:
    """The requests by their runs. The caller passes the current time."""

    def __init__(self, *, grace_s: float, ttl_s: float) -> None:
        """Begin without requests.

        Args:
            grace_s: seconds after which a request without a client is struck out.
            ttl_s: seconds after which any request is struck out.
        """
        self._grace_s = grace_s
        self._ttl_s = ttl_s
        self._requests: dict[Known, _Request] = {}

    def __len__(self) -> int:
        return len(self._requests)

    def add(self, run: Known, now_s: float) -> None:
        """Remember a request that a client here has made, or has come back for."""
        self._requests.setdefault(run, _Request(now_s, now_s + FIRST_LOOK_S - LOOK_S))

    def forget(self, run: Known) -> None:
        """Forget a request that does not wait any more."""
        self._requests.pop(run, None)

    def due(self, now_s: float, followed: Callable[[EventId], bool]) -> Due:
        """Return the requests to look at.

        Args:
            now_s: seconds of a clock that never goes back.
            followed: returns True if a client here follows a run.
        """
        due, left = Due([], []), list[tuple[float, Known]]()
        for run, request in self._requests.items():
            if followed(run.run):
                request.left_s = None
            elif request.left_s is None:
                request.left_s = now_s
            if request.left_s is not None and now_s < request.left_s + self._grace_s:
                left.append((request.left_s, run))
            elif request.left_s is not None or now_s >= request.asked_s + self._ttl_s:
                due.strike.append(run)
            elif now_s >= request.looked_s + LOOK_S:
                request.looked_s = now_s
                due.look.append(run)
        left.sort(key=lambda one: one[0])  # equal times stay in the order of the requests
        due.strike.extend(run for _, run in left[: max(0, len(left) - MAX_LEFT)])
        return due
