"""Child processes are stopped in any state, and their ends are described in words."""

from __future__ import annotations

import asyncio
import signal
import sys

import pytest

from broadcaster.commands.processes import how_it_ended, start, stop
from tests.wait import PATIENCE_S

pytestmark = pytest.mark.server

STUBBORN = "import signal, time; signal.signal(15, signal.SIG_IGN); print(1, flush=True); {}"
SLEEP = STUBBORN.format("time.sleep(600)")


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (0, "ended with status 0"),
        (3, "ended with status 3"),
        (-9, "was ended by SIGKILL"),
        (-15, "was ended by SIGTERM"),
        (-99, "was ended by signal 99"),
    ],
)
def test_an_end_in_words(status: int, said: str) -> None:
    assert how_it_ended(status) == said


async def test_a_process_is_ended_with_sigterm() -> None:
    process = await start(["/bin/sleep", "600"])
    ended = await start(["/bin/true"])
    await ended.wait()
    await stop([process, ended], PATIENCE_S)
    assert (process.returncode, ended.returncode) == (-signal.SIGTERM, 0)


async def stubborn() -> asyncio.subprocess.Process:
    process = await start([sys.executable, "-c", SLEEP], stdout=asyncio.subprocess.PIPE)
    assert process.stdout
    assert await process.stdout.readline() == b"1\n"
    return process


async def test_one_that_does_not_end_in_time_is_killed() -> None:
    process = await stubborn()
    await stop([process], 0.01)
    assert process.returncode == -signal.SIGKILL


async def test_cancelled_it_kills_them_at_once() -> None:
    process = await stubborn()
    stopping = asyncio.create_task(stop([process], PATIENCE_S))
    await asyncio.sleep(0)
    stopping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stopping
    assert process.returncode == -signal.SIGKILL
