"""A read of a stream and its proof, in one write or, on a Cluster, in two."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from redis.exceptions import ConnectionError as NoConnection
from redis.exceptions import ResponseError

from broadcaster import connect
from broadcaster.backend.driver.replies import counting_class
from broadcaster.backend.stream import RedisStream, id_of
from broadcaster.core.event import ZERO, EventId
from tests.wait import until

pytestmark = pytest.mark.server


@pytest.fixture(params=["single", "cluster"])
def url(request: pytest.FixtureRequest) -> str:
    name = "redis_url" if request.param == "single" else "cluster_url"
    return str(request.getfixturevalue(name))


@pytest_asyncio.fixture
async def stream(url: str) -> AsyncIterator[RedisStream]:
    client = connect(url, timeout_s=3.0)
    await client.delete("read.on")
    yield RedisStream(client, "read.on")
    await client.aclose()


async def add(stream: RedisStream, *ids: int) -> None:
    for ms in ids:
        await stream._client.xadd("read.on", {"data": "x"}, id=f"{ms}-0")


async def test_entries_after_a_retained_entry_are_proven(stream: RedisStream) -> None:
    await add(stream, 1, 2, 3)
    rows, proven = await stream.read_on(EventId(1, 0), 10, 1.0)
    assert [id_of(row) for row in rows] == [EventId(2, 0), EventId(3, 0)]
    assert proven


async def test_entries_after_a_lost_entry_are_not_proven(stream: RedisStream) -> None:
    await add(stream, 1, 2, 3)
    await stream._client.xdel("read.on", "1-0")
    rows, proven = await stream.read_on(EventId(1, 0), 10, 1.0)
    assert len(rows) == 2
    assert not proven
    rows, proven = await stream.read_on(ZERO, 1, 1.0)
    assert [id_of(row) for row in rows] == [EventId(2, 0)]
    assert not proven  # the beginning is no entry


async def test_the_proof_is_read_after_the_wait(stream: RedisStream, url: str) -> None:
    await add(stream, 1)
    waiting = asyncio.create_task(stream.read_on(EventId(1, 0), 10, 2.0))
    other: Any = connect(url)

    async def blocked() -> bool:
        return int((await other.execute_command("INFO", "clients"))["blocked_clients"]) == 1

    await until(blocked)
    async with other.pipeline(transaction=True) as pipe:
        pipe.xadd("read.on", {"data": "x"}, id="2-0")
        pipe.xdel("read.on", "1-0")
        await pipe.execute()
    rows, proven = await waiting
    assert len(rows) == 1
    assert not proven
    await other.aclose()


async def test_nothing_new_is_proven_when_the_wait_is_over(stream: RedisStream) -> None:
    await add(stream, 1)
    assert await stream.read_on(EventId(1, 0), 10, 0.01) == ([], True)


async def test_one_connection_serves_all_reads(stream: RedisStream) -> None:
    await add(stream, 1)
    made = [counting_class(stream._client).made]
    for _ in range(3):
        await stream.read_on(EventId(1, 0), 10, 0.01)
        made.append(counting_class(stream._client).made)
    assert made[1:] == [made[1]] * 3


async def test_errors_are_raised_as_they_are(stream: RedisStream) -> None:
    await stream._client.set("read.on", "no stream")
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        await stream.read_on(ZERO, 10, 0.01)
    await stream._client.delete("read.on")


async def test_an_unreachable_server_is_a_connection_error() -> None:
    client = connect("redis://127.0.0.1:1")
    with pytest.raises(NoConnection):
        await RedisStream(client, "read.on").read_on(ZERO, 10, 0.01)
    await client.aclose()
