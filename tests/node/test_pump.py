"""A node's rounds over its subscribers, without sockets and without Redis."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from functools import partial

import pytest

from broadcaster.backend.memory import MemoryLog
from broadcaster.core import sse
from broadcaster.core.event import ZERO, Event, EventId
from broadcaster.core.fanout import writes
from broadcaster.core.fanout.subscriber import State, Subscriber
from broadcaster.core.history.window import Window
from broadcaster.core.log import Batch, Change, Restart, Rewind
from broadcaster.core.resume.steps import Greeting, Send
from broadcaster.core.subscription import Subscription
from broadcaster.node.node import Node
from broadcaster.settings import Settings

STREAMS = ("inventory", "orders")


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch) -> Node:
    """A node that writes to one subscriber at a time."""
    monkeypatch.setattr(writes, "SLICE", 1)
    return Node(Settings(redis_url="redis://unused", drain_s=0.2), log=Scripted())


def tell(node: Node, stream: str, told: Told) -> None:
    log = node.log
    assert isinstance(log, Scripted)
    log.told[stream] = told


def _ignore(_: bytes) -> None:
    return


def live(
    node: Node,
    write: Callable[[bytes], object] = _ignore,
    wake: Callable[[], object] = lambda: None,
) -> Subscriber:
    subscriber = Subscriber(
        Subscription(STREAMS),
        write=write,
        wake=wake,
        pushed=True,
    )
    node.hub.add(subscriber, dict.fromkeys(STREAMS, ZERO), Greeting(1))
    while subscriber.state is State.LAGGING:
        node.hub.advance(subscriber)
    return subscriber


def batch(stream: str, ms: int) -> Batch:
    return Batch([sse.encode(Event(EventId(ms, 0), "t", "", f"{stream} {ms}".encode()))])


class Told:
    """Stands in for a tailer, and yields changes as fast as they are taken."""

    def __init__(self, *changes: Change) -> None:
        self._changes = changes

    async def changes(self) -> AsyncGenerator[Change, None]:
        for change in self._changes:
            yield change


class Scripted(MemoryLog):
    """A log that yields the changes that a test has prepared for each stream."""

    def __init__(self) -> None:
        super().__init__()
        self.told: dict[str, Told] = {}

    def changes(self, stream: str, window: Window) -> AsyncGenerator[Change, None]:
        return self.told[stream].changes()


async def tail(node: Node, *streams: str) -> None:
    """Apply all that a test has prepared. Changes that end are a mistake of the log."""
    for tailed in await asyncio.gather(*map(node.pump.tail, streams), return_exceptions=True):
        assert isinstance(tailed, RuntimeError)


async def test_others_run_between_two_slices(node: Node) -> None:
    happened: list[str] = []

    def write(_: bytes) -> None:
        happened.append("a client is written to")
        asyncio.get_running_loop().call_soon(happened.append, "somebody else")

    for _ in range(2):
        live(node, write)
    await node.pump.apply("orders", batch("orders", 1))
    assert happened[:3] == ["a client is written to", "somebody else", "a client is written to"]


async def test_a_stream_of_single_events_is_read_on_at_once(node: Node) -> None:
    gathered_s: list[float] = []

    class Slow(Told):
        async def changes(self) -> AsyncGenerator[Change, None]:
            for number, change in enumerate(self._changes):
                if number > 10:
                    await asyncio.sleep(0.01)
                told_s = time.monotonic()
                yield change
                gathered_s.append(time.monotonic() - told_s)

    tell(node, "orders", Slow(*(batch("orders", ms) for ms in range(1, 40))))
    await tail(node, "orders")
    assert min(gathered_s[:12]) >= 0.001  # bursts are gathered, as is what ends a quiet time
    assert min(gathered_s[12:]) < 0.001


async def test_one_round_at_a_time_so_that_a_subscriber_that_lags_misses_nothing(
    node: Node,
) -> None:
    received: dict[Subscriber, list[bytes]] = {}
    written: list[bytes] = []

    def write(own: list[bytes], data: bytes) -> None:
        own.append(data)
        written.append(data)
        if len(written) == 2:  # the sockets of all whom the round has not reached are full
            for subscriber, got in received.items():
                if not got:
                    node.hub.lag(subscriber)

    for _ in range(8):
        own: list[bytes] = []
        received[live(node, partial(write, own))] = own
    for stream in STREAMS:
        tell(node, stream, Told(batch(stream, 1)))
    await tail(node, *STREAMS)
    for subscriber, got in received.items():
        while subscriber.state is State.LAGGING:
            step = node.hub.advance(subscriber)
            assert isinstance(step, Send)
            got += [part.data for part in step.parts]
        lines = [line for line in b"".join(got).split(b"\n") if line.startswith(b"data")]
        assert sorted(lines) == [b"data: inventory 1", b"data: orders 1"]


@pytest.mark.parametrize("change", [Rewind(ZERO), Restart(EventId(9, 0), [], complete=True)])
async def test_a_changed_history_wakes_all_subscribers_in_slices(
    node: Node, change: Change
) -> None:
    woken: list[int] = []
    for number in range(50):
        live(node, wake=partial(woken.append, number))
    tell(node, "orders", Told(batch("orders", 1), change))
    tailing = asyncio.create_task(tail(node, "orders"))
    most = 0
    while len(woken) < 50:
        before = len(woken)
        await asyncio.sleep(0)
        most = max(most, len(woken) - before)
        if woken:  # other streams have their turn, and no subscriber is live on the old history
            assert not node.pump.turn.locked()
            assert not node.hub.live
    await tailing
    assert most <= 10
    assert len(set(woken)) == 50


async def test_a_heartbeat_waits_for_the_end_of_a_round(node: Node) -> None:
    received: dict[Subscriber, list[bytes]] = {}

    def write(own: list[bytes], data: bytes) -> None:
        own.append(data)
        time.sleep(0.001)  # a heartbeat is due now
        reached = [subscriber for subscriber, got in received.items() if got]
        if len(reached) == 8:
            for subscriber in reached:  # they have the batch, and their sockets are full
                node.hub.lag(subscriber)

    for _ in range(10):
        own: list[bytes] = []
        received[live(node, partial(write, own))] = own
    beating = asyncio.create_task(node.pump.beat(0.001))
    tell(node, "orders", Told(batch("orders", 1)))
    await tail(node, "orders")
    beating.cancel()
    for subscriber, got in received.items():
        while subscriber.state is State.LAGGING:
            step = node.hub.advance(subscriber)
            assert isinstance(step, Send)
            got += [part.data for part in step.parts]
        assert b"".join(got).count(b"data: orders 1") == 1


async def test_a_log_that_ends_its_changes_is_a_mistake_that_shows(node: Node) -> None:
    tell(node, "orders", Told(Restart(ZERO, [], complete=True)))
    with pytest.raises(RuntimeError, match="changes of 'orders'"):
        await node.pump.tail("orders")
