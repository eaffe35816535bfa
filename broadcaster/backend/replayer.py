"""Reads pages of the past, for cursors that no window covers. Part of `backend`.

`XRANGE stream <cursor> + COUNT n+1` is inclusive, so it checks and reads in one atomic step.
Continuity is proven if the first row is the cursor itself. It is also proven if the cursor is just
before the oldest retained entry.

A node runs a few reads at a time, and clients with the same question share one. Short questions and
pages wait in lanes of their own, so that an order's status does not wait for what others replay.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Hashable, Mapping
from typing import TypeVar

from broadcaster.backend.checkpoints.checkpoint import Checkpoint
from broadcaster.backend.driver.errors import TROUBLE, limit_of, translated
from broadcaster.backend.lane import Lane
from broadcaster.backend.read_size import ReadSize
from broadcaster.backend.sharing import Sending, SharedReads
from broadcaster.backend.stream import LOG_EVERY_S, Decoder, Info, RedisStream, id_of
from broadcaster.core.entry import Row
from broadcaster.core.event import ZERO, EventId
from broadcaster.core.fanout.turns import Reader
from broadcaster.core.history.window import fitting
from broadcaster.core.log import (
    Answer,
    AtOrBefore,
    Beginning,
    Entry,
    Exists,
    KeyState,
    PageAfter,
    Past,
    Question,
    StateOf,
)
from broadcaster.core.sse import Frame

PAGE_COUNT = 1000
"""The most entries of a page. A page of large events has fewer of them."""
CONCURRENT_READS = 4
"""The reads of each lane that run at a time. Of these, one page is of the same address: several
that are decoded at once would hold up all clients."""

logger = logging.getLogger(__name__)

T = TypeVar("T")


class Replayer:
    """Reads pages of the streams of one node.

    All methods raise `BackendUnavailableError` while Redis can't be reached. A call may be
    cancelled. If its read was sent already, the read goes on and keeps its place until it ends.

    Attributes:
        reads: the number of reads that were sent to Redis, without `info`.
    """

    def __init__(
        self, streams: Mapping[str, RedisStream], *, max_event_bytes: int, page_bytes: int
    ) -> None:
        """Make a replayer of some streams. Nothing is sent yet.

        Args:
            streams: by name. Their client is used for nothing else.
            max_event_bytes: larger events are skipped.
            page_bytes: a page ends with the frame that reaches this sum.
        """
        self._streams = streams
        self._decoders = {
            name: Decoder(stream.redis_key, max_event_bytes) for name, stream in streams.items()
        }
        self._page_bytes = page_bytes
        self._counts = dict.fromkeys(streams, PAGE_COUNT)  # entries that fill a page
        self._read_sizes = {
            name: ReadSize(stream.redis_key, PAGE_COUNT) for name, stream in streams.items()
        }
        self._short, self._pages = Lane(CONCURRENT_READS), Lane(CONCURRENT_READS, of_one=1)
        self._waiting: dict[Hashable, asyncio.Future[None]] = {}  # the turns of reads, by question
        self._shared = SharedReads()
        self._noted_s = -LOG_EVERY_S
        self.reads = 0

    async def ask(self, stream: str, question: Question, reader: Reader | None = None) -> Answer:
        """Answer a question about a stream. Concurrent callers with the same one share a read.

        Args:
            stream: its name.
            question: about it.
            reader: the client that asks, which is charged for a page; None is the node itself.
        """
        reader = reader or Reader()
        if not isinstance(question, PageAfter):
            key = stream, question
            return await self._read(key, self._short, reader, lambda: self._answer(*key))
        past, cost_s = await self._read(
            (stream, question),
            self._pages,
            reader,
            lambda: self._page(stream, question.position),
        )
        reader.charge(cost_s)
        return past

    async def _answer(
        self, stream: str, question: Beginning | AtOrBefore | Entry | Exists
    ) -> Answer:
        source = self._streams[stream]
        match question:
            case Beginning():
                rows = await source.from_on(ZERO, count=1)
                return id_of(rows[0]).before() if rows else None
            case AtOrBefore(position):
                rows = await source.back_from(position, 1)
                return id_of(rows[0]) if rows else None
            case Entry(id_):
                rows = await source.from_on(id_, id_, 1)
                return self._decoders[stream].decode(rows)[0] if rows else None
            case Exists(position):
                rows = await source.from_on(position, position.after(), 1)
                return await self._proves(source, rows, position)

    async def state_of(
        self, stream: str, question: StateOf, reader: Reader | None = None
    ) -> KeyState | None:
        """Answer a question about the checkpoint of a stream, as `ask` does."""
        source = self._streams[stream]
        checkpoint = Checkpoint(source.client, source.redis_key, question.rules, question.shards)
        return await self._read(
            (stream, question),
            self._short,
            reader or Reader(),
            lambda: checkpoint.of_keys(sorted(question.keys)),
            counted=bool(question.keys),
        )

    async def info(self, stream: str) -> Info:
        """Return what `XINFO STREAM` says of a stream."""
        source = self._streams[stream]
        return await self._read(("info", stream), self._short, Reader(), source.info, counted=False)

    async def _page(self, stream: str, after: EventId) -> tuple[Past, float]:
        """Return a page, and what it has cost the event loop, in seconds."""
        source, read_size = self._streams[stream], self._read_sizes[stream]
        count = min(self._counts[stream], read_size.count)
        try:
            rows = await source.from_on(after, count=count + 1)
        except TROUBLE as error:
            await read_size.failed(error, count, source.client)
            raise
        read_size.worked()
        proven = await self._follow(stream, rows, after)
        if rows and id_of(rows[0]) == after:
            rows = rows[1:]
        frames, cost_s = self._pages.work(lambda: self._frames(stream, rows))
        return Past(frames, frames[-1].id if frames else after, proven), cost_s

    def _frames(self, stream: str, rows: list[Row]) -> list[Frame]:
        frames = self._decoders[stream].decode(rows)
        if size := sum(len(frame.wire) for frame in frames):
            # As many as fit if they are of the same size. Then hardly any entry is read twice.
            count = -(-len(frames) * self._page_bytes // size)
            self._counts[stream] = max(1, min(PAGE_COUNT, count))
        return list(fitting(frames, self._page_bytes))

    async def _follow(self, stream: str, rows: list[Row], after: EventId) -> bool:
        source = self._streams[stream]
        if after == ZERO:  # the empty beginning: proven if nothing has been removed up to now
            return (await source.info()).whole
        return await self._proves(source, rows, after)

    async def _proves(self, source: RedisStream, rows: list[Row], position: EventId) -> bool:
        """Return True if the entry of a position is there, or if it is just before the oldest."""
        if not rows or position == id_of(rows[0]):
            return bool(rows)
        # Nothing fits between a boundary and the entry after it. But a lost entry may have had the
        # same id, unless nothing older is retained, or no entry has such an id.
        if position != id_of(rows[0]).before():
            return False
        return position.is_boundary or not await source.back_from(position, 1)

    async def _read(
        self,
        key: Hashable,
        lane: Lane,
        reader: Reader,
        read: Callable[[], Awaitable[T]],
        *,
        counted: bool = True,
    ) -> T:
        async def in_turn(sending: Sending) -> T:
            turn = self._waiting[key] = asyncio.get_running_loop().create_future()
            try:
                lane.wait(turn, reader)
                await lane.running(turn)
            finally:
                if self._waiting.get(key) is turn:
                    del self._waiting[key]
            try:
                sending()
                self.reads += counted
                return await read()
            except TROUBLE as error:
                self._note(error, lane)
                raise translated(error, "read the past of a stream") from error
            finally:
                lane.done(turn)

        if key in self._waiting:  # another client's read, which may have to wait for longer
            lane.wait(self._waiting[key], reader)
        return await self._shared.of(key, in_turn)

    def _note(self, error: Exception, lane: Lane) -> None:
        """Get on with one connection if Redis accepts no more, and log that at a bounded rate."""
        limit, now_s = limit_of(error), time.monotonic()
        if limit:
            lane.narrow()
        if limit and now_s - self._noted_s >= LOG_EVERY_S:
            self._noted_s = now_s
            logger.warning("a read of the past waits for a connection: %s (%s)", error, limit)

    async def aclose(self) -> None:
        """Cancel the reads that are on their way."""
        await self._shared.aclose()
