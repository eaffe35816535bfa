"""`GET /v1/channels/{channel}/events`: a page of the log, for clients that can't hold a connection.

It is a subscriber that stays until its page is full, or until it has seen everything. With `wait`
it stays until there is an event. The rules of resuming are those of event streams.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from broadcaster.core.access.by_access import is_public
from broadcaster.core.fanout.turns import Reader, network
from broadcaster.core.reading.logpage import LogPage
from broadcaster.core.reading.reading import Reading
from broadcaster.core.resume.opening import Serve
from broadcaster.core.subscription import Granted
from broadcaster.core.wanted import Wanted
from broadcaster.core.wire import Ending, Shed
from broadcaster.errors import UnknownChannelError
from broadcaster.web.dialects import paged
from broadcaster.web.dialects.paged import PageWanted
from broadcaster.web.door import Door, closing, come_back_later, owners
from broadcaster.web.leaving import Leaving
from broadcaster.web.problem import SafeResponse, unknown_channel
from broadcaster.web.serving import ServedNode

_PATIENCE_S = 10.0
"""Seconds that a page may take if it does not wait for an event, for instance without Redis."""


class LogPages(Door):
    """Answers with pages of the log."""

    async def __call__(self, request: Request) -> Response:
        """Answer a request with a page or a problem."""
        node, scope, name = self._node, request.scope, request.path_params["channel"]
        listed = {one: channel for one, channel in node.settings.channels.items() if channel.listed}
        if name not in listed:
            return unknown_channel(UnknownChannelError(name, listed), node.policy)
        now_ms, asked = node.clock.now_ms(), list[PageWanted]()

        def read(granted: Granted | None = ()) -> Wanted:
            asked.append(paged.read(scope, listed, listed[name], now_ms, granted, self._most))
            return asked[-1].wanted

        asks = not is_public(node.policy, name)
        serve = await self._admitted(scope, now_ms, read, asks=asks)
        if isinstance(serve, Response):
            return serve
        # There is no `await` since the limits were asked, so the place is still there.
        of, making = owners(scope, serve), _Making(node, request, serve, asked[-1])
        node.limits.take(of)
        try:
            return await making.made() or self._shed(Shed.REDIS, asked[-1].wanted, scope)
        finally:
            node.limits.free(of)

    def _head(self) -> Response:
        return _json(b"")

    def _sent_away(self, reason: Shed, retry_ms: int, _: Wanted, scope: Any) -> Response:
        return come_back_later(reason, retry_ms, scope)

    def _over(self, wanted: Wanted) -> Response:
        self._node.meters.pages["empty"] += 1
        return _json(LogPage(1).render(wanted.cursor, more=False, complete=True))


class _Making:
    """One page that is being made."""

    def __init__(self, node: ServedNode, request: Request, serve: Serve, asked: PageWanted) -> None:
        """Add its subscriber to the hub. `made` must follow."""
        self._node = node
        self._request = request
        self._began_at = dict(serve.positions)
        self._wait_s = asked.wait_s
        self._page = LogPage(asked.limit)
        self._woken = asyncio.Event()
        reader = Reader(network(request.scope.get("client")))
        begun = node.hub, node.questions, serve, self._woken.set, reader
        self._reading = Reading(*begun, with_state=False)
        self._began_s = time.monotonic()
        self._leaving = Leaving(request, self._woken.set)

    async def made(self) -> Response | None:
        """Return the page; None if nothing is known, because the log has not answered."""
        try:
            await self._fill()
            return self._answer()
        finally:
            self._reading.close()
            await self._leaving.stop()

    async def _fill(self) -> None:
        """Take events until the page is full, or all were taken and the wait is over."""
        reading, page = self._reading, self._page
        while not self._leaving.left:
            self._woken.clear()
            moved = self._step()
            if page.full or reading.ended or (reading.at_head and not page.empty):
                return
            patience_s = self._wait_s if reading.at_head else max(self._wait_s, _PATIENCE_S)
            left_s = patience_s - (time.monotonic() - self._began_s)
            if left_s <= 0:
                return
            if moved:
                await asyncio.sleep(0)  # a long replay must not delay other clients
            else:
                await self._wait(left_s)

    def _step(self) -> bool:
        """Take a step, and its events. Return False if there is nothing to do until it wakes."""
        reading, page = self._reading, self._page
        began_s = time.thread_time()
        moved = reading.advance(self._node.settings.high_water_bytes)
        while not (page.full and reading.untaken) and (value := reading.take()) is not None:
            page.add(value, reading.cursor)
        reading.give_back()
        reading.charge(time.thread_time() - began_s)
        return moved

    async def _wait(self, seconds: float) -> None:
        """Wait until there is something to do, or the client is gone."""
        self._leaving.watch()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._woken.wait()

    def _answer(self) -> Response | None:
        reading, page = self._reading, self._page
        if self._leaving.left:
            return Response()  # which no client gets
        moved = reading.positions != self._began_at
        if not (moved or reading.ended or reading.at_head) and page.empty:
            return None
        self._node.meters.pages["events" if page.count else "empty"] += 1
        body = page.render(
            reading.cursor,
            more=not (reading.at_head or reading.ended),
            complete=reading.ended is Ending.COMPLETE,
        )
        drains = reading.ended is Ending.DRAIN
        return _json(body, closing(self._request.scope) if drains else {})


def _json(body: bytes, headers: dict[str, str] | None = None) -> Response:
    headers = {"cache-control": "no-store", **(headers or {})}
    return SafeResponse(body, headers=headers, media_type="application/json")
