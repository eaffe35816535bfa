"""The composition root: the only module that knows every layer."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

from starlette.applications import Starlette

from broadcaster.backend.client import connect
from broadcaster.backend.replayer import Replayer
from broadcaster.backend.requester import Requester
from broadcaster.backend.tailer import BLOCK_S, Batch, Change, Restart, Rewind, Tailer
from broadcaster.core import sse
from broadcaster.core.channel import Channel
from broadcaster.core.cursor import Positions, Start
from broadcaster.core.event import EventId
from broadcaster.core.hub import BEATS, Ask, Hub
from broadcaster.core.subscription import Subscriber, Subscription
from broadcaster.core.window import Place, Window
from broadcaster.errors import ConfigurationError
from broadcaster.settings import Settings, load_settings
from broadcaster.web.routes import starlette_app

logger = logging.getLogger(__name__)

_TAIL_TIMEOUT_S = BLOCK_S + 2.0
_READ_TIMEOUT_S = 5.0
_DRAIN_SLICES = 20


class Node:
    """A stateless server process: windows of all streams, their tailers, and the hub.

    Attributes:
        settings: as given.
        channels: by name.
        hub: who gets what.
        sinks: how many streams were opened with each kind of sink.
    """

    def __init__(self, settings: Settings) -> None:
        if not settings.redis_url:
            raise ConfigurationError(
                "redis_url is not set: give --redis-url, BROADCASTER_REDIS_URL or redis_url in "
                "the configuration file; `broadcaster demo` starts a private Redis"
            )
        self.settings = settings
        self.channels: Mapping[str, Channel] = settings.channels
        self.sinks = {"transport": 0, "asgi": 0}
        windows = {c.name: Window(c.window_events, c.window_bytes) for c in self.channels.values()}
        self.hub = Hub(windows)
        self.tailers: dict[str, Tailer] = {}
        self._replayer: Replayer | None = None
        self._requester: Requester | None = None
        self._draining = False
        self._tasks: list[asyncio.Task[None]] = []
        self._turn = asyncio.Lock()  # one round over the subscribers at a time

    # Life

    async def start(self) -> None:
        """Begin to tail. Returns at once; `problems` tells when it is ready. Idempotent."""
        if self._tasks:
            return
        limit, url = self.settings.max_event_bytes, self.settings.redis_url
        for name, channel in self.channels.items():
            client = connect(url, timeout_s=_TAIL_TIMEOUT_S, max_connections=1)
            self.tailers[name] = Tailer(
                client, channel.redis_key, self.hub.windows[name], max_event_bytes=limit
            )
            self._tasks.append(asyncio.create_task(self._tail(name), name=f"tail {name}"))
        keys = {name: channel.redis_key for name, channel in self.channels.items()}
        self._replayer = Replayer(
            connect(url, timeout_s=_READ_TIMEOUT_S), keys, max_event_bytes=limit
        )
        self._requester = Requester(connect(url, timeout_s=_READ_TIMEOUT_S))
        self._tasks.append(asyncio.create_task(self._beat(), name="heartbeats"))

    async def _tail(self, stream: str) -> None:
        async with contextlib.aclosing(self.tailers[stream].changes()) as changes:
            async for change in changes:
                async with self._turn:
                    await self._apply(stream, change)

    async def _apply(self, stream: str, change: Change) -> None:
        match change:
            case Batch(frames):
                await _run(self.hub.fan_out(stream, frames))
            case Rewind(position):
                self.hub.rewind(stream, position)
            case Restart(floor, complete):
                self.hub.restart(stream, floor, complete=complete)

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(self.settings.heartbeat_s / BEATS)
            async with self._turn:
                await _run(self.hub.beat())

    async def drain(self) -> None:
        """End all streams in slices over `drain_s`, each with its own `retry:`; shed newcomers."""
        self._draining = True
        subscribers = list(self.hub.subscribers)
        random.shuffle(subscribers)
        size = -(-len(subscribers) // _DRAIN_SLICES) or 1
        for start in range(0, len(subscribers), size):
            for subscriber in subscribers[start : start + size]:
                self.hub.end(subscriber, sse.hello(self._retry_ms(), b""))
            if start + size < len(subscribers):
                await asyncio.sleep(self.settings.drain_s / _DRAIN_SLICES)

    def end_streams(self) -> None:
        """End all streams at once, each with its own `retry:`."""
        self._draining = True
        for subscriber in list(self.hub.subscribers):
            self.hub.end(subscriber, sse.hello(self._retry_ms(), b""))

    def _retry_ms(self) -> int:
        return random.randint(self.settings.retry_min_ms, self.settings.retry_max_ms)

    async def aclose(self) -> None:
        """Stop reading and close all connections to Redis."""
        self.end_streams()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for tailer in self.tailers.values():
            await tailer.aclose()
        if self._replayer:
            await self._replayer.aclose()
        if self._requester:
            await self._requester.aclose()

    # Questions of the endpoint

    @property
    def replayer(self) -> Replayer:
        """Reads the past; there once the node was started."""
        assert self._replayer is not None
        return self._replayer

    def shedding(self) -> str:
        """Why a newcomer can't be served for now; empty if it can."""
        if self._draining:
            return "this node is shutting down"
        if len(self.hub.subscribers) >= self.settings.max_connections:
            return "this node has all the connections it may have"
        if not all(tailer.loaded for tailer in self.tailers.values()):
            return "this node is still reading its windows"
        return ""

    def problems(self) -> list[str]:
        """Why the node is not ready; empty if it is."""
        found = ["draining"] if self._draining else []
        if not self.tailers:
            found.append("not started")
        for name, tailer in self.tailers.items():
            if not tailer.loaded:
                found.append(f"{name}: the window is not loaded")
            if tailer.problem:
                found.append(f"{name}: {tailer.problem}")
            elif tailer.lag_s > self.settings.ready_lag_s:
                found.append(f"{name}: {tailer.lag_s:.1f} s behind")
        return found

    async def describe(self, channel: str) -> dict[str, Any]:
        """Oldest and newest id, length and path of a channel, as this node sees it."""
        return {}

    async def position_at(self, stream: str, start: Start) -> EventId:
        """The position from which a client reads that begins there."""
        window = self.hub.windows[stream]
        if start == "latest":
            return window.head
        if start != "earliest":
            position = EventId(start, 0).before()
            found = window.at_or_before(position)
            if found is None and not window.complete:
                found = await self.replayer.at_or_before(stream, position)
            if found is not None:
                return found
        if window.complete:
            return window.floor
        return await self.replayer.beginning(stream) or window.head

    async def request_run(self, channel: Channel, key: str) -> EventId:
        """Ask the workers of a channel to produce for a key; names the run."""
        assert self._requester is not None
        return await self._requester.request(channel.requests, key)

    async def is_over(self, subscription: Subscription, positions: Positions) -> bool:
        """Whether a client has seen the terminal event of what it subscribes to."""
        if not subscription.terminal:
            return False
        (stream,) = subscription.streams
        position = positions[stream]
        frame = self.hub.windows[stream].get(position)
        if frame is None and self.hub.windows[stream].place(position) is not Place.COVERED:
            frame = await self.replayer.entry(stream, position)
        return frame is not None and subscription.ends_with(frame)

    async def answer(self, subscriber: Subscriber, ask: Ask) -> bytes:
        """Ask Redis what the hub can't know, and apply the answer to the subscriber."""
        stream, position, place = ask
        if place is Place.AHEAD:
            if await self.replayer.entry(stream, position) is not None:
                self.hub.confirm(subscriber, position)
                return b""
            return await self._reset(subscriber, stream, "rollback")
        page = await self.replayer.page(stream, position)
        if not page.proven or page.end == position:
            return await self._reset(subscriber, stream, "trimmed")
        return self.hub.replay(subscriber, stream, page.frames, page.end)

    async def _reset(self, subscriber: Subscriber, stream: str, reason: str) -> bytes:
        position, window = subscriber.position[stream], self.hub.windows[stream]
        resumed = window.at_or_before(position)
        if resumed is None and not window.complete:
            resumed = await self.replayer.at_or_before(stream, position)
            resumed = resumed or await self.replayer.beginning(stream)
        return self.hub.reset(subscriber, stream, reason, resumed)


async def _run(round_: Iterator[None]) -> None:
    for _ in round_:
        await asyncio.sleep(0)


def create_app(settings: Settings | None = None) -> Starlette:
    """Make the hub as an ASGI application.

    Args:
        settings: read from the environment and `BROADCASTER_CONFIG` if not given.

    Returns:
        An application to serve, or to mount into your own:

            hub = create_app()
            app = FastAPI(lifespan=hub.router.lifespan_context)
            app.mount("/live", hub)

    Raises:
        ConfigurationError: the settings can't work.
    """
    node = Node(settings or load_settings())

    @contextlib.asynccontextmanager
    async def lifespan(_: Any) -> AsyncIterator[dict[str, Any]]:
        await node.start()
        try:
            yield {"node": node}
        finally:
            await node.aclose()

    app = starlette_app(node, lifespan)
    app.state.node = node
    return app
