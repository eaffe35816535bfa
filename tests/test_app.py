"""A node's rounds over its subscribers, and its drain; without sockets, and without Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Any

import pytest

from broadcaster.app import Node
from broadcaster.backend.tailer import Batch, Change
from broadcaster.core import hub as hub_module
from broadcaster.core import sse
from broadcaster.core.event import ZERO, Event, EventId
from broadcaster.core.subscription import State, Subscriber, Subscription
from broadcaster.settings import Settings

STREAMS = ("inventory", "orders")


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch) -> Node:
    """A node that writes to one subscriber at a time."""
    monkeypatch.setattr(hub_module, "SLICE", 1)
    return Node(Settings(redis_url="redis://unused", drain_s=0.2))


def live(node: Node, write: Callable[[bytes], object]) -> Subscriber:
    subscriber = Subscriber(
        Subscription(STREAMS),
        dict.fromkeys(STREAMS, ZERO),
        write=write,
        wake=lambda: None,
        pushed=True,
        chunked=False,
    )
    node.hub.add(subscriber)
    while node.hub.catch_up(subscriber) is not None:
        pass
    return subscriber


def batch(stream: str, ms: int) -> Batch:
    return Batch([sse.encode(Event(EventId(ms, 0), stream, "", b"x"))])


class Told:
    """In a tailer's place: tells of changes as fast as they are taken."""

    def __init__(self, *changes: Change) -> None:
        self._changes = changes

    async def changes(self) -> AsyncGenerator[Change, None]:
        for change in self._changes:
            yield change


async def test_others_run_between_two_slices(node: Node) -> None:
    happened: list[str] = []

    def write(_: bytes) -> None:
        happened.append("a client is written to")
        asyncio.get_running_loop().call_soon(happened.append, "somebody else")

    for _ in range(2):
        live(node, write)
    await node._apply("orders", batch("orders", 1))
    assert happened[:3] == ["a client is written to", "somebody else", "a client is written to"]


async def test_one_round_at_a_time_so_that_all_get_the_same(node: Node) -> None:
    received: list[list[bytes]] = [[] for _ in range(8)]
    for written in received:
        live(node, written.append)
    for stream in STREAMS:
        tailer: Any = Told(*(batch(stream, ms) for ms in range(1, 5)))
        node.tailers[stream] = tailer
    await asyncio.gather(*(node._tail(stream) for stream in STREAMS))
    assert len(received[0]) == 8
    assert all(written == received[0] for written in received)


async def test_a_mistake_in_one_round_does_not_end_the_work(
    node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    done = asyncio.Event()

    async def work() -> None:
        if not caplog.records:
            raise KeyError("a mistake")
        done.set()

    node._run(work)
    async with asyncio.timeout(5):
        await done.wait()
    assert "a mistake" in caplog.text


async def test_a_drain_takes_its_time(node: Node) -> None:
    subscribers = [live(node, lambda _: None) for _ in range(40)]
    drain = asyncio.create_task(node.drain())
    await asyncio.sleep(0)  # it has begun, and waits
    assert sum(subscriber.state is State.ENDED for subscriber in subscribers) == 2
    await drain
    assert all(subscriber.state is State.ENDED for subscriber in subscribers)
