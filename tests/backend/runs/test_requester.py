"""Requests for what is made on demand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from broadcaster import BackendUnavailableError, ConfigurationError, EventId, Publisher, RunQueue
from broadcaster.backend.driver.connect import connect
from broadcaster.backend.runs.requester import Requester
from broadcaster.core.log import Known
from broadcaster.core.run import Standing
from tests.backend.conftest import NOBODY
from tests.channels import named

REQUESTS = "answers.requests"
CHANNELS = named("answers", requests=REQUESTS)
KEYS = {"answers": "answers"}
TTL_S = 60.0


def requester(client: Any, limit: int = 1_000) -> Requester:
    return Requester(client, KEYS, limit=limit, ttl_s=TTL_S)


@pytest.fixture(params=["single", "cluster"])
async def redis(
    request: pytest.FixtureRequest, redis_url: str, cluster_url: str
) -> AsyncIterator[Any]:
    client: Any = connect(redis_url if request.param == "single" else cluster_url)
    await client.flushall()
    yield client
    await client.aclose()


async def test_a_herd_asks_over_few_connections(redis_url: str, client: Any) -> None:
    asking: Any = connect(redis_url, client_name="asking")
    made = requester(asking)
    ids = await asyncio.gather(*(made.request(REQUESTS, f"k{n}") for n in range(300)))
    entries = await client.xrange(REQUESTS)
    assert [id.decode() for id, _ in entries] == sorted(map(str, ids), key=_by_number)
    assert {fields[b"key"] for _, fields in entries} == {b"k%d" % n for n in range(300)}
    assert sum(c["name"] == "asking" for c in await client.client_list()) <= 4
    await asking.aclose()


async def test_those_that_leave_cost_redis_no_connections(redis_url: str, client: Any) -> None:
    asking: Any = connect(redis_url)
    made = requester(asking)
    await asyncio.gather(*(made.request(REQUESTS, "before") for _ in range(4)))
    connected = (await client.info("stats"))["total_connections_received"]
    for number in range(50):
        leaving = asyncio.ensure_future(made.request(REQUESTS, str(number)))
        for _ in range(3):
            await asyncio.sleep(0)  # the request is on its way
        leaving.cancel()
        await asyncio.wait([leaving])
        await client.ping()  # by now Redis has answered
    await asyncio.gather(*(made.request(REQUESTS, "after") for _ in range(4)))
    assert (await client.info("stats"))["total_connections_received"] == connected
    assert await client.xlen(REQUESTS) == 58  # those that were sent were added
    await asking.aclose()


def _by_number(id_: str) -> list[int]:
    return [int(part) for part in id_.split("-")]


async def test_a_stream_takes_few_requests_above_its_limit(client: Any) -> None:
    made = requester(client, limit=50)
    ids = await asyncio.gather(*(made.request(REQUESTS, "k" * 256) for _ in range(300)))
    added = [id_ for id_ in ids if id_ is not None]
    assert 50 <= len(added) < 50 + 4
    assert await client.xlen(REQUESTS) == len(added)
    await client.xdel(REQUESTS, *map(str, added[:10]))
    assert await made.request(REQUESTS, "k") is not None


async def test_a_request_takes_at_most_as_much_memory_as_the_documents_say(client: Any) -> None:
    made = requester(client, limit=5_000)
    before = (await client.info("memory"))["used_memory"]
    for _ in range(100):
        await asyncio.gather(*(made.request(REQUESTS, "k" * 256) for _ in range(50)))
    each = ((await client.info("memory"))["used_memory"] - before) / 5_000
    assert each < 400
    # At the worst, each request that is left keeps a whole node of the stream.
    ids = [id_ async for id_ in _ids(client)]
    kept = set(ids[::12])
    await client.xdel(REQUESTS, *(id_ for id_ in ids if id_ not in kept))
    assert await client.memory_usage(REQUESTS, samples=0) / len(kept) < 5_000


async def _ids(client: Any) -> AsyncIterator[bytes]:
    for id_, _ in await client.xrange(REQUESTS):
        yield id_


async def test_only_what_no_worker_has_taken_is_struck_out(redis: Any) -> None:
    made = requester(redis)
    taken, waiting, struck = [await made.request(REQUESTS, f"k{n}") for n in range(3)]
    assert taken
    assert waiting
    assert struck
    lost = EventId(waiting.ms + 60_000, 7)
    look = await made.review(REQUESTS, [taken, waiting, struck, lost], strike=False)
    assert look == [Standing.WAITING] * 3 + [Standing.ABSENT]
    await redis.xgroup_create(REQUESTS, "workers", id="0")
    await redis.xreadgroup("workers", "in any language", {REQUESTS: ">"}, count=1)
    assert await made.review(REQUESTS, [taken, struck], strike=True) == [
        Standing.TAKEN,
        Standing.STRUCK,
    ]
    assert await made.review(REQUESTS, [waiting, struck, lost], strike=False) == [
        Standing.WAITING,
        Standing.ABSENT,
        Standing.ABSENT,
    ]
    assert [id_.decode() for id_, _ in await redis.xrange(REQUESTS)] == [str(taken), str(waiting)]
    assert await made.review("nothing", [taken], strike=True) == [Standing.ABSENT]


def _publisher(client: Any) -> Publisher:
    return Publisher(client, channels=CHANNELS)


async def test_ids_are_compared_as_numbers(client: Any) -> None:
    made = requester(client)
    for id_ in ("9-9", "9-10", "10-2"):
        await client.xadd(REQUESTS, {"key": "k"}, id=id_)
    await client.xgroup_create(REQUESTS, "workers", id="9-9")
    await client.xgroup_create(REQUESTS, "others", id="0")
    look = await made.review(
        REQUESTS, [EventId(9, 9), EventId(9, 10), EventId(10, 2)], strike=False
    )
    assert look == [Standing.TAKEN, Standing.WAITING, Standing.WAITING]


async def test_a_run_is_known_while_it_is_asked_for_and_when_it_has_begun(redis: Any) -> None:
    made = requester(redis)
    id_ = await made.request(REQUESTS, "user")
    assert id_
    run = Known(REQUESTS, "answers", "user", id_)
    assert await made.known(run)
    assert not await made.known(Known(REQUESTS, "answers", "another", id_))
    assert not await made.known(Known(REQUESTS, "answers", "user", id_.after()))
    queue = RunQueue(_publisher(redis), "answers")
    (taken,) = await queue.take(1)
    assert await made.known(run)
    await taken.publish(type="t", data=1)
    await taken.complete(data="end")
    assert await redis.xlen(REQUESTS) == 0
    assert await made.known(run)


async def test_trouble_is_named(redis_url: str, client: Any) -> None:
    nobody = connect(NOBODY)
    run = Known(REQUESTS, "answers", "k", EventId(1, 0))
    await client.set(REQUESTS, "no stream")
    for asking, expected in ((nobody, BackendUnavailableError), (client, ConfigurationError)):
        made = requester(asking)
        with pytest.raises(expected):
            await made.request(REQUESTS, "k")
        with pytest.raises(expected):
            await made.known(run)
        with pytest.raises(expected):
            await made.review(REQUESTS, [run.run], strike=True)
    await nobody.aclose()


async def test_nothing_is_struck_out_without_the_right_to_see_what_is_taken(
    redis_url: str, client: Any
) -> None:
    run = await requester(client).request(REQUESTS, "k")
    assert run
    await client.execute_command(
        *["ACL", "SETUSER", "blind", "on", ">x", "~*", "+@all", "-xinfo"]  # so it may EVAL and XDEL
    )
    blind: Any = connect(redis_url.replace("//", "//blind:x@"))
    with pytest.raises(ConfigurationError, match=r"(?i)permission"):
        await requester(blind).review(REQUESTS, [run], strike=True)
    assert await client.xlen(REQUESTS) == 1
    await blind.aclose()
    await client.execute_command("ACL", "DELUSER", "blind")
