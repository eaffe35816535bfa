"""Channels that several streams feed, over real sockets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from broadcaster import Channel, Publisher, SyncPublisher
from broadcaster.core.shards import shard_of
from tests.nodes import Raw, Running, events, running, told
from tests.wait import http_client, until

SHARDS = 4
PATH = "/v1/tickets/stream"
KEYS = [f"t{number}" for number in range(12)]  # at least one in each shard


def channels(shards: int) -> dict[str, Channel]:
    tickets = Channel(name="tickets", path=PATH, stream="shop:tickets", shards=shards)
    orders = Channel(name="orders", path="/v1/orders/stream")
    return {"tickets": tickets, "orders": orders}


@pytest.fixture
async def hub(redis_url: str) -> AsyncIterator[Running]:
    async with running(redis_url, channels=channels(SHARDS)) as made:
        yield made


@pytest.fixture
async def tickets(redis_url: str) -> AsyncIterator[Publisher]:
    async with Publisher(redis_url, channels=channels(SHARDS)) as made:
        yield made


async def opened(hub: Running, query: str = "", last_id: str = "", path: str = PATH) -> Raw:
    headers = f"Last-Event-ID: {last_id}\r\n" if last_id else ""
    return await Raw.get(hub.port, path + query, headers)


async def publish(publisher: Publisher, rounds: range, hub: Running | None = None) -> None:
    """One event for each key in each round; its data is the key and the round."""
    await publisher.publish_many(
        [("tickets", "message", key, f"{key} {number}") for number in rounds for key in KEYS]
    )
    if hub:  # until the node has read them
        count = len(KEYS) * rounds.stop
        await until(lambda: sum(map(len, hub.node.hub.windows.values())) == count)


def in_order(lines: list[str], rounds: range) -> bool:
    """Return True if each key has each round once, in order."""
    return len(lines) == len(KEYS) * len(rounds) and all(
        [line for line in lines if line.startswith(f"{key} ")] == [f"{key} {n}" for n in rounds]
        for key in KEYS
    )


async def test_each_key_is_in_its_shard(tickets: Publisher, client: Any) -> None:
    await publish(tickets, range(2))
    for shard in range(SHARDS):
        wanted = 2 * sum(shard_of(key, SHARDS) == shard for key in KEYS)
        assert wanted
        assert await client.xlen(f"shop:tickets.{shard}") == wanted


def test_a_blocking_publisher_takes_the_same_shards(redis_url: str) -> None:
    with SyncPublisher(redis_url, channels=channels(SHARDS)) as publisher:
        publisher.publish("tickets", key="t1")
        assert publisher.redis.xlen(f"shop:tickets.{shard_of('t1', SHARDS)}") == 1


async def test_all_keys_live_and_after_a_cut(hub: Running, tickets: Publisher) -> None:
    stream = await opened(hub)
    await stream.until(b"stream.live")
    await publish(tickets, range(3))
    assert in_order(await stream.told(3 * len(KEYS)), range(3))
    stream.close()
    got = events(stream.body)
    half = [event for event in got if not event.event.startswith("stream.")][:20]
    assert half[-1].id.count("tickets.") == SHARDS
    again = await opened(hub, last_id=half[-1].id)
    body = await again.until(b"stream.live")
    assert b"stream.reset" not in body
    assert in_order([event.data for event in half] + told(body), range(3))


async def test_one_key_reads_one_shard_and_names_it(hub: Running, tickets: Publisher) -> None:
    await publish(tickets, range(2), hub)
    stream = await opened(hub, "?key=t5&from=earliest")
    body = await stream.until(b"stream.live")
    assert told(body) == ["t5 0", "t5 1"]
    assert events(body)[0].id.startswith(f"tickets.{shard_of('t5', SHARDS)}=")
    more = await opened(hub, "?key=t5&key=t6", last_id=events(body)[0].id)
    assert sorted(told(await more.until(b"stream.live"))) == ["t5 1", "t6 0", "t6 1"]


async def test_other_channels_beside_it(hub: Running, tickets: Publisher) -> None:
    await publish(tickets, range(1), hub)
    await tickets.publish("orders", data="order")
    path = "/v1/events?channel=tickets&channel=orders&from=earliest"
    lines = await (await opened(hub, path=path)).told(len(KEYS) + 1)
    assert in_order([line for line in lines if line != "order"], range(1))


async def test_a_page_can_render_a_state_and_subscribe_from_there(
    hub: Running, tickets: Publisher
) -> None:
    async with http_client(base_url=hub.url) as browser:
        empty = (await browser.get("/v1/channels/tickets")).json()
        assert (empty["oldest"], empty["newest"], empty["length"]) == (None, None, 0)
        await publish(tickets, range(1), hub)
        state = (await browser.get("/v1/channels/tickets")).json()
    assert state["length"] == len(KEYS)
    await publish(tickets, range(1, 2))
    stream = await opened(hub, f"?from={state['newest']}")
    assert in_order(await stream.told(len(KEYS)), range(1, 2))


async def test_a_reset_names_the_lost_shard(hub: Running, tickets: Publisher, client: Any) -> None:
    await publish(tickets, range(1), hub)
    stream = await opened(hub, "?from=earliest")
    await stream.until(b"stream.live")
    await client.delete("shop:tickets.2")
    await stream.until(b"stream.reset")
    (reset,) = [event for event in events(stream.body) if event.event == "stream.reset"]
    assert {"channel": "tickets", "shard": 2}.items() <= json.loads(reset.data).items()


async def test_after_another_sharding_no_gap_is_silent(
    redis_url: str, hub: Running, tickets: Publisher
) -> None:
    await publish(tickets, range(1), hub)
    stream = await opened(hub, "?from=earliest")
    body = await stream.until(b"stream.live")
    last_id = events(body)[-1].id
    async with running(redis_url, channels=channels(SHARDS + 1)) as more:
        grown = await opened(more, last_id=last_id)
        assert b"stream.reset" not in await grown.until(b"stream.live")  # the new one is empty
    for shards in (SHARDS - 1, 1):
        async with running(redis_url, channels=channels(shards)) as fewer:
            other = await opened(fewer, last_id=last_id)
            assert b"stream.reset" in await other.until(b"stream.live")


@pytest.mark.parametrize("header", [True, False])
async def test_a_key_that_moves_to_another_shard_is_reset(
    redis_url: str, hub: Running, tickets: Publisher, header: bool
) -> None:
    key = next(key for key in KEYS if shard_of(key, SHARDS) != shard_of(key, 2 * SHARDS))
    await publish(tickets, range(1), hub)
    body = await (await opened(hub, f"?key={key}&from=earliest")).until(b"stream.live")
    await tickets.publish("tickets", key=key, data="only in the old shard")
    last_id = events(body)[-1].id
    async with running(redis_url, channels=channels(2 * SHARDS)) as more:
        query = f"?key={key}" + ("" if header else f"&from={last_id}")
        stream = await opened(more, query, last_id if header else "")
        assert stream.head.startswith(b"HTTP/1.1 200")
        (reset, *_) = [e for e in events(await stream.until(b"stream.live")) if e.data]
    assert (reset.event, json.loads(reset.data)["reason"]) == ("stream.reset", "invalid")


async def test_a_key_keeps_its_order_while_many_publish(hub: Running, tickets: Publisher) -> None:
    stream = await opened(hub)
    await stream.until(b"stream.live")

    async def produce(key: str) -> None:
        for number in range(20):
            await tickets.publish("tickets", key=key, data=f"{key} {number}")

    await asyncio.gather(*(produce(key) for key in KEYS))
    assert in_order(await stream.told(20 * len(KEYS)), range(20))
