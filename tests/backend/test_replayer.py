"""Reads are shared and bounded. Their proofs are tested in `e2e/test_nodes.py`."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from broadcaster import EventId, Publisher
from broadcaster.backend.replayer import CONCURRENT_READS, PAGE_BYTES, Replayer
from broadcaster.backend.stream import RedisStream
from broadcaster.core.entry import Row
from broadcaster.core.log import PageAfter, Past


class Watched(RedisStream):
    """A real stream that notes how many reads run at a time."""

    running = most = 0

    async def from_on(
        self, position: EventId, last: EventId | None = None, count: int | None = None
    ) -> list[Row]:
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            return await super().from_on(position, last, count)
        finally:
            self.running -= 1


@pytest.fixture
async def ids(publisher: Publisher) -> list[EventId]:
    return await publisher.publish_many(("pets", "t", "", str(n)) for n in range(40))


@pytest.fixture
def stream(client: Any) -> Watched:
    return Watched(client, "pets")


async def page_of(replayer: Replayer, stream: str, after: EventId) -> Past:
    page = await replayer.ask(stream, PageAfter(after))
    assert isinstance(page, Past)
    return page


async def test_a_caller_that_leaves_does_not_cancel_the_read_for_the_others(
    stream: Watched, ids: list[EventId]
) -> None:
    replayer = Replayer({"pets": stream}, max_event_bytes=1000)
    leaver, stayer = (asyncio.create_task(page_of(replayer, "pets", ids[0])) for _ in range(2))
    await asyncio.sleep(0)  # both wait for the one read
    leaver.cancel()
    page = await stayer
    assert ([frame.id for frame in page.frames], page.proven) == (ids[1:], True)
    assert leaver.cancelled()
    assert replayer.reads == 1


async def test_a_read_without_callers_is_cancelled(stream: Watched, ids: list[EventId]) -> None:
    replayer = Replayer({"pets": stream}, max_event_bytes=1000)
    leavers = [asyncio.create_task(page_of(replayer, "pets", id_)) for id_ in ids for _ in range(2)]
    await asyncio.sleep(0)  # all of them wait
    for leaver in leavers:
        leaver.cancel()
    page = asyncio.create_task(page_of(replayer, "pets", ids[0]))  # and this one reads anew
    await asyncio.gather(*leavers, return_exceptions=True)
    assert len((await page).frames) == len(ids) - 1
    assert replayer.reads <= CONCURRENT_READS + 1


async def test_a_few_reads_run_at_a_time(stream: Watched, ids: list[EventId]) -> None:
    replayer = Replayer({"pets": stream}, max_event_bytes=1000)
    pages = await asyncio.gather(*(page_of(replayer, "pets", id_) for id_ in ids))
    assert [len(page.frames) for page in pages] == list(reversed(range(40)))
    assert stream.most == CONCURRENT_READS


async def test_pages_of_large_events_have_fewer(client: Any, publisher: Publisher) -> None:
    large = [("large", "t", "", "x" * (PAGE_BYTES // 4)) for _ in range(20)]
    ids = await publisher.publish_many(large)
    replayer = Replayer({"large": RedisStream(client, "large")}, max_event_bytes=PAGE_BYTES)
    first = await page_of(replayer, "large", ids[0])
    second = await page_of(replayer, "large", ids[1])
    assert (len(first.frames), len(second.frames)) == (19, 3)
    assert (second.end, second.proven) == (ids[4], True)
