"""A running node: its parts, its tasks and their owner, and what the endpoint asks of it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from typing import Any

from broadcaster.backend.driver.connect import AsyncClient, connect
from broadcaster.backend.replayer import Replayer
from broadcaster.backend.requester import Requester
from broadcaster.backend.stream import RedisStream
from broadcaster.backend.tailer import BLOCK_S, Tailer
from broadcaster.core import cursor, sse
from broadcaster.core.channel import Channel
from broadcaster.core.counters import Meters
from broadcaster.core.cursor import Positions, Start
from broadcaster.core.event import ZERO, EventId
from broadcaster.core.hub import Hub
from broadcaster.core.subscription import Subscriber, Subscription
from broadcaster.core.window import Ask, Place, Window
from broadcaster.core.wire import Ending, Shed
from broadcaster.errors import BackendUnavailableError, BroadcasterError
from broadcaster.node.health import Health
from broadcaster.node.metrics import Metrics
from broadcaster.node.peers import Peers
from broadcaster.node.pump import Pump
from broadcaster.node.registry import Registry, name_of
from broadcaster.node.shutdown import Shutdown
from broadcaster.settings import Settings

logger = logging.getLogger(__name__)

_TAIL_TIMEOUT_S = BLOCK_S + 2.0
_READ_TIMEOUT_S = 5.0
_PATIENCE_S = 2.0


class Node:
    """A stateless server process: windows of all streams, their tailers, and the hub.

    Attributes:
        settings: as given.
        channels: by name.
        name: of this process among all nodes that use the same Redis.
        hub: who gets what.
        meters: what is counted here.
        tailers: by stream, once it was started.
        draining: its responses are being ended.
        health: whether it is well.
        registry: which nodes there are.
        metrics: its figures.
        pump: from the tailers to the hub.
    """

    def __init__(self, settings: Settings, peers: Peers | None = None) -> None:
        """Prepare; nothing is connected before `start`.

        Args:
            settings: with the url of Redis.
            peers: the processes that share the port with this one.

        Raises:
            ConfigurationError: there is no url.
        """
        settings.require_redis_url()
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
        self._peers = peers or Peers()
        self.name = name_of(settings, self._peers.process)
        self.health = Health(self)
        self.registry = Registry(self, self.health, self._peers.process)
        self.metrics = Metrics(self, self._peers)
        self.pump = Pump(self.hub, self.tailers, self.health)
        self._shutdown = Shutdown(self)
        self._replayer: Replayer | None = None
        self._requester: Requester | None = None
        self._clients: list[AsyncClient] = []
        self._tasks: list[asyncio.Task[None]] = []

    # Life

    def start(self) -> None:
        """Begin to tail. Returns at once; `problems` tells when it is ready. Idempotent.

        Each request that needs it does it: Starlette runs no lifespan of a mounted application.
        """
        if self._tasks:
            return
        limit = self.settings.max_event_bytes
        keys = self.settings.channels.streams
        for name, key in keys.items():
            stream = RedisStream(self._connect(_TAIL_TIMEOUT_S), key)
            window = self.hub.windows[name]
            self.tailers[name] = Tailer(stream, window, max_event_bytes=limit)
            self._run(partial(self.pump.tail, name))
        client = self._connect(_READ_TIMEOUT_S)
        past = {name: RedisStream(client, key) for name, key in keys.items()}
        self._replayer = Replayer(past, max_event_bytes=limit)
        client = self._connect(_READ_TIMEOUT_S)
        self._requester = Requester(client)
        self.registry.use(client)
        self._run(partial(self.pump.beat, self.settings.heartbeat_s))
        self._run(self.health.watch_loop)
        self._run(self.registry.announce)
        self._run(partial(self._peers.serve, self.metrics.own))

    def _connect(self, timeout_s: float) -> AsyncClient:
        client = connect(self.settings.redis_url, timeout_s=timeout_s, client_name="broadcaster")
        self._clients.append(client)
        return client

    def _run(self, work: Callable[[], Awaitable[None]]) -> None:
        self._tasks.append(asyncio.create_task(_despite_errors(work)))

    def problems(self) -> list[str]:
        """Return why the node is not ready, with the errors' own texts; nothing if it is."""
        self.start()
        return [problem.detail for problem in self.health.problems()]

    # The end; `shutdown` has the order of its steps

    async def drain(self) -> None:
        """Shed newcomers, and end all responses over `drain_s`, each with its own `retry:`."""
        self._shutdown.begin(self.settings.drain_s)
        await self._shutdown.responses_ended()

    def end_responses(self) -> None:
        """Begin to end all responses in one instant, each with its own `retry:`."""
        self._shutdown.begin(0)

    async def aclose(self) -> None:
        """End what is left, stop reading, and close all connections to Redis. May be called again.

        Cancelled, it waits no longer, but everything is closed all the same.
        """
        await self._shutdown.finish()

    def fail_readiness(self) -> None:
        """A step of the shutdown: be unready, and send newcomers away."""
        self.draining = True

    def subscribers(self) -> list[Subscriber]:
        """The connected clients."""
        return list(self.hub.subscribers)

    def end(self, subscribers: Iterable[Subscriber]) -> None:
        """End responses, each with its own `retry:`."""
        for subscriber in subscribers:
            retry_ms = random.randint(self.settings.retry_min_ms, self.settings.retry_max_ms)
            self.hub.end(subscriber, Ending.DRAIN, sse.hello(retry_ms, b""))

    async def stop_tasks(self) -> None:
        """A step of the shutdown: read and write no more streams."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def leave_registry(self) -> None:
        """A step of the shutdown: be no longer among the nodes."""
        await self.registry.leave()

    async def close_clients(self) -> None:
        """A step of the shutdown: close all connections to Redis."""
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


async def _despite_errors(work: Callable[[], Awaitable[None]]) -> None:
    while True:
        try:
            return await work()
        except Exception:  # a mistake of ours in one round must not end the node
            logger.exception("going on after an error that nobody expected")
            await asyncio.sleep(1.0)
