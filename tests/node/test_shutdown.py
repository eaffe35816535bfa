"""The end of a node: the order of its steps, and that no step is taken twice."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import pytest

from broadcaster.core.event import ZERO
from broadcaster.core.fanout.subscriber import State, Subscriber
from broadcaster.core.resume.steps import Greeting
from broadcaster.core.subscription import Subscription
from broadcaster.node.node import Node
from broadcaster.node.shutdown import Shutdown
from broadcaster.settings import Settings
from tests.nodes import Raw, running
from tests.wait import PATIENCE_S, http_client, until

INVENTORY = "/v1/inventory/stream"
ORDER = ["fail readiness", "end 1", "end 1", "end 1", "stop tasks", "leave", "close"]


def subscriber() -> Subscriber:
    return Subscriber(
        Subscription(("inventory",)),
        write=lambda _: None,
        wake=lambda: None,
        pushed=True,
    )


class Written:
    """In a node's place: writes down what is done to it."""

    def __init__(self) -> None:
        self.steps: list[str] = []

    def fail_readiness(self) -> None:
        self.steps.append("fail readiness")

    def subscribers(self) -> list[Subscriber]:
        return [subscriber() for _ in range(3)]

    def end(self, subscribers: Iterable[Subscriber]) -> None:
        self.steps.append(f"end {len(list(subscribers))}")

    async def stop_tasks(self) -> None:
        await self._write("stop tasks")

    async def leave_registry(self) -> None:
        await self._write("leave")

    async def close_clients(self) -> None:
        await self._write("close")

    async def _write(self, step: str) -> None:
        await asyncio.sleep(0)  # others may ask for the same meanwhile
        self.steps.append(step)


async def our_server(shutdown: Shutdown) -> None:
    shutdown.begin(0.01)
    await shutdown.responses_ended()
    await shutdown.finish()


async def another_server(shutdown: Shutdown) -> None:
    shutdown.begin(0)
    await shutdown.finish()


async def a_second_signal(shutdown: Shutdown) -> None:
    shutdown.begin(600.0)
    await asyncio.sleep(0)
    shutdown.begin(0)
    await shutdown.responses_ended()
    await shutdown.finish()


async def no_server(shutdown: Shutdown) -> None:
    await shutdown.finish()


async def everybody(shutdown: Shutdown) -> None:
    await asyncio.gather(
        *(way(shutdown) for way in WAYS if way is not everybody), shutdown.finish()
    )


async def one_that_gives_up(shutdown: Shutdown) -> None:
    first = asyncio.create_task(shutdown.finish())
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.wait([first])
    await shutdown.finish()


WAYS: list[Callable[[Shutdown], Awaitable[None]]] = [
    our_server, another_server, a_second_signal, no_server, everybody, one_that_gives_up,
]  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
async def test_the_steps_come_in_order_and_once(
    way: Callable[[Shutdown], Awaitable[None]],
) -> None:
    node = Written()
    shutdown = Shutdown(node)
    async with asyncio.timeout(PATIENCE_S):
        await way(shutdown)
        await way(shutdown)
    assert node.steps == ORDER


async def test_a_node_works_until_the_server_has_closed_its_connections() -> None:
    node = Written()
    shutdown = Shutdown(node)
    shutdown.begin(0)
    await shutdown.responses_ended()
    for _ in range(10):
        await asyncio.sleep(0)
    assert node.steps == ORDER[:4]
    await shutdown.finish()
    assert node.steps == ORDER


async def test_a_drain_takes_its_time() -> None:
    node = Node(Settings(redis_url="redis://unused", drain_s=0.2))
    subscribers = [subscriber() for _ in range(40)]
    for one in subscribers:
        node.hub.add(one, {"inventory": ZERO}, Greeting(1))
    drain = asyncio.create_task(node.drain())
    ended = await until(lambda: sum(one.state is State.ENDED for one in subscribers))
    assert ended < 40
    await drain
    assert all(one.state is State.ENDED for one in subscribers)
    await node.aclose()


async def test_as_seen_from_outside(redis_url: str, client: Any) -> None:
    async with running(redis_url, drain_s=100 * PATIENCE_S, node_name="a") as hub:
        streams = [await Raw.get(hub.port, INVENTORY) for _ in range(2)]
        for stream in streams:
            await stream.until(b"stream.live")
        await until(lambda: client.hlen("broadcaster.nodes"))
        await client.config_resetstat()
        drain = asyncio.create_task(hub.node.drain())
        async with http_client(base_url=hub.url) as http:
            await until(lambda: hub.node.draining)
            assert (await http.get("/readyz")).status_code == 503
            assert hub.node.hub.subscribers  # not all have been ended, and it is unready
            hub.node.end_responses()
            await drain
            assert (await http.get("/v1/nodes")).json()["nodes"]  # Redis can still be asked
        assert await client.hlen("broadcaster.nodes") == 1
        bodies = [await stream.rest() for stream in streams]
    assert [body.count(b"retry: ") for body in bodies] == [2, 2]  # its first bytes, and its last
    assert not await client.exists("broadcaster.nodes")
    assert (await client.info("commandstats"))["cmdstat_hdel"]["calls"] == 1
    await until(lambda: _has_let_go(client))


async def _has_let_go(client: Any) -> bool:
    """Return True if Redis has seen the end of all of the node's connections."""
    return not [one for one in await client.client_list() if one["name"] == "broadcaster"]
