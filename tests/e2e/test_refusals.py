"""Redis refuses all commands for some seconds: nodes and workers wait, and go on by themselves."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest

from broadcaster import BackendUnavailableError, EmbeddedRedis, Publisher, connect_sync
from tests.nodes import Raw, Running, running
from tests.refusals import busy
from tests.wait import allowed_s, until
from tests.workers.conftest import StartWorker, await_events, start_worker

__all__ = ["start_worker"]

REFUSED_S = 4.0  # more than one announcement, and more than one wait of the workers
NODES = "broadcaster.nodes"


@pytest.fixture
def server() -> Iterator[EmbeddedRedis]:
    """A server with a user for the hub, beside the default one for the test."""
    with EmbeddedRedis("--busy-reply-threshold", "100") as made, connect_sync(made.url) as redis:
        redis.execute_command("ACL", "SETUSER", "hub", "on", ">pw", "~*", "&*", "+@all")
        yield made


@contextmanager
def without_rights(redis: Any) -> Iterator[None]:
    """Take all rights from the hub's user for the block."""
    redis.execute_command("ACL", "SETUSER", "hub", "-@all")
    try:
        yield
    finally:
        redis.execute_command("ACL", "SETUSER", "hub", "+@all")


@contextmanager
def shut_out(redis: Any) -> Iterator[None]:
    """Refuse the login of the hub's user for the block, and close its connections."""
    redis.execute_command("ACL", "SETUSER", "hub", "off")
    redis.execute_command("CLIENT", "KILL", "USER", "hub")
    try:
        yield
    finally:
        redis.execute_command("ACL", "SETUSER", "hub", "on")


@contextmanager
def of_another_type(redis: Any) -> Iterator[None]:
    """Replace every key that the hub writes by a string for the block."""
    keys = ("inventory", "orders", "recommendations.requests", NODES, "{orders}:open")
    for key in keys:
        redis.delete(key)
        redis.set(key, "a string")
    try:
        yield
    finally:
        redis.delete(*keys)


REFUSALS: dict[str, Callable[[Any], AbstractContextManager[None]]] = {
    "a script runs": busy,
    "rights are taken away": without_rights,
    "the user is switched off": shut_out,
    "keys have another type": of_another_type,
}


async def answered(hub: Running) -> None:
    """Wait for an answer of the recommendations worker."""
    client = await Raw.get(hub.port, "/v1/pets/recommendations/stream?userId=you")
    assert b"event: complete" in await client.rest()


@pytest.mark.parametrize("why", REFUSALS)
async def test_nodes_and_workers_outlast_a_refusal(
    server: EmbeddedRedis, start_worker: StartWorker, why: str
) -> None:
    url = server.url.replace("//", "//hub:pw@")
    redis: Any
    with connect_sync(server.url) as redis:
        names = ("inventory", "orders", "recommendations")
        workers = {name: start_worker(url, name, "--rate", "20") for name in names}
        async with running(url, node_name="a", ready=False) as hub, Publisher(url) as publisher:
            await asyncio.to_thread(await_events, redis, "inventory", 5)
            await asyncio.to_thread(await_events, redis, "orders", 5)
            await until(lambda: redis.hlen(NODES))
            await answered(hub)
            with REFUSALS[why](redis):
                began_s = time.monotonic()
                if why != "keys have another type":
                    with pytest.raises(BackendUnavailableError):
                        await publisher.publish("inventory", data=1)
                while time.monotonic() - began_s < REFUSED_S:
                    assert not [n for n, w in workers.items() if w.status() is not None]
                    await asyncio.sleep(0.1)
            redis.delete(NODES)
            ended_s = time.monotonic()
            await until(lambda: redis.hlen(NODES))
            assert time.monotonic() - ended_s < allowed_s(3.0)
            await until(lambda: not hub.node.problems())
            for name in ("inventory", "orders"):
                await asyncio.to_thread(await_events, redis, name, 5)
            await answered(hub)
        assert [worker.stop() for worker in workers.values()] == [0, 0, 0]
