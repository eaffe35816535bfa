"""A lane has its places back, whatever happens to the reads that wait in it."""

from __future__ import annotations

import asyncio
import time

import pytest

from broadcaster.backend import lane as lane_module
from broadcaster.backend.lane import Lane
from broadcaster.core.fanout.turns import Reader
from tests.wait import until


async def read(lane: Lane, held: asyncio.Event, *readers: Reader) -> None:
    turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    for reader in readers or (Reader(),):
        lane.wait(turn, reader)
    await lane.running(turn)
    try:
        await held.wait()
    finally:
        lane.done(turn)


async def turns_of(*tasks: asyncio.Task[None]) -> None:
    for _ in range(5 + 2 * len(tasks)):
        await asyncio.sleep(0)


async def test_a_read_that_waits_for_several_turns_has_one_place() -> None:
    lane, held = Lane(2), asyncio.Event()
    held.set()
    await asyncio.gather(*(read(lane, held, Reader("a"), Reader("b")) for _ in range(5)))
    assert lane.free == lane.places == 2


async def test_reads_that_are_cancelled_at_any_time_give_their_places_back() -> None:
    for turns in range(8):
        lane, held = Lane(2), asyncio.Event()
        tasks = [asyncio.create_task(read(lane, held)) for _ in range(5)]
        for _ in range(turns):
            await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert lane.free == 2
        held.set()
        await asyncio.gather(*(read(lane, held) for _ in range(5)))


async def test_a_read_that_is_cancelled_as_its_turn_comes_passes_it_on() -> None:
    lane, loop = Lane(1), asyncio.get_running_loop()
    first, second = loop.create_future(), loop.create_future()
    lane.wait(first, Reader())
    lane.wait(second, Reader())
    task = asyncio.create_task(lane.running(second))
    await asyncio.sleep(0)
    lane.done(first)  # the turn is the second's, whose task does not know it yet
    assert second.done()
    task.cancel()
    await asyncio.wait([task])
    assert lane.free == 1


def compute(seconds: float) -> None:
    ends_s = time.thread_time() + seconds
    while time.thread_time() < ends_s:
        pass


async def test_the_next_turn_comes_after_a_rest_if_reads_wait() -> None:
    lane, held = Lane(1), asyncio.Event()
    tasks = [asyncio.create_task(read(lane, held)) for _ in range(3)]
    await turns_of(*tasks)
    _, cost_s = lane.work(lambda: compute(0.02))
    began_s = time.monotonic()
    held.set()
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    assert sum(task.done() for task in tasks) == 1
    await asyncio.gather(*tasks)
    assert time.monotonic() - began_s >= 3 * cost_s >= 0.06


@pytest.mark.parametrize("goes_on", [True, False])
async def test_a_client_that_reads_on_alone_does_not_rest(
    goes_on: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But clients that come one after the other rest, as if they had waited."""
    lane, held, reader, spent_s = Lane(1), asyncio.Event(), Reader("a"), iter([0.0, 100.0])
    held.set()
    await read(lane, held, reader)
    monkeypatch.setattr(time, "thread_time", lambda: next(spent_s))
    lane.work(lambda: None)
    task = asyncio.create_task(read(lane, held, reader if goes_on else Reader("a")))
    await turns_of(task)
    assert task.done() is goes_on
    task.cancel()


async def test_an_address_has_a_bounded_number_of_the_places() -> None:
    lane, held = Lane(3, of_one=2), asyncio.Event()
    greedy = [asyncio.create_task(read(lane, held, Reader("a"))) for _ in range(5)]
    await turns_of(*greedy)
    assert lane.free == 1
    other = asyncio.create_task(read(lane, held, Reader("b")))
    await turns_of(other)
    assert lane.free == 0
    held.set()
    await asyncio.gather(*greedy, other)
    assert lane.free == 3


async def test_a_narrow_lane_has_one_place_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lane_module, "_NARROW_S", 0.01)
    lane, held = Lane(3), asyncio.Event()
    tasks = [asyncio.create_task(read(lane, held)) for _ in range(6)]
    await turns_of(*tasks)
    lane.narrow()
    lane.narrow()
    assert (lane.places, lane.free) == (1, -2)
    held.set()
    await asyncio.gather(*tasks)
    await until(lambda: lane.places == lane.free == 3)
