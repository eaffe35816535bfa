"""A node without sockets, and without Redis."""

from __future__ import annotations

import asyncio

import pytest

from broadcaster.backend.replayer import Page, Replayer
from broadcaster.core.event import ZERO, EventId
from broadcaster.core.subscription import Subscriber, Subscription
from broadcaster.core.window import Ask, Place
from broadcaster.errors import BackendUnavailableError
from broadcaster.node.node import Node
from broadcaster.settings import Settings
from tests.wait import PATIENCE_S

STREAMS = ("inventory", "orders")


@pytest.fixture
def node() -> Node:
    """A node that was not started."""
    return Node(Settings(redis_url="redis://unused"))


async def test_a_mistake_in_one_round_does_not_end_the_work(
    node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    done = asyncio.Event()

    async def work() -> None:
        if not caplog.records:
            raise KeyError("a mistake")
        done.set()

    node._run(work)
    async with asyncio.timeout(PATIENCE_S):
        await done.wait()
    assert "a mistake" in caplog.text


class Less(Replayer):
    """In the replayer's place: Redis has nothing after the position that it is asked about."""

    async def page(self, stream: str, after: EventId) -> Page:
        return Page([], after, proven=True)


async def test_while_redis_has_less_than_the_window_nobody_is_reset(node: Node) -> None:
    node._replayer = Less({}, max_event_bytes=1)
    node.hub.windows["orders"].restart(EventId(9, 0), complete=False)
    positions = {"inventory": ZERO, "orders": EventId(5, 0)}
    subscriber = Subscriber(
        Subscription(STREAMS),
        positions,
        write=lambda _: None,
        wake=lambda: None,
        pushed=True,
    )
    with pytest.raises(BackendUnavailableError):
        await node.answer(subscriber, Ask("orders", EventId(5, 0), Place.BEHIND))
