"""Work that comes in one instant is spread over several turns of the event loop."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from broadcaster.core.wire import Ending
from broadcaster.web.spread import PER_TURN, Spread
from tests.nodes import Running, running
from tests.wait import PATIENCE_S, until

MANY = 5 * PER_TURN


async def most_in_a_turn(count: Callable[[], float], wanted: float) -> float:
    """Return by how much a number grows at the most, in one turn of the event loop."""
    most, seen = 0.0, count()

    def is_there() -> bool:
        nonlocal most, seen
        most, seen = max(most, count() - seen), count()
        return seen >= wanted

    async with asyncio.timeout(PATIENCE_S):
        while not is_there():  # noqa: ASYNC110 -- it looks at every turn
            await asyncio.sleep(0)
    return most


async def test_calls_are_made_in_order_a_few_in_each_turn() -> None:
    spread, made = Spread(2), list[int]()
    for number in range(5):
        spread.call(partial(made.append, number))
    assert made == [0, 1]
    assert await most_in_a_turn(lambda: len(made), 5) == 2
    assert made == [0, 1, 2, 3, 4]
    spread.call(partial(made.append, 5))
    assert made[-1] == 5  # a place is left, so it does not wait


async def test_a_call_overtakes_none_that_wait() -> None:
    later, made = list[Callable[[], object]](), list[int]()
    spread = Spread(2, later.append)

    def first(number: int) -> None:
        made.append(number)
        if number == 2:  # of the second turn, which has another place
            spread.call(partial(made.append, 4))

    for number in range(4):
        spread.call(partial(first, number))
    while later:
        later.pop()()
    assert made == [0, 1, 2, 3, 4]


async def test_a_call_can_take_more_places() -> None:
    spread, made = Spread(2), list[int]()

    def much(number: int) -> None:
        made.append(number)
        spread.taken += 1

    for number in range(3):
        spread.call(partial(much, number))
    assert made == [0]
    assert await most_in_a_turn(lambda: len(made), 3) == 1


async def test_longer_work_leaves_fewer_places_in_its_turn() -> None:
    spread, made = Spread(4), list[int]()

    async def work(number: int) -> None:
        await spread.turn(0.0003)
        made.append(number)

    works = [asyncio.create_task(work(number)) for number in range(6)]
    await asyncio.sleep(0)
    assert made == [0, 1]
    assert await most_in_a_turn(lambda: len(made), 6) == 2
    await asyncio.gather(*works)
    short, long = Spread(), Spread()
    await short.turn(0.0001)
    await long.turn(0.0011)
    assert (short.taken, long.taken) == (1, 6)


async def test_a_turn_whose_places_were_taken_ends() -> None:
    spread, made = Spread(1), list[int]()
    spread.taken += 1
    spread.call(partial(made.append, 1))
    assert not made
    await until(lambda: made)


async def test_a_call_that_fails_holds_up_no_other() -> None:
    spread, made = Spread(2), list[int]()
    failed = list[object]()
    asyncio.get_running_loop().set_exception_handler(lambda _, about: failed.append(about))
    for function in (int, int, partial(int, "no number"), partial(made.append, 1)):
        spread.call(function)
    await until(lambda: made)
    assert len(failed) == 1


async def test_a_task_that_is_cancelled_takes_no_turn_of_another() -> None:
    spread, made = Spread(1), list[int]()
    spread.call(int)
    waiting = [asyncio.create_task(spread.turn()) for _ in range(2)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    await waiting[1]
    spread.call(partial(made.append, 1))
    await until(lambda: made)


@pytest.fixture
def herd() -> Iterator[list[socket.socket]]:
    """Blocking sockets: what they all do takes no turn of the event loop."""
    made = [socket.socket() for _ in range(MANY)]
    yield made
    for one in made:
        one.close()


async def connected(hub: Running, herd: list[socket.socket]) -> None:
    for one in herd:
        one.connect(("127.0.0.1", hub.port))
    await until(lambda: hub.node.meters.waiting == MANY)


def ask(herd: list[socket.socket]) -> None:
    for one in herd:
        one.sendall(b"GET /v1/inventory/stream HTTP/1.1\r\nHost: localhost\r\n\r\n")


@pytest.mark.parametrize("sink", ["transport", "asgi"])
async def test_few_of_a_herd_are_served_or_freed_in_a_turn(
    redis_url: str, sink: str, herd: list[socket.socket]
) -> None:
    async with running(redis_url, sink=sink) as hub:
        await connected(hub, herd)
        ask(herd)
        opened, closed = hub.node.meters.opened, hub.node.meters.closed
        assert 1 < await most_in_a_turn(opened.total, MANY) <= PER_TURN
        await until(lambda: hub.node.hub.live == MANY)
        for one in herd:
            one.close()
        assert 1 < await most_in_a_turn(closed.total, MANY) <= PER_TURN
        assert closed[Ending.CLIENT] == MANY


async def test_few_of_those_that_wait_for_a_window_are_served_in_a_turn(
    redis_url: str, herd: list[socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("broadcaster.node.node._PATIENCE_S", PATIENCE_S)
    async with running(redis_url) as hub:
        loaded = hub.node.pump.loaded["inventory"]
        loaded.clear()
        await connected(hub, herd)
        ask(herd)
        await until(lambda: not hub.node.meters.waiting)
        for _ in range(3):  # turns, in which the tasks of the last requests begin
            await asyncio.sleep(0)
        loaded.set()
        assert 1 < await most_in_a_turn(hub.node.meters.opened.total, MANY) <= PER_TURN
