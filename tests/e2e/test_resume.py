"""Cursors before the window, while Redis is away and at the end of a stream."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import Any

from broadcaster import Channel, EmbeddedRedis, EventId, Publisher
from tests.nodes import Raw, Running, running, told
from tests.wait import until

logger = logging.getLogger(__name__)

ORDERS = Channel(
    name="orders",
    path="/v1/orders/{key}/status/stream",
    terminal=frozenset({"complete"}),
    window_events=2,
)
CHANNELS = {"orders": ORDERS}
PATH = "/v1/orders/7/status/stream"
ALL_ORDERS = "/v1/all-orders"


async def resume(hub: Running, last_id: EventId) -> Raw:
    return await Raw.get(hub.port, PATH, f"Last-Event-ID: {last_id}\r\n")


async def test_the_end_counts_though_it_has_left_the_window(
    redis_url: str, publisher: Publisher
) -> None:
    async with running(redis_url, channels=CHANNELS) as hub:
        end = await publisher.publish("orders", type="complete", key="7", data="shipped")
        others = [("orders", "t", "8", str(number)) for number in range(5)]
        await hub.has_read("orders", (await publisher.publish_many(others))[-1])
        assert (await resume(hub, end)).head.startswith(b"HTTP/1.1 204")


async def test_a_replay_waits_for_redis() -> None:
    with EmbeddedRedis("--appendonly", "yes", "--appendfsync", "always") as server:
        live = {"orders": Channel(name="orders", path=ORDERS.path, window_events=2)}
        async with running(server.url, channels=live) as hub:
            async with Publisher(server.url) as publisher:
                events = [("orders", "t", "7", str(number)) for number in range(5)]
                ids = await publisher.publish_many(events)
            await hub.has_read("orders", ids[-1])
            server.stop()
            await until(hub.node.problems)
            stream = await resume(hub, ids[0])
            await stream.until(b"retry: ")
            await until(lambda: hub.node.log.reads)
            server.start()
            await stream.until(b"stream.live")
            assert told(stream.body) == ["1", "2", "3", "4"]
            assert b"stream.reset" not in stream.body


async def test_clients_that_leave_during_a_read_cost_redis_no_connections(
    redis_url: str, publisher: Publisher, client: Any
) -> None:
    """A read that was sent goes on, and those that were not sent are never sent."""
    channels = {"orders": Channel(name="orders", path=ALL_ORDERS, window_events=2)}
    async with running(redis_url, channels=channels) as hub:
        ids = await publisher.publish_many(("orders", "t", "", str(n)) for n in range(300))
        await hub.has_read("orders", ids[-1])
        await read_at_once(hub, ids[:20])
        before, connected = hub.node.log.reads, await connections(client)
        for start in range(0, 300, 60):
            wanted = hub.node.log.reads + 4
            await client.client_pause(800)
            cursors = (f"Last-Event-ID: {id_}\r\n" for id_ in ids[start : start + 60])
            streams = await asyncio.gather(
                *(Raw.get(hub.port, ALL_ORDERS, cursor) for cursor in cursors)
            )
            await until(partial(has_read, hub, wanted))
            for stream in streams:
                stream.close()
            await until(lambda: not hub.node.hub.subscribers)
            await client.ping()  # answered when the pause is over
        reads = hub.node.log.reads - before
        logger.info("%.2f commands for each client that leaves", reads / 300)
        assert reads <= 300 // 2
        assert await connections(client) <= connected + 2
        await read_at_once(hub, ids[:20])  # no place is lost


def has_read(hub: Running, wanted: int) -> bool:
    return hub.node.log.reads >= wanted


async def read_at_once(hub: Running, ids: list[EventId]) -> None:
    """Resume from some ids at the same time, and read to the end of each replay."""
    for stream in await asyncio.gather(
        *(Raw.get(hub.port, ALL_ORDERS, f"Last-Event-ID: {id_}\r\n") for id_ in ids)
    ):
        await stream.until(b"stream.live")
        stream.close()


async def connections(client: Any) -> int:
    """Return the number of connections that Redis has taken so far."""
    return int((await client.info("stats"))["total_connections_received"])
