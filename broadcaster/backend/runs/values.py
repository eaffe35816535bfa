"""Values that describe a run: what is asked of it, and what its worker gets. Part of `backend`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from broadcaster.backend.publishing.outgoing import NewEntry
from broadcaster.core.event import EventId

KEPT_S = 3_600.0
"""Seconds that the record of a run is kept after its last piece, if it does not end."""
DONE_S = 300.0
"""Seconds that the record of a run is kept when it is over, if a GET has begun it. This is shorter
than for other runs, because any client can begin runs with a GET."""


class Piece(NamedTuple):
    """An event that a run has published, without its key.

    Attributes:
        type: the SSE event name.
        data: its data.
    """

    type: str
    data: bytes


class Begun(NamedTuple):
    """A run that a worker has begun.

    Attributes:
        attempt: the number of workers that have begun it.
        key: the thing that it is about.
        event_key: the key of its events.
        batch: the number of the last batch that was written.
        began_ms: when the first worker began it, by Redis's clock.
        body: the body of the request that asked for it.
        pieces: everything that was published so far.
    """

    attempt: int
    key: str
    event_key: str
    batch: int
    began_ms: int
    body: bytes
    pieces: list[Piece]


class Asked(NamedTuple):
    """A request for a run, and the times that hold for it.

    Attributes:
        key: the thing that it is about.
        event_key: the key of its events.
        owner: the subject that asks for it.
        body: of the request.
        wait_s: seconds in which a worker may begin it, or go on with it if its worker is silent.
        ttl_s: seconds that its record is kept when it is over.
    """

    key: str
    event_key: str
    owner: str = ""
    body: bytes = b""
    wait_s: float = 0.0
    ttl_s: float = DONE_S


class Write(NamedTuple):
    """A batch of events of a run.

    Attributes:
        run: its id.
        attempt: of the worker.
        batch: one above the last batch of the run.
        entries: the events.
    """

    run: EventId | str
    attempt: int
    batch: int
    entries: Sequence[tuple[NewEntry, Piece]]
