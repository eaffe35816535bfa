"""A node under the limits that an operator of Redis may set, against large readers, idle and many.

It gets on with less at a time, and its log names the limit.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from broadcaster import EmbeddedRedis, connect
from broadcaster.backend.replayer import CONCURRENT_READS
from tests.nodes import Raw, Running, running, told
from tests.wait import until

pytestmark = pytest.mark.server

EVENTS = 3000
CHANNELS = {"inventory": {"name": "inventory", "path": "/inventory", "window_events": 1500}}


@asynccontextmanager
async def limited(*limits: str) -> AsyncIterator[tuple[Running, Any]]:
    """A node and a client of a Redis with these limits, whose stream has more than the window."""
    with EmbeddedRedis() as server:
        client: Any = connect(server.url, retries=3)  # a limit may close it, too
        pipe = client.pipeline(transaction=False)
        for number in range(EVENTS):
            pipe.xadd("inventory", {"data": f"{number} ".ljust(1000, "x")})
        await pipe.execute()
        for setting, value in zip(limits[::2], limits[1::2], strict=True):
            await client.config_set(setting, value)
        try:
            async with running(server.url, channels=CHANNELS, nodes_key="") as node:
                yield node, client
        finally:
            await client.aclose()


async def replayed(node: Running) -> None:
    """A client gets everything from the beginning, and then what is new."""
    stream = await Raw.get(node.port, "/inventory?from=earliest")
    found = told(await stream.until(b"event: stream.live"))
    assert [int(data.split()[0]) for data in found] == list(range(EVENTS))
    stream.close()


@pytest.mark.parametrize(
    ("limits", "named_as"),
    [
        (("client-output-buffer-limit", "normal 262144 0 0"), "client-output-buffer-limit"),
        (("client-output-buffer-limit", "normal 65536 0 0"), "client-output-buffer-limit"),
        (("client-output-buffer-limit", "normal 0 131072 1"), ""),
        (("maxmemory-clients", "600000"), "maxmemory-clients"),
    ],
)
async def test_large_replies_are_asked_for_in_parts(
    limits: tuple[str, ...], named_as: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    async with limited(*limits) as (node, client):
        await replayed(node)
        await client.xadd("inventory", {"data": "the newest"})
        await until(lambda: newest(node) == b"the newest")
    assert named_as in caplog.text


async def test_idle_connections_are_made_anew(caplog: pytest.LogCaptureFixture) -> None:
    async with limited("timeout", "1") as (node, client):
        await replayed(node)
        idle = {c["id"] for c in await client.client_list() if c["name"] == "broadcaster"}

        async def all_idle_are_closed() -> bool:
            left = {c["id"] for c in await client.client_list() if c["name"] == "broadcaster"}
            return len(left & idle) <= 1  # the tailer blocks, which is not idle

        await until(all_idle_are_closed)
        await replayed(node)
        assert not node.node.problems()
    assert "can't be read" not in caplog.text


async def test_many_clients_replay_over_the_connections_that_there_are(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    async with limited() as (node, client):
        here = len(await client.client_list())
        await client.config_set("maxclients", here + 2)
        entries = await client.xrange("inventory", count=12)
        streams = [  # of one address, one would be read for after the other
            await Raw.get(node.port, f"/inventory?from={id_.decode()}", address=f"127.0.1.{n}")
            for n, (id_, _) in enumerate(entries, 1)
        ]
        await asyncio.gather(*(stream.until(b"event: stream.live") for stream in streams))
        missed = [len(told(stream.body)) for stream in streams]
        assert missed == list(range(EVENTS - 1, EVENTS - 1 - len(streams), -1))
        # The reads that ran when Redis refused the first one; no later read asked for one more.
        assert (await client.info("stats"))["rejected_connections"] <= CONCURRENT_READS
    assert "maxclients" in caplog.text


async def test_a_node_needs_little_of_what_its_queries_may_take() -> None:
    async with limited("client-query-buffer-limit", "1048576") as (node, client):
        await replayed(node)
        await client.xadd("inventory", {"data": "x" * 900_000})
        await until(lambda: len(newest(node)) == 900_000)


def newest(node: Running) -> bytes:
    return next(node.node.hub.windows["inventory"].backwards()).data
