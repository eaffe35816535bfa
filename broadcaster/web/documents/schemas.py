"""JSON Schemas of what the hub sends and takes: events of channels, its own events, answers. Pure.

An event is described as a parser of Server-Sent Events gives it: an object with `event`, `id` and
`data`, whose data is text. What is in the text is in `contentSchema`.
https://spec.openapis.org/oas/v3.2.0.html#special-considerations-for-server-sent-events
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from broadcaster.core import wire
from broadcaster.core.channel import Channel
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
_OWN = "^" + re.escape(wire.RESERVED_PREFIX)

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
    "LogEvent": record({
        "id": described(STRING, "the position after this event"),
        "type": STRING,
        "key": described(STRING, "what it is about; empty if it has none"),
        "data": {"description": "JSON, as it was sent"},
        "text": described(STRING, "in the place of `data` if that is not JSON"),
    }, "data", "text"),
    "NewEvent": record({
        "type": described(STRING, "the name of the event", default=DEFAULT_TYPE),
        "key": described(STRING, "what the event is about"),
        "data": {"description": "Any JSON. A text is sent as it is, without quotes."},
        "id": described(STRING, "of your choice; with it, the event is published once"),
    }, "type", "key", "id"),
    "CloudEvent": described(
        record({
            "specversion": {"const": "1.0"}, "id": STRING, "source": STRING,
            "type": described(STRING, "the name of the event"),
            "subject": described(STRING, "the key"),
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


class Components:
    """The schemas of a document, by the names of components.

    Attributes:
        found: the schemas.
        events: the component for any event of a channel, by the channel's name.
        own: the components for the hub's own events, by their types.
        types: the components for the events of a channel, by the channel's name and the type.
        data: the components for the data of those events whose schema is known, likewise.
    """

    def __init__(self, channels: Iterable[Channel]) -> None:
        """Make the schemas for these channels."""
        self.found: dict[str, Json] = dict(ANSWERS)
        self.events: dict[str, str] = {}
        self.types: dict[str, dict[str, str]] = {}
        self.data: dict[str, dict[str, str]] = {}
        channels = tuple(channels)
        names = [channel.name for channel in channels]
        self.found["ChannelName"] = {"type": "string", "enum": names} if names else dict(STRING)
        self.own = {
            event.type: self._add(_named(event.type), _own_event(event)) for event in wire.EVENTS
        }
        for channel in channels:
            self._add_channel(channel)

    def _add(self, name: str, schema: Json) -> str:
        """Add a schema and return its name, which is another one if that is taken."""
        number, unique = 1, name
        while unique in self.found:
            number += 1
            unique = f"{name}{number}"
        self.found[unique] = schema
        return unique

    def _add_channel(self, channel: Channel) -> None:
        begin, of_type, of_data = _named(channel.name), dict[str, str](), dict[str, str]()
        for type_, schema in types_of(channel).items():
            name, content = begin + _named(type_), None
            if schema is not None:
                content = ref(self._add(name, schema))
                of_data[type_] = content["$ref"].rpartition("/")[2]
            of_type[type_] = self._add(f"{name}Event", event_of(type_, content))
        self.types[channel.name], self.data[channel.name] = of_type, of_data
        every = [*of_type.values(), *self.own.values()]
        rest = event_of(None, None)
        known = [{"enum": list(of_type)}] if of_type else []
        rest["properties"]["event"]["not"] = {"anyOf": [{"pattern": _OWN}, *known]}
        self.events[channel.name] = self._add(f"{begin}Event", {"anyOf": [*map(ref, every), rest]})


def types_of(channel: Channel) -> Mapping[str, Json | None]:
    """Return the types of a channel's events that are known, each with the schema of its data."""
    return dict.fromkeys(sorted(channel.terminal))


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


def _own_event(event: wire.HubEvent) -> Json:
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


def _named(text: str) -> str:
    """Return the name of a component: `stock-change` becomes `StockChange`."""
    parts = re.split(r"[^A-Za-z0-9]+", text)
    return "".join(part[:1].upper() + part[1:] for part in parts) or "Event"


def used(document: Json, components: Mapping[str, Mapping[str, Any]]) -> Json:
    """Return the components that a document refers to, also by way of other components."""
    found: dict[str, dict[str, Any]] = {}
    unread: list[Any] = [document]
    while unread:
        one = unread.pop()
        if isinstance(one, dict):
            kind, _, name = str(one.get("$ref", "")).removeprefix("#/components/").partition("/")
            if name in components.get(kind, {}) and name not in found.get(kind, {}):
                found.setdefault(kind, {})[name] = components[kind][name]
                unread.append(components[kind][name])
            unread += one.values()
        elif isinstance(one, list | tuple):
            unread += one
    return {kind: dict(sorted(names.items())) for kind, names in sorted(found.items())}
