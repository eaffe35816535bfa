"""The parameters of event streams, as objects of OpenAPI. Data only."""

from __future__ import annotations

from broadcaster.core.channel import KEY_IN_PATH, MAX_KEY_BYTES, Channel
from broadcaster.web.dialects.native import CURSOR_PARAMS
from broadcaster.web.documents.operation import STRING, Json, array, parameter, ref

_KEY = {"type": "string", "minLength": 1, "maxLength": MAX_KEY_BYTES}
_ALIASES = ", ".join(f"`{name}`" for name in CURSOR_PARAMS[1:])

QUERY: dict[str, Json] = {
    "type": parameter(
        "query", "type", array(STRING),
        "Only events of this type; repeat it for more. An event without a type is a `message`.",
    ),
    "from": parameter(
        "query", "from", STRING,
        "Where to begin: the id of an event, `earliest`, `latest`, a time of RFC 3339, a duration "
        "back such as `10m`, or `state`: the newest values, where the channel has a state.",
        examples={
            "earliest": {"value": "earliest"}, "ten minutes back": {"value": "10m"},
            "an id": {"value": "1795374291043-0"},
        },
    ),
    "names": parameter(
        "query", "names", {"enum": ["on", "off"], "default": "on"},
        "`off` leaves out the names of events, for code that has only `onmessage`.",
    ),
    "heartbeat": parameter(
        "query", "heartbeat", {"enum": ["comment", "event"], "default": "comment"},
        "`event` makes each heartbeat a `stream.at`, so that a page can notice a dead link.",
    ),
    "run": parameter(
        "query", "run", STRING,
        "The id of a run to follow, on a channel that is made on demand. No run begins then.",
    ),
    "profile": parameter(
        "query", "profile", {"enum": ["native", "bare"], "default": "native"},
        "`bare` has the events of a run, from its first one, and nothing of the hub's own. That is "
        "the newest run about the key, or the one that `run` names; 204 if it is not active. The "
        "response ends cleanly after the last event, and is cut otherwise. Only on a channel that "
        "is made on demand.",
    ),
    CURSOR_PARAMS[0]: parameter(
        "query", CURSOR_PARAMS[0], STRING,
        "The same as the header `Last-Event-ID`, for clients that can't send it. "
        f"{_ALIASES} mean the same.",
    ),
}  # fmt: skip
"""The parameters of the query of every event stream, but for the ticket."""

HEADER: dict[str, Json] = {
    "Last-Event-ID": parameter(
        "header", "Last-Event-ID", STRING,
        "The id of the last event that the client has seen. The event stream goes on after it.",
    ),
}  # fmt: skip
"""The headers of every event stream."""

COMPONENTS = QUERY | HEADER
"""All of these, by the names of components."""

STREAM: tuple[Json, ...] = tuple(ref(name, "parameters") for name in COMPONENTS)
"""References to all of these."""


def key_of(channel: Channel, *, by_grant: bool) -> Json:
    """Return the parameter for the key of a channel.

    Args:
        channel: whose events are about keys.
        by_grant: a grant may name the key, so that the caller need not.
    """
    if KEY_IN_PATH in channel.path:
        return parameter("path", "key", _KEY, "What the events are about.", required=True)
    required = channel.needs_key and not by_grant
    text = "Only events about this key" + ("." if channel.requests else "; repeat it for more.")
    if channel.needs_key and by_grant:
        text += " It may be left out where the caller's rights name it."
    return parameter("query", channel.key_param, array(_KEY), text, required=required)


def key_of_run(channel: Channel) -> Json:
    """Return the parameter for the key of a new run. In a query, the body may have it instead."""
    if KEY_IN_PATH in channel.path:
        return parameter("path", "key", _KEY, "What the run is about.", required=True)
    return parameter("query", channel.key_param, _KEY, "What the run is about.")
