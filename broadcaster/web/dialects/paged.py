"""Reads a request for a page of the log, or for a state. Pure.

Its filters and its beginning are those of an event stream. `after` is one more name for the cursor.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Set
from typing import Any, NamedTuple

from broadcaster.core.access.presented import TICKET_PARAM
from broadcaster.core.channel import Channel
from broadcaster.core.resume.beginning import at_cursor, begin_at
from broadcaster.core.subscription import Granted, Subscription
from broadcaster.core.wanted import Wanted
from broadcaster.errors import InvalidRequestError
from broadcaster.web.dialects import native

MOST_EVENTS = 1000
"""The most events of a page."""
MOST_WAIT_S = 60
"""The longest wait for an event, in seconds."""

USUAL_EVENTS = 100
"""The most events of a page for which the request says nothing."""
_CURSORS = ("after", *native.CURSOR_PARAMS)
_PARAMS = (native.PARAMS - {"names", "heartbeat"}) | {"after", "key", "limit", "wait"}
_FILTERS = frozenset({"key", "type", TICKET_PARAM})
_NUMBER = re.compile(r"[0-9]{1,4}", re.ASCII)


class PageWanted(NamedTuple):
    """The content of a request for a page.

    Attributes:
        wanted: which events, and where to begin.
        limit: the most events.
        wait_s: how long to wait for an event if there is none, in seconds.
    """

    wanted: Wanted
    limit: int
    wait_s: float


def read(
    scope: Any,
    channels: Mapping[str, Channel],
    channel: Channel,
    now_ms: int,
    granted: Granted | None,
    most: native.Most,
) -> PageWanted:
    """Read a request for a page of one channel.

    Args:
        scope: the request's ASGI scope.
        channels: all channels, by name.
        channel: the channel whose log it is.
        now_ms: milliseconds since 1970. A duration in `from` counts back from it.
        granted: as in `Subscription.to`.
        most: that it may ask for.

    Raises:
        ExceededError: the query is too long, or has too many keys.
        InvalidRequestError: a key is missing, or one too many; a parameter is misspelt; `limit` or
            `wait` is no number in its range; the query is not UTF-8.
        InvalidCursorError: `from` can't be read.
    """
    query = _checked(scope, channels, channel, _PARAMS, most)
    limit = _number(query, "limit", USUAL_EVENTS, 1, MOST_EVENTS)
    wait_s = _number(query, "wait", 0, 0, MOST_WAIT_S)
    chosen, subscription = (channel,), _subscription(query, channel, granted, most)
    if (text := native.cursor_of(scope, query, _CURSORS)) is not None:
        wanted = _without_state(at_cursor(text, chosen, subscription), text)
    elif text := query.get("from", [""])[0]:
        wanted = _without_state(begin_at(text, chosen, subscription, now_ms), text)
    else:
        wanted = Wanted(chosen, subscription)
    return PageWanted(wanted, limit, wait_s)


def read_state(
    scope: Any,
    channels: Mapping[str, Channel],
    channel: Channel,
    granted: Granted | None,
    most: native.Most,
) -> Wanted:
    """Read a request for the state of one channel. Arguments and errors are as for `read`."""
    if channel.requests:
        raise InvalidRequestError(f"{channel.name!r} is made on demand: follow a run for its state")
    query = _checked(scope, channels, channel, _FILTERS, most)
    subscription = _subscription(query, channel, granted, most)
    return Wanted((channel,), subscription, start="state")


def _checked(
    scope: Any,
    channels: Mapping[str, Channel],
    channel: Channel,
    params: Set[str],
    most: native.Most,
) -> Mapping[str, list[str]]:
    query = native.query_of(scope, most)
    if channel.key_param in query and channel.key_param not in params:
        raise InvalidRequestError(f"here the key is given as key=…, not as {channel.key_param}=…")
    native.check_names(query, params, channels)
    return query


def _subscription(
    query: Mapping[str, list[str]], channel: Channel, granted: Granted | None, most: native.Most
) -> Subscription:
    keys, types = tuple(query.get("key", ())), tuple(query.get("type", ()))
    native.check_count(keys, most)
    return native.subscribed((channel,), keys, types, granted=granted)


def _without_state(wanted: Wanted, text: str) -> Wanted:
    """Return what is wanted; a reset for an id amid a state, because no page has a state."""
    if not wanted.states:
        return wanted
    return Wanted(wanted.channels, wanted.subscription, unreadable=text)


def _number(query: Mapping[str, list[str]], name: str, default: int, least: int, most: int) -> int:
    text = query.get(name, [str(default)])[-1]
    if not _NUMBER.fullmatch(text) or not least <= int(text) <= most:
        said = f"{name} is a whole number from {least} to {most}, not {text[:64]!r}"
        raise InvalidRequestError(said)
    return int(text)
