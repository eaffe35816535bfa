"""The hub's own dialect: channels by path or name, filters and start in the query. Pure.

It only reads the request. The endpoint decides, with the node, whether the client is served, and
where a client without a position begins.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set, Sized
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import parse_qs

from broadcaster.core.access.presented import TICKET_PARAM
from broadcaster.core.channel import Channel
from broadcaster.core.event import EventId
from broadcaster.core.nearest import slip
from broadcaster.core.resume.beginning import at_cursor, begin_at
from broadcaster.core.subscription import Granted, Subscription
from broadcaster.core.wanted import Wanted
from broadcaster.core.wire import Exceeded
from broadcaster.errors import InvalidCursorError, InvalidRequestError, UnknownChannelError

CURSOR_PARAMS = ("lastEventId", "lastEventID", "Last-Event-ID", "last_event_id")
"""Query parameters that mean the same as the header `Last-Event-ID`, in order of precedence.

Some clients send their cursor only there. An `EventSource` can't set headers, and on a page of
another origin a header may need a preflight.
"""

RUN_PARAM = "run"
"""The query parameter that names a run to follow, on a channel that is made on demand."""

PROFILE_PARAM = "profile"
"""The query parameter that leaves out everything of the hub's own, on such a channel."""

PARAMS = frozenset(
    {RUN_PARAM, PROFILE_PARAM, "type", "from", "names", "heartbeat", TICKET_PARAM, *CURSOR_PARAMS}
)
"""Query parameters of every event stream."""

_OTHER_FIELDS = 20


class Most(NamedTuple):
    """The limits of what a request may ask for.

    Attributes:
        keys: that it names.
        channels: that it names.
        query_bytes: of its query, as it was sent.
    """

    keys: int = 100
    channels: int = 100
    query_bytes: int = 32 * 1024


_MOST = Most()


class ExceededError(InvalidRequestError):
    """The request exceeds a limit.

    Attributes:
        limit: that it exceeds.
    """

    def __init__(self, limit: Exceeded, text: str) -> None:
        """Take the limit, and a text for the client."""
        super().__init__(text)
        self.limit = limit


# Clients of a channel ask for few different things. Equal requests share one subscription.
subscribed = lru_cache(maxsize=1024)(Subscription.to)


def read(
    scope: Any,
    channels: Mapping[str, Channel],
    channel: Channel | None,
    key: str,
    now_ms: int,
    granted: Granted | None = (),
    most: Most = _MOST,
) -> Wanted:
    """Read what a request asks for.

    Args:
        scope: the request's ASGI scope.
        channels: all channels, by name.
        channel: the channel at the requested path; None for `/v1/events`, where the query names
            the channels.
        key: the key in the path; empty if there is none.
        now_ms: milliseconds since 1970. A duration in `from` counts back from it.
        granted: as in `Subscription.to`.
        most: that it may ask for.

    Returns:
        What the client wants. A cursor that can't be read is returned as `unreadable`, not raised,
        because the answer to an error, 400, would end an `EventSource` for good.

    Raises:
        ExceededError: the query is too long, or has too many keys or channels.
        InvalidRequestError: a key or a channel is missing, there is one too many, a parameter is
            misspelt, `names` or `heartbeat` has another value than its two, or the query is not
            UTF-8.
        InvalidCursorError: `from` can't be read.
        UnknownChannelError: the query names a channel that does not exist.
    """
    query = query_of(scope, most)
    if not query.keys() <= PARAMS:
        own = {"channel", "key"} if channel is None else set() if key else {channel.key_param}
        check_names(query, PARAMS | own, channels)
    chosen = (channel,) if channel else tuple(_named(query, channels, most))
    keys = [key] if key else query.get(channel.key_param if channel else "key", [])
    check_count(keys, most)
    types = tuple(query.get("type", ()))
    subscription = subscribed(
        chosen,
        tuple(keys),
        types,
        names=_one_of(query, "names", "on", "off") == "on",
        beats=_one_of(query, "heartbeat", "comment", "event") == "event",
        granted=granted,
    )
    if (text := cursor_of(scope, query)) is not None:
        return at_cursor(text, chosen, subscription)
    if text := query.get("from", [""])[0]:
        return begin_at(text, chosen, subscription, now_ms)
    return Wanted(chosen, subscription)


def is_bare(scope: Any, most: Most = _MOST) -> bool:
    """Return True if a request wants the events of a run, and nothing of the hub's own.

    Raises:
        ExceededError, InvalidRequestError: the query can't be read.
    """
    return _one_of(query_of(scope, most), PROFILE_PARAM, "native", "bare") == "bare"


def run_of(scope: Any, most: Most = _MOST) -> EventId | None:
    """Return the run that a request names; None if it names none.

    Raises:
        ExceededError, InvalidRequestError: it, or the query, can't be read.
    """
    named = query_of(scope, most).get(RUN_PARAM)
    if not named:
        return None
    try:
        return EventId.parse(named[-1])
    except InvalidCursorError as error:
        raise InvalidRequestError(f"{named[-1][:64]!r} is no id of a run") from error


def check_count(keys: Sized, most: Most) -> None:
    """Raise an `ExceededError` if a request names too many keys."""
    if len(keys) > most.keys:
        raise ExceededError(Exceeded.KEYS, f"{len(keys)} keys; at most {most.keys} may be")


def query_of(scope: Any, most: Most) -> dict[str, list[str]]:
    """Return the query's parameters, without those that have no value.

    Raises:
        ExceededError: the query is too long.
        InvalidRequestError: it is not UTF-8, or has too many fields.
    """
    if not (sent := scope["query_string"]):
        return {}
    if len(sent) > most.query_bytes:
        raise ExceededError(Exceeded.QUERY, f"the query has more than {most.query_bytes} bytes")
    fields = most.keys + most.channels + _OTHER_FIELDS
    try:
        return parse_qs(sent.decode("ascii"), max_num_fields=fields, errors="strict")
    except ValueError as error:
        raise InvalidRequestError(
            f"the query must be UTF-8, with at most {fields} fields"
        ) from error


def check_names(query: Iterable[str], ours: Set[str], channels: Mapping[str, Channel]) -> None:
    """Refuse a misspelt parameter: the client would silently get other events than it wants.

    Other unknown names are ignored. They may be those of a tracker, of a proxy, or of newer nodes.

    Args:
        query: the names of the parameters.
        ours: the names that mean something here.
        channels: all channels, by name.

    Raises:
        InvalidRequestError: a name is nearly one of ours.
    """
    for name in query:
        if name in ours or name in ("channel", "key"):
            continue
        meant = slip(name, ours)
        if meant and not any(name == one.key_param for one in channels.values()):
            raise InvalidRequestError(f"there is no parameter {name!r}: did you mean {meant!r}?")


def _named(
    query: dict[str, list[str]], channels: Mapping[str, Channel], most: Most
) -> list[Channel]:
    names = [name for value in query.get("channel", []) for name in value.split(",")]
    if len(names) > most.channels:
        said = f"{len(names)} channels; at most {most.channels} may be"
        raise ExceededError(Exceeded.CHANNELS, said)
    for name in names:
        if name not in channels:
            raise UnknownChannelError(name, channels)
    return [channels[name] for name in names]


def _one_of(query: dict[str, list[str]], name: str, default: str, other: str) -> str:
    """Return the value of a parameter that has two; raise an `InvalidRequestError` for a third."""
    for value in query.get(name, ()):
        if value not in (default, other):
            raise InvalidRequestError(f"{name} is {default} or {other}, not {value[:64]!r}")
    return query.get(name, [default])[-1]


def cursor_of(
    scope: Any, query: Mapping[str, list[str]], params: Iterable[str] = CURSOR_PARAMS
) -> str | None:
    """Return the text of the client's cursor; None if the request has none.

    Some clients send an empty header when they come back before their first event. The query
    decides then. If it does not say where to begin either, the header is a cursor that can't be
    read: perhaps the client has lost one.

    Args:
        scope: the request's ASGI scope.
        query: its parameters.
        params: those that carry a cursor, in order of precedence.
    """
    headers = [value for name, value in scope["headers"] if name == b"last-event-id"]
    # "A field value does not include leading or trailing whitespace."
    # https://www.rfc-editor.org/rfc/rfc9110#section-5.5
    if headers and (value := headers[0].strip(b" \t")):
        return str(value, "utf-8", "replace")  # as browsers send it
    for param in params:
        if param in query:
            return query[param][-1]  # some clients append one per reconnect: the last is the newest
    return "" if headers and "from" not in query else None
