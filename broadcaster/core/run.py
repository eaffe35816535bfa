"""A run: one answer to a request, and how cursors and the keys of events name it. Pure.

The id of a request's entry names the run. All events of the run have the key `<key>#<run>`, so that
a client follows its own run alone. A cursor carries the run as `run=<id>`, so that a reconnect goes
on with it instead of asking again.
"""

from __future__ import annotations

from broadcaster.core.event import EventId

RUN = "run"
"""The name under which a cursor carries its run; no stream may be called so."""


def key_of(key: str, run: EventId | str) -> str:
    """The key of a run's events: `<key>#<run>`.

    Args:
        key: what was asked for, such as a user id.
        run: the id of the request.
    """
    return f"{key}#{run}"
