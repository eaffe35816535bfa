"""A running node: its windows and tailers, the hub, and what the endpoint asks of them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

from broadcaster.backend.driver.connect import AsyncClient, connect
from broadcaster.backend.replayer import Replayer
from broadcaster.backend.requester import Requester
from broadcaster.backend.stream import RedisStream
from broadcaster.backend.tailer import BLOCK_S, Batch, Change, Restart, Rewind, Tailer
from broadcaster.core import cursor, sse
from broadcaster.core.channel import Channel
from broadcaster.core.counters import Meters
from broadcaster.core.cursor import Positions, Start
from broadcaster.core.event import ZERO, EventId
from broadcaster.core.hub import BEATS, Hub
from broadcaster.core.subscription import Subscriber, Subscription
from broadcaster.core.window import Ask, Place, Window
from broadcaster.core.wire import Shed
from broadcaster.errors import BackendUnavailableError, BroadcasterError, ConfigurationError
from broadcaster.node.observer import Observer
from broadcaster.settings import Settings

logger = logging.getLogger(__name__)

_TAIL_TIMEOUT_S = BLOCK_S + 2.0
_READ_TIMEOUT_S = 5.0
_DRAIN_SLICES = 20
_WAKE_SLICE = 10
_PATIENCE_S = 2.0
# Between two reads of a stream. A read costs about 0.2 ms of CPU however few events it brings, most
# of it the kernel's, and each event that comes meanwhile is one write less for every client.
_GATHER_S = 0.002
# Where two reads in a row have waited longer than this, events come one by one: gathering would
# bring no second one, and its timer costs as much as an event. In bursts one read of two is short.
_RARE_S = 0.005


class Node:
    """A stateless server process: windows of all streams, their tailers, and the hub.

    Attributes:
        settings: as given.
        channels: by name.
        hub: who gets what.
        meters: what is counted here.
        observer: what it tells about itself.
        draining: its streams are being ended.
    """

    def __init__(self, settings: Settings) -> None:
        if not settings.redis_url:
            raise ConfigurationError(
                "redis_url is not set: give --redis-url, BROADCASTER_REDIS_URL or redis_url in "
                "the configuration file; `broadcaster demo` starts a private Redis"
            )
        self.settings = settings
        self.channels: Mapping[str, Channel] = settings.channels
        self.meters = Meters()
        self.draining = False
        self.hub = Hub(
            {
                stream: Window(channel.window_events, channel.window_bytes)
                for channel in self.channels.values()
                for stream in channel.streams
            }
        )
        self.tailers: dict[str, Tailer] = {}
        self.observer = Observer(self)
        self._replayer: Replayer | None = None
        self._requester: Requester | None = None
        self._clients: list[AsyncClient] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._turn = asyncio.Lock()  # one round over the subscribers at a time

    # Life

    def start(self) -> None:
        """Begin to tail. Returns at once; `problems` tells when it is ready. Idempotent.

        Each request that needs it does it: Starlette runs no lifespan of a mounted application.
        """
        if self._tasks:
            return
        limit = self.settings.max_event_bytes
        keys = {n: key for c in self.channels.values() for n, key in c.streams.items()}
        for name, key in keys.items():
            stream = RedisStream(self._connect(_TAIL_TIMEOUT_S), key)
            window = self.hub.windows[name]
            self.tailers[name] = Tailer(stream, window, max_event_bytes=limit)
            self._run(partial(self._tail, name))
        client = self._connect(_READ_TIMEOUT_S)
        past = {name: RedisStream(client, key) for name, key in keys.items()}
        self._replayer = Replayer(past, max_event_bytes=limit)
        client = self._connect(_READ_TIMEOUT_S)
        self._requester = Requester(client)
        self._run(self._beat)
        for work in self.observer.works(client):
            self._run(work)

    def _connect(self, timeout_s: float) -> AsyncClient:
        client = connect(self.settings.redis_url, timeout_s=timeout_s, client_name="broadcaster")
        self._clients.append(client)
        return client

    def _run(self, work: Callable[[], Awaitable[None]]) -> None:
        self._tasks.append(asyncio.create_task(_despite_errors(work)))

    async def _tail(self, stream: str) -> None:
        async with contextlib.aclosing(self.tailers[stream].changes()) as changes:
            asked_s, was_rare = time.monotonic(), False
            async for change in changes:
                is_rare = time.monotonic() - asked_s > _RARE_S
                async with self._turn:
                    sleepers = await self._apply(stream, change)
                await _wake(sleepers)
                if not (is_rare and was_rare):
                    await asyncio.sleep(_GATHER_S)
                asked_s, was_rare = time.monotonic(), is_rare

    async def _apply(self, stream: str, change: Change) -> list[Subscriber]:
        sleepers: list[Subscriber] = []
        match change:
            case Batch(frames):
                await _finish(self.hub.fan_out(stream, frames))
                self.observer.measure(stream, frames)
            case Rewind(position):
                sleepers = self.hub.rewind(stream, position)
            case Restart(floor, frames, complete):
                sleepers = self.hub.restart(stream, floor, complete=complete)
                await _finish(self.hub.fan_out(stream, frames))
        self.observer.look_at_clock(stream)
        return sleepers

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(self.settings.heartbeat_s / BEATS)
            async with self._turn:
                await _finish(self.hub.beat())

    async def drain(self) -> None:
        """End all streams in slices over `drain_s`, each with its own `retry:`; shed newcomers."""
        self.draining = True
        subscribers = list(self.hub.subscribers)
        random.shuffle(subscribers)
        size = -(-len(subscribers) // _DRAIN_SLICES) or 1
        for start in range(0, len(subscribers), size):
            self.end(subscribers[start : start + size])
            if start + size < len(subscribers):
                await asyncio.sleep(self.settings.drain_s / _DRAIN_SLICES)

    def end_streams(self) -> None:
        """End all streams at once, each with its own `retry:`."""
        self.draining = True
        self.end(list(self.hub.subscribers))

    def end(self, subscribers: Iterable[Subscriber]) -> None:
        """End streams, each with its own `retry:`."""
        for subscriber in subscribers:
            retry_ms = random.randint(self.settings.retry_min_ms, self.settings.retry_max_ms)
            self.hub.end(subscriber, sse.hello(retry_ms, b""))

    async def aclose(self) -> None:
        """Stop reading and close all connections to Redis."""
        self.end_streams()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.observer.aclose()
        if self._replayer:
            await self._replayer.aclose()
        for client in self._clients:
            await client.aclose()

    # Questions of the endpoint

    @property
    def replayer(self) -> Replayer:
        """Reads the past; there once the node was started."""
        assert self._replayer is not None
        return self._replayer

    async def shedding(self, streams: Iterable[str]) -> Shed | None:
        """Why a newcomer to these streams can't be served for now; None if it can.

        Waits a moment for windows that are still being read.
        """
        self.start()
        loaded = [self.tailers[stream].loaded for stream in streams]
        if not all(window.is_set() for window in loaded):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_PATIENCE_S):
                    for window in loaded:
                        await window.wait()
        if self.draining:
            return Shed.DRAINING
        if len(self.hub.subscribers) >= self.settings.max_connections:
            return Shed.FULL
        if not all(window.is_set() for window in loaded):
            return Shed.LOADING
        return None

    def problems(self) -> list[str]:
        """Why the node is not ready; empty if it is."""
        self.start()
        found = ["draining"] if self.draining else []
        for name, tailer in self.tailers.items():
            if not tailer.loaded.is_set():
                found.append(f"{name}: the window is not loaded")
            if tailer.problem:
                found.append(f"{name}: {tailer.problem}")
            elif tailer.lag_s > self.settings.ready_lag_s:
                found.append(f"{name}: {tailer.lag_s:.1f} s behind")
        return found

    async def describe(self, name: str) -> dict[str, Any]:
        """Oldest and newest id that a client can read here, how many, and the channel's path."""
        self.start()
        channel = self.channels[name]
        oldest: Positions = {}
        newest: Positions = {}
        length = 0
        for stream in channel.streams:
            first, retained = await self._retained(stream)
            length += retained
            if first:
                oldest[stream] = first
            if (head := self.hub.windows[stream].head) != ZERO:
                newest[stream] = head
        return {
            "channel": name,
            "path": channel.path,
            "oldest": _from(channel, oldest),
            "newest": _from(channel, newest),
            "length": length,
        }

    async def _retained(self, stream: str) -> tuple[EventId | None, int]:
        """The id of the oldest entry of a stream, and how many there are."""
        window = self.hub.windows[stream]
        if not window.complete:  # Redis retains more; while it is away, the window is what we have
            with contextlib.suppress(BroadcasterError):
                beginning = await self.replayer.beginning(stream)
                info = await self.replayer.info(stream)
                return beginning and beginning.after(), info.length
        return window.oldest(), len(window)

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
        window = self.hub.windows[stream]
        frame = window.get(position)
        # All that follows the floor is here, but not its own entry, which was evicted.
        at_floor = position == window.floor != ZERO
        if frame is None and (at_floor or window.place(position) is not Place.COVERED):
            frame = await self.replayer.entry(stream, position)
        return frame is not None and subscription.ends_with(frame)

    async def answer(self, subscriber: Subscriber, ask: Ask) -> bytes:
        """Ask Redis what the hub can't know, and apply the answer to the subscriber."""
        stream, position, place = ask
        if place is Place.AHEAD:
            # Where nothing fits between a position and an entry, the entry proves as much.
            if await self.replayer.first(stream, position, position.after()) is not None:
                self.hub.confirm(subscriber, stream, position)
                return b""
            return await self._reset(subscriber, stream, "rollback")
        page = await self.replayer.page(stream, position)
        if not page.proven:
            return await self._reset(subscriber, stream, "trimmed")
        if page.end == position:  # older than the window, and yet the newest that there is
            raise BackendUnavailableError(f"Redis has less of {stream!r} than this node: wait")
        return self.hub.replay(subscriber, stream, page.frames, page.end)

    async def _reset(self, subscriber: Subscriber, stream: str, reason: str) -> bytes:
        position, window = subscriber.position[stream], self.hub.windows[stream]
        resumed = window.resume_from(position)
        if resumed is None and not window.complete:
            resumed = await self.replayer.at_or_before(stream, position)
            resumed = resumed or await self.replayer.beginning(stream)
        return self.hub.reset(subscriber, stream, reason, resumed)


def _from(channel: Channel, positions: Positions) -> str | None:
    """What a client gives as `from` to begin at these positions of a channel."""
    if not positions:
        return None
    return cursor.render(positions).decode() if channel.shards > 1 else str(positions[channel.name])


async def _wake(sleepers: list[Subscriber]) -> None:
    """Wake all, few at a time, so that other streams' events are not held up."""
    for start in range(0, len(sleepers), _WAKE_SLICE):
        for subscriber in sleepers[start : start + _WAKE_SLICE]:
            subscriber.wake()
        await asyncio.sleep(0)


async def _finish(round_: Iterator[None]) -> None:
    for _ in round_:
        await asyncio.sleep(0)


async def _despite_errors(work: Callable[[], Awaitable[None]]) -> None:
    while True:
        try:
            return await work()
        except Exception:  # a mistake of ours in one round must not end the node
            logger.exception("going on after an error that nobody expected")
            await asyncio.sleep(1.0)
