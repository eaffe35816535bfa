"""Cursors before the window, while Redis is away and at the end of a stream."""

from __future__ import annotations

from broadcaster import Channel, EmbeddedRedis, EventId, Publisher
from tests.nodes import Raw, Running, running, told
from tests.wait import until

ORDERS = Channel(
    name="orders",
    path="/v1/orders/{key}/status/stream",
    terminal=frozenset({"complete"}),
    window_events=2,
)
CHANNELS = {"orders": ORDERS}
PATH = "/v1/orders/7/status/stream"


async def resume(hub: Running, last_id: EventId) -> Raw:
    return await Raw.get(hub.port, PATH, f"Last-Event-ID: {last_id}\r\n")


async def reached(hub: Running, entry_id: EventId) -> None:
    await until(lambda: hub.node.hub.windows["orders"].head == entry_id)


async def test_the_end_counts_though_it_has_left_the_window(
    redis_url: str, publisher: Publisher
) -> None:
    async with running(redis_url, channels=CHANNELS) as hub:
        end = await publisher.publish("orders", type="complete", key="7", data="shipped")
        others = [("orders", "t", "8", str(number)) for number in range(5)]
        await reached(hub, (await publisher.publish_many(others))[-1])
        assert (await resume(hub, end)).head.startswith(b"HTTP/1.1 204")


async def test_a_replay_waits_for_redis() -> None:
    with EmbeddedRedis("--appendonly", "yes", "--appendfsync", "always") as server:
        live = {"orders": Channel(name="orders", path=ORDERS.path, window_events=2)}
        async with running(server.url, channels=live) as hub:
            async with Publisher(server.url) as publisher:
                events = [("orders", "t", "7", str(number)) for number in range(5)]
                ids = await publisher.publish_many(events)
            await reached(hub, ids[-1])
            server.stop()
            await until(hub.node.problems)
            stream = await resume(hub, ids[0])
            await stream.until(b"retry: ")
            await until(lambda: hub.node.log.reads)
            server.start()
            await stream.until(b"stream.live")
            assert told(stream.body) == ["1", "2", "3", "4"]
            assert b"stream.reset" not in stream.body
