"""The hub's own dialect: channels by path or name, filters and a beginning in the query. Pure.

It only reads. Where a client begins that names no position, and whether it is served at all, is
decided by the endpoint, which asks the node.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qs

from broadcaster.core.channel import Channel
from broadcaster.core.cursor import parse_start
from broadcaster.core.opening import Wanted
from broadcaster.core.subscription import ReshardedError, Subscription, restore
from broadcaster.errors import InvalidCursorError, InvalidRequestError, UnknownChannelError

CURSOR_PARAMS = ("lastEventId", "lastEventID", "Last-Event-ID", "last_event_id")
"""Query parameters that mean what the header `Last-Event-ID` means, the first of them first.

Some clients send their cursor only there: an `EventSource` can't set headers, and a header of a
page of another origin may need a preflight.
"""

_MAX_FIELDS = 100

# Clients of a channel want few different things, and those with equal wishes share one object.
_subscription = lru_cache(maxsize=1024)(Subscription.to)


def read(
    scope: Any, channels: Mapping[str, Channel], channel: Channel | None, key: str, now_ms: int
) -> Wanted:
    """Read what a request asks for.

    Args:
        scope: of the request, as ASGI has it.
        channels: all that there are, by name.
        channel: the one whose path was requested; None for `/v1/events`, which names its channels.
        key: the one in the path; empty if there is none.
        now_ms: milliseconds since 1970, which durations count back from.

    Raises:
        InvalidRequestError: a key or a channel is missing or one too many, or the query is not
            UTF-8.
        InvalidCursorError: `from` can't be read. A cursor that can't be read is no error, but
            `unreadable`: to a browser, 400 would be the end.
        UnknownChannelError: it names a channel that there is not.
    """
    query = _query(scope)
    chosen = (channel,) if channel else tuple(_named(query, channels))
    keys = [key] if key else query.get(channel.key_param if channel else "key", [])
    subscription = _subscription(chosen, tuple(keys), tuple(query.get("type", ())))
    if (text := _cursor(scope, query)) is not None:
        return _at_cursor(text, chosen, subscription)
    if text := query.get("from", [""])[0]:
        return _from(text, chosen, subscription, now_ms)
    return Wanted(chosen, subscription)


def _query(scope: Any) -> dict[str, list[str]]:
    """The query's parameters; those without a value are left out."""
    if not scope["query_string"]:
        return {}
    try:
        text = scope["query_string"].decode("ascii")
        return parse_qs(text, max_num_fields=_MAX_FIELDS, errors="strict")
    except ValueError as error:
        raise InvalidRequestError(
            f"the query must be UTF-8, with at most {_MAX_FIELDS} fields"
        ) from error


def _named(query: dict[str, list[str]], channels: Mapping[str, Channel]) -> list[Channel]:
    names = [name for value in query.get("channel", []) for name in value.split(",")]
    for name in names:
        if name not in channels:
            raise UnknownChannelError(name, channels)
    return [channels[name] for name in names]


def _cursor(scope: Any, query: dict[str, list[str]]) -> str | None:
    """The text of the client's cursor; None if it has come without one."""
    for name, value in scope["headers"]:
        if name == b"last-event-id":
            return str(value, "latin-1")
    for param in CURSOR_PARAMS:
        if param in query:
            return query[param][-1]  # a client that adds it to its URL each time adds the newest
    return None


def _at_cursor(text: str, channels: tuple[Channel, ...], subscription: Subscription) -> Wanted:
    try:
        return _restored(text, channels, subscription)
    except InvalidCursorError:
        return Wanted(channels, subscription, unreadable=text)


def _from(
    text: str, channels: tuple[Channel, ...], subscription: Subscription, now_ms: int
) -> Wanted:
    # An event id and a time have nothing in common but digits and hyphens; a time has a T.
    if "=" not in text and not text.replace("-", "").isdigit():
        return Wanted(channels, subscription, start=parse_start(text, now_ms))
    try:
        return _restored(text, channels, subscription)
    except ReshardedError:  # it was right when it was given out
        return Wanted(channels, subscription, unreadable=text)


def _restored(text: str, channels: tuple[Channel, ...], subscription: Subscription) -> Wanted:
    positions, run = restore(text, subscription, channels)
    wanted = Wanted(channels, subscription, positions, run)
    if wanted.on_demand is None:
        return Wanted(channels, subscription, positions)
    if run is None or wanted.on_demand.name not in positions:
        raise InvalidCursorError(f"the id of a {wanted.on_demand.name} event names its run")
    return wanted
