"""JSON Schemas of what the hub sends and takes: events of channels, its own events, answers. Pure.

An event is described as a parser of Server-Sent Events gives it: an object with `event`, `id` and
`data`, whose data is text. What is in the text is in `contentSchema`.
https://spec.openapis.org/oas/v3.2.0.html#special-considerations-for-server-sent-events
"""

from __future__ import annotations

from typing import Any

from broadcaster.core import wire
from broadcaster.core.event import DEFAULT_TYPE
from broadcaster.web.documents.operation import (
    BOOLEAN,
    COUNT,
    STRING,
    Json,
    array,
    described,
    record,
    ref,
)

_JSON = "application/json"
_ID = r"^[0-9]+-[0-9]+$"
_TYPE = r"^(?!stream\.)[^\x00-\x1f\x7f]*$"  # what `core.entry.encode` takes
_OPTIONAL: Json = {"type": ["string", "null"]}
_FILLED: Json = {"type": "string", "minLength": 1}

ANSWERS: dict[str, Json] = {
    "Problem": described(
        record({
            "type": STRING, "title": STRING, "status": {"type": "integer"},
            "detail": described(STRING, "what is wrong, in words"),
        }),
        "A problem, as RFC 9457 defines it.",
    ),
    "EventId": described(
        {"type": "string", "pattern": _ID},
        "Two unsigned 64-bit numbers. Ids compare as numbers, not as text.",
    ),
    "ChannelDescription": record({
        "channel": ref("ChannelName"),
        "path": described(STRING, "the path of its event stream"),
        "key_param": described(STRING, "the query parameter that narrows it to keys"),
        "key_required": described({"type": "boolean"}, "a subscription must name a key"),
        "on_demand": described({"type": "boolean"}, "opening it begins a run"),
        "oldest": described({"type": ["string", "null"]}, "a value of `from`; null without events"),
        "newest": described({"type": ["string", "null"]}, "a value of `from`; null without events"),
        "length": described(COUNT, "how many events are retained"),
    }),
    "LogPage": record({
        "events": array(ref("LogEvent")),
        "next": described(STRING, "the position after these: give it as `after`"),
        "reset": {
            "type": ["object", "null"],
            "description": "if something may be missing: load your state anew, then apply these",
            "properties": {field.name: {"type": field.type} for field in wire.RESET.fields},
        },
        "more": described(BOOLEAN, "more events are there: ask again at once"),
        "complete": described(BOOLEAN, "the terminal event was sent: don't ask again"),
    }),
    "ChannelState": record({
        "position": described(STRING, "what comes after it is not part of the state"),
        "since": {
            "type": ["string", "null"], "description": "events up to here may be missing in it",
        },
        "complete": described(BOOLEAN, "the terminal event is part of it: nothing will follow"),
        "events": array(record({
            "type": STRING,
            "key": described(STRING, "what it is about; empty if it has none"),
            "data": {"description": "JSON"},
            "text": described(STRING, "in the place of `data` if that is not JSON"),
        }, "data", "text")),
    }),
    "LogEvent": record({
        "id": described(STRING, "the position after this event"),
        "type": STRING,
        "key": described(STRING, "what it is about; empty if it has none"),
        "data": {"description": "JSON, as it was sent"},
        "text": described(STRING, "in the place of `data` if that is not JSON"),
    }, "data", "text"),
    "NewEvent": record({
        "type": described(
            _OPTIONAL, "the name of the event", pattern=_TYPE, default=DEFAULT_TYPE
        ),
        "key": described(_OPTIONAL, "what the event is about"),
        "data": {"description": "Any JSON. A text is sent as it is, without quotes."},
        "id": described(_OPTIONAL, "of your choice; with it, the event is published once"),
    }, "type", "key", "id"),
    "CloudEvent": described(
        record({
            "specversion": {"const": "1.0"}, "id": _FILLED, "source": _FILLED,
            "type": described(_FILLED, "the name of the event", pattern=_TYPE),
            "subject": described(_OPTIONAL, "the key"),
            "data": {"description": "Any JSON."},
        }, "subject", "data"),
        "A CloudEvent in the JSON format. Its other attributes are left out.",
    ),
    "PublishedLine": described(
        record({
            "line": {"type": "integer", "minimum": 1}, "id": ref("EventId"),
            "status": {"type": "integer"}, "title": STRING, "detail": STRING,
        }, "id", "status", "title", "detail"),
        "A line has an `id` if it is published. The last one may have a problem instead.",
    ),
}  # fmt: skip
"""Schemas of answers and bodies that are the same on every hub."""


def event_of(type_: str | None, content: Json | None, text: str = "") -> Json:
    """Return the schema of an event.

    Args:
        type_: None for any.
        content: the schema of its data; None for any JSON.
        text: its description.
    """
    data: Json = {"type": "string", "contentMediaType": _JSON}
    if content is not None:
        data["contentSchema"] = content
    name = dict(STRING) if type_ is None else {"type": "string", "const": type_}
    fields = {"id": described(STRING, "the position after this event"), "event": name, "data": data}
    # A parser gives no name to a `message`.
    nameless = type_ is None or type_ == DEFAULT_TYPE
    schema = record(fields, "id", *(["event"] if nameless else []))
    return described(schema, text) if text else schema


def own_event(event: wire.HubEvent) -> Json:
    """Return the schema of an event of the hub's own."""
    fields: dict[str, Json] = {}
    for field in event.fields:
        schema: dict[str, Any] = {"type": field.type}
        if field.values:
            schema["enum"] = list(field.values)
        fields[field.name] = described(schema, field.meaning)
    optional = [field.name for field in event.fields if not field.required]
    return event_of(event.type, record(fields, *optional), _sentence(event.meaning))


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."
