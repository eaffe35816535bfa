"""The log of the streams that a node serves: its interface, and its implementation in Redis.

A log has two halves. The live half is `changes`: it follows a stream and yields each change. The
past half is `ask`: it answers a question about a stream. `backend.memory` has another log.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

from broadcaster.backend.clock import redis_time_ms
from broadcaster.backend.driver.connect import AsyncClient, connect
from broadcaster.backend.driver.errors import translating
from broadcaster.backend.driver.options import LEAST_TIMEOUT_S
from broadcaster.backend.replayer import Replayer
from broadcaster.backend.stream import RedisStream
from broadcaster.backend.tailer import Tailer
from broadcaster.core.event import EventId
from broadcaster.core.fanout.turns import Reader
from broadcaster.core.history.window import Window
from broadcaster.core.log import Answer, Change, KeyState, Known, Question, StateOf
from broadcaster.core.resume.page import PAGE_BYTES
from broadcaster.core.run import Standing

_TAIL_TIMEOUT_S = LEAST_TIMEOUT_S  # above `BLOCK_S`
_READ_TIMEOUT_S = 5.0


class Status(NamedTuple):
    """The state of following one stream.

    Attributes:
        problem: why it can't be read now; empty if it can.
        lag_s: seconds since everything in the stream had been read, beyond what is usual.
        reconnects: the number of times that reading succeeded again after a failure.
        frames: the events that were decoded, each counted once.
        malformed: the entries that can't be sent and were skipped.
        added: the entries that were ever added to the stream, up to the newest that `changes` has
            yielded; -1 if that is not known.
    """

    problem: str = ""
    lag_s: float = 0.0
    reconnects: int = 0
    frames: int = 0
    malformed: int = 0
    added: int = -1


class Retained(NamedTuple):
    """The number of entries of a stream in the log.

    Attributes:
        length: all entries.
        unread: the entries that `changes` has not yielded yet; None if that is not known.
    """

    length: int
    unread: int | None = None


class Log(Protocol):
    """The streams of a node. Any task of one event loop may call the methods."""

    @property
    def reads(self) -> int:
        """Return the number of reads that `ask` has made, for the metrics."""

    def changes(self, stream: str, window: Window) -> AsyncGenerator[Change, None]:
        """Follow a stream for ever. The first change is a `Restart`.

        While the stream can't be read, the generator waits and tries again. To stop it, cancel the
        task or close the generator.

        Args:
            stream: its name.
            window: has all changes so far. It is only read here.

        Yields:
            The next change of the window. The caller applies it before it asks for another one.
        """

    async def ask(self, stream: str, question: Question, reader: Reader | None = None) -> Answer:
        """Answer a question about a stream; each one says what its answer means.

        Concurrent callers with the same question may share one answer. A call may be cancelled.

        Args:
            stream: its name.
            question: about it.
            reader: the client that asks; None is the node itself. A log whose reads are dear takes
                turns among readers, and calls `reader.charge` after a page.

        Raises:
            BackendUnavailableError: the log can't answer for now.
        """

    def status(self, stream: str) -> Status:
        """Return the state of following a stream."""

    async def retained(self, stream: str) -> Retained:
        """Return the number of entries of a stream.

        Raises:
            BackendUnavailableError: the log can't answer for now.
        """

    async def aclose(self) -> None:
        """Cancel open questions, and close all connections."""


@runtime_checkable
class Requests(Protocol):
    """Takes the requests of channels made on demand. Unlike a log, it writes."""

    async def request(self, requests: str, key: str) -> EventId | None:
        """Add a request.

        Args:
            requests: the name of the stream of requests.
            key: the key that the workers are to answer, such as a user id.

        Returns:
            The id of the request, which names the run. None means that too many requests wait: the
            client is asked to come back later.

        Raises:
            BackendUnavailableError: the request can't be added for now, or may have been added.
            ConfigurationError: the request is refused for good.
        """

    async def known(self, run: Known) -> bool:
        """Return True if the request of a run is there, or the run has begun.

        If it is False, a client that comes back for the run gets a new one.

        Raises:
            BackendUnavailableError, ConfigurationError: as for `request`.
        """

    async def review(
        self, requests: str, runs: Sequence[EventId], *, strike: bool
    ) -> list[Standing]:
        """Return what became of some requests, in their order.

        Args:
            requests: the name of the stream of requests.
            runs: the ids of the requests.
            strike: their clients are gone, so remove those that no worker has taken.

        Raises:
            BackendUnavailableError, ConfigurationError: as for `request`.
        """


@runtime_checkable
class Timed(Protocol):
    """A log whose ids are times of another clock than this machine's."""

    async def time_ms(self) -> int:
        """Return milliseconds since 1970, by the clock that makes the ids.

        Raises:
            BackendUnavailableError: the log can't answer for now.
        """


class RedisLog:
    """The log in Redis; see `Log`. Connections are opened at the first use."""

    def __init__(
        self,
        url: str,
        keys: Mapping[str, str],
        *,
        max_event_bytes: int,
        page_bytes: int = PAGE_BYTES,
    ) -> None:
        """Make a log of some streams. Nothing is sent yet.

        Args:
            url: the url of Redis.
            keys: the Redis key of each stream, by its name.
            max_event_bytes: larger events are skipped.
            page_bytes: a page of the past ends with the frame that reaches this sum.

        Raises:
            ConfigurationError: the url can't be used.
        """
        self._url = url
        self._keys = keys
        self._max_event_bytes = max_event_bytes
        self._tailers: dict[str, Tailer] = {}
        self._following: dict[str, AsyncClient] = {}
        self._clients: list[AsyncClient] = []
        client = self._connect(_READ_TIMEOUT_S)
        past = {name: RedisStream(client, key) for name, key in keys.items()}
        self._replayer = Replayer(past, max_event_bytes=max_event_bytes, page_bytes=page_bytes)

    def _connect(self, timeout_s: float) -> AsyncClient:
        client = connect(self._url, timeout_s=timeout_s, client_name="broadcaster")
        self._clients.append(client)
        return client

    @property
    def reads(self) -> int:
        """Return the number of reads of the past that were sent to Redis."""
        return self._replayer.reads

    def changes(self, stream: str, window: Window) -> AsyncGenerator[Change, None]:
        """Follow a stream over a connection of its own; see `Log.changes`."""
        # A stream that is followed anew, after an error, needs no second connection.
        client = self._following.get(stream) or self._connect(_TAIL_TIMEOUT_S)
        self._following[stream] = client
        source = RedisStream(client, self._keys[stream])
        tailer = Tailer(source, window, max_event_bytes=self._max_event_bytes)
        self._tailers[stream] = tailer
        return tailer.changes()

    async def ask(self, stream: str, question: Question, reader: Reader | None = None) -> Answer:
        """Answer a question. Concurrent callers with the same question share one read."""
        return await self._replayer.ask(stream, question, reader)

    async def state_of(
        self, stream: str, question: StateOf, reader: Reader | None = None
    ) -> KeyState | None:
        """Answer a question about the checkpoint of a stream; otherwise as `ask`."""
        return await self._replayer.state_of(stream, question, reader)

    def status(self, stream: str) -> Status:
        """Return the state of a stream's tailer."""
        tailer = self._tailers.get(stream)
        if tailer is None:
            return Status("not started")
        decoder = tailer.decoder
        counts = tailer.reconnects, decoder.frames, decoder.malformed, tailer.added
        return Status(tailer.problem, tailer.lag_s, *counts)

    async def retained(self, stream: str) -> Retained:
        """Return the counts that Redis has."""
        info = await self._replayer.info(stream)
        tailer = self._tailers.get(stream)
        return Retained(info.length, tailer.unread(info) if tailer else None)

    async def time_ms(self) -> int:
        """Return Redis's time."""
        with translating("read the time"):
            return await redis_time_ms(self._clients[0])

    async def aclose(self) -> None:
        """Cancel reads of the past, and close all connections."""
        await self._replayer.aclose()
        for client in self._clients:
            await client.aclose()
