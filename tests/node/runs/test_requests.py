"""A node makes requests for its clients, and strikes out what they have left behind."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from broadcaster import EmbeddedRedis, Publisher, RunQueue
from broadcaster.backend.clock import own_ms
from broadcaster.backend.driver.connect import connect
from broadcaster.backend.memory import MemoryLog
from broadcaster.core.catalogue import PET_STORE
from broadcaster.core.event import EventId
from broadcaster.core.fanout.hub import Hub
from broadcaster.core.fanout.subscriber import State, Subscriber
from broadcaster.core.history.window import Window
from broadcaster.core.log import Known, Request
from broadcaster.core.resume.steps import Greeting
from broadcaster.core.run import Standing
from broadcaster.core.runs.pending import LOOK_S, MAX_LEFT
from broadcaster.core.subscription import Subscription
from broadcaster.core.wire import Ending
from broadcaster.errors import BackendUnavailableError, ConfigurationError
from broadcaster.node.runs.requests import PendingRequests
from broadcaster.settings import Settings
from tests.nodes import Raw, Running, events, running, told
from tests.wait import PATIENCE_S, until

REQUESTS = "recommendations.requests"
PATH = "/v1/pets/recommendations/stream?userId="
QUEUE = Request(REQUESTS, "u")
GRACE_S = 0.06  # three times the `retry_max_ms` of `running`
MADE = PET_STORE["recommendations"]


class Hall:
    """Pending requests over a log in memory, and a hub."""

    def __init__(self) -> None:
        self.log = MemoryLog()
        self.hub = Hub({"recommendations": Window(10, 10_000)})
        self.sent_back: list[Subscriber] = []
        settings = Settings(retry_max_ms=1_000, retry_min_ms=1)
        self.requests = PendingRequests(self.hub, settings, self.sent_back.extend, own_ms)
        self.requests.taker = self.log

    async def ask(self) -> EventId:
        run = await self.requests.ask("recommendations", QUEUE)
        assert isinstance(run, EventId)
        return run

    def follow(self, run: EventId) -> Subscriber:
        subscription = Subscription.to((MADE,), ("u",)).narrowed_to(f"u#{run}", run)
        made = Subscriber(subscription, write=lambda _: None, wake=lambda: None, pushed=True)
        self.hub.add(made, {"recommendations": EventId(0, 0)}, Greeting(1))
        return made

    async def standing(self, run: EventId) -> Standing:
        return (await self.log.review(REQUESTS, [run], strike=False))[0]


async def test_a_request_is_struck_out_only_some_time_after_its_last_client_has_left() -> None:
    hall = Hall()
    run = await hall.ask()
    one, another = hall.follow(run), hall.follow(run)
    hall.hub.remove(one)
    hall.hub.remove(one)
    for now_s in (0.0, 4.0, 8.0):
        await hall.requests.sweep(now_s)
    hall.hub.remove(another)
    for now_s in (9.0, 11.9):
        await hall.requests.sweep(now_s)
    assert await hall.standing(run) is Standing.WAITING
    await hall.requests.sweep(12.0)
    assert await hall.standing(run) is Standing.ABSENT
    assert hall.sent_back == []


async def test_a_client_that_waits_for_a_request_that_is_gone_comes_back() -> None:
    hall = Hall()
    lost, begun = await hall.ask(), await hall.ask()
    waiting, served = hall.follow(lost), hall.follow(begun)
    await hall.log.review(REQUESTS, [lost, begun], strike=True)
    hall.log.add("recommendations", key=f"u#{begun}")
    await hall.requests.sweep(1e9)
    await hall.requests.sweep(1e9 + LOOK_S)
    assert hall.sent_back == [waiting]
    assert served.state is not State.ENDED


async def test_a_client_whose_request_has_expired_comes_back() -> None:
    hall = Hall()
    waiting = hall.follow(await hall.ask())
    await hall.requests.sweep(1e9)  # long after `request_ttl_s`
    assert hall.sent_back == [waiting]


async def test_a_request_that_a_client_comes_back_for_is_looked_after_here_too() -> None:
    hall = Hall()
    run = hall.log.add(REQUESTS, key="u")
    question = Known(REQUESTS, "recommendations", "u", run)
    assert await hall.requests.ask("recommendations", question) is True
    await hall.requests.sweep(0.0)
    await hall.requests.sweep(3.0)
    assert await hall.requests.ask("recommendations", question) is False


async def test_a_request_whose_client_leaves_meanwhile_is_struck_out_too() -> None:
    hall = Hall()
    asking = asyncio.ensure_future(hall.requests.ask("recommendations", QUEUE))
    await asyncio.sleep(0)
    asking.cancel()
    await asyncio.wait([asking])
    await until(lambda: hall.log._streams[REQUESTS].frames)
    run = hall.log._streams[REQUESTS].frames[0].id
    for now_s in (0.0, 3.0):
        await hall.requests.sweep(now_s)
    assert await hall.standing(run) is Standing.ABSENT


async def test_nothing_takes_requests_without_a_log_that_does() -> None:
    hall = Hall()
    hall.requests.taker = None
    with pytest.raises(ConfigurationError, match="give requests"):
        await hall.ask()


class Broken(MemoryLog):
    """Can't look through its requests."""

    error: Exception = BackendUnavailableError("away")

    async def review(
        self, requests: str, runs: Sequence[EventId], *, strike: bool
    ) -> list[Standing]:
        raise self.error


async def test_trouble_that_passes_is_waited_for_and_a_refusal_is_said_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    hall = Hall()
    hall.requests.taker = broken = Broken()
    await hall.ask()
    for now_s in (0.0, 5.0, 6.0):
        await hall.requests.sweep(now_s)
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]
    broken.error = ConfigurationError("no right to run EVAL")
    for _ in range(2):
        await hall.ask()
        for now_s in (7.0, 17.0):
            await hall.requests.sweep(now_s)
    assert [r.message for r in caplog.records if "EVAL" in r.message] == [
        "requests without a client stay until workers take them: no right to run EVAL"
    ]


# With a real server


@pytest.fixture
async def small() -> AsyncIterator[tuple[str, Any]]:
    """A server of 64 MB that evicts nothing, and a client of it."""
    with EmbeddedRedis("--maxmemory", "64mb", "--maxmemory-policy", "noeviction") as server:
        client: Any = connect(server.url)
        yield server.url, client
        await client.aclose()


async def hurried(hub: Running, key: str) -> bytes:
    """Send a GET, and close as soon as the answer begins. Return its head."""
    stream = await Raw.get(hub.port, PATH + key)
    stream.close()
    return stream.head


@pytest.mark.server
async def test_clients_that_leave_at_once_do_not_stop_producers(small: tuple[str, Any]) -> None:
    url, client = small
    async with running(url, retry_max_ms=5_000, max_requests=300) as hub:
        for start in range(0, 3_000, 100):
            await asyncio.gather(*(hurried(hub, f"{n:0256}") for n in range(start, start + 100)))
        assert await client.xlen(REQUESTS) <= 300 + 4
        refused = await hurried(hub, "x" * 14_000)
        assert refused.startswith(b"HTTP/1.1 400")
        await until(lambda: _left(client, MAX_LEFT))
        async with Publisher(url) as publisher:
            await publisher.publish("inventory", data="still")
        assert (await client.info("memory"))["used_memory"] < 16 * 1024 * 1024


async def _left(client: Any, most: int) -> bool:
    return bool(await client.xlen(REQUESTS) <= most)


@pytest.mark.server
async def test_a_full_queue_asks_newcomers_to_come_back(redis_url: str) -> None:
    async with running(redis_url, max_requests=2) as hub:
        streams = [await Raw.get(hub.port, PATH + "u") for _ in range(2)]
        turned = await Raw.get(hub.port, PATH + "v")
        assert turned.head.startswith(b"HTTP/1.1 200")
        assert b"retry:" in await turned.rest()
        assert hub.node.meters.shed["requests"] == 1
        for stream in streams:
            stream.close()
        await until(lambda: _now_served(hub))


async def _now_served(hub: Running) -> bool:
    stream = await Raw.get(hub.port, PATH + "v")
    stream.close()
    return b"content-length" not in stream.head.lower()


async def leave_for_good(hub: Running, client: Any) -> str:
    """Open a run, wait until its request is struck out, and return the client's id."""
    stream = await Raw.get(hub.port, PATH + "u")
    body = await stream.until(b"stream.live")
    stream.close()
    await until(lambda: _left(client, 0))
    return next(event.id for event in events(body))


@pytest.mark.server
async def test_a_client_that_returns_at_another_node_after_all_gets_a_new_run(
    redis_url: str, client: Any
) -> None:
    async with running(redis_url) as one, running(redis_url) as another:
        last_id = await leave_for_good(one, client)
        stream = await Raw.get(another.port, PATH + "u", f"Last-Event-ID: {last_id}\r\n")
        body = await stream.until(b"stream.live")
        reset = next(e for e in events(body) if e.event == "stream.reset").json()
        assert (reset["reason"], reset["requested"]) == ("gone", last_id[:64])
        async with Publisher(redis_url) as publisher:
            (run,) = await RunQueue(publisher, "recommendations").take(1, wait_s=5)
            assert run.id not in last_id
            await run.publish(type="t", data="first")
            await run.complete(data="end")
        assert told(await stream.rest()) == ["first", "end"]


@pytest.mark.server
@pytest.mark.parametrize("query", ["", "&type=t", "&names=off"])
async def test_a_client_is_told_that_an_answer_begins_anew(
    redis_url: str, publisher: Publisher, query: str
) -> None:
    async with running(redis_url) as hub:
        stream = await Raw.get(hub.port, PATH + "u" + query)
        (run,) = await RunQueue(publisher, "recommendations").take(1, wait_s=5)
        await run.publish(type="t", data="half")
        await run.restart()
        await run.publish(type="t", data="whole")
        await run.fail("trouble")
        seen = events(await stream.rest())
    kinds = ["message", "stream.restart", "message"] if "names" in query else [
        "t", "stream.restart", "t"
    ]  # fmt: skip
    assert [e.event for e in seen if e.event != "stream.live"] == [*kinds, "failed"]
    assert seen[-1].data == '{"reason":"trouble"}'
    assert len({e.id for e in seen}) >= 4


@pytest.mark.server
async def test_a_client_that_returns_soon_goes_on_with_its_run(redis_url: str, client: Any) -> None:
    async with running(redis_url, retry_max_ms=5_000) as one, running(redis_url) as another:
        stream = await Raw.get(one.port, PATH + "u")
        body = await stream.until(b"stream.live")
        stream.close()
        last_id = next(event.id for event in events(body))
        again = await Raw.get(another.port, PATH + "u", f"Last-Event-ID: {last_id}\r\n")
        assert b"stream.reset" not in await again.until(b"stream.live")
        assert await client.xlen(REQUESTS) == 1
        again.close()


@pytest.mark.server
async def test_a_request_that_a_failover_lost_is_made_anew(redis_url: str, client: Any) -> None:
    async with running(redis_url) as hub:
        stream = await Raw.get(hub.port, PATH + "u")
        await stream.until(b"stream.live")
        await client.delete(REQUESTS)
        body = await stream.rest(PATIENCE_S)  # it is sent back
        assert hub.node.meters.closed[Ending.GONE] == 1
        last_id = next(event.id for event in events(body))
        again = await Raw.get(hub.port, PATH + "u", f"Last-Event-ID: {last_id}\r\n")
        await again.until(b'"reason":"gone"')
        assert await client.xlen(REQUESTS) == 1
        again.close()


@pytest.mark.server
async def test_after_a_thousand_hurried_clients_a_real_one_is_served_soon(
    redis_url: str, client: Any
) -> None:
    async with running(redis_url, retry_max_ms=5_000) as hub, Publisher(redis_url) as publisher:
        for start in range(0, 1_000, 50):
            await asyncio.gather(*(hurried(hub, f"{n}") for n in range(start, start + 50)))
        real = await Raw.get(hub.port, PATH + "real")
        await real.until(b"stream.live")
        await until(lambda: _left(client, MAX_LEFT + 1))
        runs = await RunQueue(publisher, "recommendations").take(MAX_LEFT + 1)
        assert runs[-1].key == "real"
        assert hub.node.hub.subscribers
        real.close()
