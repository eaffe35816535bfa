"""Nodes and workers whose clocks differ from Redis's, by seconds and by minutes, to both sides."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from prometheus_client.parser import text_string_to_metric_families

from broadcaster import Publisher
from broadcaster.backend.clock import redis_time_ms
from tests.clocks import shifted
from tests.command_line import Running, ready, starting
from tests.nodes import Raw, events
from tests.wait import PATIENCE, http_client, until

SHIFTS_S = (-120, -20, 20, 120)


def port_of(url: str) -> int:
    return int(url.rpartition(":")[2])


async def replayed(url: str, start: str) -> list[str]:
    """What a client gets that begins at a time."""
    stream = await Raw.get(port_of(url), f"/v1/inventory/stream?from={start}")
    assert stream.head.startswith(b"HTTP/1.1 200"), stream.head
    body = await stream.until(b"stream.live")
    await stream.until(b"\n\n")
    stream.close()
    return [event.data for event in events(body) if not event.event.startswith("stream.")]


async def has(url: str, expected: set[str]) -> bool:
    """Return True if a node has read all of these events."""
    return expected <= set(await replayed(url, "earliest"))


async def metrics(url: str) -> dict[str, float]:
    """The greatest value of each sample of the inventory."""
    async with http_client() as http:
        text = (await http.get(f"{url}/metrics")).text
    return {
        sample.name: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.labels.get("stream") == "inventory"
    }


class Shifted(NamedTuple):
    """A node whose clock differs."""

    running: Running
    url: str


@pytest.fixture
async def nodes(redis_url: str, tmp_path: Path) -> AsyncIterator[dict[int, Shifted]]:
    """A node for each difference."""
    async with starting() as start:

        async def node(shift_s: int) -> Shifted:
            env = {"BROADCASTER_REDIS_URL": redis_url, "BROADCASTER_NODE_NAME": f"at{shift_s}"}
            running = await start("serve", "--port", "0", env=env | shifted(tmp_path, shift_s))
            url = await running.url()
            await ready(url)
            return Shifted(running, url)

        made = {shift_s: await node(shift_s) for shift_s in SHIFTS_S}
        yield made
        lines = [line for node in made.values() for line in node.running.err]
        assert not [line for line in lines if "future" in line or '"error"' in line]


async def test_a_time_means_the_same_on_every_node(nodes: dict[int, Shifted], client: Any) -> None:
    now_ms = await redis_time_ms(client)
    for age_s in (300, 90, 30):
        await client.xadd("inventory", {"data": f"{age_s}"}, id=f"{now_ms - age_s * 1000}-0")
    for _, url in nodes.values():
        await until(partial(has, url, {"300", "90", "30"}))
        assert await replayed(url, "1m") == ["30"]
        assert await replayed(url, "3m") == ["90", "30"]
        for ago_s, expected in ((-100, []), (0, []), (60, ["30"]), (200, ["90", "30"])):
            at = datetime.fromtimestamp(now_ms / 1000 - ago_s, UTC)
            assert await replayed(url, at.isoformat().replace("+", "%2B")) == expected


async def test_ages_and_latencies_are_the_same_on_every_node(
    nodes: dict[int, Shifted], client: Any, publisher: Publisher
) -> None:
    now_ms = await redis_time_ms(client)
    await client.xadd("inventory", {"data": "old"}, id=f"{now_ms - 10_000}-0")
    for _, url in nodes.values():
        await until(partial(has, url, {"old"}))  # else it may come live
        stream = await Raw.get(port_of(url), "/v1/inventory/stream")
        await stream.until(b"stream.live")
        await publisher.publish("inventory", data="new")
        assert await stream.told(1) == ["new"]
        stream.close()
        found = await metrics(url)
        assert found["broadcaster_stream_ahead_seconds"] < 5
        assert 5 < found["broadcaster_window_oldest_age_seconds"] < 110
        count = found["broadcaster_write_latency_seconds_count"]
        assert 9 < found["broadcaster_write_latency_seconds_sum"] < 18 + count


async def test_every_node_is_listed_as_long_as_it_lives(nodes: dict[int, Shifted]) -> None:
    for _, url in nodes.values():
        await until(partial(lists, url, {f"at{shift_s}/0" for shift_s in nodes}))
    for shift_s in (120, -120):  # gone for all others soon after its last line
        nodes.pop(shift_s).running.process.kill()
        for _, url in nodes.values():
            await until(partial(lists, url, {f"at{rest}/0" for rest in nodes}))


async def lists(url: str, expected: set[str]) -> bool:
    """Return True if a node lists just these."""
    async with http_client() as http:
        return set((await http.get(f"{url}/v1/nodes")).json()["nodes"]) == expected


# A worker that is late by this much, because the machine is busy, would lose its own run.
TAKEOVER_S = str(3 * PATIENCE)


@pytest.mark.parametrize("shift_s", SHIFTS_S)
async def test_a_run_that_goes_to_a_worker_with_another_clock_keeps_its_time(
    redis_url: str, tmp_path: Path, shift_s: int
) -> None:
    worker = (sys.executable, "-m", "workers", "recommendations", "--takeover-s", TAKEOVER_S)
    url = ("--redis-url", redis_url)
    async with starting() as start, starting(*worker) as work:
        node = await start("serve", "--port", "0", env={"BROADCASTER_REDIS_URL": redis_url})
        address = await node.url()
        await ready(address)
        first = await work("--rate", "1", *url)
        stream = await Raw.get(port_of(address), "/v1/pets/recommendations/stream?userId=u")
        await stream.told(1)
        first.process.kill()
        await work("--rate", "20", *url, env=shifted(tmp_path, shift_s))
        body = await stream.rest()
    complete = json.loads(events(body)[-1].data)
    assert complete["total"] == 5
    assert 500 < complete["processingTime"] < 60_000


async def test_a_node_without_the_right_to_the_time_uses_its_own_clock(
    redis_url: str, client: Any
) -> None:
    await client.execute_command("ACL", "SETUSER", "old", "on", "nopass", "~*", "+@all", "-time")
    async with starting() as start:
        env = {"BROADCASTER_REDIS_URL": redis_url.replace("//", "//old:x@")}
        node = await start("serve", "--port", "0", env=env)
        address = await node.url()
        await ready(address)
        assert await replayed(address, "1m") == []
        assert await node.line("does not say the time")
    await client.execute_command("ACL", "DELUSER", "old")
