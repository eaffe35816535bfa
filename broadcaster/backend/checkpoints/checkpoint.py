"""Reads a stream's checkpoint: the state that a folder has written to Redis. Part of `backend`.

A checkpoint is a hash in the slot of its stream, so that a failover that loses the end of the log
loses the checkpoint of it, too. Its mark is read before its values. A value may be newer than the
mark, therefore, but never older: a reader folds the log after the mark, and skips the events up to
a value's own id. `backend.checkpoints.flush` writes checkpoints, and `core.state.checkpoint` has
their form.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from broadcaster.backend.driver.connect import AsyncClient
from broadcaster.backend.driver.errors import translating
from broadcaster.backend.stream import RedisStream, id_of
from broadcaster.core.event import ZERO, EventId
from broadcaster.core.log import KeyState
from broadcaster.core.shards import in_slot_of
from broadcaster.core.state.checkpoint import AT, Mark, field_of, key_of, mark_of, values_of
from broadcaster.core.state.values import Value
from broadcaster.errors import BackendUnavailableError

_PAGE = 500
_TRIES = 3


class Found(NamedTuple):
    """The content of a checkpoint, as far as it can be used.

    Attributes:
        mark: says how far it goes. None if it can't be used: it is missing, begun and not
            complete, or of other rules, or the stream has lost entries since.
        values: of all keys.
        start: a proven position of the log. All events after the mark come after it, too. It
            differs from the mark's position if the entry there was trimmed.
        at: the bytes of the mark in Redis, which a writer has to name; empty if there is none.
        other: the mark in Redis, also if it can't be used.
        moved: True if some of the values are from other streams, and not in this checkpoint yet.
        newest: the newest entry of the stream that may be part of a value. Until a reader has read
            up to here, the values are ahead of it.
        foreign: keys in Redis that belong to other streams, and are not among the values.
    """

    mark: Mark | None
    values: list[Value]
    start: EventId | None
    at: bytes
    other: Mark | None = None
    moved: bool = False
    newest: EventId = ZERO
    foreign: frozenset[str] = frozenset()


NOTHING = Found(None, [], None, b"")
"""There is no checkpoint."""


class Checkpoint:
    """Reads the checkpoint of one stream.

    Attributes:
        redis_key: of the hash.
    """

    def __init__(
        self,
        client: AsyncClient,
        stream: str,
        rules: str,
        shards: int | None = 1,
        *,
        max_bytes: int = 0,
    ) -> None:
        """Name the stream. Nothing is sent yet.

        Args:
            client: is used by one task at a time. A second connection would look like a failover.
            stream: the Redis key of the stream.
            rules: those of the state now.
            shards: those of the channel now. None accepts any number.
            max_bytes: the bound of the values; 0 is none. Of more, only a part is read, which is
                above the bound, too.
        """
        self._client: Any = client
        self._stream = RedisStream(client, stream)
        self._rules = rules
        self._shards = shards
        self._max_bytes = max_bytes
        self.redis_key = in_slot_of(stream, "state")

    async def read(self) -> Found:
        """Return the checkpoint with all of its values.

        Raises:
            BackendUnavailableError: Redis is away, or the checkpoint changes again and again.
            ConfigurationError: the key has a value of another type, or a right is missing.
        """
        with translating(f"read the checkpoint {self.redis_key!r}"):
            for _ in range(_TRIES):
                if (found := await self._read()) is not None:
                    return found
        raise BackendUnavailableError(f"the checkpoint {self.redis_key!r} keeps changing")

    async def mark(self) -> Mark | None:
        """Return the mark alone, of whatever rules; errors as for `read`."""
        with translating(f"read the checkpoint {self.redis_key!r}"):
            return mark_of(await self._client.hget(self.redis_key, AT))

    async def of_keys(self, keys: Sequence[str]) -> KeyState | None:
        """Return the values of some keys and their position, which one command reads.

        Returns:
            None if there is no checkpoint that can be used.

        Raises:
            BackendUnavailableError, ConfigurationError: as for `read`.
        """
        with translating(f"read the checkpoint {self.redis_key!r}"):
            for _ in range(_TRIES):
                connections = self._stream.connections
                found = await self._of_keys(keys)
                if self._stream.connections == connections:  # else it may be of two servers
                    return found
        raise BackendUnavailableError(f"the connection of {self.redis_key!r} is made anew")

    async def _of_keys(self, keys: Sequence[str]) -> KeyState | None:
        at, *packed = await self._client.hmget(self.redis_key, AT, *map(field_of, keys))
        mark = mark_of(at)
        if mark is None or mark.position is None or not self._fits(mark):
            return None
        pairs = zip(keys, packed, strict=True)
        values = tuple(value for key, of in pairs if of for value in values_of(key, of))
        newest = max((value.id for value in values), default=ZERO)
        if newest > mark.position:  # values that have moved here may have ids still to come
            newest = min(newest, (await self._stream.info()).last)
        start = await self._start(mark.position, mark.added)
        return KeyState(mark.position, start, newest, mark.since, values)

    def _fits(self, mark: Mark) -> bool:
        return mark.rules == self._rules and self._shards in (None, mark.shards)

    async def _read(self) -> Found | None:
        """Read mark, values, and the mark again. None if they do not belong together."""
        at = await self._client.hget(self.redis_key, AT)
        connections = self._stream.connections
        mark = mark_of(at)
        if mark is None or mark.position is None or not self._fits(mark):
            return Found(None, [], None, at or b"", mark)
        values = await self._values()
        start = await self._start(mark.position, mark.added)
        # Values that have moved here from another shard may have ids that are still to come.
        last = (await self._stream.info()).last
        newest = min(max((value.id for value in values), default=ZERO), last)
        again = mark_of(await self._client.hget(self.redis_key, AT))
        # A cursor of `HSCAN` means nothing to another server, which a new connection may lead to.
        if again is None or again.maker != mark.maker or self._stream.connections != connections:
            return None
        if start is None and again != mark:
            return None  # it has gone on, and the log was trimmed up to where it is now
        return Found(None if start is None else mark, values, start, at, mark, newest=newest)

    async def _values(self) -> list[Value]:
        """Return the values of all keys.

        "A full iteration always retrieves all the elements that were present in the collection from
        the start to the end". An element may come twice, and the later one is as new or newer.
        https://redis.io/docs/latest/commands/scan/#scan-guarantees
        """
        found: dict[str, list[Value]] = {}
        cursor, size = -1, 0
        while cursor != 0 and (not self._max_bytes or size <= self._max_bytes):
            reply, page = await self._client.hscan(self.redis_key, max(cursor, 0), count=_PAGE)
            cursor = int(reply)
            for field, packed in page.items():
                if (key := key_of(field)) is not None:
                    size -= _size(found.get(key, ()))
                    found[key] = values_of(key, packed)
                    size += _size(found[key])
        return [value for values in found.values() for value in values]

    async def _start(self, position: EventId, added: int) -> EventId | None:
        """Return a position that proves all of the log after another one; None if there is none.

        Args:
            position: up to which the log is folded.
            added: the entries that Redis had ever added up to it.
        """
        if await self._stream.from_on(position, position, 1):
            return position
        info = await self._stream.info()
        if info.last <= position:  # below it, the stream was made anew, without its checkpoint
            return position if info.last == position else None
        # Redis trims the oldest entries first, and that of the position is gone, so all up to it
        # are gone. If no others were removed, all that came after it are there. If fewer were
        # removed, the stream is another one.
        rows = await self._stream.from_on(ZERO, count=1)
        return id_of(rows[0]).before() if rows and info.added - info.length == added else None


def _size(values: Sequence[Value]) -> int:
    return sum(len(value.data) for value in values)
