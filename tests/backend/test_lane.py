"""A lane has its places back, whatever happens to the reads that wait in it."""

from __future__ import annotations

import asyncio
import time

from broadcaster.backend.lane import Lane
from broadcaster.core.turns import Reader


async def read(lane: Lane, held: asyncio.Event, *readers: Reader) -> None:
    turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    for reader in readers or (Reader(),):
        lane.wait(turn, reader)
    await lane.running(turn)
    try:
        await held.wait()
    finally:
        lane.done()


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
    lane, held = Lane(1), asyncio.Event()
    first, second, third = (asyncio.create_task(read(lane, held)) for _ in range(3))
    await turns_of(first, second, third)
    first.cancel()
    await asyncio.wait([first])  # the turn is the second's, which does not know it yet
    second.cancel()
    held.set()
    await third
    await asyncio.wait([second])
    assert lane.free == 1


async def test_work_rests_while_others_wait() -> None:
    lane, held = Lane(1), asyncio.Event()
    tasks = [asyncio.create_task(read(lane, held)) for _ in range(2)]
    await turns_of(*tasks)
    began_s = time.monotonic()
    _, cost_s = await lane.work(lambda: time.sleep(0.02))
    assert cost_s >= 0.02
    await lane.work(lambda: None)
    assert time.monotonic() - began_s >= 0.02 + 3 * 0.02
    held.set()
    await asyncio.gather(*tasks)


async def test_work_does_not_rest_if_no_read_waits() -> None:
    lane = Lane(1)
    _, cost_s = await lane.work(lambda: time.sleep(0.2))
    began_s = time.monotonic()
    assert (await lane.work(lambda: "done"))[0] == "done"
    assert time.monotonic() - began_s < 3 * cost_s
