"""The state of a channel over real sockets, and what a node does without a folder."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace

import pytest

from broadcaster import Channel, Publisher
from broadcaster.client.source import EventSource
from broadcaster.core.event import EventId
from tests.nodes import Raw, Running, events, running
from tests.wait import PATIENCE_S, allowed_s, until

CHANNELS = {"stock": Channel(name="stock", path="/v1/stock", state="last", window_events=200)}
PATH = "/v1/stock?from=state"


@pytest.fixture
async def publisher(redis_url: str) -> AsyncIterator[Publisher]:
    async with Publisher(redis_url, channels=CHANNELS) as made:
        yield made


@pytest.fixture(params=["transport", "asgi"])
async def hub(redis_url: str, request: pytest.FixtureRequest) -> AsyncIterator[Running]:
    async with running(redis_url, channels=CHANNELS, sink=request.param) as made:
        yield made


async def state(hub: Running, query: str = "", headers: str = "") -> list[tuple[str, str, str]]:
    """What a client is sent up to `stream.live`."""
    answer = await Raw.get(hub.port, PATH + query, headers)
    await answer.until(b'"replayed":')
    return [(event.event, event.data, event.id) for event in events(answer.body)]


async def publish(
    hub: Running, publisher: Publisher, count: int, keys: int, more: str = ""
) -> list[EventId]:
    """Publish, and wait until the node has read it."""
    sent = [("stock", "stock-change", f"k{n % keys}", f"{n}{more}") for n in range(count)]
    ids = await publisher.publish_many(sent)
    await hub.has_read("stock", ids[-1])
    return ids


async def test_a_client_gets_what_is_and_then_what_changes(
    hub: Running, publisher: Publisher
) -> None:
    ids = await publish(hub, publisher, 500, 3)
    assert await state(hub) == [
        ("stream.state", '{"channel":"stock","keys":3}', "state"),
        ("stock-change", "498", "state"),
        ("stock-change", "499", "state"),
        ("stock-change", "497", "state"),
        ("stream.live", '{"replayed":3}', str(ids[-1])),
    ]
    assert [data for _, data, _ in (await state(hub, "&key=k1"))[1:-1]] == ["499"]


async def test_a_client_that_was_away_for_too_long_gets_the_state(
    hub: Running, publisher: Publisher
) -> None:
    ids = await publish(hub, publisher, 500, 3)
    with publisher.commands() as redis:
        await redis.xtrim("stock", maxlen=0)
    told = await state(hub, headers=f"Last-Event-ID: {ids[0]}\r\n")
    assert [type_ for type_, _, _ in told] == [
        "stream.reset",
        "stream.state",
        *["stock-change"] * 3,
        "stream.live",
    ]
    assert '"state":true' in told[0][1]
    assert [id_ for _, _, id_ in told] == [*["state"] * 5, str(ids[-1])]


async def test_a_client_that_is_cut_amid_a_state_gets_all_of_it_from_a_node_that_knows_more(
    redis_url: str, publisher: Publisher
) -> None:
    """The other node could prove the id that the client had before, but not what it has now."""
    more = {"stock": replace(CHANNELS["stock"], window_events=1000)}
    async with running(redis_url, channels=CHANNELS) as hub, running(redis_url, channels=more) as b:
        ids = await publish(hub, publisher, 500, 3)
        await b.has_read("stock", ids[-1])
        with publisher.commands() as redis:
            await redis.xtrim("stock", maxlen=0)
        told = await state(hub, headers=f"Last-Event-ID: {ids[0]}\r\n")
        assert [type_ for type_, *_ in told[:2]] == ["stream.reset", "stream.state"]
        for _, _, cut_at in told[:-1]:
            source = EventSource(f"http://127.0.0.1:{b.port}{PATH}", last_event_id=cut_at)
            found = []
            async with aclosing(source.events()) as read:
                async for event in read:
                    found.append((event.type, event.data))
                    if event.type == "stream.live":
                        break
            assert [type_ for type_, _ in found[:1]] == ["stream.state"], cut_at
            assert [data for _, data in found[1:-1]] == [data for _, data, _ in told[2:-1]]


async def test_a_node_that_starts_after_a_trim_says_since_when_its_state_is_whole(
    redis_url: str, publisher: Publisher
) -> None:
    for number in range(3):
        await publisher.publish("stock", type="stock-change", key=f"k{number}", data=str(number))
    with publisher.commands() as redis:
        await redis.xtrim("stock", maxlen=1, approximate=False)
    async with running(redis_url, channels=CHANNELS) as hub:
        told = await state(hub)
    assert [data for _, data, _ in told[1:-1]] == ["2"]
    assert '"keys":1,"since":"' in told[0][1]


async def test_many_clients_share_one_rendering_and_ask_redis_nothing(
    hub: Running, publisher: Publisher
) -> None:
    """The bound of a second for 100,000 keys, in small."""
    await publish(hub, publisher, 10_000, 10_000)
    reads, begun_s = hub.node.log.reads, time.monotonic()
    answers = [await Raw.get(hub.port, PATH) for _ in range(5)]
    for answer in answers:
        await answer.until(b'"replayed":10000')
    assert time.monotonic() - begun_s < allowed_s(5.0)
    assert hub.node.log.reads == reads


COALESCING = {"stock": replace(CHANNELS["stock"], window_events=100_000, coalesce=True)}


async def test_a_client_that_does_not_read_gets_the_newest_of_each_key_and_no_less(
    redis_url: str, publisher: Publisher
) -> None:
    async with running(redis_url, channels=COALESCING) as hub:
        slow = await Raw.get(hub.port, "/v1/stock")
        await slow.until(b"stream.live")
        sent = behind = 0
        async with asyncio.timeout(PATIENCE_S):
            while behind < 8:  # the sockets between them take several MB, in pieces
                behind = 0 if hub.node.hub.live else behind + 1
                many = [("stock", "t", f"k{n % 7}", f"{sent + n} {'x' * 4000}") for n in range(500)]
                await publisher.publish_many(many)
                sent += len(many)
        for _ in range(3):
            await publisher.publish_many(
                [("stock", "t", f"k{n % 7}", str(sent + n)) for n in range(1000)]
            )
            sent += 1000
        newest = str(sent - 1)
        await slow.until(f"data: {newest}\n".encode())
        got = [e for e in events(slow.body) if not e.event.startswith("stream.")]
        told = [json.loads(e.data) for e in events(slow.body) if e.event == "stream.superseded"]
        assert {one["channel"] for one in told} == {"stock"}
        assert len(got) + sum(one["events"] for one in told) == sent
        numbers = [int(event.data.split()[0]) for event in got]
        assert numbers == sorted(set(numbers))
        assert hub.node.hub.states.passes.superseded["stock"] >= 2000


async def test_the_kernel_takes_little_for_a_client_that_does_not_read(
    redis_url: str, publisher: Publisher
) -> None:
    """What it has taken is sent, however old it is by then. It would take 4 MB."""
    async with running(redis_url, channels=COALESCING) as hub:
        with socket.socket() as slow:
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            slow.connect(("127.0.0.1", hub.port))
            slow.sendall(b"GET /v1/stock HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await until(lambda: hub.node.hub.live)
            sent = 0
            while hub.node.hub.live:
                await publish(hub, publisher, 50, 7, "x" * 4000)
                sent += 50 * 4000
        assert sent < 1_000_000


async def test_a_client_that_comes_back_gets_the_newest_of_each_key(
    redis_url: str, publisher: Publisher
) -> None:
    async with running(redis_url, channels=COALESCING) as hub:
        ids = await publish(hub, publisher, 3000, 5)
        back = await Raw.get(hub.port, "/v1/stock", f"Last-Event-ID: {ids[0]}\r\n")
        found = events(await back.until(b'"replayed":'))
    assert [(e.event, e.data, e.id) for e in found] == [
        ("stream.superseded", '{"channel":"stock","events":2994}', str(ids[0])),
        *[("stock-change", str(n), str(ids[n])) for n in range(2995, 3000)],
        ("stream.live", '{"replayed":5}', str(ids[-1])),
    ]
