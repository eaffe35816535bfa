"""The schemas of one document, each with a name: those of the channels that it shows. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, TypeAlias

from broadcaster.core import wire
from broadcaster.core.channel import Channel
from broadcaster.settings.schemas import OTHERS
from broadcaster.web.documents.moved import moved
from broadcaster.web.documents.operation import STRING, Json, described, record, ref
from broadcaster.web.documents.schemas import ANSWERS, event_of, own_event

DataSchemas: TypeAlias = Mapping[str, Any]
"""JSON Schemas of data, by the types of events. `OTHERS` stands for all other types."""

_NONE: Mapping[str, DataSchemas] = {}
_OWN = "^" + re.escape(wire.RESERVED_PREFIX)


class ChannelSchemas(NamedTuple):
    """The names of a channel's components.

    Attributes:
        event: any of its events.
        types: its events of a type that is known, by type.
        data: the data of the types that have a JSON Schema, by type.
        by_type: an object that has the data of each type under its name; empty if no type is known.
            No event is like that, but programs make a type of it that maps one to the other.
    """

    event: str
    types: Mapping[str, str]
    data: Mapping[str, str]
    by_type: str


class Components:
    """The schemas of a document.

    Attributes:
        found: the schemas, by the names of components.
        own: the components for the hub's own events, by their types.
        channels: those for the events of channels, by the channels' names.
    """

    def __init__(
        self, channels: Iterable[Channel], data: Mapping[str, DataSchemas] = _NONE
    ) -> None:
        """Make the schemas.

        Args:
            channels: that are shown.
            data: the JSON Schemas of their events' data, by channel.
        """
        channels = tuple(channels)
        names = [channel.name for channel in channels]
        self.found: dict[str, Json] = dict(ANSWERS)
        self.found["ChannelName"] = {"type": "string", "enum": names} if names else dict(STRING)
        self.own = {
            event.type: self._add(_named(event.type), own_event(event)) for event in wire.EVENTS
        }
        self.channels = {
            channel.name: self._of_channel(channel, data.get(channel.name, {}))
            for channel in channels
        }

    def _add(self, name: str, schema: Json) -> str:
        """Add a schema and return its name, which is another one if that is taken."""
        number, unique = 1, name
        while unique in self.found:
            number += 1
            unique = f"{name}{number}"
        self.found[unique] = schema
        return unique

    def _of_channel(self, channel: Channel, known: DataSchemas) -> ChannelSchemas:
        begin, data = _named(channel.name), dict[str, str]()
        for type_, schema in known.items():
            name = self._add(begin + ("Other" if type_ == OTHERS else _named(type_)), {})
            data[type_] = name
            self.found[name] = moved(schema, ref(name)["$ref"])
        names = sorted({*channel.terminal, *known} - {OTHERS})
        contents = {type_: ref(data[type_]) if type_ in data else {} for type_ in names}
        if OTHERS in data:
            contents = {type_: one or ref(data[OTHERS]) for type_, one in contents.items()}
        by_type, named = "", dict[str, Json]()
        if contents:
            text = "The data of the events, by type."
            by_type = self._add(f"{begin}Data", described(record(contents), text))
            named = {"data": ref(by_type)}
        types = {
            type_: self._add(f"{begin}{_named(type_)}Event", event_of(type_, content or None))
            for type_, content in contents.items()
        }
        rest = event_of(None, ref(data[OTHERS]) if OTHERS in data else None)
        rest["properties"]["event"]["not"] = _any_of([{"pattern": _OWN}, *map(_only, types)])
        every = map(ref, (*types.values(), *self.own.values()))
        whole = {"anyOf": [*every, rest]} | ({"$defs": named} if named else {})
        event = self._add(f"{begin}Event", whole)
        return ChannelSchemas(event, types, data, by_type)


def _only(type_: str) -> Json:
    return {"const": type_}


def _any_of(schemas: list[Json]) -> Json:
    return schemas[0] if len(schemas) == 1 else {"anyOf": schemas}


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
            place = str(one.get("$ref", "")).removeprefix("#/components/").split("/")
            kind, name = (*place, "")[:2]
            if name in components.get(kind, {}) and name not in found.get(kind, {}):
                found.setdefault(kind, {})[name] = components[kind][name]
                unread.append(components[kind][name])
            unread += one.values()
        elif isinstance(one, list | tuple):
            unread += one
    return {kind: dict(sorted(names.items())) for kind, names in sorted(found.items())}
