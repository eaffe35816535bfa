"""Reads pages of the past, for cursors that no window covers. Part of `backend`.

`XRANGE stream <cursor> + COUNT n+1` is inclusive, so it checks and reads in one atomic step.
Continuity is proven if the first row is the cursor itself, or the next possible id after it. A node
runs at most four reads at a time, and clients with the same question share one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Mapping
from typing import TypeVar

from broadcaster.backend.driver.errors import TROUBLE, translated
from broadcaster.backend.sharing import Sending, SharedReads
from broadcaster.backend.stream import Decoder, Info, RedisStream, id_of
from broadcaster.core.entry import Row
from broadcaster.core.event import ZERO, EventId
from broadcaster.core.log import (
    Answer,
    AtOrBefore,
    Beginning,
    Entry,
    Exists,
    PageAfter,
    Past,
    Question,
)

PAGE_COUNT = 1000
PAGE_BYTES = 1024 * 1024
"""About the most bytes of a page. A page of large events has fewer of them."""
CONCURRENT_READS = 4

T = TypeVar("T")


class Replayer:
    """Reads pages of the streams of one node.

    All methods raise `BackendUnavailableError` while Redis can't be reached. A call may be
    cancelled. If its read was sent already, the read goes on and keeps its place until it ends.

    Attributes:
        reads: the number of reads that were sent to Redis, without `info`.
    """

    def __init__(self, streams: Mapping[str, RedisStream], *, max_event_bytes: int) -> None:
        """Make a replayer of some streams. Nothing is sent yet.

        Args:
            streams: by name. Their client is used for nothing else.
            max_event_bytes: larger events are skipped.
        """
        self._streams = streams
        self._decoders = {
            name: Decoder(stream.redis_key, max_event_bytes) for name, stream in streams.items()
        }
        self._counts = dict.fromkeys(streams, PAGE_COUNT)  # to read at once
        self._places = asyncio.Semaphore(CONCURRENT_READS)
        self._shared = SharedReads()
        self.reads = 0

    async def ask(self, stream: str, question: Question) -> Answer:
        """Answer a question about a stream. Concurrent callers with the same one share a read.

        Raises:
            TypeError: the question is a `Request`, which needs a write.
        """
        return await self._read((stream, question), lambda: self._answer(stream, question))

    async def _answer(self, stream: str, question: Question) -> Answer:
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
                return bool(await source.from_on(position, position.after(), 1))
            case PageAfter(position):
                return await self._page(stream, position)
        raise TypeError(f"the log does not answer {question!r}")

    async def info(self, stream: str) -> Info:
        """Return what `XINFO STREAM` says of a stream."""
        return await self._read(("info", stream), self._streams[stream].info, counted=False)

    async def _page(self, stream: str, after: EventId) -> Past:
        rows = await self._streams[stream].from_on(after, count=self._counts[stream] + 1)
        proven = await self._follow(stream, rows, after)
        if rows and id_of(rows[0]) == after:
            rows = rows[1:]
        frames = self._decoders[stream].decode(rows)
        if size := sum(len(frame.wire) for frame in frames):
            fitting = len(frames) * PAGE_BYTES // size
            self._counts[stream] = max(1, min(PAGE_COUNT, fitting))
        return Past(frames, frames[-1].id if frames else after, proven)

    async def _follow(self, stream: str, rows: list[Row], after: EventId) -> bool:
        if after == ZERO:  # the empty beginning: proven if nothing has been removed up to now
            return (await self._streams[stream].info()).whole
        # Nothing fits between an id and the greatest one below it.
        return bool(rows) and after in (id_of(rows[0]), id_of(rows[0]).before())

    async def _read(
        self, key: Hashable, read: Callable[[], Awaitable[T]], *, counted: bool = True
    ) -> T:
        async def in_turn(sending: Sending) -> T:
            async with self._places:
                sending()
                self.reads += counted
                try:
                    return await read()
                except TROUBLE as error:
                    raise translated(error, "read the past of a stream") from error

        return await self._shared.of(key, in_turn)

    async def aclose(self) -> None:
        """Cancel the reads that are on their way."""
        await self._shared.aclose()
