"""The event stream endpoint: admits a request, then serves it as a subscriber."""

from __future__ import annotations

import logging
import random
from collections.abc import Iterable
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from broadcaster.core.access.by_access import is_public
from broadcaster.core.channel import Channel
from broadcaster.core.event import EventId
from broadcaster.core.resume.opening import Serve
from broadcaster.core.wanted import Wanted
from broadcaster.core.wire import Ending, Shed, SinkKind
from broadcaster.errors import InvalidCursorError, InvalidRequestError
from broadcaster.web import head
from broadcaster.web.asgi_sink import AsgiSink
from broadcaster.web.connection import Connection, OpenStream
from broadcaster.web.dialects import native
from broadcaster.web.door import Door, come_back_later, owners
from broadcaster.web.problem import EVENT_STREAM, SafeResponse, come_back, event_stream, problem
from broadcaster.web.runs import endpoint as runs
from broadcaster.web.runs import following
from broadcaster.web.runs.bare import bare
from broadcaster.web.serving import ServedNode
from broadcaster.web.sink import Sink, TransportSink
from broadcaster.web.spread import Spread
from broadcaster.web.uvicorn.offer import EXTENSION, TransportRefusedError

logger = logging.getLogger(__name__)


class EventStream(Door):
    """The ASGI endpoint of one channel's path, or of `/v1/events` for several channels."""

    def __init__(
        self, node: ServedNode, spread: Spread, pages: Spread, channel: Channel | None = None
    ) -> None:
        """Serve a channel, or all that are listed.

        Args:
            node: has the channels.
            spread: the one of all endpoints. It wakes the tasks of clients.
            pages: the one of all endpoints for pages, each of which takes longer than a wake.
            channel: None is all.
        """
        super().__init__(node)
        self._spread = spread
        self._pages = pages
        self._channel = channel
        self._on_demand = channel if channel and channel.requests else None
        listed = {name: one for name, one in node.settings.channels.items() if one.listed}
        self._channels = node.settings.channels if channel else listed
        # A channel that is public beside others that are not costs no question.
        self._asks = not is_public(node.policy, channel.name if channel else "")

    async def __call__(
        self, scope: Scope, receive: Receive, send: Send, key: str | None = None
    ) -> None:
        """Answer a request with an event stream, 204, or a problem.

        Args:
            scope: the request's ASGI scope.
            receive: ASGI's `receive`.
            send: ASGI's `send`.
            key: the key in the path, if the channel's path has one.
        """
        attachable = _is_attachable(scope)
        answer: Serve | Response
        if scope["method"] == "POST" and self._channel and self._channel.requests:
            answer = await runs.begin(self._node, Request(scope, receive), self._channel, key or "")
        else:
            answer = await self._answer(scope, key)
        if isinstance(answer, Response):
            answer.raw_headers += head.cors_headers(self._node.settings, scope)
            if "connection" not in answer.headers:
                answer.raw_headers += head.kept_alive(scope)
            await answer(scope, receive, send)
        elif not attachable or _is_attachable(scope):  # else the client has disconnected meanwhile
            limits = self._node.limits
            if not limits.counts:
                await self._serve(answer, scope, receive, send)
                return
            # There is no `await` since `why_shed` was asked, so the place is still there.
            limits.take(owners(scope, answer))
            try:
                await self._serve(answer, scope, receive, send)
            finally:
                limits.free(owners(scope, answer))  # made again, so that no stream keeps them

    async def _answer(self, scope: Scope, key: str | None) -> Serve | Response:
        """Return where a client begins, or the response that it gets instead of a stream."""
        if scope["method"] not in ("GET", "HEAD"):
            return problem(405, "an event stream is read with GET", {"allow": "GET, HEAD"})
        now_ms = self._node.clock.now_ms()
        at = scope, self._channels, self._channel, key or "", now_ms
        read = partial(native.read, *at, most=self._most)
        query = scope["query_string"]
        if b"profile=" in query or (self._on_demand and b"run=" in query):
            followed = await self._of_run(scope, key or "", now_ms)
            if followed is not None:
                return followed
        return await self._admitted(scope, now_ms, read, asks=self._asks)

    async def _of_run(self, scope: Scope, key: str, now_ms: int) -> Serve | Response | None:
        """Decide whether the follower of a run is served; None if the request wants no run."""
        channel = self._on_demand
        try:
            is_bare, run = native.is_bare(scope, self._most), native.run_of(scope, self._most)
            if channel is None and is_bare:
                return problem(400, "profile=bare is for channels that are made on demand")
            if channel is None or (run is None and not is_bare):
                return None
            about = key if run is None else str(run)
            wanted = native.read(
                scope, {channel.name: channel}, channel, about, now_ms, most=self._most
            )
        except (InvalidRequestError, InvalidCursorError) as error:
            return self._wrong(error)
        if is_bare:
            return await self._bare(scope, wanted, run)
        assert run is not None
        found = await following.followed(self._node, scope, wanted, run, asks=self._asks)
        if isinstance(found, Shed):
            return self._shed(found, wanted, scope)
        if isinstance(found, Response):
            return found
        return await self._opened(scope, now_ms, found, _unknown)

    async def _bare(self, scope: Scope, wanted: Wanted, run: EventId | None) -> Response:
        if scope["method"] == "HEAD":
            return self._head()
        found = await bare(self._node, scope, wanted, run, asks=self._asks)
        if isinstance(found, Response):
            return found
        self._node.meters.shed[found] += 1
        return come_back_later(found, self._node.settings.shed_retry_ms, scope)

    async def _loaded(self, streams: Iterable[str]) -> bool:
        loaded = await super()._loaded(streams)
        await self._spread.turn()  # all that wait for a window are woken in one instant
        return loaded

    def _head(self) -> Response:
        return event_stream(b"")

    def _sent_away(self, reason: Shed, retry_ms: int, wanted: Wanted, scope: Any) -> Response:
        return come_back(retry_ms, reason, wanted.cursor, close=scope["http_version"] < "2")

    def _over(self, _: Wanted) -> Response:
        return SafeResponse(status_code=204)

    async def _serve(self, serve: Serve, scope: Scope, receive: Receive, send: Send) -> None:
        # There is no `await` before the hub knows the client, so no drain can begin meanwhile.
        settings, node = self._node.settings, self._node
        retry_ms = random.randint(settings.retry_min_ms, settings.retry_max_ms)
        reason, resumed = Ending.ERROR, serve.resumed or serve.unreadable is not None
        sink = self._sink(scope, receive, send)
        stream = OpenStream(
            node.meters,
            scope,
            serve.subscription.streams,
            resumed=resumed,
            logged=settings.access_log,
        )
        connection = Connection(
            node.hub,
            node.questions,
            sink,
            serve,
            retry_ms,
            page_bytes=settings.high_water_bytes,
            client=scope.get("client"),
            pacing=node.limits.pacing,
            pages=self._pages,
        )
        try:
            reason = await connection.run(settings.send_timeout_s)
        finally:
            stream.closed(reason)
            await sink.finish()

    def _sink(self, scope: Scope, receive: Receive, send: Send) -> Sink:
        settings, opened = self._node.settings, self._node.meters.opened
        timeout_s, high_water = settings.send_timeout_s, settings.high_water_bytes
        attach = scope.get("extensions", {}).get(EXTENSION)
        headers = [*EVENT_STREAM, *head.kept_alive(scope)]
        if settings.cors_origins:
            headers += head.cors_headers(settings, scope)
        if attach is not None:
            try:
                sink = TransportSink(
                    attach, scope, send, headers, high_water, timeout_s, self._spread
                )
            except TransportRefusedError as error:
                if not opened[SinkKind.ASGI]:
                    logger.warning("event streams go through ASGI, which is slower: %s", error)
            else:
                opened[SinkKind.TRANSPORT] += 1
                return sink
        opened[SinkKind.ASGI] += 1
        return AsgiSink(receive, send, headers, timeout_s, self._spread)


async def _unknown(_: Wanted) -> Response:
    return runs.unknown()  # a GET that names a run begins no other


def _is_attachable(scope: Scope) -> bool:
    """Return True if our protocol offers its transport. It takes the offer back on disconnect."""
    return EXTENSION in scope.get("extensions", {})


def endpoints(node: ServedNode, channels: Iterable[Channel]) -> dict[str, EventStream]:
    """Return the endpoint of each path."""
    spreads = Spread(), Spread()
    return {
        **{channel.path: EventStream(node, *spreads, channel) for channel in channels},
        "/v1/events": EventStream(node, *spreads),
    }
