"""Publishing over HTTP: `POST /v1/channels/{channel}/events`.

[Design note 007](../../docs/design/007-publishing-over-http.md) has the order of the steps.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import ExitStack

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Scope

from broadcaster.core.access.stream_counts import Owners
from broadcaster.core.fanout.turns import network
from broadcaster.core.json.cloudevents import cloud_event
from broadcaster.core.json.incoming import (
    Fields,
    Incoming,
    Publication,
    parse_each,
    plain,
    publications,
)
from broadcaster.errors import InvalidEventError, UnknownChannelError
from broadcaster.web import head
from broadcaster.web.body import whole
from broadcaster.web.problem import AnsweredError, ProblemError, as_json, unknown_channel
from broadcaster.web.publishing.checking import Checker, unfit
from broadcaster.web.publishing.lines import MEDIA_TYPE, Lines, LinesResponse
from broadcaster.web.publishing.permit import Permit, permit
from broadcaster.web.publishing.writing import SOON, write
from broadcaster.web.serving import ServedNode

MOST_EVENTS = 1000
"""The most events of one array. They are written at once, and the answer has all of their ids."""
MOST_REQUESTS = 100
"""The most requests of a node that publish at a time."""

_MOST_KEY_BYTES = 256
_FORMATS: Mapping[str, Callable[[Fields], Incoming]] = {
    "application/json": plain,
    "application/cloudevents+json": cloud_event,
    "application/cloudevents-batch+json": cloud_event,
}
_LINES = frozenset({MEDIA_TYPE, "application/ndjson", "application/jsonl"})
_ACCEPT = {"accept": ", ".join([*_FORMATS, MEDIA_TYPE])}


async def publish(node: ServedNode, request: Request, channel: str) -> Response:
    """Publish the events of a request's body, and answer with their ids."""
    node.start()
    try:
        if channel not in node.settings.channels:
            raise UnknownChannelError(channel, node.settings.channels)
        may = await permit(node, request.scope, channel)
        with ExitStack() as held:
            _hold(node, request, may.subject, held)
            return await _published(node, request, channel, may, held)
    except AnsweredError as error:
        return error.response
    except UnknownChannelError as error:
        return unknown_channel(error, node.policy)
    except ClientDisconnect:
        return Response()  # which no client gets


def _hold(node: ServedNode, request: Request, subject: str, held: ExitStack) -> None:
    """Take a place for a request. Raises a `ProblemError` if there is none: 429 or 503."""
    if node.draining:
        raise ProblemError(503, "this node is shutting down", SOON | {"connection": "close"})
    owners = Owners(network(request.scope.get("client")), subject)
    if reason := node.limits.crowded(owners):
        raise ProblemError(429, reason.text, SOON)
    if node.publishes >= MOST_REQUESTS:
        raise ProblemError(429, "this node has all the requests to publish it may have", SOON)
    node.publishes += 1
    node.limits.take(owners, arrives=False)

    def free() -> None:
        node.publishes -= 1
        node.limits.free(owners)

    held.callback(free)


async def _published(
    node: ServedNode, request: Request, channel: str, may: Permit, held: ExitStack
) -> Response:
    key = _idempotency_key(request.scope)
    media_type = _media_type(request.scope)
    if media_type in _LINES:
        return LinesResponse(Lines(node, channel, may, key), held.pop_all())
    body = await whole(request, node.settings.max_publish_bytes)
    return await _written(node, channel, may, key, body, _FORMATS[media_type])


async def _written(
    node: ServedNode,
    channel: str,
    may: Permit,
    key: str,
    body: bytes,
    read: Callable[[Fields], Incoming],
) -> Response:
    events = await _events(body, read, Checker(node, channel))
    await may.require({event.key for event in events})
    sent = list(publications(channel, events))
    if key:
        sent = [Publication(channel, [event[:3] for event in events], f"key:{key}")]
    written = await write(node.publishing, sent, may.subject)
    if written.problem:
        raise written.problem
    return as_json({"ids": [str(id_) for id_ in written.ids]})


def _idempotency_key(scope: Scope) -> str:
    """Return the idempotency key of a request; empty if it has none.

    Raises:
        ProblemError: 400. Of two keys, either could be meant. A key without a character would be
            ignored, and the sender would believe that it may send again.
    """
    found = [value for name, value in scope["headers"] if name == b"idempotency-key"]
    if not found:
        return ""
    if len(found) > 1 or not 0 < len(found[0]) <= _MOST_KEY_BYTES:
        detail = f"a request has one Idempotency-Key, of 1 to {_MOST_KEY_BYTES} bytes"
        raise ProblemError(400, detail)
    key: str = found[0].decode("latin-1")
    return key


def _media_type(scope: Scope) -> str:
    """Return the media type of a body that can be read. Raises a `ProblemError`: 415."""
    named = (head.header(scope, b"content-type") or b"").decode("latin-1")
    media_type = named.partition(";")[0].strip().lower()
    if (head.header(scope, b"content-encoding") or b"identity").lower() != b"identity":
        raise ProblemError(415, "a body is sent without Content-Encoding", _ACCEPT)
    if media_type not in _FORMATS and media_type not in _LINES:
        detail = f"the Content-Type is one of {_ACCEPT['accept']}, not {media_type[:64]!r}"
        raise ProblemError(415, detail, _ACCEPT)
    return media_type


async def _events(
    body: bytes, read: Callable[[Fields], Incoming], checker: Checker
) -> list[Incoming]:
    """Return the events of a body.

    Raises:
        ProblemError: 400, 413 or 422.
    """
    found = list[Incoming]()
    try:
        for event in parse_each(body, read):
            try:
                await checker.check(event)
            except InvalidEventError as error:
                if body.lstrip().startswith(b"["):
                    error = InvalidEventError(f"event {len(found) + 1}: {error}", error.pointer)
                raise error from error
            found.append(event)
            if len(found) > MOST_EVENTS:
                raise ProblemError(413, f"an array has at most {MOST_EVENTS} events")
    except json.JSONDecodeError as error:
        raise ProblemError(400, f"the body is not JSON: {error}") from error
    except InvalidEventError as error:
        raise unfit(error, event=len(found) + 1) from error
    return found
