"""Reads the checkpoint of a shard, also after the number of shards has changed. Part of `backend`.

A key belongs to another stream then, and its values are in the checkpoint of the former one. While
a stream's own checkpoint is missing, or of another number of shards, the checkpoints of all other
streams of the channel are read as well, with the log after them. If two of them have a key, the
newer values are taken. Newer events of the stream's own are folded onto these. Ids, which are
times, say what is newer: on a Cluster, the clocks of the masters have to agree.

A checkpoint keeps the keys that have moved away until the checkpoints of all shards are of the new
number. So a move can begin again after a kill.
"""

from __future__ import annotations

from collections.abc import Sequence

from redis.exceptions import NoPermissionError

from broadcaster.backend.checkpoints.checkpoint import Checkpoint, Found
from broadcaster.backend.driver.connect import AsyncClient
from broadcaster.backend.driver.errors import translating
from broadcaster.backend.stream import Decoder, RedisStream, id_of
from broadcaster.core.event import ZERO, EventId
from broadcaster.core.shards import shard_name, shard_of
from broadcaster.core.state.checkpoint import Mark, named
from broadcaster.core.state.fold import Fold
from broadcaster.core.state.folding import fold
from broadcaster.core.state.values import Rules, Value
from broadcaster.errors import BroadcasterError

_PAGE = 1000


class Moving:
    """Reads the checkpoint of one stream, with the values of keys that have moved to it.

    Attributes:
        is_first: True for one of the shards, and for the only stream of a channel without shards.
    """

    def __init__(
        self, client: AsyncClient, stream: str, rules: Rules, shards: int, *, max_event_bytes: int
    ) -> None:
        """Name the stream. Nothing is sent yet.

        Args:
            client: as for `Checkpoint`.
            stream: the Redis key of the stream.
            rules: of its state.
            shards: of its channel.
            max_event_bytes: larger events are skipped.
        """
        self._client = client
        self._stream = stream
        self._rules = rules
        self._shards = shards
        self._max_event_bytes = max_event_bytes
        self._base, self._number = stream, 0
        if shards > 1:
            self._base, _, number = stream.rpartition(".")
            self._number = int(number)
        names = (shard_name(self._base, number) for number in range(shards))
        self._present = [stream] if shards == 1 else list(names)
        self.is_first = self._number == 0
        self._own = self._checkpoint(stream)

    def _checkpoint(self, stream: str) -> Checkpoint:
        bound = self._rules.max_bytes
        return Checkpoint(self._client, stream, named(self._rules), None, max_bytes=bound)

    async def read(self) -> Found:
        """Return the checkpoint, as `Checkpoint.read` does; errors as there."""
        found = await self._own.read()
        mark = found.other
        if mark is not None and mark.position is not None and mark.shards == self._shards:
            return await self._without_foreign(found)
        others = [stream for stream in await self.marks() if stream != self._stream]
        moved, since = dict[str, tuple[Value, ...]](), list[EventId]()
        for stream in others:
            values, whole_since = await self._moved_from(stream)
            since += [whole_since] if whole_since is not None else []
            for key, of_key in values.items():
                if key not in moved or _newest(moved[key]) < _newest(of_key):
                    moved[key] = of_key
        if not others:
            return found
        return await self._joined(found, moved, max(since, default=None))

    async def marks(self) -> dict[str, Mark]:
        """Return the marks of all streams of the channel, of this number of shards and of others.

        Shards are numbered without gaps, so it looks for them until one has none.
        """
        found, number, stream = dict[str, Mark](), -1, self._base
        while True:
            if (mark := await self._mark(stream)) is not None:
                found[stream] = mark
            elif number >= self._shards or (number >= 0 and self._shards == 1):
                return found
            number += 1
            stream = shard_name(self._base, number)

    async def is_over(self) -> bool:
        """Return True if the checkpoints of all shards are of the present number."""
        marks = [await self._mark(stream) for stream in self._present]
        return all(mark and mark.position and mark.shards == self._shards for mark in marks)

    async def obsolete(self) -> list[str] | None:
        """Return the streams of former numbers that have a checkpoint; None while keys move."""
        if not await self.is_over():
            return None
        return [stream for stream in await self.marks() if stream not in self._present]

    async def _without_foreign(self, found: Found) -> Found:
        """Leave out what has moved away, once the move is over."""
        foreign = {value.key for value in found.values if not self._is_ours(value.key)}
        if not foreign or not await self.is_over():
            return found
        ours = [value for value in found.values if value.key not in foreign]
        return found._replace(values=ours, foreign=frozenset(foreign))

    async def _mark(self, stream: str) -> Mark | None:
        try:
            return await self._checkpoint(stream).mark()
        except BroadcasterError as error:
            if isinstance(error.__cause__, NoPermissionError):
                return None  # users have rights on the streams of the present number
            raise

    async def _moved_from(self, stream: str) -> tuple[dict[str, tuple[Value, ...]], EventId | None]:
        """Return the values of our keys in another stream, and their `since`, as `Cut` has it."""
        found = await self._checkpoint(stream).read()
        source = RedisStream(self._client, stream)
        with translating(f"read the stream {stream!r}"):
            if found.mark is None or found.mark.position is None or found.start is None:
                return {}, (await source.info()).last
            made = Fold(self._rules)
            ours = [value for value in found.values if self._is_ours(value.key)]
            made.load(found.mark.position, found.mark.since, ours)
            decoder, position = Decoder(stream, self._max_event_bytes), found.start
            while rows := await source.from_on(position.after(), count=_PAGE):
                made.apply([f for f in decoder.decode(rows) if self._is_ours(f.key)])
                position = id_of(rows[-1])
        return dict(made.cut().values), found.mark.since

    def _is_ours(self, key: str) -> bool:
        return shard_of(key, self._shards) == self._number

    async def _joined(
        self, found: Found, moved: dict[str, tuple[Value, ...]], since: EventId | None
    ) -> Found:
        """Return the own checkpoint with the moved values below it."""
        mark, start = found.mark, found.start
        if mark is None or mark.position is None or start is None:
            mark, start = await self._beginning(since)
        elif since is not None:
            mark = mark._replace(since=max(since, mark.since or ZERO))
        own = dict[str, list[Value]]()
        for value in found.values:
            own.setdefault(value.key, []).append(value)
        for key, values in moved.items():
            if found.mark is not None and shard_of(key, found.mark.shards) == self._number:
                continue  # it was here before, and what others have is older
            later = [value for value in own.get(key, []) if value.id > _newest(values)]
            own[key] = list(fold(self._rules, [*values, *later]))
        every = [value for values in own.values() for value in values]
        return found._replace(mark=mark, values=every, start=start, moved=True)

    async def _beginning(self, since: EventId | None) -> tuple[Mark, EventId]:
        """Return a mark at the beginning of what the own stream retains, and that position."""
        source = RedisStream(self._client, self._stream)
        with translating(f"read the stream {self._stream!r}"):
            info = await source.info()
            rows = await source.from_on(ZERO, count=1)
        start = ZERO if info.whole else id_of(rows[0]).before() if rows else info.last
        if start > ZERO:
            since = max(since or ZERO, start)
        return Mark(b"", start, since, -1, named(self._rules), self._shards), start


def _newest(values: Sequence[Value]) -> EventId:
    return max(value.id for value in values)
