"""Reads of one Redis stream for the tailer and the replayer, and a decoder. Part of `backend`."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Sequence
from typing import Any, NamedTuple

import redis.asyncio.cluster
from redis.exceptions import ResponseError

from broadcaster.backend.driver.connect import AsyncClient
from broadcaster.backend.driver.exchange import replies_to
from broadcaster.backend.driver.replies import (
    counting_class,
    entries,
    entries_of_one_stream,
    raw_stream_replies,
)
from broadcaster.core.entry import MalformedEntryError, Row, frames_of
from broadcaster.core.event import ZERO, EventId
from broadcaster.core.sse import Frame

logger = logging.getLogger(__name__)

LOG_EVERY_S = 5.0
"""Seconds between two lines of a log about the same trouble."""


def id_of(row: Row) -> EventId:
    """Return the id of an entry."""
    return EventId.of_entry(row[0])


class Info(NamedTuple):
    """Some fields of `XINFO STREAM`; all zero for a stream that does not exist.

    Attributes:
        last: the greatest id that was ever added.
        added: the number of entries ever added; -1 if Redis (before 7.0) does not count them.
        length: the number of entries now.
        deleted: the greatest id that was ever deleted by itself, and not by a trim.
    """

    last: EventId = ZERO
    added: int = 0
    length: int = 0
    deleted: EventId = ZERO

    @property
    def whole(self) -> bool:
        """Return True if no entry was ever removed."""
        return self.added == self.length


class RedisStream:
    """Reads one stream. All methods raise redis-py's errors.

    If its key holds a value of another type, ranges are empty, as for a key that does not exist.
    `wait_after`, `read_on` and `info` raise the error of Redis then.
    """

    def __init__(self, client: AsyncClient, redis_key: str) -> None:
        raw_stream_replies(client)
        # redis-py types the replies before our callbacks, and the two clients differ in them.
        self._client: Any = client
        self._connection_class = counting_class(client)
        self.redis_key = redis_key

    @property
    def client(self) -> Any:
        """Return the client that it reads with."""
        return self._client

    @property
    def connections(self) -> int:
        """Return the number of connections made so far. redis-py replaces closed ones silently."""
        made: int = self._connection_class.made
        return made

    async def wait_after(self, position: EventId, count: int, block_s: float) -> list[Row]:
        """Return the entries after a position; wait up to `block_s` for the first one."""
        streams = {self.redis_key: str(position)}
        rows: list[Row] = await self._client.xread(streams, count=count, block=int(block_s * 1000))
        return rows

    async def read_on(self, head: EventId, count: int, block_s: float) -> tuple[list[Row], bool]:
        """Return the entries after the head, as `wait_after`, and True if the head still exists.

        Both commands go in one write, which halves the cost of following a stream. Redis answers a
        connection's commands in order, so the second one is executed after the first has unblocked.
        """
        if isinstance(self._client, redis.asyncio.cluster.RedisCluster):
            # Its pipelines cost more than the round trip that they save.
            rows = await self.wait_after(head, count, block_s)
            return rows, bool(await self.from_on(head, head, 1))
        after, block_ms = f"{head.ms}-{head.seq}", int(block_s * 1000)
        read = ("XREAD", "COUNT", count, "BLOCK", block_ms, "STREAMS", self.redis_key, after)
        proof = ("XRANGE", self.redis_key, after, after, "COUNT", 1)
        found, head_itself = await replies_to(self._client, [read, proof])
        return entries_of_one_stream(found), bool(entries(head_itself))

    async def from_on(
        self, position: EventId, last: EventId | None = None, count: int | None = None
    ) -> list[Row]:
        """Return the entries from a position on, oldest first, with that of the position."""
        end = "+" if last is None else str(last)
        return await _rows(self._client.xrange(self.redis_key, str(position), end, count=count))

    async def back_from(self, position: EventId, count: int) -> list[Row]:
        """Return the entries from a position back, newest first, with that of the position."""
        return await _rows(self._client.xrevrange(self.redis_key, str(position), "-", count=count))

    async def info(self) -> Info:
        """Return the counts of Redis; all zero if the stream does not exist."""
        try:
            info = await self._client.xinfo_stream(self.redis_key)
        except ResponseError as error:
            if "no such key" in str(error):
                # Break the reference cycle: error → traceback → frame of redis-py's → error. A
                # tailer asks every second, so many would wait for the garbage collector.
                error.__traceback__ = None
                return Info()
            raise
        last = EventId.of_entry(info["last-generated-id"])
        deleted = EventId.of_entry(info.get("max-deleted-entry-id", b"0-0"))
        return Info(last, info.get("entries-added", -1), info["length"], deleted)


async def _rows(reply: Awaitable[list[Row]]) -> list[Row]:
    try:
        return await reply
    except ResponseError as error:
        if str(error).startswith("WRONGTYPE"):
            return []
        raise


class Decoder:
    """Makes frames of rows. Entries that can't be sent are counted, and logged at a bounded rate.

    Attributes:
        frames: the number of encoded events, each counted once.
        malformed: the number of entries that can't be sent.
    """

    def __init__(self, redis_key: str, max_event_bytes: int) -> None:
        self.redis_key = redis_key
        self.max_event_bytes = max_event_bytes
        self.frames = 0
        self.malformed = 0
        self._logged_at = -LOG_EVERY_S

    def decode(self, rows: Sequence[Row]) -> list[Frame]:
        """Return one frame for each row, in order. A malformed entry's frame has no bytes."""
        malformed = self.malformed
        frames = frames_of(rows, self.max_event_bytes, self._note)
        self.frames += len(frames) - (self.malformed - malformed)
        return frames

    def _note(self, entry_id: EventId, error: MalformedEntryError) -> None:
        self.malformed += 1
        now = time.monotonic()
        if now - self._logged_at >= LOG_EVERY_S:
            self._logged_at = now
            logger.warning(
                "entry %s of stream %r is not sent: %s (%d such so far)",
                entry_id,
                self.redis_key,
                error,
                self.malformed,
            )
