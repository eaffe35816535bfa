"""`GET /v1/channels/{channel}/state`: a state as JSON, for pages that are rendered on a server.

It is a subscriber that begins with the state, as with `?from=state`, and leaves after it. So a
stream that begins at the position of the answer has all that comes later.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from broadcaster.core import cursor
from broadcaster.core.access.by_access import is_public
from broadcaster.core.access.policy import public
from broadcaster.core.channel import Channel
from broadcaster.core.event import Live
from broadcaster.core.fanout.turns import Reader, network
from broadcaster.core.reading.reading import Reading
from broadcaster.core.reading.statebody import StateBody, tag_of
from broadcaster.core.resume.opening import Serve
from broadcaster.core.subscription import Granted
from broadcaster.core.wanted import Wanted
from broadcaster.core.wire import Ending, Shed
from broadcaster.errors import UnknownChannelError
from broadcaster.web.dialects import paged
from broadcaster.web.door import Door, come_back_later, owners
from broadcaster.web.leaving import Leaving
from broadcaster.web.problem import SafeResponse, problem, unknown_channel

_PATIENCE_S = 2.0
"""Seconds in which a state must begin: it is made when a node starts, or a stream has changed."""


class StatePages(Door):
    """Answers with the state of a channel."""

    async def __call__(self, request: Request) -> Response:
        """Answer a request with a state or a problem."""
        node, scope, name = self._node, request.scope, request.path_params["channel"]
        listed = {one: channel for one, channel in node.settings.channels.items() if channel.listed}
        if name not in listed:
            return unknown_channel(UnknownChannelError(name, listed), node.policy)
        channel, found = listed[name], list[Wanted]()

        def read(granted: Granted | None = ()) -> Wanted:
            found.append(paged.read_state(scope, listed, channel, granted, self._most))
            return found[-1]

        asks = not is_public(node.policy, name)
        serve = await self._admitted(scope, node.clock.now_ms(), read, asks=asks)
        if isinstance(serve, Response) and serve.status_code != 200:
            return serve
        if not channel.state:
            return problem(404, _no_state(name))
        if isinstance(serve, Response):  # to HEAD
            return serve
        if tag := self._known(request, serve, channel):
            return SafeResponse(status_code=304, headers=self._headers(tag))
        of = owners(scope, serve)
        node.limits.take(of)
        try:
            made = await self._made(serve, channel, request)
            return made or self._shed(Shed.LOADING, found[-1], scope)
        finally:
            node.limits.free(of)

    def _known(self, request: Request, serve: Serve, channel: Channel) -> str:
        """Return the tag of the newest state if the client has that already; empty if not."""
        known = request.headers.get("if-none-match", "")
        folds = [self._node.hub.states.folds[name] for name in serve.subscription.streams]
        if not known or not all(fold.offered and not fold.too_large for fold in folds):
            return ""
        named = dict(zip(serve.subscription.streams, folds, strict=True))
        keys, end = serve.subscription.keys, self._node.hub.states.end
        at = {name: end(name, keys) or fold.position for name, fold in named.items()}
        position = serve.subscription.cursor(at) or cursor.render(at)
        since = {name: fold.since for name, fold in named.items() if fold.since is not None}
        if channel.shards > 1:
            told = cursor.render(since).decode()
        else:
            told = "".join(str(one) for one in since.values())
        tag = tag_of(position, told, channel.state_rules)
        return tag if tag in known else ""

    async def _made(self, serve: Serve, channel: Channel, request: Request) -> Response | None:
        """Return the state; None if there is none for now."""
        node, body, woken = self._node, StateBody(), asyncio.Event()
        reader = Reader(network(request.scope.get("client")))
        reading = Reading(node.hub, node.questions, serve, woken.set, reader)
        leaving = Leaving(request, woken.set)
        try:
            until_s = time.monotonic() + _PATIENCE_S
            while not reading.ended:
                if leaving.left:
                    return Response()  # which no client gets
                woken.clear()
                moved = reading.advance()
                while (value := reading.take()) is not None:
                    if isinstance(value, Live):
                        return self._answer(reading, body, channel)
                    body.add(value)
                left_s = until_s - time.monotonic()
                if not body.begun and left_s <= 0:
                    break
                if moved:
                    await asyncio.sleep(0)  # a large state must not delay other clients
                else:
                    leaving.watch()
                    with suppress(TimeoutError):
                        async with asyncio.timeout(max(left_s, 0.05)):
                            await woken.wait()
            return None
        finally:
            reading.close()
            await leaving.stop()

    def _answer(self, reading: Reading, body: StateBody, channel: Channel) -> Response:
        if body.too_large:
            one_key = bool(reading.subscriber.subscription.keys)
            return problem(409, _too_large(channel, one_key=one_key))
        position, since = reading.cursor, body.since(channel.name)
        tag = tag_of(position, since, channel.state_rules)
        complete = reading.subscriber.ending is Ending.COMPLETE
        content = body.render(position, since, complete=complete)
        self._node.meters.pages["state"] += 1
        return SafeResponse(content, headers=self._headers(tag), media_type="application/json")

    def _headers(self, tag: str) -> dict[str, str]:
        """Return the headers of a state: it may be kept, and is asked for again each time."""
        headers = {"etag": tag, "cache-control": "no-cache"}
        if self._node.policy is not public:
            headers |= {"cache-control": "private, no-cache", "vary": "Authorization, Cookie"}
        return headers

    def _head(self) -> Response:
        return SafeResponse(
            b"", headers={"cache-control": "no-cache"}, media_type="application/json"
        )

    def _sent_away(self, reason: Shed, retry_ms: int, _: Wanted, scope: Any) -> Response:
        return come_back_later(reason, retry_ms, scope)

    def _over(self, _: Wanted) -> Response:
        raise AssertionError("a state begins without a cursor")


def _no_state(name: str) -> str:
    return (
        f'channel {name!r} has no state: set state = "last", "merge" or "append" in its table of '
        "the configuration, or read its events"
    )


def _too_large(channel: Channel, *, one_key: bool) -> str:
    known = "broadcaster fold must have kept it" if one_key else "name a key, ?key=…"
    return (
        f"the state of {channel.name!r} has more than {channel.state_bytes} bytes (state_bytes), "
        f"so there is nothing of it: {known}, read events from where you need them, or raise "
        "state_bytes"
    )
