"""Limits of what one client takes, on real nodes. `test_ends` has the ways to free a place."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from broadcaster import Caller, Grant, Publisher
from broadcaster.core.access.policy import Action
from broadcaster.core.access.stream_counts import Owners
from broadcaster.node import registry
from broadcaster.node.limits import Limits
from broadcaster.settings import Settings, load_settings
from tests.nodes import Raw, Running, events, running, told
from tests.wait import http_client, until

STREAM = "/v1/inventory/stream"
ORDER = "/v1/orders/7/status/stream"
LIVE = b"stream.live"
SINKS = pytest.mark.parametrize("sink", ["transport", "asgi"])
FORWARDED = "X-Forwarded-For: {}\r\n"


def taken(hub: Running) -> int:
    return sum(places.taken for places in hub.node.limits.places.values())


async def lives(hub: Running, headers: str = "", path: str = STREAM) -> bool:
    """Open a stream, and return True if it is served; False if it is shed."""
    stream = await Raw.get(hub.port, path, headers)
    assert stream.head.startswith(b"HTTP/1.1 200 ")
    body = await stream.until(b"\n\n")
    if LIVE in body:
        return True
    assert b"retry: " in await stream.rest()
    return False


# Streams that count


async def test_an_address_has_so_many_streams_and_another_one_its_own(redis_url: str) -> None:
    async with running(redis_url, max_connections_per_address=2) as hub:
        first, second = FORWARDED.format("192.0.2.1"), FORWARDED.format("192.0.2.2")
        assert [await lives(hub, first) for _ in range(3)] == [True, True, False]
        assert [await lives(hub, second) for _ in range(3)] == [True, True, False]
        assert hub.node.meters.shed["address"] == 2
        # An IPv6 address counts as its network, and a mapped one as what it is.
        for address, served in (
            ("2001:db8::1", True), ("2001:db8::ffff:1", True), ("2001:db8::2", False),
            ("2001:db8:0:1::1", True), ("::ffff:192.0.2.1", False),
        ):  # fmt: skip
            assert await lives(hub, FORWARDED.format(address)) == served, address


def by_user(caller: Caller, _: Action, __: str, ___: frozenset[str]) -> Grant:
    return Grant(caller.query.get("user", ("",))[0])


async def test_a_subject_has_so_many_streams_at_all_addresses(redis_url: str) -> None:
    async with running(redis_url, authorize=by_user, max_connections_per_subject=1) as hub:
        first, second = FORWARDED.format("192.0.2.1"), FORWARDED.format("192.0.2.2")
        ann, bob = f"{STREAM}?user=ann", f"{STREAM}?user=bob"
        assert [await lives(hub, at, ann) for at in (first, second)] == [True, False]
        assert await lives(hub, first, bob)
        assert [await lives(hub, first) for _ in range(2)] == [True, True]  # without a subject
        assert hub.node.meters.shed["subject"] == 1


async def test_without_limits_nothing_is_counted(redis_url: str) -> None:
    async with running(redis_url) as hub:
        assert [await lives(hub) for _ in range(3)] == [True] * 3
        assert (taken(hub), hub.node.limits.for_others()) == (0, {})


def test_new_streams_come_at_a_rate() -> None:
    now_s, owners = [0.0], Owners("a")
    limits = Limits(Settings(max_new_connections_per_s=2), clock=lambda: now_s[0])

    def comes() -> str:
        if reason := limits.refusal(owners):
            return reason
        limits.take(owners)
        return "served"

    assert [comes() for _ in range(3)] == ["served", "served", "rate"]
    now_s[0] = 0.5
    assert [comes() for _ in range(2)] == ["served", "rate"]
    now_s[0] = 100.0
    assert [comes() for _ in range(3)] == ["served", "served", "rate"]


async def test_a_client_that_comes_too_fast_is_asked_to_come_back(redis_url: str) -> None:
    async with running(redis_url, max_new_connections_per_s=0.001) as hub:
        assert [await lives(hub) for _ in range(2)] == [True, False]
        assert hub.node.meters.shed["rate"] == 1


async def test_a_request_that_asks_for_too_much_is_refused_for_good(redis_url: str) -> None:
    limits: dict[str, Any] = {"max_keys": 2, "max_channels": 1, "max_query_bytes": 100}
    async with running(redis_url, **limits) as hub, http_client(base_url=hub.url) as http:
        for path, status, limit in (
            ("/v1/events?channel=inventory&key=1&key=2&key=3", 400, "keys"),
            ("/v1/events?channel=inventory,orders", 400, "channels"),
            (STREAM + "?" + "x" * 101, 414, "query"),
        ):
            answer = await http.get(path)
            assert answer.status_code == status
            assert answer.headers["content-type"] == "application/problem+json"
            assert hub.node.meters.exceeded[limit] == 1
        assert await lives(hub, path="/v1/events?channel=inventory&key=1&key=2")
    async with running(redis_url) as hub:
        keys = "".join(f"&key={number}" for number in range(100))
        assert await lives(hub, path=f"/v1/events?channel=inventory{keys}")


# Over several nodes


@pytest.fixture
async def two(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[list[Running]]:
    monkeypatch.setattr(registry, "ANNOUNCE_S", 0.05)
    async with (
        running(redis_url, node_name="a", max_connections_per_address=2) as first,
        running(redis_url, node_name="b", max_connections_per_address=2) as second,
    ):
        yield [first, second]


async def test_streams_count_over_all_nodes_and_nothing_shows_an_address(
    two: list[Running], client: Any
) -> None:
    first, second = two
    streams = [await Raw.get(first.port, STREAM) for _ in range(2)]
    for stream in streams:
        await stream.until(LIVE)

    def is_full() -> bool:
        return second.node.limits.places["address"].full("127.0.0.1")

    await until(is_full)
    assert not await lives(second)
    lines = b"".join((await client.hgetall("broadcaster.nodes")).values())
    assert b"streams_of" in lines
    assert b"127.0.0.1" not in lines
    async with http_client() as http:
        assert "streams_of" not in (await http.get(f"{first.url}/v1/nodes")).text
    assert "streams_of" not in str(await first.node.registry.nodes(details=True))
    streams.pop().close()
    await until(lambda: not is_full())
    assert await lives(second)


async def test_other_nodes_are_forgotten_while_redis_is_away(
    two: list[Running], client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = two
    streams = [await Raw.get(first.port, STREAM) for _ in range(2)]
    for stream in streams:
        await stream.until(LIVE)
    await until(lambda: second.node.limits.places["address"].full("127.0.0.1"))
    monkeypatch.setattr(registry, "_AGAIN_S", (0.01, 0.02))
    await client.delete("broadcaster.nodes")
    await client.set("broadcaster.nodes", "of another type")
    await until(lambda: not second.node.limits.places["address"].full("127.0.0.1"))


# The past


async def test_a_replay_is_slowed_and_loses_nothing(redis_url: str, publisher: Publisher) -> None:
    for _ in range(5):
        await publisher.publish_many([("inventory", "t", "", "x" * 400)] * 100)
    limits: dict[str, Any] = {
        "max_replayed_events_per_min": 100_000,
        "max_replayed_bytes_per_min": 60_000,
    }
    async with running(redis_url, high_water_bytes=30_000, **limits) as hub:
        replay = await Raw.get(hub.port, f"{STREAM}?from=earliest")
        live = await Raw.get(hub.port, STREAM)
        await live.until(LIVE)
        await until(lambda: hub.node.limits.slowed)
        await replay.told(1)
        assert LIVE not in replay.body
        (subscriber,) = (s for s in hub.node.subscribers() if s.resume)
        hub.node.end([subscriber])
        assert b"retry: " in await replay.rest()
        seen = events(replay.body)[-1].id
        limit = hub.node.limits
        limit.pacing = None  # as for a client that comes back later
        rest = await Raw.get(hub.port, f"{STREAM}?from={seen}")
        await rest.until(LIVE)
        assert len(told(replay.body)) + len(told(rest.body)) == 500
        await publisher.publish("inventory", data="new")
        assert await live.told(1) == ["new"]


def test_what_is_sent_is_counted_in_events_and_in_bytes() -> None:
    now_s = [0.0]

    def pace(**most: Any) -> Any:
        limits = Limits(load_settings(**most), clock=lambda: now_s[0])
        return limits.pacing and limits.pacing()

    assert pace() is None
    by_events = pace(max_replayed_events_per_min=60)
    assert by_events.wait_s(60, 10**9) == 0.0
    assert by_events.wait_s(3, 1) == 3.0
    by_bytes = pace(max_replayed_bytes_per_min=6000)
    assert by_bytes.wait_s(10**6, 6000) == 0.0
    now_s[0] = 10.0
    assert by_bytes.wait_s(1, 2000) == 10.0
