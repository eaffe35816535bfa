"""Requests for what is made on demand."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from broadcaster import BackendUnavailableError, ConfigurationError, connect
from broadcaster.backend.requester import Requester
from tests.backend.conftest import NOBODY

REQUESTS = "answers.requests"


async def test_a_herd_asks_over_few_connections(redis_url: str, client: Any) -> None:
    asking: Any = connect(redis_url, client_name="asking")
    requester = Requester(asking)
    ids = await asyncio.gather(*(requester.request(REQUESTS, f"k{n}") for n in range(300)))
    entries = await client.xrange(REQUESTS)
    assert [id.decode() for id, _ in entries] == sorted(map(str, ids), key=_by_number)
    assert {fields[b"key"] for _, fields in entries} == {b"k%d" % n for n in range(300)}
    assert sum(c["name"] == "asking" for c in await client.client_list()) <= 4
    await asking.aclose()


async def test_those_that_leave_cost_redis_no_connections(redis_url: str, client: Any) -> None:
    asking: Any = connect(redis_url)
    requester = Requester(asking)
    await asyncio.gather(*(requester.request(REQUESTS, "before") for _ in range(4)))
    connected = (await client.info("stats"))["total_connections_received"]
    for number in range(50):
        leaving = asyncio.ensure_future(requester.request(REQUESTS, str(number)))
        for _ in range(3):
            await asyncio.sleep(0)  # the request is on its way
        leaving.cancel()
        await asyncio.wait([leaving])
        await client.ping()  # by now Redis has answered
    await asyncio.gather(*(requester.request(REQUESTS, "after") for _ in range(4)))
    assert (await client.info("stats"))["total_connections_received"] == connected
    assert await client.xlen(REQUESTS) == 58  # those that were sent were added
    await asking.aclose()


def _by_number(id_: str) -> list[int]:
    return [int(part) for part in id_.split("-")]


async def test_trouble_is_named(redis_url: str, client: Any) -> None:
    nobody, asking = connect(NOBODY), connect(redis_url)
    with pytest.raises(BackendUnavailableError):
        await Requester(nobody).request(REQUESTS, "k")
    await client.set(REQUESTS, "no stream")
    with pytest.raises(ConfigurationError, match="WRONGTYPE"):
        await Requester(asking).request(REQUESTS, "k")
    for made in (nobody, asking):
        await made.aclose()
