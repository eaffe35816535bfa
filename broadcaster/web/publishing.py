"""Publishing over HTTP: `POST /v1/channels/{channel}/events`.

[Design note 007](../../docs/design/007-publishing-over-http.md) has the order of the steps.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from broadcaster.core.channel import Channel
from broadcaster.core.cloudevents import cloud_event
from broadcaster.core.event import EventId
from broadcaster.core.incoming import Fields, Incoming, parse_each, plain
from broadcaster.errors import (
    BackendUnavailableError,
    ConfigurationError,
    InvalidEventError,
    PartialPublishError,
    UnknownChannelError,
)
from broadcaster.settings import Settings
from broadcaster.web.body import whole
from broadcaster.web.permit import GuardedNode, permit
from broadcaster.web.problem import ProblemError, RefusalError, as_json, unknown_channel

logger = logging.getLogger(__name__)

MOST_EVENTS = 1000
"""The most events of one array. They are written at once, and the answer has all of their ids."""

_FORMATS: Mapping[str, Callable[[Fields], Incoming]] = {
    "application/json": plain,
    "application/cloudevents+json": cloud_event,
    "application/cloudevents-batch+json": cloud_event,
}
_SLICE_S = 0.005
_SOON = {"retry-after": "5"}
_AWAY = "Redis is away or refuses for now"


class EventWriter(Protocol):
    """Publishes for the clients of a node."""

    async def publish(self, channel: str, events: Sequence[Incoming]) -> list[EventId]:
        """Publish events to a channel, in order, and return their ids.

        Raises subclasses of `BroadcasterError`.
        """


class PublishingNode(GuardedNode, Protocol):
    """The part of a node that publishing uses."""

    settings: Settings
    channels: Mapping[str, Channel]
    draining: bool

    @property
    def publishing(self) -> EventWriter:
        """Publishes the events."""

    def start(self) -> None:
        """Start the node. May be called again."""


async def publish(node: PublishingNode, request: Request) -> Response:
    """Publish the events of a request's body, and answer with their ids.

    Raises:
        PolicyFailedError: the policy can't decide.
        UndecidedError: it can't decide for now.
    """
    node.start()
    try:
        return await _published(node, request, request.path_params["channel"])
    except RefusalError as refusal:
        return refusal.response
    except UnknownChannelError as error:
        return unknown_channel(error, node.policy)
    except ClientDisconnect:
        return Response()  # for no one


async def _published(node: PublishingNode, request: Request, channel: str) -> Response:
    if channel not in node.channels:
        raise UnknownChannelError(channel, node.channels)
    may = await permit(node, request.scope, channel)
    if node.draining:
        raise ProblemError(503, "this node is shutting down", _SOON | {"connection": "close"})
    read = _format_of(request)
    body = await whole(request, node.settings.max_publish_bytes)
    events = await _events(body, read, node.settings.max_event_bytes)
    await may.require({event.key for event in events})
    ids = await _written(node.publishing, channel, events)
    return as_json({"ids": [str(id_) for id_ in ids]})


def _format_of(request: Request) -> Callable[[Fields], Incoming]:
    """Return what reads an event of the request's media type. Raises a `ProblemError`: 415."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    known = {"accept": ", ".join(_FORMATS)}
    if request.headers.get("content-encoding", "identity") != "identity":
        raise ProblemError(415, "a body is sent without Content-Encoding", known)
    if media_type not in _FORMATS:
        said = f"the Content-Type is one of {known['accept']}, not {media_type[:64]!r}"
        raise ProblemError(415, said, known)
    return _FORMATS[media_type]


async def _events(
    body: bytes, read: Callable[[Fields], Incoming], most_bytes: int
) -> list[Incoming]:
    """Return the events of a body. Other clients are served between two of them.

    Raises:
        ProblemError: 400, 413 or 422.
    """
    found, began_s = list[Incoming](), time.monotonic()
    try:
        for event in parse_each(body, read):
            found.append(event)
            check(event, most_bytes)
            if len(found) > MOST_EVENTS:
                detail = f"an array has at most {MOST_EVENTS} events"
                raise ProblemError(413, detail)
            if time.monotonic() - began_s > _SLICE_S:
                await asyncio.sleep(0)
                began_s = time.monotonic()
    except json.JSONDecodeError as error:
        raise ProblemError(400, f"the body is not JSON: {error}") from error
    except InvalidEventError as error:
        raise ProblemError(422, str(error)) from error
    return found


def check(event: Incoming, most_bytes: int) -> None:
    """Refuse an event that nodes would leave out.

    Raises:
        ProblemError: 413.
        InvalidEventError: it has a text that is not Unicode.
    """
    try:
        size = sum(len(text.encode()) for text in (event.type, event.key, event.data))
    except UnicodeEncodeError as error:
        raise InvalidEventError(f"type, key and data must be UTF-8: {error}") from error
    if size > most_bytes:
        raise ProblemError(413, f"an event has {size} bytes, which is more than {most_bytes}")


async def _written(
    publishing: EventWriter, channel: str, events: Sequence[Incoming]
) -> list[EventId]:
    """Publish the events, and return their ids. Raises a `ProblemError`: 422 or 503."""
    if not events:
        return []
    try:
        return await publishing.publish(channel, events)
    except InvalidEventError as error:
        raise ProblemError(422, str(error)) from error
    except PartialPublishError as error:
        stored = sum(id_ is not None for id_ in error.ids)
        detail = f"{_AWAY}: {stored} of {len(events)} events were certainly published"
        raise ProblemError(503, detail, _SOON) from error
    except BackendUnavailableError as error:
        logger.warning("nothing is published to %s: %s", channel, error)
        raise ProblemError(503, f"{_AWAY}: the events may be published or not", _SOON) from error
    except ConfigurationError as error:
        logger.error("nothing can be published to %s: %s", channel, error)
        raise ProblemError(503, "this hub can't publish until an operator mends it") from error
