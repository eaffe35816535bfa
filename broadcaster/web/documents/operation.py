"""What a document says of one method of a route: the type, and short ways to write its parts. Pure.

The parts are objects of OpenAPI 3.2, so that nothing has to be translated.
https://spec.openapis.org/oas/v3.2.0.html#operation-object
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, TypeAlias

Json: TypeAlias = dict[str, Any]
"""An object of a document."""

Needs: TypeAlias = Literal["", "some", "rights", "bearer", "operators"]
"""What a caller needs: nothing; nothing, but sees more with rights; the right to read; a token in
the header; the token of operators."""

SEQUENCES = ("text/event-stream", "application/x-ndjson")
"""Media types of a sequence of items.

https://spec.openapis.org/oas/v3.2.0.html#sequential-media-types
"""

TAGS = {
    "streams": "Event streams, in the format of Server-Sent Events.",
    "channels": "What can be read and published.",
    "hub": "The page, the documents, and probes.",
    "operators": "The state of the hub, for operators.",
}
"""The groups of operations, with their descriptions."""


class ProblemKind(NamedTuple):
    """A status of problems.

    Attributes:
        name: of the component.
        text: what it means.
    """

    name: str
    text: str


PROBLEMS = {
    400: ProblemKind("BadRequest", "The request can't be read, or asks for what can't be."),
    401: ProblemKind("Unauthorized", "The token is missing, not valid, expired or revoked."),
    403: ProblemKind("Forbidden", "The caller may not do this."),
    404: ProblemKind("NotFound", "There is no such channel."),
    408: ProblemKind("TooSlow", "The body was not complete in time."),
    409: ProblemKind("Conflict", "The state is too large to be sent."),
    413: ProblemKind("TooLarge", "The body, an event or an array is too large."),
    414: ProblemKind("QueryTooLong", "The query is too long."),
    415: ProblemKind("WrongMediaType", "The body has another media type, or a `Content-Encoding`."),
    422: ProblemKind("NoEvent", "A part of the body is no event, or its key was used before."),
    429: ProblemKind("TooMany", "Too many requests; `Retry-After` says when to try again."),
    500: ProblemKind("PolicyFailed", "The hub's policy failed."),
    503: ProblemKind("NotNow", "It can't be done now; `Retry-After` says when to try again."),
}
"""The statuses of problems."""
OTHER = ProblemKind("OtherProblem", "Another problem, such as a wrong `Host` or a too large head.")
"""The answers that any request can get."""


class Operation(NamedTuple):
    """What a document says of one method of a route.

    Attributes:
        name: unique among all operations; programs that write clients make a function's name of it.
        tag: one of `TAGS`.
        summary: one line.
        responses: Response Objects by status. Those of `PROBLEMS` are in `problems`.
        problems: statuses of `PROBLEMS`.
        text: further sentences, in CommonMark.
        parameters: Parameter Objects.
        body: the Request Body Object; None without one.
        needs: what a caller needs.
    """

    name: str
    tag: str
    summary: str
    responses: Mapping[int, Json]
    problems: tuple[int, ...] = ()
    text: str = ""
    parameters: tuple[Json, ...] = ()
    body: Json | None = None
    needs: Needs = ""


Operations: TypeAlias = Mapping[str, Mapping[str, Operation]]
"""The operations of an application: by path, and by method in lower case."""


def ref(name: str, kind: str = "schemas") -> Json:
    """Return a reference to a component of the document."""
    return {"$ref": f"#/components/{kind}/{name}"}


def answer(text: str, schema: Json, media_type: str = "application/json") -> Json:
    """Return a response with a body. The schema is of each item, if the body is a sequence."""
    word = "itemSchema" if media_type in SEQUENCES else "schema"
    return {"description": text, "content": {media_type: {word: schema}}}


def parameter(place: str, name: str, schema: Json, text: str, **more: Any) -> Json:
    """Return a parameter: in the `query`, the `path`, or a `header`."""
    return {"name": name, "in": place, "description": text, "schema": schema, **more}


def described(schema: Json, text: str, **more: Any) -> Json:
    """Return a schema with a description."""
    return {**schema, "description": text, **more}


def record(fields: Mapping[str, Json], *optional: str) -> Json:
    """Return the schema of an object with these fields.

    Args:
        fields: the schema of each.
        optional: the names of those that may be missing.
    """
    required = [name for name in fields if name not in optional]
    return {"type": "object", "properties": dict(fields), "required": required}


def array(items: Json, **more: Any) -> Json:
    """Return the schema of an array."""
    return {"type": "array", "items": items, **more}


STRING: Json = {"type": "string"}
BOOLEAN: Json = {"type": "boolean"}
INTEGER: Json = {"type": "integer"}
COUNT: Json = {"type": "integer", "minimum": 0}
NUMBER: Json = {"type": "number"}
TEXTS = array(STRING)
