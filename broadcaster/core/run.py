"""A run: one answer to a request, and how cursors and the keys of events name it. Pure.

The id of a request's entry names the run. All events of the run have the key `<key>#<run>`, so that
a client follows its own run alone. A cursor carries the run as `run=<id>`, so that a reconnect goes
on with it instead of asking again.
"""

from __future__ import annotations

from enum import Enum

from broadcaster.core.event import EventId

RUN = "run"
"""The name under which a cursor carries its run; no stream may be called so."""


class Standing(Enum):
    """What became of the request for a run."""

    WAITING = "waiting"
    """No worker has taken it yet."""
    TAKEN = "taken"
    """A worker has taken it, and has not finished."""
    ABSENT = "absent"
    """It is not there, since the run is finished, or the request was struck out or lost."""
    STRUCK = "struck"
    """No worker had taken it, and it has just been struck out."""


def key_of(key: str, run: EventId | str) -> str:
    """Return the key of a run's events: `<key>#<run>`.

    Args:
        key: what was asked for, such as a user id.
        run: the id of the request.
    """
    return f"{key}#{run}"


def state_key_of(stream: str, run: EventId | str) -> str:
    """Return the Redis key of a run's progress. On a Cluster it lies in the slot of the stream.

    Args:
        stream: the Redis key of the stream that has the run's events.
        run: the id of the request.
    """
    return f"{{{stream}}}:run:{run}"
