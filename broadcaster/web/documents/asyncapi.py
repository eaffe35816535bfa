"""The AsyncAPI document: version 3.0, with what the hub sends, and what it takes. Pure.

A channel of the hub is a channel there, and its address is the path. The hub is the application
that is described, so reading is its `send`, and publishing is its `receive`.
https://www.asyncapi.com/docs/reference/specification/v3.0.0
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from broadcaster.core.channel import KEY_IN_PATH, Channel
from broadcaster.core.wire import EVENTS, VERSION
from broadcaster.web.documents.components import Components, used
from broadcaster.web.documents.operation import STRING, Json, Operation, described, ref
from broadcaster.web.documents.parameters import COMPONENTS
from broadcaster.web.documents.view import LICENSE, TITLE, View

_SEVERAL, _PUBLISH = "/v1/events", "/v1/channels/{channel}/events"
_TEXT = (
    "Addresses are paths of the hub, and messages are Server-Sent Events. The hub is the "
    "application that is described here: it sends what clients read."
)
_HEADERS = {
    "type": "object",
    "properties": {"id": described(STRING, "the position after this event: `Last-Event-ID`")},
}


def asyncapi(view: View) -> Json:
    """Return the AsyncAPI document of what a view shows."""
    schemas = Components(view.channels, view.data)
    messages = _messages(view, schemas)
    shown = view.shown()
    channels, operations = dict[str, Json](), dict[str, Json]()
    for channel in view.channels:
        names = _sent(channel, schemas)
        channels[channel.name] = _channel(channel.path, names, _key_in(channel))
        operations[f"read.{channel.name}"] = _operation(
            view, shown[channel.path]["get"], channel.name, names
        )
    if several := shown.get(_SEVERAL):
        every = (name for channel in view.channels for name in _sent(channel, schemas))
        names = list(dict.fromkeys(every))
        channels[_SEVERAL] = _channel(_SEVERAL, names)
        operations["read"] = _operation(view, several["get"], _SEVERAL, names)
    if (publish := shown.get(_PUBLISH, {})) and "post" in publish:
        enum = [channel.name for channel in view.channels]
        parameter = {"channel": {"description": "The name of a channel.", "enum": enum}}
        channels[_PUBLISH] = _channel(_PUBLISH, ["NewEvent"], parameter)
        operations["publish"] = _operation(view, publish["post"], _PUBLISH, ["NewEvent"])
    document: Json = {
        "asyncapi": "3.0.0",
        "info": {
            "title": TITLE, "version": str(VERSION), "description": _TEXT,
            "license": {"name": LICENSE["name"]},
        },
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": operations,
    }  # fmt: skip
    schemes = {name: _scheme(one) for name, one in view.schemes.items()}
    parts = {"schemas": schemas.found, "messages": messages, "securitySchemes": schemes}
    return {**document, "components": used(document, parts)}


def _sent(channel: Channel, schemas: Components) -> list[str]:
    """Return the names of the messages of a channel."""
    named = schemas.channels[channel.name]
    return [*named.types.values(), named.event, *schemas.own.values()]


def _messages(view: View, schemas: Components) -> dict[str, Json]:
    """Return all Message Objects, by the names of components."""
    new = {"name": "event", "title": "An event to publish", "payload": ref("NewEvent")}
    found: dict[str, Json] = {"NewEvent": new}
    for event in EVENTS:
        name = schemas.own[event.type]
        payload = schemas.found[name]["properties"]["data"]["contentSchema"]
        found[name] = _message(event.type, payload, event.meaning)
    for channel in view.channels:
        named = schemas.channels[channel.name]
        for type_, name in named.types.items():
            schema = schemas.found[name]["properties"]["data"].get("contentSchema", {})
            found[name] = _message(type_, schema)
        rest = schemas.found[named.event]["anyOf"][-1]["properties"]["data"]
        other = _message("", rest.get("contentSchema", {}), f"any other event of {channel.name}")
        found[named.event] = other
    return found


def _message(type_: str, payload: Json, text: str = "") -> Json:
    found: Json = {"headers": _HEADERS, "payload": payload}
    if type_:
        found["name"] = found["title"] = type_
    if text:
        found["summary"] = text
    return found


def _channel(path: str, names: Iterable[str], parameters: Mapping[str, Any] | None = None) -> Json:
    found: Json = {"address": path, "messages": {name: ref(name, "messages") for name in names}}
    return {**found, "parameters": dict(parameters)} if parameters else found


def _key_in(channel: Channel) -> Json:
    return {"key": {"description": "What the events are about."}} if _has_key(channel) else {}


def _has_key(channel: Channel) -> bool:
    return KEY_IN_PATH in channel.path


def _operation(view: View, of: Operation, channel: str, names: Iterable[str]) -> Json:
    place = "#/channels/" + channel.replace("/", "~1")
    reads = not of.body
    binding: Json = {"method": "GET" if reads else "POST", "bindingVersion": "0.3.0"}
    if fields := _query(of):
        binding["query"] = {"type": "object", "properties": fields}
    found: Json = {
        "action": "send" if reads else "receive",
        "channel": {"$ref": place},
        "summary": of.summary,
        "messages": [{"$ref": f"{place}/messages/{name}"} for name in names],
        "bindings": {"http": binding},
    }
    if of.text:
        found["description"] = of.text
    if needs := [name for one in view.security(of) for name in one]:
        found["security"] = [ref(name, "securitySchemes") for name in needs]
    return found


def _query(operation: Operation) -> Json:
    """Return the schemas of an operation's query parameters, by name."""
    given = [COMPONENTS.get(_last(one.get("$ref", "")), one) for one in operation.parameters]
    return {
        one["name"]: described(one["schema"], one["description"])
        for one in given
        if one["in"] == "query"
    }


def _last(reference: str) -> str:
    return reference.rpartition("/")[2]


def _scheme(scheme: Json) -> Json:
    """Return a Security Scheme Object of OpenAPI as AsyncAPI has it."""
    return {**scheme, "type": "httpApiKey"} if scheme["type"] == "apiKey" else scheme
