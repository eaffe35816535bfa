"""A run: one answer to a request, and how cursors and the keys of events name it. Pure.

If a GET begins a run, the id of the request's entry names it, and its events have the key
`<key>#<run>`. If a POST begins it, it has an id of its own, which is the key of its events, too. So
a client follows its own run alone. A cursor carries the run as `run=<id>`, so that a reconnect goes
on with it instead of asking again.
"""

from __future__ import annotations

from enum import Enum

from broadcaster.core.event import EventId

STOPPED, FAILED = "stopped", "failed"
"""Types of the terminal events that every channel with runs has."""
ENDS = frozenset({STOPPED, FAILED})
RUN = "run"
"""The name under which a cursor carries its run; no stream may be called so."""


class Standing(Enum):
    """The state of the request for a run."""

    WAITING = "waiting"
    """No worker has taken it yet."""
    TAKEN = "taken"
    """A worker has taken it, and has not finished."""
    ABSENT = "absent"
    """It is not there, since the run is finished, or the request was struck out or lost."""
    STRUCK = "struck"
    """No worker had taken it, and it has just been struck out."""


def key_of(key: str, run: EventId | str) -> str:
    """Return the key of a run's events: `<key>#<run>`, or the run itself if that is the key.

    Args:
        key: what was asked for, such as a user id.
        run: the id of the request.
    """
    return key if key == str(run) else f"{key}#{run}"
