"""The texts of the documents about each route of the table. Data only.

A new row of `web.table.TABLE` needs an `Operation` here, or in `upkeep`. Components that it refers
to are in `schemas`, and parameters of event streams in `parameters`.
"""

from __future__ import annotations

from broadcaster.web.dialects.paged import MOST_EVENTS, MOST_WAIT_S, USUAL_EVENTS
from broadcaster.web.documents.operation import (
    COUNT,
    STRING,
    TEXTS,
    Json,
    Operation,
    answer,
    array,
    described,
    parameter,
    record,
    ref,
)
from broadcaster.web.documents.parameters import STREAM

_HTML = "text/html"
_LINES = "application/x-ndjson"
_CHANNEL = parameter("path", "channel", ref("ChannelName"), "The name of a channel.", required=True)

_AS_BEFORE: Json = {"description": "It has not changed since the `ETag` of `If-None-Match`."}

PAGE = Operation(
    "page", "hub", "A page that shows the event streams live",
    {200: answer("The page.", STRING, _HTML)},
)  # fmt: skip

_SCRIPT = {200: answer("A module.", STRING, "text/javascript"), 304: _AS_BEFORE}
PAGE_MODULE = Operation(
    "pageModule", "hub", "A module of the page", _SCRIPT, (404,),
    parameters=(parameter("path", "name", STRING, "Its name.", required=True),),
)  # fmt: skip
PAGE_TOKEN = Operation(
    "pageToken", "hub", "In the demo, a token for its page, to publish with",
    {200: answer("The token.", record({"token": STRING}))},
    (403, 404),
)  # fmt: skip
CLIENT_JS = Operation("clientScript", "hub", "The client for browsers", _SCRIPT)
REACT_JS = Operation("reactScript", "hub", "Its hooks for React", _SCRIPT)

OPENAPI = Operation(
    "openapi", "hub", "This document",
    {200: answer("An OpenAPI document.", {"type": "object"}), 304: _AS_BEFORE},
    (401, 403),
    "It names the channels that the caller may see, and no others.",
    needs="some",
)  # fmt: skip

ASYNCAPI = OPENAPI._replace(
    name="asyncapi",
    summary="The event streams, in AsyncAPI",
    responses={200: answer("An AsyncAPI document.", {"type": "object"}), 304: _AS_BEFORE},
)

DOCS = OPENAPI._replace(
    name="docs",
    summary="A page that shows this document",
    responses={200: answer("The page.", STRING, _HTML), 304: _AS_BEFORE},
)

EVENTS = Operation(
    "readEvents", "streams", "Several channels in one event stream",
    {},
    text="Events of a key are in order. Events of several channels come as they happen.",
    parameters=(
        parameter(
            "query", "channel", array(ref("ChannelName"), minItems=1),
            "A channel; repeat it for more.", required=True,
        ),
        parameter(
            "query", "key", array(STRING),
            "Only events about this key; repeat it for more. A channel may require one.",
        ),
        *STREAM,
    ),
    needs="rights",
)  # fmt: skip

CHANNELS = Operation(
    "listChannels", "channels", "All channels that the caller may see",
    {200: answer("The channels.", record({"channels": array(ref("ChannelDescription"))}))},
    (401, 403),
    needs="some",
)  # fmt: skip

CHANNEL = Operation(
    "describeChannel", "channels", "One channel: its path, its length, its oldest and newest id",
    {200: answer("The channel.", ref("ChannelDescription"))},
    (401, 403, 404),
    "To show a state and then follow it: read `newest`, load the state, and open the event stream "
    "with `from` and that id.",
    (_CHANNEL,),
    needs="rights",
)  # fmt: skip

LOG_PAGE = Operation(
    "readLogPage", "channels", "A page of the log: events as JSON",
    {200: answer("The events after a position, and where to go on.", ref("LogPage"))},
    (400, 401, 403, 404, 414, 429, 503),
    "For programs that can't hold a connection. Give `next` as `after` to the next request.",
    (
        _CHANNEL,
        parameter(
            "query", "after", STRING,
            "A cursor: a `next`, or an id of an event. Without it, the page begins at `from`, and "
            "without that where a new event stream would.",
        ),
        parameter(
            "query", "limit",
            {"type": "integer", "minimum": 1, "maximum": MOST_EVENTS, "default": USUAL_EVENTS},
            "The most events.",
        ),
        parameter(
            "query", "wait",
            {"type": "integer", "minimum": 0, "maximum": MOST_WAIT_S, "default": 0},
            "Seconds to wait for an event if there is none.",
        ),
        parameter(
            "query", "key", array(STRING),
            "Only events about this key; repeat it for more. A channel may require one.",
        ),
        ref("type", "parameters"),
        ref("from", "parameters"),
    ),
    needs="rights",
)  # fmt: skip

STATE = Operation(
    "readState", "channels", "The state of a channel: what is, as JSON",
    {200: answer("The state, and its position.", ref("ChannelState")), 304: _AS_BEFORE},
    (400, 401, 403, 404, 409, 414, 429, 503),
    "For pages that are rendered on a server. An event stream that begins at `position`, as its "
    "`Last-Event-ID` or `lastEventId`, has all that comes later.",
    (
        _CHANNEL,
        parameter(
            "query", "key", array(STRING),
            "Only this key; repeat it for more. A channel may require one.",
        ),
        ref("type", "parameters"),
    ),
    needs="rights",
)  # fmt: skip

PUBLISH = Operation(
    "publish", "channels", "Publish events",
    {
        200: {
            "description": "All events are published. `ids` are theirs, in order. A body of lines "
            "is answered with a line for each.",
            "content": {
                "application/json": {"schema": record({"ids": array(ref("EventId"))})},
                _LINES: {"itemSchema": ref("PublishedLine")},
            },
        }
    },
    (400, 401, 403, 404, 408, 413, 415, 422, 429, 503),
    "The body is one event, an array of at most 1,000, or a line for each event. It needs a token "
    "in the header `Authorization`; cookies and tickets don't count.",
    (
        _CHANNEL,
        parameter(
            "header", "Idempotency-Key", {"type": "string", "minLength": 1, "maxLength": 256},
            "With it, the request is safe to be sent again: what was published is not published "
            "twice.",
        ),
    ),
    {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"anyOf": [ref("NewEvent"), array(ref("NewEvent"), maxItems=1000)]},
                "example": {"type": "stock-change", "key": "7", "data": {"newStock": 4}},
            },
            "application/cloudevents+json": {"schema": ref("CloudEvent")},
            "application/cloudevents-batch+json": {"schema": array(ref("CloudEvent"))},
            _LINES: {"itemSchema": ref("NewEvent")},
        },
    },
    "bearer",
)  # fmt: skip

_RUN = parameter("path", "run", STRING, "The id of a run.", required=True)
_STATES = ["waiting", "running", "complete", "failed", "stopped", "expired"]
_STATE = answer(
    "Its state.",
    record(
        {
            "run": STRING,
            "channel": ref("ChannelName"),
            "key": described(STRING, "what it is about"),
            "state": {"enum": _STATES},
            "attempt": described(COUNT, "how many workers have begun it"),
            "url": described(STRING, "the path at which it is followed"),
            "reason": described(STRING, "why it did not complete"),
            "waited_ms": described(COUNT, "for how long no worker has had it, if none has it"),
            "left_ms": described(COUNT, "after this time it fails, if no worker takes it"),
        },
        "reason",
        "waited_ms",
        "left_ms",
    ),
)
RUN = Operation(
    "run", "streams", "The state of a run, also for a while after its end",
    {200: _STATE}, (401, 403, 404, 503), "Its owner may see it, and a caller with a grant.",
    (_RUN,), needs="rights",
)  # fmt: skip
STOP_RUN = Operation(
    "stopRun", "streams", "Stop a run",
    {200: _STATE}, (401, 403, 404, 503),
    "Its event stream ends with `stopped`, and its worker ends. A run that is over stays as it is.",
    (_RUN,), needs="rights",
)  # fmt: skip

BEGUN: Json = {
    **answer("The run has begun.", record({"run": STRING, "url": STRING})),
    "headers": {"Location": {"description": "The path at which it is followed.", "schema": STRING}},
}
"""The answer to the POST that begins a run."""

TICKET = Operation(
    "issueTicket", "channels", "A ticket for the url of an `EventSource`",
    {
        200: answer(
            "The ticket.",
            record({
                "ticket": STRING,
                "expires_in_s": described({"type": "integer"}, "the seconds until it expires"),
            }),
        )
    },
    (401, 403),
    "It has the rights of the token to read, and is good for the origin that asked.",
    (
        parameter("query", "channel", array(ref("ChannelName")), "Only for this channel."),
        parameter("query", "key", TEXTS, "Only for this key."),
    ),
    needs="bearer",
)  # fmt: skip
