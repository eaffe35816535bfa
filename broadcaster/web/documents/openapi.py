"""The OpenAPI document: version 3.2, the first that describes event streams. Pure.

https://spec.openapis.org/oas/v3.2.0.html#media-type-item-schema
"""

from __future__ import annotations

from typing import Any

from broadcaster.core.wire import VERSION
from broadcaster.web.documents.components import Components, used
from broadcaster.web.documents.operation import OTHER, PROBLEMS, TAGS, Json, Operation, ref
from broadcaster.web.documents.parameters import COMPONENTS
from broadcaster.web.documents.view import LICENSE, TITLE, View

_REFUSALS = (401, 403, 500)
_STREAM_PROBLEMS = (400, *_REFUSALS, 404, 414)
_OTHER = {"4XX": ref(OTHER.name, "responses")}
_TEXT = (
    "Events are read as [Server-Sent Events]"
    "(https://html.spec.whatwg.org/multipage/server-sent-events.html). Send `Accept: "
    "text/event-stream`, keep the id of the last event, and send it back as `Last-Event-ID` after "
    "a reconnect, to any node.\n\n"
    "Trouble that passes is 200 too: a `retry:` and the end of the response, since any other "
    "status ends an `EventSource` for good. `HEAD` is answered wherever `GET` is, and opens "
    "nothing."
)


def openapi(view: View) -> Json:
    """Return the OpenAPI document of what a view shows."""
    schemas = Components(view.channels, view.data)
    paths: dict[str, Json] = {}
    for path, ways in view.shown().items():
        paths[path] = {m: _operation(view, path, one, schemas) for m, one in ways.items()}
    document: Json = {
        "openapi": "3.2.0",
        "info": {"title": TITLE, "version": str(VERSION), "description": _TEXT, "license": LICENSE},
        "servers": [{"url": view.prefix or "/"}],
        "tags": [{"name": n, "description": TAGS[n]} for n in TAGS if n in _tags(paths)],
        "paths": paths,
    }
    components = used(
        document, {"schemas": schemas.found, "responses": _problems(), "parameters": COMPONENTS}
    )
    if schemes := _schemes(view, paths):
        components["securitySchemes"] = schemes
    return {**document, "components": components}


def _tags(paths: dict[str, Json]) -> set[str]:
    return {tag for ways in paths.values() for one in ways.values() for tag in one["tags"]}


def _schemes(view: View, paths: dict[str, Json]) -> Json:
    named = [set(need) for ways in paths.values() for o in ways.values() for need in o["security"]]
    return {name: one for name, one in view.schemes.items() if name in set().union(*named)}


def _operation(view: View, path: str, operation: Operation, schemas: Components) -> Json:
    is_stream = not operation.responses
    responses = _of_stream(view, path, schemas) if is_stream else dict(operation.responses)
    problems = _STREAM_PROBLEMS if is_stream else operation.problems
    for status in problems:
        if view.refuses(operation) or status not in _REFUSALS:
            responses[status] = ref(PROBLEMS[status].name, "responses")
    found: Json = {
        "operationId": operation.name,
        "tags": [operation.tag],
        "summary": operation.summary,
        "responses": {str(status): responses[status] for status in sorted(responses)} | _OTHER,
        "security": view.security(operation),
    }
    if operation.text:
        found["description"] = operation.text
    if operation.parameters:
        found["parameters"] = list(operation.parameters)
    if operation.body:
        found["requestBody"] = operation.body
    return found


def _of_stream(view: View, path: str, schemas: Components) -> dict[int, Json]:
    """Return the responses of an event stream: of a channel's own path, or of several channels."""
    own = [channel for channel in view.channels if channel.path == path]
    events = [ref(schemas.channels[channel.name].event) for channel in own or view.channels]
    item: Json = {"anyOf": events}
    if len(events) < 2:
        item = events[0] if events else {"type": "object"}
    stream = {
        "description": "An event stream.",
        "content": {"text/event-stream": {"itemSchema": item}},
    }
    return {
        200: stream,
        204: {"description": "The event stream is over: don't come back."},
    }


def _problems() -> dict[str, Any]:
    content = {"application/problem+json": {"schema": ref("Problem")}}
    kinds = [*PROBLEMS.values(), OTHER]
    return {kind.name: {"description": kind.text, "content": content} for kind in kinds}
