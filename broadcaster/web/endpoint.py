"""The event stream endpoint: from a request to a subscriber at its first position."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Iterable, Mapping
from typing import Protocol

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from broadcaster.core import sse
from broadcaster.core.channel import Channel
from broadcaster.core.counters import Meters
from broadcaster.core.cursor import Positions, Start
from broadcaster.core.event import CLOCK_TOLERANCE_S, EventId
from broadcaster.core.hub import Hub
from broadcaster.core.run import key_of
from broadcaster.core.subscription import Subscriber, Subscription
from broadcaster.core.window import Ask, Place
from broadcaster.core.wire import Ending, ResetReason, Shed, SinkKind
from broadcaster.errors import (
    BackendUnavailableError,
    BroadcasterError,
    InvalidCursorError,
    InvalidRequestError,
    UnknownChannelError,
)
from broadcaster.settings import Settings
from broadcaster.web import head
from broadcaster.web.connection import Connection
from broadcaster.web.dialects import native
from broadcaster.web.dialects.native import Wanted
from broadcaster.web.problem import (
    EVENT_STREAM,
    come_back,
    event_stream,
    problem,
    unknown_channel,
)
from broadcaster.web.sink import AsgiSink, Sink, TransportSink
from broadcaster.web.uvicorn.offer import EXTENSION, TransportRefusedError

logger = logging.getLogger(__name__)

_OPEN_TIMEOUT_S = 10.0


class StreamingNode(Protocol):
    """What the endpoint needs of the node. Its waiting methods raise `BroadcasterError`s."""

    settings: Settings
    hub: Hub
    channels: Mapping[str, Channel]
    meters: Meters
    draining: bool

    def end(self, subscribers: Iterable[Subscriber]) -> None:
        """End streams, each with its own `retry:`."""

    async def shedding(self, streams: Iterable[str]) -> Shed | None:
        """Why a newcomer to these can't be served for now; None if it can. Waits a little."""

    async def position_at(self, stream: str, start: Start) -> EventId:
        """The position from which a client reads that begins there."""

    async def request_run(self, channel: Channel, key: str) -> EventId:
        """Ask the workers of a channel to produce for a key; names the run."""

    async def is_over(self, subscription: Subscription, positions: Positions) -> bool:
        """Whether a client has seen the terminal event of what it subscribes to."""

    async def answer(self, subscriber: Subscriber, ask: Ask) -> bytes:
        """See `broadcaster.web.connection.Answer`."""


class EventStream:
    """The ASGI endpoint of one channel's own path, or of `/v1/events` for several channels."""

    def __init__(self, node: StreamingNode, channel: Channel | None = None) -> None:
        self._node = node
        self._channel = channel

    async def __call__(
        self, scope: Scope, receive: Receive, send: Send, key: str | None = None
    ) -> None:
        """Answer a request with an event stream, 204, or a problem.

        Args:
            scope: of the request.
            receive: as ASGI has it.
            send: as ASGI has it.
            key: the one in the path, if the channel's path has one.
        """
        answer = await self._admit(scope, key)
        if isinstance(answer, Response):
            answer.raw_headers += head.cors_headers(self._node.settings, scope)
            await answer(scope, receive, send)
        else:
            await self._serve(answer, scope, receive, send)

    async def _admit(self, scope: Scope, key: str | None) -> _Request | Response:
        """Find out where a client begins, or how else it is answered."""
        if scope["method"] not in ("GET", "HEAD"):
            return problem(405, "an event stream is read with GET", {"allow": "GET, HEAD"})
        try:
            wanted = native.read(scope, self._node.channels, self._channel, key or "", _now_ms())
            request = _Request(self._node, wanted, attachable=_is_attachable(scope))
            if scope["method"] == "HEAD":  # opens nothing, and asks no worker for anything
                return event_stream(b"")
            streams = request.subscription.streams
            reason = await self._node.shedding(streams)
            over = not reason and await request.open()
            if not reason and not over:  # others may have come, or a drain begun, meanwhile
                reason = await self._node.shedding(streams)
        except (InvalidRequestError, InvalidCursorError) as error:
            return problem(400, str(error))
        except UnknownChannelError as error:
            return unknown_channel(error)
        except BroadcasterError as error:
            logger.warning("a newcomer is shed: %s", error)
            return self._shed(Shed.REDIS)
        if reason:
            return self._shed(reason)
        return Response(status_code=204) if over else request

    def _shed(self, reason: Shed) -> Response:
        self._node.meters.shed[reason] += 1
        mean_ms = self._node.settings.shed_retry_ms
        retry_ms = random.randint(mean_ms // 2, mean_ms * 3 // 2)
        return come_back(retry_ms, reason)

    async def _serve(self, request: _Request, scope: Scope, receive: Receive, send: Send) -> None:
        if request.attachable and not _is_attachable(scope):
            return  # the client has gone while its position was looked for
        settings, node = self._node.settings, self._node
        headers = [*EVENT_STREAM, *head.cors_headers(settings, scope)]
        sink = self._sink(scope, receive, send)
        retry_ms = random.randint(settings.retry_min_ms, settings.retry_max_ms)
        connection = Connection(
            node.hub,
            node.answer,
            sink,
            request.subscription,
            request.positions,
            resumed=request.resumed,
            greeting=request.greeting(retry_ms),
        )
        if request.unreadable is not None:
            node.hub.invalid(connection.subscriber)
        opened_s, reason = time.monotonic(), Ending.ERROR
        self._log("stream opened", scope, request, resumed=request.resumed)
        try:
            await sink.start(headers)
            if node.draining:  # it began while this client was being looked after
                node.end([connection.subscriber])
            reason = await connection.run(settings.send_timeout_s)
        finally:
            node.meters.closed[reason] += 1
            open_s = round(time.monotonic() - opened_s, 1)
            self._log("stream closed", scope, request, reason=reason, open_s=open_s)
            await sink.finish()

    def _log(self, text: str, scope: Scope, request: _Request, **fields: object) -> None:
        # The path without the query: that is where tokens are.
        if self._node.settings.access_log and logger.isEnabledFor(logging.INFO):
            client = head.client_address(scope)
            channels = ",".join(request.subscription.streams)
            seen = {"client": client, "path": scope["path"], "channels": channels}
            logger.info(text, extra={"fields": seen | fields})

    def _sink(self, scope: Scope, receive: Receive, send: Send) -> Sink:
        settings, opened = self._node.settings, self._node.meters.opened
        attach = scope.get("extensions", {}).get(EXTENSION)
        if attach is not None:
            try:
                sink = TransportSink(
                    attach, scope, send, settings.high_water_bytes, settings.send_timeout_s
                )
            except TransportRefusedError as error:
                if not opened[SinkKind.ASGI]:
                    logger.warning("event streams go through ASGI, which is slower: %s", error)
            else:
                opened[SinkKind.TRANSPORT] += 1
                return sink
        opened[SinkKind.ASGI] += 1
        return AsgiSink(receive, send, settings.send_timeout_s)


class _Request:
    """What a client asks for, and where it begins."""

    def __init__(self, node: StreamingNode, wanted: Wanted, *, attachable: bool) -> None:
        self._node = node
        self._channels = wanted.channels
        self.subscription = wanted.subscription
        self._on_demand = wanted.on_demand
        self.unreadable = wanted.unreadable
        self.positions: Positions = dict(wanted.positions)
        self._run = wanted.run
        self._start = wanted.start
        self.attachable = attachable
        self.resumed = wanted.resumed

    async def open(self) -> bool:
        """Find every position.

        Returns:
            Whether there is nothing more to come: the client has seen the end.

        Raises:
            InvalidRequestError: it asks for a time, and the ids of a stream are no times.
            BackendUnavailableError: Redis takes too long to tell.
        """
        if isinstance(self._start, int):
            self._refuse_times()
        if self._run is not None:
            self._follow_run(self._run)
        try:
            # Nothing is sent before this is done, and whoever waits between us and the client may
            # answer 504, which ends an EventSource for good.
            async with asyncio.timeout(_OPEN_TIMEOUT_S):
                if self.positions and await self._node.is_over(self.subscription, self.positions):
                    return True
                await self._find_positions()
                if self._on_demand and self._run is None:
                    (key,) = self.subscription.keys
                    self._follow_run(await self._node.request_run(self._on_demand, key))
        except TimeoutError as error:
            raise BackendUnavailableError("where to begin was not told in time") from error
        return False

    async def _find_positions(self) -> None:
        for channel in self._channels:
            start = "latest" if channel.requests else self._start
            if start is None:
                start = channel.start_at(_now_ms())
            for stream in channel.streams:
                if stream in self.subscription.streams and stream not in self.positions:
                    self.positions[stream] = await self._node.position_at(stream, start)

    def _refuse_times(self) -> None:
        for stream in self.subscription.streams:
            newest = self._node.hub.windows[stream].head
            if newest.ms > _now_ms() + CLOCK_TOLERANCE_S * 1000:
                raise InvalidRequestError(
                    f"the newest id of {stream}, {newest}, lies in the future, so no time can be "
                    "found there: give an event id, earliest or latest"
                )

    def _follow_run(self, run: EventId) -> None:
        (key,) = self.subscription.keys
        self.subscription = self.subscription.narrowed_to(key_of(key, run), run)

    def greeting(self, retry_ms: int) -> bytes:
        """The first bytes: reconnection time, position, and what could not be read."""
        windows = self._node.hub.windows
        # Only a position that is proven is worth remembering; any other gets a reset in a moment.
        proven = all(
            windows[name].place(position) is Place.COVERED
            for name, position in self.positions.items()
        )
        at, text = self.subscription.cursor(self.positions), self.unreadable
        resets = [
            sse.reset(name, ResetReason.INVALID, text[:64], str(position), b"")
            for name, position in sorted(self.positions.items())
            if text is not None
        ]
        return sse.hello(retry_ms, at if proven else b"") + b"".join(resets)


def _is_attachable(scope: Scope) -> bool:
    """Whether our protocol offers its connection; it withdraws that when the client goes."""
    return EXTENSION in scope.get("extensions", {})


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def endpoints(node: StreamingNode, channels: Iterable[Channel]) -> dict[str, EventStream]:
    """The endpoint for each path."""
    return {
        **{channel.path: EventStream(node, channel) for channel in channels},
        "/v1/events": EventStream(node),
    }
