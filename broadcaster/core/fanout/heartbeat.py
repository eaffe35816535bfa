"""Makes the bytes for a client that gets no event: heartbeats, and a farewell. Pure.

If a filter leaves out events, the client's position moves on without an event. Then it is sent
`stream.at`, so that a reconnect does not go back to its last event, which Redis may have dropped by
then. Otherwise a heartbeat is a comment. A client can ask for a `stream.at` as each heartbeat.
"""

from __future__ import annotations

from collections.abc import Mapping

from broadcaster.core import sse
from broadcaster.core.cursor import Positions
from broadcaster.core.fanout.subscriber import State, Subscriber
from broadcaster.core.history.window import Window
from broadcaster.core.runs.silent import Waiting
from broadcaster.core.wire import Ending

BEATS = 15
"""The calls of `Hub.beat` in the time after which a quiet client gets a heartbeat."""


def heartbeat(
    subscriber: Subscriber, position: Positions | None, windows: Mapping[str, Window]
) -> bytes:
    """Return a heartbeat, and note the position that it carries.

    Args:
        subscriber: a quiet one.
        position: everything up to it was sent; None if no position is proven.
        windows: of its streams, and maybe others.
    """
    if subscriber.subscription.beats:
        return sse.at(_id(subscriber, position))
    at = _cursor(subscriber, position)
    if not at or at == subscriber.last_at:
        return sse.HEARTBEAT
    subscriber.last_at = at
    return sse.HEARTBEAT if _is_its_event(subscriber, windows) else sse.at(at)


def farewell(
    subscriber: Subscriber, position: Positions | None, retry_ms: int, ending: Ending = Ending.DRAIN
) -> bytes:
    """Return the end of a response that is to be resumed, with the client's position.

    Some clients forget their position at an event without an id. So the position comes along even
    if it is no news, and without one there is no event.

    Args:
        subscriber: its client.
        position: as in `heartbeat`. If the subscriber catches up, its own position counts.
        retry_ms: reconnection time.
        ending: why the response ends.
    """
    at = subscriber.resume.claimed() if subscriber.resume else _id(subscriber, position)
    is_right_over = ending in (Ending.EXPIRED, Ending.REVOKED)
    return sse.expired(retry_ms, at) if is_right_over else sse.retry(retry_ms, at)


def waiting(subscriber: Subscriber, position: Positions | None, told: Waiting) -> bytes:
    """Return `stream.waiting`, with the client's position.

    Args:
        subscriber: follows a run that no worker has.
        position: as in `heartbeat`.
        told: has the time for which none has had it.
    """
    subscriber.last_at = _id(subscriber, position)
    return sse.waiting(told.waited_ms, told.left_ms, subscriber.last_at)


def _id(subscriber: Subscriber, position: Positions | None) -> bytes:
    return subscriber.subscription.cursor(position) if position else b""


def _cursor(subscriber: Subscriber, position: Positions | None) -> bytes:
    subscription = subscriber.subscription
    if position is None or not subscription.filtered:
        return b""
    return subscription.cursor(position)


def _is_its_event(subscriber: Subscriber, windows: Mapping[str, Window]) -> bool:
    """Return True if the newest entry of each stream is an event that the subscriber was sent."""
    subscription = subscriber.subscription
    if subscriber.state is not State.LIVE:
        return False
    newest = {name: windows[name].get(windows[name].head) for name in subscription.streams}
    return all(f and f.wire and subscription.accepts(name, f) for name, f in newest.items())
