"""Open reads are shared. The last caller that leaves cancels those that were not sent yet."""

from __future__ import annotations

import asyncio
import gc

import pytest

from broadcaster.backend.sharing import Sending, SharedReads
from tests.wait import until


class Source:
    """A read that ends when the test says so.

    Attributes:
        begun: how many reads have begun.
        cancelled: how many were cancelled.
    """

    def __init__(self) -> None:
        self.begun = 0
        self.cancelled = 0
        self.turn = asyncio.Event()
        self.turn.set()
        self.answer = asyncio.Event()

    async def read(self, sending: Sending) -> int:
        self.begun += 1
        number = self.begun
        try:
            await self.turn.wait()
            sending()
            await self.answer.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return number


async def started(*tasks: asyncio.Task[int]) -> None:
    for _ in range(3):
        await asyncio.sleep(0)
    assert not any(task.done() for task in tasks)


@pytest.fixture
async def source() -> Source:
    return Source()


async def test_callers_that_want_the_same_at_the_same_time_share_a_read(source: Source) -> None:
    shared = SharedReads()
    tasks = [asyncio.create_task(shared.of("a", source.read)) for _ in range(5)]
    other = asyncio.create_task(shared.of("b", source.read))
    await started(*tasks, other)
    source.answer.set()
    assert await asyncio.gather(*tasks, other) == [1, 1, 1, 1, 1, 2]


async def test_a_later_caller_gets_a_read_of_its_own(source: Source) -> None:
    shared = SharedReads()
    source.answer.set()
    assert [await shared.of("a", source.read) for _ in range(2)] == [1, 2]


async def test_a_caller_that_leaves_leaves_the_read_to_the_others(source: Source) -> None:
    shared = SharedReads()
    first, second = (asyncio.create_task(shared.of("a", source.read)) for _ in range(2))
    await started(first, second)
    first.cancel()
    await asyncio.wait([first])
    source.answer.set()
    assert first.cancelled()
    assert await second == 1
    assert source.cancelled == 0


async def test_the_last_caller_that_leaves_ends_a_read_that_waits_for_its_turn(
    source: Source,
) -> None:
    shared = SharedReads()
    source.turn.clear()
    task = asyncio.create_task(shared.of("a", source.read))
    await started(task)
    task.cancel()
    later = asyncio.create_task(shared.of("a", source.read))  # it does not join what is cancelled
    source.turn.set()
    source.answer.set()
    assert await later == 2
    assert task.cancelled()
    assert source.cancelled == 1


async def test_a_read_that_was_sent_goes_on_when_all_callers_have_left(source: Source) -> None:
    shared = SharedReads()
    task = asyncio.create_task(shared.of("a", source.read))
    await started(task)
    task.cancel()
    await asyncio.wait([task])
    later = asyncio.create_task(shared.of("a", source.read))  # it needs no read of its own
    await started(later)
    source.answer.set()
    assert await later == 1
    assert source.cancelled == 0
    assert not shared._reads


async def test_an_error_without_callers_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    shared, go_on = SharedReads(), asyncio.Event()

    async def read(sending: Sending) -> None:
        sending()
        await go_on.wait()
        raise ValueError

    task = asyncio.create_task(shared.of("a", read))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    del task  # or its traceback would keep the read
    go_on.set()
    await until(lambda: not shared._reads)
    gc.collect()  # asyncio logs an error that was never looked at when its task is removed
    assert not caplog.records


async def test_all_callers_get_the_error_and_the_next_one_reads_again() -> None:
    shared = SharedReads()
    answers = iter([ValueError("no"), None])

    async def read(_: Sending) -> str:
        await asyncio.sleep(0)
        if error := next(answers):
            raise error
        return "yes"

    both = [asyncio.create_task(shared.of("a", read)) for _ in range(2)]
    errors = await asyncio.gather(*both, return_exceptions=True)
    assert [str(error) for error in errors] == ["no", "no"]
    assert await shared.of("a", read) == "yes"


async def test_closing_cancels_open_reads(source: Source) -> None:
    shared = SharedReads()
    task = asyncio.create_task(shared.of("a", source.read))
    await started(task)
    await shared.aclose()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert source.cancelled == 1
