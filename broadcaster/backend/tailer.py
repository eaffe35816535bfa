"""Follows one Redis stream and proves, read by read, that nothing was missed.

`XTRIM` leaves no tombstone, and `XREAD` skips a trimmed range silently. So after each read the
tailer asks whether the entry at its position still exists. If it does, the tailer has read all
entries after it. If it does not, Redis's count of entries ever added may prove the same. Otherwise
the history has changed, and the tailer goes back to the newest entry that both histories have.

Each stream has a tailer of its own, so that a broken stream harms only itself. A tailer reads its
window and never changes it. Part of `backend`.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import AsyncGenerator, Sequence

from broadcaster.backend.driver.errors import TROUBLE
from broadcaster.backend.read_size import ReadSize
from broadcaster.backend.stream import Decoder, Info, RedisStream, id_of
from broadcaster.core.backoff import backoff_s
from broadcaster.core.entry import Row
from broadcaster.core.event import ZERO, EventId
from broadcaster.core.history.comparison import Comparison
from broadcaster.core.history.window import Window
from broadcaster.core.log import Batch, Change, Restart, Rewind
from broadcaster.core.sse import Frame

logger = logging.getLogger(__name__)

READ_COUNT = 1000
"""Entries of one read. After a read that took too long, the next ones ask for fewer."""
BLOCK_S = 1.0
_BACKOFF_S = (0.1, 2.0)


class Tailer:
    """Follows one stream.

    Attributes:
        problem: why it can't read now; empty if it can.
        reconnects: the number of times that reading succeeded again after a failure.
        decoder: decodes the entries, and counts them.
        added: the entries ever added up to the head, as Redis counts them.
    """

    def __init__(self, stream: RedisStream, window: Window, *, max_event_bytes: int) -> None:
        """Make a tailer of one stream. Nothing is read before `changes`.

        Args:
            stream: has a client of its own, whose `socket_timeout` is above `BLOCK_S`.
            window: has everything that was read so far. The caller applies the changes to it.
            max_event_bytes: larger events are skipped.
        """
        self._stream = stream
        self._name = stream.redis_key
        self._window = window
        self.decoder = Decoder(stream.redis_key, max_event_bytes)
        self.problem = "not started"
        self.reconnects = 0
        self._read_size = ReadSize(self._name, READ_COUNT)
        self._in_step = False  # the window joins what Redis has
        self.added = 0
        self._proven_over = -1  # the number of the connection that the last proof was read from
        self._at_end_at = time.monotonic()

    @property
    def lag_s(self) -> float:
        """Return the seconds since everything in the stream had been read, less one `BLOCK_S`."""
        return max(0.0, time.monotonic() - self._at_end_at - BLOCK_S)

    def unread(self, info: Info) -> int | None:
        """Return the number of entries added after the head; None if Redis does not count them."""
        return max(0, info.added - self.added) if info.added >= 0 else None

    async def changes(self) -> AsyncGenerator[Change, None]:
        """Follow the stream for ever. While Redis is away, wait and try again.

        To stop, cancel the task.

        Yields:
            The next change of the window. The caller applies it before it asks for another one.
        """
        failures = 0
        while True:
            try:
                async for change in self._load() if not self._in_step else self._read():
                    yield change
                self.reconnects += failures > 0
                failures, self.problem = 0, ""
                self._read_size.worked()
            except TROUBLE as error:
                self._proven_over = -1
                self._report(error, failures)
                await self._read_size.failed(error, self._read_size.count, self._stream.client)
                if self._in_step and str(error).startswith("WRONGTYPE"):  # it is no stream now
                    self._in_step = False
                    parted = ZERO if self._window.head > ZERO else None
                    yield Restart(ZERO, [], True, parted)
                await asyncio.sleep(backoff_s(failures, *_BACKOFF_S, random.random()))
                failures += 1

    def _report(self, error: Exception, failures: int) -> None:
        self.problem = str(error) or type(error).__name__
        if failures == 0:
            logger.warning("stream %r can't be read, trying again: %s", self._name, self.problem)

    async def _load(self) -> AsyncGenerator[Change, None]:
        """Fill the window with the newest entries, up to its bounds."""
        info = await self._stream.info()
        made = self._stream.connections  # all that follows must come over this one, too
        frames: list[Frame] = []
        size, start, beginning = 0, info.last, False
        # One more than fits: the window evicts it, and so knows what its oldest entry follows.
        while not beginning and len(frames) <= self._window.max_events:
            rows = await self._stream.back_from(start, self._read_size.count)
            frames += self.decoder.decode(rows)
            beginning = len(rows) < self._read_size.count
            start = frames[-1].id.before() if frames else ZERO
            size += sum(len(frame.wire) for frame in frames[len(frames) - len(rows) :])
            if size > self._window.max_bytes:
                break
        frames.reverse()
        floor = frames[0].id.before() if frames else info.last
        whole = (await self._stream.info()).whole
        if beginning and whole:
            floor = ZERO
        parted = None
        if self._made_anew(info, whole=whole):
            parted = floor if beginning else ZERO if whole else self._window.floor
        yield Restart(floor, frames, beginning, parted)
        self.added, self._in_step = info.added, True
        self._proven_over = made
        self._at_end_at = time.monotonic()

    def _made_anew(self, info: Info, *, whole: bool) -> bool:
        """Return True if what Redis has can't be the stream of the window, with entries trimmed.

        Args:
            info: of Redis. It has no entry in common with the window.
            whole: no entry was ever removed from what Redis has.
        """
        head, other = self._window.head, whole and len(self._window) > 0
        return head > ZERO and (info.last < head or 0 <= info.added < self.added or other)

    async def _read(self) -> AsyncGenerator[Change, None]:
        """Read one batch, or none if `BLOCK_S` passes."""
        head = self._window.head
        if self._stream.connections != self._proven_over:  # perhaps to another server
            async for change in self._reorient(head):
                yield change
            return
        rows, proven = await self._stream.read_on(head, self._read_size.count, BLOCK_S)
        if not proven:
            more = await self._count_up(head, rows)
            if more is None:
                async for change in self._reorient(head):
                    yield change
                return
            rows += more
        if self._stream.connections != self._proven_over:
            return  # the proof may be another server's than the rows: look first, and read again
        self.added += len(rows)
        if len(rows) < self._read_size.count:
            self._at_end_at = time.monotonic()
        if rows:
            yield Batch(self.decoder.decode(rows))

    async def _count_up(self, head: EventId, rows: Sequence[Row]) -> list[Row] | None:
        """Prove by Redis's own count that the rows are all entries added after the head.

        This proof is for a head whose entry was removed, while all later entries still exist.

        Returns:
            More rows, which belong after the given ones; None if nothing is proven.
        """
        info = await self._stream.info()
        last = id_of(rows[-1]) if rows else head
        more: list[Row] = []
        if info.last > last:
            async for page in self._pages(last, info.last):
                more += page
            last = id_of(more[-1]) if more else last
        complete = info.last == last and info.added == self.added + len(rows) + len(more)
        return more if complete else None

    async def _reorient(self, head: EventId) -> AsyncGenerator[Change, None]:
        """Go back to the newest common entry of the window and Redis, or begin again."""
        made = self._stream.connections
        deleted = (await self._stream.info()).deleted
        # The head's own entry is the newest that was deleted: Redis had it, and its count agrees.
        at_head = ZERO < deleted == head and await self._count_up(head, []) is not None
        common = await self._newest_common(Comparison(self._window, deleted, at_head=at_head))
        if common == head and at_head:
            self._proven_over = made
        elif common is not None:
            info = await self._stream.info()
            newer = sum([len(page) async for page in self._pages(common, info.last)])
            if not await self._stream.from_on(common, common, 1):
                return  # trimmed meanwhile, and perhaps some of the newer ones: look again
            self.added, self._proven_over = info.added - newer, made
            if common != head:
                logger.warning("stream %r: going back from %s to %s", self._name, head, common)
                yield Rewind(common)
        else:
            if head != ZERO:
                logger.warning("stream %r: %s and all before it are gone", self._name, head)
            async for change in self._load():
                yield change

    async def _pages(self, after: EventId, last: EventId) -> AsyncGenerator[list[Row], None]:
        """Yield the entries after a position, up to another one."""
        while after < last:
            rows = await self._stream.from_on(after.after(), last, self._read_size.count)
            if rows:
                yield rows
            after = id_of(rows[-1]) if len(rows) == self._read_size.count else last

    async def _newest_common(self, comparison: Comparison) -> EventId | None:
        """Return the newest entry up to which the window and Redis have the same history."""
        decoder = Decoder(self._name, self.decoder.max_event_bytes)  # these are not counted
        start = self._window.head
        while not comparison.over and start > ZERO:
            rows = await self._stream.back_from(start, self._read_size.count)
            if not rows:
                break
            comparison.add(decoder.decode(rows))
            start = id_of(rows[-1]).before()
        return comparison.common
