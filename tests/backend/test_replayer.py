"""Reads are shared and bounded. Their proofs are tested in `e2e/test_nodes.py`."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from broadcaster import EventId, Publisher
from broadcaster.backend.replayer import CONCURRENT_READS, Replayer
from broadcaster.backend.stream import RedisStream
from broadcaster.core.entry import Row
from broadcaster.core.fanout.turns import Reader
from broadcaster.core.log import AtOrBefore, PageAfter, Past
from tests.wait import PATIENCE_S, until


class Watched(RedisStream):
    """A real stream that notes how many reads run at a time, and how many entries they brought.

    Attributes:
        held: pages wait for it.
    """

    running = most = rows = 0
    held: asyncio.Event | None = None

    async def from_on(
        self, position: EventId, last: EventId | None = None, count: int | None = None
    ) -> list[Row]:
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            if self.held:
                await self.held.wait()
            found = await super().from_on(position, last, count)
            self.rows += len(found)
            return found
        finally:
            self.running -= 1


@pytest.fixture
async def ids(publisher: Publisher) -> list[EventId]:
    return await publisher.publish_many(("pets", "t", "", str(n)) for n in range(40))


@pytest.fixture
def stream(client: Any) -> Watched:
    return Watched(client, "pets")


async def page_of(replayer: Replayer, stream: str, after: EventId, address: str = "") -> Past:
    page = await replayer.ask(stream, PageAfter(after), Reader(address))
    assert isinstance(page, Past)
    return page


async def test_a_caller_that_leaves_does_not_cancel_the_read_for_the_others(
    stream: Watched, ids: list[EventId]
) -> None:
    replayer = Replayer({"pets": stream}, max_event_bytes=1000, page_bytes=1 << 20)
    leaver, stayer = (asyncio.create_task(page_of(replayer, "pets", ids[0])) for _ in range(2))
    await asyncio.sleep(0)  # both wait for the one read
    leaver.cancel()
    page = await stayer
    assert ([frame.id for frame in page.frames], page.proven) == (ids[1:], True)
    assert leaver.cancelled()
    assert replayer.reads == 1


async def test_a_read_without_callers_is_cancelled(stream: Watched, ids: list[EventId]) -> None:
    replayer = Replayer({"pets": stream}, max_event_bytes=1000, page_bytes=1 << 20)
    leavers = [asyncio.create_task(page_of(replayer, "pets", id_)) for id_ in ids for _ in range(2)]
    await asyncio.sleep(0)  # all of them wait
    for leaver in leavers:
        leaver.cancel()
    page = asyncio.create_task(page_of(replayer, "pets", ids[0]))  # and this one reads anew
    await asyncio.gather(*leavers, return_exceptions=True)
    assert len((await page).frames) == len(ids) - 1
    assert replayer.reads <= CONCURRENT_READS + 1


@pytest.mark.parametrize(("addresses", "most"), [(40, CONCURRENT_READS), (2, 2), (1, 1)])
async def test_a_few_reads_run_at_a_time_and_one_of_each_address(
    stream: Watched, ids: list[EventId], addresses: int, most: int
) -> None:
    replayer = Replayer({"pets": stream}, max_event_bytes=1000, page_bytes=1 << 20)
    pages = await asyncio.gather(
        *(page_of(replayer, "pets", id_, f"10.0.0.{n % addresses}") for n, id_ in enumerate(ids))
    )
    assert [len(page.frames) for page in pages] == list(reversed(range(40)))
    assert stream.most == most


async def test_pages_end_with_the_event_that_reaches_their_bytes(
    client: Any, publisher: Publisher
) -> None:
    large = [("large", "t", "", "x" * 20_000) for _ in range(20)]
    ids = await publisher.publish_many(large)
    stream = Watched(client, "large")
    replayer = Replayer({"large": stream}, max_event_bytes=1 << 20, page_bytes=65_536)
    for _ in range(2):  # the first read brings more than fits, as the size is not known yet
        page = await page_of(replayer, "large", ids[0])
        assert [frame.id for frame in page.frames] == ids[1:5]
        assert (page.end, page.proven) == (ids[4], True)
    assert stream.rows <= 21 + 6  # the second one does not


async def test_short_questions_do_not_wait_for_pages(stream: Watched, ids: list[EventId]) -> None:
    replayer = Replayer({"pets": stream}, max_event_bytes=1000, page_bytes=1 << 20)
    stream.held = asyncio.Event()
    pages = [
        asyncio.create_task(page_of(replayer, "pets", id_, f"10.0.0.{n}"))
        for n, id_ in enumerate(ids)
    ]
    await until(lambda: stream.running == CONCURRENT_READS)
    async with asyncio.timeout(PATIENCE_S):
        assert await replayer.ask("pets", AtOrBefore(ids[7])) == ids[7]
    stream.held.set()
    await asyncio.gather(*pages)


async def test_a_client_waits_for_one_page_of_another_address_at_most(
    stream: Watched, ids: list[EventId]
) -> None:
    replayer = Replayer({"pets": stream}, max_event_bytes=1000, page_bytes=1 << 20)
    stream.held = asyncio.Event()
    many = [
        asyncio.create_task(replayer.ask("pets", PageAfter(id_), Reader("10.0.0.1")))
        for id_ in ids[1:]
    ]
    await until(lambda: stream.running == 1)
    # It asks last. Its second question waits at the end of the other address's line already, as the
    # first one runs, and the newest of the others is next.
    for position in (ids[0], ids[2]):
        before = sum(task.done() for task in many)
        one = asyncio.create_task(replayer.ask("pets", PageAfter(position), Reader("10.0.0.2")))
        await asyncio.sleep(0)
        stream.held.set()
        await one
        assert sum(task.done() for task in many) <= before + 3, position
        stream.held.clear()
    stream.held.set()
    await asyncio.gather(*many)


async def test_a_page_is_charged_to_each_client_that_shares_it(
    stream: Watched, ids: list[EventId]
) -> None:
    replayer = Replayer({"pets": stream}, max_event_bytes=1000, page_bytes=1 << 20)
    readers = [Reader(), Reader()]
    await asyncio.gather(*(replayer.ask("pets", PageAfter(ids[0]), of) for of in readers))
    assert replayer.reads == 1
    assert readers[0].spent_s == readers[1].spent_s > 0
