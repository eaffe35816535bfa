"""The composition root: the only module that knows every layer."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from functools import partial
from importlib.metadata import version
from socket import gethostname
from typing import Any

from starlette.applications import Starlette

from broadcaster import exposition
from broadcaster.backend.client import AsyncClient, connect
from broadcaster.backend.replayer import Replayer
from broadcaster.backend.requester import Requester
from broadcaster.backend.roster import ANNOUNCE_S, Roster
from broadcaster.backend.stream import Info, RedisStream
from broadcaster.backend.tailer import BLOCK_S, Batch, Change, Restart, Rewind, Tailer
from broadcaster.core import cursor, sse
from broadcaster.core.channel import Channel
from broadcaster.core.cursor import Positions, Start
from broadcaster.core.event import CLOCK_TOLERANCE_S, ZERO, EventId
from broadcaster.core.hub import BEATS, Ask, Hub
from broadcaster.core.sse import Frame
from broadcaster.core.subscription import Subscriber, Subscription
from broadcaster.core.window import Place, Window
from broadcaster.errors import BackendUnavailableError, BroadcasterError, ConfigurationError
from broadcaster.metrics import Meters
from broadcaster.peers import Peers
from broadcaster.settings import Settings, load_settings
from broadcaster.web.problem import Shed
from broadcaster.web.routes import starlette_app
from broadcaster.web.server import ending_streams_on_signals

logger = logging.getLogger(__name__)

_TAIL_TIMEOUT_S = BLOCK_S + 2.0
_READ_TIMEOUT_S = 5.0
_DRAIN_SLICES = 20
_PATIENCE_S = 2.0
_COUNT_S = 1.0
_LOOP_TICK_S = 0.05
# Between two reads of a stream. A read costs about 0.2 ms of CPU however few events it brings, most
# of it the kernel's, and each event that comes meanwhile is one write less for every client.
_GATHER_S = 0.002


class Node:
    """A stateless server process: windows of all streams, their tailers, and the hub.

    Attributes:
        settings: as given.
        channels: by name.
        hub: who gets what.
        meters: what is counted here.
        peers: the processes that share the port with this one.
        draining: its streams are being ended.
        write_lag_ms: from the id of the newest event, Redis's clock, until all had been written.
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
        self.peers = Peers()
        self.draining = False
        self.write_lag_ms = 0.0
        self.hub = Hub(
            {
                stream: Window(channel.window_events, channel.window_bytes)
                for channel in self.channels.values()
                for stream in channel.streams
            }
        )
        self.tailers: dict[str, Tailer] = {}
        self._replayer: Replayer | None = None
        self._requester: Requester | None = None
        self._roster: Roster | None = None
        self._clients: list[AsyncClient] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._ahead_of_time: set[str] = set()  # streams
        self._turn = asyncio.Lock()  # one round over the subscribers at a time

    # Life

    def start(self) -> None:
        """Begin to tail. Returns at once; `problems` tells when it is ready. Idempotent."""
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
        self._run(self._watch_loop)
        self._run(partial(self.peers.serve, self._own_metrics))
        if self.settings.nodes_key:
            self._roster = Roster(client, self.settings.nodes_key, self.name)
            self._run(self._announce)

    def _connect(self, timeout_s: float) -> AsyncClient:
        client = connect(self.settings.redis_url, timeout_s=timeout_s, client_name="broadcaster")
        self._clients.append(client)
        return client

    def _run(self, work: Callable[[], Awaitable[None]]) -> None:
        self._tasks.append(asyncio.create_task(_despite_errors(work)))

    async def _tail(self, stream: str) -> None:
        async with contextlib.aclosing(self.tailers[stream].changes()) as changes:
            async for change in changes:
                async with self._turn:
                    await self._apply(stream, change)
                await asyncio.sleep(_GATHER_S)

    async def _apply(self, stream: str, change: Change) -> None:
        match change:
            case Batch(frames):
                await _finish(self.hub.fan_out(stream, frames))
                self._measure(stream, frames)
            case Rewind(position):
                self.hub.rewind(stream, position)
            case Restart(floor, frames, complete):
                self.hub.restart(stream, floor, complete=complete)
                await _finish(self.hub.fan_out(stream, frames))
        self._watch_clock(stream)

    def _watch_clock(self, stream: str) -> None:
        """Say once that a stream's newest id has got ahead of the clock, or is no longer."""
        head = self.hub.windows[stream].head
        ahead_s = head.ms / 1000 - time.time()
        if (ahead_s > CLOCK_TOLERANCE_S) == (stream in self._ahead_of_time):
            return
        if ahead_s > CLOCK_TOLERANCE_S:
            self._ahead_of_time.add(stream)
            logger.warning(
                "stream %r: the id %s is %.0f s in the future. Somebody gave it, or Redis's clock "
                "is wrong; all ids after it are in the future as well, and no time can be found",
                stream,
                head,
                ahead_s,
            )
        else:
            self._ahead_of_time.remove(stream)
            logger.warning("stream %r: its ids are in step with the clock again", stream)

    def _measure(self, stream: str, frames: list[Frame]) -> None:
        now_ms = time.time() * 1000
        observe = self.meters.write_latency_s[stream].observe
        for frame in frames:
            self.write_lag_ms = max(0.0, now_ms - frame.id.ms)
            observe(self.write_lag_ms / 1000)

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(self.settings.heartbeat_s / BEATS)
            async with self._turn:
                await _finish(self.hub.beat())

    async def _watch_loop(self) -> None:
        while True:
            due_s = time.monotonic() + _LOOP_TICK_S
            await asyncio.sleep(_LOOP_TICK_S)
            self.meters.loop_lag_s.observe(max(0.0, time.monotonic() - due_s))

    async def _announce(self) -> None:
        assert self._roster is not None
        while True:
            await asyncio.sleep(ANNOUNCE_S)
            try:
                await self._roster.announce(self._about())
            except BackendUnavailableError as error:
                logger.debug("this node is not announced for now: %s", error)
            except ConfigurationError as error:
                logger.info("this node is not announced, only /v1/nodes misses it: %s", error)
                return

    async def drain(self) -> None:
        """End all streams in slices over `drain_s`, each with its own `retry:`; shed newcomers."""
        self.draining = True
        subscribers = list(self.hub.subscribers)
        random.shuffle(subscribers)
        size = -(-len(subscribers) // _DRAIN_SLICES) or 1
        for start in range(0, len(subscribers), size):
            self._end(subscribers[start : start + size])
            if start + size < len(subscribers):
                await asyncio.sleep(self.settings.drain_s / _DRAIN_SLICES)

    def end_streams(self) -> None:
        """End all streams at once, each with its own `retry:`."""
        self.draining = True
        self._end(list(self.hub.subscribers))

    def _end(self, subscribers: Iterable[Subscriber]) -> None:
        for subscriber in subscribers:
            retry_ms = random.randint(self.settings.retry_min_ms, self.settings.retry_max_ms)
            self.hub.end(subscriber, sse.hello(retry_ms, b""))

    async def aclose(self) -> None:
        """Stop reading and close all connections to Redis."""
        self.end_streams()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._roster:
            with contextlib.suppress(BroadcasterError):
                await self._roster.leave()
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
        self.start()  # Starlette runs no lifespan of a mounted application
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

    @property
    def name(self) -> str:
        """Of this process, among all nodes that use the same Redis."""
        name = self.settings.node_name or f"{gethostname()}:{self.settings.port or os.getpid()}"
        return f"{name}/{self.peers.process}"

    def _about(self) -> dict[str, Any]:
        return {
            "clients": len(self.hub.subscribers),
            "lag_s": round(max((t.lag_s for t in self.tailers.values()), default=0.0), 3),
            "problems": self.problems(),
            "version": version("broadcaster-hub"),
        }

    async def nodes(self) -> dict[str, Any]:
        """Who is there: what each node last said about itself, and why it may not be all."""
        missing = "nodes_key is not set"
        if self._roster:
            try:
                return {"nodes": {**await self._roster.nodes(), self.name: self._about()}}
            except BroadcasterError as error:
                logger.debug("only this node is known: %s", error)
                missing = "Redis is away, or gives no rights to the nodes' hash"
        return {"nodes": {self.name: self._about()}, "incomplete": missing}

    async def metrics(self) -> bytes:
        """The numbers of this process and of its peers, for Prometheus."""
        return exposition.together(await self.peers.gather(self._own_metrics))

    async def _own_metrics(self) -> bytes:
        infos: dict[str, Info] = {}
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_COUNT_S):
                for stream in self.tailers:
                    with contextlib.suppress(BroadcasterError):
                        infos[stream] = await self.replayer.info(stream)
        return exposition.own(self, infos)

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
        frame = self.hub.windows[stream].get(position)
        if frame is None and self.hub.windows[stream].place(position) is not Place.COVERED:
            frame = await self.replayer.entry(stream, position)
        return frame is not None and subscription.ends_with(frame)

    async def answer(self, subscriber: Subscriber, ask: Ask) -> bytes:
        """Ask Redis what the hub can't know, and apply the answer to the subscriber."""
        stream, position, place = ask
        if place is Place.AHEAD:
            # Where nothing fits between a position and an entry, the entry proves as much.
            if await self.replayer.first(stream, position, position.after()) is not None:
                self.hub.confirm(subscriber, position)
                return b""
            return await self._reset(subscriber, stream, "rollback")
        page = await self.replayer.page(stream, position)
        if not page.proven or page.end == position:
            return await self._reset(subscriber, stream, "trimmed")
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
        node.start()
        try:
            with ending_streams_on_signals(node.end_streams):
                yield {"node": node}
        finally:
            await node.aclose()

    app = starlette_app(node, lifespan)
    app.state.node = node
    return app
