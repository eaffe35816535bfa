"""The place where two histories part. The clients' view is tested in `e2e/test_nodes.py`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest

from broadcaster import EventId, connect
from broadcaster.backend.stream import Info, RedisStream
from broadcaster.backend.tailer import BLOCK_S, Tailer
from broadcaster.core.entry import Row
from broadcaster.core.log import Batch, Change, Restart, Rewind
from broadcaster.core.window import Window
from tests.wait import PATIENCE_S


class Busy(RedisStream):
    """A real stream to which something happens while it is asked what it counts.

    Attributes:
        late: the id of an entry that is added.
        left: to how many entries it is trimmed.
        most: how many entries can be read in time.
    """

    late = ""
    left: int | None = None
    most = 1000

    async def info(self) -> Info:
        if self.late:
            await self._client.xadd(self.redis_key, {"data": "late"}, id=self.late)
            self.late = ""
        if self.left is not None:
            await self._client.xtrim(self.redis_key, maxlen=self.left, approximate=False)
            self.left = None
        return await super().info()

    async def read_on(self, head: EventId, count: int, block_s: float) -> tuple[list[Row], bool]:
        if count > self.most:
            raise TimeoutError
        return await super().read_on(head, count, block_s)


@pytest.fixture
async def stream(redis_url: str) -> AsyncIterator[Busy]:
    client = connect(redis_url, timeout_s=BLOCK_S + 2.0)
    yield Busy(client, "pets")
    await client.aclose()


@pytest.fixture
def tailer(stream: Busy) -> Tailer:
    window = Window(max_events=100, max_bytes=100_000)
    return Tailer(stream, window, max_event_bytes=1000)


async def load(tailer: Tailer, changes: AsyncIterator[Change]) -> None:
    loaded = await anext(changes)
    assert isinstance(loaded, Restart)
    tailer._window.restart(loaded.floor, complete=loaded.complete)
    tailer._window.append(loaded.frames)


async def add(client: Any, entries: str) -> None:
    """Add entries, each written as its sequence number and its data: `0 kept`."""
    for entry in entries.split(", "):
        seq, data = entry.split()
        await client.xadd("pets", {"data": data}, id=f"1-{seq}")


@pytest.mark.parametrize(
    "before",
    [
        "0 kept, 1 lost, 2 equal",  # both gave the id of the one between them
        "0 kept, 2 equal",  # there was none
    ],
)
async def test_an_equal_entry_does_not_vouch_for_those_before_it(
    client: Any, tailer: Tailer, before: str
) -> None:
    await add(client, before)
    async with aclosing(tailer.changes()) as changes, asyncio.timeout(PATIENCE_S):
        await load(tailer, changes)
        await client.delete("pets")
        await add(client, "0 kept, 1 new, 2 equal")
        await client.client_kill_filter(_type="normal", skipme=True)
        assert await anext(changes) == Rewind(EventId(1, 0))


async def test_entries_added_during_the_proof_are_part_of_it(
    client: Any, stream: Busy, tailer: Tailer
) -> None:
    await add(client, "0 read")
    async with aclosing(tailer.changes()) as changes, asyncio.timeout(PATIENCE_S):
        await load(tailer, changes)
        await client.xtrim("pets", maxlen=0, approximate=False)
        await add(client, "1 new")
        read = asyncio.ensure_future(anext(changes))
        stream.late = "1-2"
        change = await read
        assert isinstance(change, Batch)  # trimmed was only what had been read
        assert [frame.id for frame in change.frames] == [EventId(1, 1), EventId(1, 2)]


async def test_entries_trimmed_during_a_comparison_are_not_passed_over(
    client: Any, stream: Busy, tailer: Tailer
) -> None:
    await add(client, "0 read, 1 read, 2 read")
    async with aclosing(tailer.changes()) as changes, asyncio.timeout(PATIENCE_S):
        await load(tailer, changes)
        await add(client, "3 missed, 4 missed, 5 left, 6 left")
        await client.client_kill_filter(_type="normal", skipme=True)
        stream.left = 2
        change = await anext(changes)
        assert isinstance(change, Restart)
        assert [frame.id for frame in change.frames] == [EventId(1, 5), EventId(1, 6)]


async def test_a_slow_read_is_repeated_with_fewer_entries(
    client: Any, stream: Busy, tailer: Tailer
) -> None:
    await add(client, "0 read")
    async with aclosing(tailer.changes()) as changes, asyncio.timeout(PATIENCE_S):
        await load(tailer, changes)
        await add(client, ", ".join(f"{n} large" for n in range(1, 301)))
        stream.most = 300
        read: list[int] = []
        while len(read) < 300:
            change = await anext(changes)
            assert isinstance(change, Batch)
            tailer._window.append(change.frames)
            read += [frame.id.seq for frame in change.frames]
        assert read == list(range(1, 301))
