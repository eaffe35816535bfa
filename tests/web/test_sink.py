"""A bell wakes one task, once for all that rings meanwhile. Other tests of sinks are elsewhere."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from broadcaster.web.sink import Bell
from broadcaster.web.spread import Spread
from tests.wait import PATIENCE_S


@pytest.mark.parametrize("alone", [True, False])
async def test_a_bell_that_has_rung_is_not_waited_for(alone: bool) -> None:
    bell = Bell(None if alone else Spread(1))
    bell.ring()
    bell.ring()
    await bell.wait()
    waiting = asyncio.create_task(bell.wait())
    await asyncio.sleep(0)
    assert not waiting.done()
    bell.ring()
    await waiting


async def test_bells_of_a_spread_take_turns() -> None:
    spread, rung = Spread(2), list[int]()

    async def wait(bell: Bell, number: int) -> None:
        await bell.wait()
        rung.append(number)

    bells = [Bell(spread) for _ in range(5)]
    tasks = [asyncio.create_task(wait(bell, number)) for number, bell in enumerate(bells)]
    await asyncio.sleep(0)
    for bell in bells * 2:
        bell.ring()
    seen = []
    while not all(task.done() for task in tasks):
        await asyncio.sleep(0)
        seen.append(len(rung))
    assert rung == [0, 1, 2, 3, 4]
    assert max(after - before for before, after in itertools.pairwise(seen)) == 2


async def test_a_wait_that_was_given_up_loses_no_ring() -> None:
    spread = Spread(1)
    bell, other = Bell(spread), Bell(spread)
    waiting = [asyncio.create_task(one.wait()) for one in (other, bell)]
    await asyncio.sleep(0)
    other.ring()
    bell.ring()  # its turn is the next one
    waiting[1].cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    async with asyncio.timeout(PATIENCE_S):
        await bell.wait()
