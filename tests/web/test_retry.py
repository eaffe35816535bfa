"""When clients come back: each at a time of its own, so that no herd comes in one instant."""

from __future__ import annotations

import re
from typing import Any

from broadcaster import Publisher
from tests.nodes import Raw, running
from tests.wait import http_client

INVENTORY = "/v1/inventory/stream"
ORDER = "/v1/orders/7/status/stream"
ORDERS = "/v1/events?channel=orders&key=7&key=8"
MANY = 6
SPREAD: dict[str, Any] = {
    "retry_min_ms": 1000, "retry_max_ms": 1_000_000, "shed_retry_ms": 100_000,
}  # fmt: skip


def retries(body: bytes) -> list[int]:
    return [int(ms) for ms in re.findall(rb"^retry: (\d+)$", body, re.MULTILINE)]


def assert_spread(drawn: list[int], least: int, most: int) -> None:
    assert len(drawn) == MANY
    assert len(set(drawn)) > 1
    assert all(least <= retry_ms <= most for retry_ms in drawn)


async def test_each_client_comes_back_at_a_time_of_its_own(redis_url: str) -> None:
    async with running(redis_url, max_connections=MANY, **SPREAD) as hub:
        streams = [await Raw.get(hub.port, INVENTORY) for _ in range(MANY)]
        bodies = [await stream.until(b"stream.live") for stream in streams]
        assert_spread([retries(body)[0] for body in bodies], 1000, 1_000_000)
        shed = [await (await Raw.get(hub.port, INVENTORY)).rest() for _ in range(MANY)]
        assert_spread([retries(body)[0] for body in shed], 50_000, 150_000)
        hub.node.end_responses()
        ended = [await stream.rest() for stream in streams]
        assert_spread([retries(body)[1] for body in ended], 1000, 1_000_000)


async def test_a_finished_event_stream_is_asked_for_again_later(
    redis_url: str, publisher: Publisher
) -> None:
    async with running(redis_url, terminal_retry_ms=1234) as hub:
        live, everything = [await Raw.get(hub.port, path) for path in (ORDER, ORDERS)]
        await everything.until(b"stream.live")
        await live.until(b"stream.live")
        end = await publisher.publish("orders", type="complete", key="7", data="shipped")
        late = await Raw.get(hub.port, ORDER)
        for stream in (live, late):
            block = (await stream.rest()).split(b"\n\n")[-2]
            assert block == b"id: %b\nretry: 1234\nevent: complete\ndata: shipped" % (
                str(end).encode()
            )
        assert retries(await everything.until(b"shipped"))[1:] == []


async def test_a_node_that_drains_sends_newcomers_away(redis_url: str) -> None:
    async with running(redis_url) as hub, http_client(base_url=hub.url) as browser:
        await hub.node.drain()
        response = await browser.get(INVENTORY)
        assert (response.status_code, len(retries(response.content))) == (200, 1)
        assert b"shutting down" in response.content
        answer = await browser.get("/readyz")
        assert (answer.status_code, answer.json()["reasons"]) == (503, ["draining"])
