"""The log of streams that a node serves: its interface, and the one in Redis.

A log has two halves. `changes` is the live one: it follows a stream and tells each change of it.
`ask` is the past one: it answers a question about a stream. `backend.memory` has another log.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from typing import NamedTuple, Protocol, runtime_checkable

from broadcaster.backend.driver.connect import AsyncClient, connect
from broadcaster.backend.replayer import Replayer
from broadcaster.backend.stream import RedisStream
from broadcaster.backend.tailer import BLOCK_S, Tailer
from broadcaster.core.event import EventId
from broadcaster.core.log import Answer, Change, Question
from broadcaster.core.window import Window

_TAIL_TIMEOUT_S = BLOCK_S + 2.0
_READ_TIMEOUT_S = 5.0


class Status(NamedTuple):
    """How following one stream goes.

    Attributes:
        problem: why it can't be read now; empty if it can.
        lag_s: seconds since everything in the stream had been read, beyond what is usual.
        reconnects: how often it could be read again after it could not.
        frames: events made, each once.
        malformed: entries that can't be sent and were passed over.
    """

    problem: str = ""
    lag_s: float = 0.0
    reconnects: int = 0
    frames: int = 0
    malformed: int = 0


class Retained(NamedTuple):
    """How much of a stream the log has.

    Attributes:
        length: entries.
        unread: of these, entries that `changes` has still to tell; None if that is not known.
    """

    length: int
    unread: int | None = None


class Log(Protocol):
    """Where a node's streams are. All methods may be called by any task of one event loop."""

    @property
    def reads(self) -> int:
        """How often `ask` has read, for the figures."""

    def changes(self, stream: str, window: Window) -> AsyncGenerator[Change, None]:
        """Follow a stream for ever. The first change is a `Restart`. Trouble is waited out.

        Args:
            stream: its name.
            window: what has been told so far. It is only read here.

        Yields:
            What to do to the window. The caller does it before it asks for the next one. To stop,
            cancel the task, or close the generator.
        """

    async def ask(self, stream: str, question: Question) -> Answer:
        """Answer a question about a stream; `core.log` says what each one means.

        Callers that ask the same at the same time may share one answer. May be cancelled.

        Raises:
            BackendUnavailableError: it can't be told for now.
        """

    def status(self, stream: str) -> Status:
        """How following a stream goes."""

    async def retained(self, stream: str) -> Retained:
        """How much of a stream there is.

        Raises:
            BackendUnavailableError: it can't be told for now.
        """

    async def aclose(self) -> None:
        """Answer nothing more, and close all connections."""


@runtime_checkable
class Requests(Protocol):
    """Where requests for what is made on demand go. Unlike a log, it writes."""

    async def request(self, requests: str, key: str) -> EventId:
        """Add a request.

        Args:
            requests: the name of the stream of requests.
            key: what is asked for.

        Returns:
            The id of the request, which names the run.

        Raises:
            BackendUnavailableError: it can't be added for now, or it is unknown whether it was.
            ConfigurationError: it is refused for good.
        """


class RedisLog:
    """The log in Redis. No connection is opened before it is used. See `Log`."""

    def __init__(self, url: str, keys: Mapping[str, str], *, max_event_bytes: int) -> None:
        """Prepare.

        Args:
            url: of Redis.
            keys: the Redis key of each stream, by its name.
            max_event_bytes: larger events are passed over.
        """
        self._url = url
        self._keys = keys
        self._max_event_bytes = max_event_bytes
        self._tailers: dict[str, Tailer] = {}
        self._clients: list[AsyncClient] = []
        client = self._connect(_READ_TIMEOUT_S)
        past = {name: RedisStream(client, key) for name, key in keys.items()}
        self._replayer = Replayer(past, max_event_bytes=max_event_bytes)

    def _connect(self, timeout_s: float) -> AsyncClient:
        client = connect(self._url, timeout_s=timeout_s, client_name="broadcaster")
        self._clients.append(client)
        return client

    @property
    def reads(self) -> int:
        """How many reads of the past were sent to Redis."""
        return self._replayer.reads

    def changes(self, stream: str, window: Window) -> AsyncGenerator[Change, None]:
        """Follow a stream, over a connection of its own."""
        source = RedisStream(self._connect(_TAIL_TIMEOUT_S), self._keys[stream])
        tailer = Tailer(source, window, max_event_bytes=self._max_event_bytes)
        self._tailers[stream] = tailer
        return tailer.changes()

    async def ask(self, stream: str, question: Question) -> Answer:
        """Answer a question; the same question of several callers is one read."""
        return await self._replayer.ask(stream, question)

    def status(self, stream: str) -> Status:
        """How a tailer does."""
        tailer = self._tailers.get(stream)
        if tailer is None:
            return Status("not started")
        decoder = tailer.decoder
        counts = tailer.reconnects, decoder.frames, decoder.malformed
        return Status(tailer.problem, tailer.lag_s, *counts)

    async def retained(self, stream: str) -> Retained:
        """What Redis counts."""
        info = await self._replayer.info(stream)
        tailer = self._tailers.get(stream)
        return Retained(info.length, tailer.unread(info) if tailer else None)

    async def aclose(self) -> None:
        """Cancel reads of the past, and close all connections."""
        await self._replayer.aclose()
        for client in self._clients:
            await client.aclose()
