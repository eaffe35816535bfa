"""`profile=bare`: the events of one run, whole or cut, for clients that know nothing of the hub."""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from broadcaster import Publisher, RunQueue
from broadcaster.core.access.policy import Caller, Denied, Grant
from broadcaster.core.catalogue import Catalogue
from broadcaster.core.event import EventId
from broadcaster.core.wire import Exceeded, ResumeOutcome
from tests.channels import named
from tests.nodes import Raw, Running, running
from tests.wait import http_client, until

CHANNELS = Catalogue(
    named("answers", requests="answers.requests", terminal=frozenset({"complete"})) + named("news")
)
PATH = "/v1/answers/stream"
BARE = f"{PATH}?key=ann&profile=bare"


@pytest.fixture(params=["transport", "asgi"])
async def hub(request: pytest.FixtureRequest, redis_url: str) -> AsyncIterator[Running]:
    async with running(redis_url, channels=CHANNELS, sink=request.param) as made:
        yield made


@pytest.fixture
async def worker(redis_url: str) -> AsyncIterator[RunQueue]:
    async with Publisher(redis_url, channels=CHANNELS) as publisher:
        yield RunQueue(publisher, "answers")


async def begun(http: httpx.AsyncClient) -> str:
    answer = await http.post(PATH, json={"key": "ann"})
    url: str = answer.json()["url"]
    return f"{url}&profile=bare"


def blocks(body: bytes) -> list[bytes]:
    """The blocks of an event stream that are no comments. Each of them is complete."""
    *found, rest = body.split(b"\n\n")
    assert rest == b""
    assert b"\r" not in body
    return [block for block in found if not block.startswith(b":")]


async def test_the_events_of_the_newest_run_and_no_others(
    hub: Running, http: httpx.AsyncClient, worker: RunQueue
) -> None:
    assert (await http.get(BARE)).status_code == 204  # which begins none
    assert await worker.publisher.redis.xlen("answers.requests") == 0
    url = await begun(http)
    early = await Raw.get(hub.port, BARE)
    assert b"text/event-stream; charset=utf-8" in early.head
    (run,) = await worker.take(1, wait_s=1.0)
    await run.publish(type="text", data="be\r\ncause")
    await run.publish(data="!")
    await early.until(b"!")
    native = await Raw.get(hub.port, url.partition("&profile")[0])
    (*_, id_) = re.findall(rb"id: ?(\S+)", await native.until(b"cause"))
    native.close()
    late = [
        await Raw.get(hub.port, one, f"Last-Event-ID: {cursor}\r\n")
        for one in (BARE, url)
        for cursor in ("9-9", id_.decode())  # of no run, and amid this one
    ]
    await run.complete(data={})
    for stream in (early, *late):
        assert blocks(await stream.rest()) == [
            b"event: text\ndata: be\ndata: cause",
            b"data: !",
            b"event: complete\ndata: {}",
        ]
        assert stream.ended
    assert [(await http.get(one)).status_code for one in (BARE, url)] == [204, 204]


async def test_half_a_run_never_ends_cleanly(
    hub: Running, http: httpx.AsyncClient, worker: RunQueue, caplog: pytest.LogCaptureFixture
) -> None:
    await begun(http)
    (run,) = await worker.take(1, wait_s=1.0)
    await run.publish(data="half")
    restarted, drained = [await Raw.get(hub.port, BARE) for _ in range(2)]
    for stream in (restarted, drained):
        await stream.until(b"half")
    with caplog.at_level(logging.INFO):
        hub.node.end_responses()
        assert b"stream." not in await drained.rest()
    assert not drained.ended
    assert "a response is cut" in caplog.text
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def test_a_restart_cuts_and_the_next_get_has_the_new_attempt_alone(
    hub: Running, http: httpx.AsyncClient, worker: RunQueue
) -> None:
    await begun(http)
    (run,) = await worker.take(1, wait_s=1.0)
    await run.publish(data="old")
    stream = await Raw.get(hub.port, BARE)
    await stream.until(b"old")
    await run.restart()
    await stream.rest()
    assert not stream.ended
    await run.publish(data="new")
    again = await Raw.get(hub.port, BARE)
    await again.until(b"new")
    await run.fail("trouble")
    assert blocks(await again.rest()) == [
        b"data: new",
        b'event: failed\ndata: {"reason":"trouble"}',
    ]
    assert again.ended


async def test_trouble_before_the_first_byte_is_503(
    hub: Running, http: httpx.AsyncClient, client: httpx.AsyncClient
) -> None:
    url = await begun(http)
    hub.node.draining = True
    for one in (BARE, url):
        answer = await http.get(one)
        assert (answer.status_code, "retry-after" in answer.headers) == (503, True)
    hub.node.draining = False


async def test_where_a_state_has_all_of_a_run_it_begins_with_that_and_asks_redis_for_no_event(
    redis_url: str,
) -> None:
    told = named(
        "answers",
        requests="answers.requests",
        terminal=frozenset({"complete"}),
        state="append",
        append="text",
        window_events=2,
    )
    async with (
        running(redis_url, channels=Catalogue(told)) as hub,
        http_client(base_url=hub.url) as http,
        Publisher(redis_url, channels=told) as publisher,
    ):
        await begun(http)
        (run,) = await RunQueue(publisher, "answers").take(1, wait_s=1.0)
        for text in ("Forget ", "this."):
            await run.publish(type="text", data={"text": text})
        await run.restart()
        for text in ("be", "cau", "se "):
            await run.publish(type="text", data={"text": text})
        await run.publish(type="source", data={"n": 1})
        redis: Any = publisher.redis
        ((newest, _),) = await redis.xrevrange("answers", count=1)
        await hub.has_read("answers", EventId.of_entry(newest))
        live = await Raw.get(hub.port, BARE)
        await live.until(b"source")
        late = await Raw.get(hub.port, BARE)
        await late.until(b"source")
        assert hub.node.hub.resumes[ResumeOutcome.REDIS] == 0  # though the window is too small
        await run.publish(type="text", data={"text": "blue"})
        await run.complete(data={})
        for stream in (live, late):
            assert blocks(await stream.rest()) == [
                b'event: text\ndata: {"text":"because "}',
                b'event: source\ndata: {"n":1}',
                b'event: text\ndata: {"text":"blue"}',
                b"event: complete\ndata: {}",
            ]
            assert stream.ended


async def test_what_is_refused(hub: Running, http: httpx.AsyncClient) -> None:
    most = hub.node.settings.max_query_bytes
    for path, status in {
        "/v1/news/stream?profile=bare": 400,
        "/v1/events?channel=news&profile=bare": 400,
        f"{PATH}?profile=bare": 400,  # without a key
        f"{PATH}?key=ann&profile=bear": 400,
        f"{PATH}?run=7-1&profile=bare": 404,
        f"{PATH}?run=x&profile=bare": 400,
        f"{PATH}?run=7-1&x={'x' * most}": 414,
    }.items():
        assert (await http.get(path)).status_code == status, path[:60]
    assert hub.node.meters.exceeded[Exceeded.QUERY] == 1
    assert (await http.head(BARE)).status_code == 200


async def test_only_a_caller_with_the_right_learns_whether_a_run_is_active(
    redis_url: str,
) -> None:
    def authorize(caller: Caller, *_: object) -> Grant | Denied:
        mine = caller.claims.get("sub") == "ann"
        return Grant() if mine else Denied("no", 403)

    async with (
        running(redis_url, channels=CHANNELS, authorize=authorize) as hub,
        http_client(base_url=hub.url) as http,
    ):
        assert (await http.get(BARE)).status_code in (401, 403)


async def test_a_client_of_a_bare_stream_takes_a_place(redis_url: str, client: object) -> None:
    async with (
        running(redis_url, channels=CHANNELS, max_connections_per_address=1) as hub,
        http_client(base_url=hub.url) as http,
    ):
        await begun(http)
        one = await Raw.get(hub.port, BARE)
        answer = await http.get(BARE)
        assert (answer.status_code, "retry-after" in answer.headers) == (429, True)
        one.close()

        async def free() -> bool:
            stream = await Raw.get(hub.port, BARE)
            return b" 200 " in stream.head

        await until(free)
