"""The contract of a log. The one in Redis and the one in memory give the same answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Protocol

import pytest

from broadcaster.backend.log import Log, RedisLog, Requests
from broadcaster.backend.memory import MemoryLog
from broadcaster.core.entry import encode
from broadcaster.core.event import ZERO, EventId
from broadcaster.core.history.window import Window
from broadcaster.core.log import (
    AtOrBefore,
    Batch,
    Beginning,
    Entry,
    Exists,
    Known,
    PageAfter,
    Past,
    Restart,
)
from broadcaster.core.run import Standing, key_of
from tests.wait import PATIENCE_S

pytestmark = pytest.mark.server  # half of it is Redis


class Writer(Protocol):
    """Changes the stream of a log."""

    async def add(self, *ms: int) -> None: ...
    async def trim(self, length: int) -> None: ...


class ToRedis:
    def __init__(self, client: Any) -> None:
        self._client = client

    async def add(self, *ms: int) -> None:
        for number in ms:
            await self._client.xadd("pets", encode("t", "k", str(number)), id=f"{number}-0")

    async def trim(self, length: int) -> None:
        await self._client.xtrim("pets", maxlen=length, approximate=False)


class ToMemory:
    def __init__(self, log: MemoryLog) -> None:
        self._log = log

    async def add(self, *ms: int) -> None:
        for number in ms:
            self._log.add("pets", type="t", key="k", data=str(number), id=EventId(number, 0))

    async def trim(self, length: int) -> None:
        self._log.trim("pets", length)


@pytest.fixture(params=["redis", "memory"])
async def both(
    request: pytest.FixtureRequest, redis_url: str, client: Any
) -> AsyncIterator[tuple[Log, Writer]]:
    if request.param == "memory":
        memory = MemoryLog()
        yield memory, ToMemory(memory)
        return
    log = RedisLog(redis_url, {"pets": "pets"}, max_event_bytes=1000)
    yield log, ToRedis(client)
    await log.aclose()


def at(ms: int) -> EventId:
    return EventId(ms, 0)


async def test_each_question_has_one_answer(both: tuple[Log, Writer]) -> None:
    log, write = both
    assert await log.ask("pets", Beginning()) is None
    assert await log.ask("pets", AtOrBefore(at(9))) is None
    await write.add(2, 5, 9)
    assert await log.ask("pets", Beginning()) == at(2).before()
    assert await log.ask("pets", AtOrBefore(at(5))) == at(5)
    assert await log.ask("pets", AtOrBefore(at(8))) == at(5)
    assert await log.ask("pets", AtOrBefore(at(1))) is None
    frame = await log.ask("pets", Entry(at(5)))
    assert isinstance(frame, tuple)
    assert frame[:3] == (at(5), "t", "k")
    assert await log.ask("pets", Entry(at(6))) is None
    assert await log.ask("pets", Exists(at(5))) is True
    assert await log.ask("pets", Exists(at(5).before())) is True
    assert await log.ask("pets", Exists(at(6))) is False


@pytest.mark.parametrize(
    ("position", "length", "proven"),
    [
        (at(2), 3, True),
        (at(9), 3, True),
        (ZERO, 3, True),
        (ZERO, 2, False),
        (at(2), 2, False),
        (at(5), 2, True),
        (at(5).before(), 2, True),
        (at(4), 3, False),
    ],
)
async def test_a_page_says_whether_it_is_all(
    both: tuple[Log, Writer], position: EventId, length: int, proven: bool
) -> None:
    log, write = both
    await write.add(2, 5, 9)
    await write.trim(length)
    page = await log.ask("pets", PageAfter(position))
    assert isinstance(page, Past)
    retained = [at(2), at(5), at(9)][-length:]
    following = [id_ for id_ in retained if id_ > position]
    assert [frame.id for frame in page.frames] == following
    assert page.end == (following[-1] if following else position)
    assert page.proven is proven


async def test_changes_begin_with_a_window_and_go_on_with_batches(both: tuple[Log, Writer]) -> None:
    log, write = both
    await write.add(2, 5)
    window = Window(100, 100_000)
    changes = log.changes("pets", window)
    async with asyncio.timeout(PATIENCE_S):
        restart = await anext(changes)
        assert isinstance(restart, Restart)
        assert ([frame.id for frame in restart.frames], restart.complete) == ([at(2), at(5)], True)
        window.restart(restart.floor, complete=restart.complete)
        window.append(restart.frames)
        await write.add(9)
        batch = await anext(changes)
        assert isinstance(batch, Batch)
        assert [frame.id for frame in batch.frames] == [at(9)]
        window.append(batch.frames)
        await write.trim(0)
        await write.add(12)
        change = await anext(changes)  # trimmed past the head: nothing joins
        assert isinstance(change, Restart | Batch)
        assert [frame.id for frame in change.frames] == [at(12)]
    await changes.aclose()
    status, retained = log.status("pets"), await log.retained("pets")
    assert (status.problem, retained.length) == ("", 1)


async def test_a_log_in_memory_takes_requests() -> None:
    log = MemoryLog()
    assert isinstance(log, Requests)
    first, second = [await log.request("requests", "key") for _ in range(2)]
    assert first
    assert second
    assert first < second
    assert await log.known(Known("requests", "pets", "key", first))
    assert not await log.known(Known("requests", "pets", "another", first))
    look = await log.review("requests", [first, at(1)], strike=False)
    assert look == [Standing.WAITING, Standing.ABSENT]
    struck = await log.review("requests", [first, at(1)], strike=True)
    assert struck == [Standing.STRUCK, Standing.ABSENT]
    assert not await log.known(Known("requests", "pets", "key", first))
    log.add("pets", key=key_of("key", first))
    assert await log.known(Known("requests", "pets", "key", first))
    assert await log.known(Known("requests", "pets", "key", second))


async def test_a_stream_that_is_followed_anew_takes_no_further_connection(
    redis_url: str, client: Any
) -> None:
    log = RedisLog(redis_url, {"pets": "pets"}, max_event_bytes=1000)
    for _ in range(3):
        changes = log.changes("pets", Window(10, 1000))
        assert isinstance(await anext(changes), Restart)
        await changes.aclose()
    ours = [one for one in await client.client_list() if one["name"] == "broadcaster"]
    assert len(ours) == 1
    await log.aclose()
