"""Changes of a stream in memory, as a node that follows it sees them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest

from broadcaster.backend.memory import MemoryLog
from broadcaster.core.event import ZERO, EventId
from broadcaster.core.history.window import Window
from broadcaster.core.log import Batch, Change, Entry, Exists, Restart, Rewind
from broadcaster.core.sse import Frame
from broadcaster.errors import InvalidEventError
from tests.wait import PATIENCE_S


def at(ms: int) -> EventId:
    return EventId(ms, 0)


def ids(frames: list[Frame]) -> list[EventId]:
    return [frame.id for frame in frames]


class Follower:
    """Applies the changes of a log, as a node does."""

    def __init__(self, log: MemoryLog) -> None:
        self.window = Window(3, 1 << 20)
        self.changes: AsyncGenerator[Change, None] = log.changes("pets", self.window)

    async def next(self) -> Change:
        async with asyncio.timeout(PATIENCE_S):
            change = await anext(self.changes)
        match change:
            case Batch(frames):
                self.window.append(frames)
            case Rewind(position):
                self.window.rewind(position)
            case Restart(floor, frames, complete, parted):
                self.window.restart(floor, complete=complete, parted=parted)
                self.window.append(frames)
        return change


@pytest.fixture
def log() -> MemoryLog:
    """A log with three entries."""
    made = MemoryLog()
    for ms in (2, 5, 9):
        made.add("pets", id=at(ms))
    return made


async def test_ids_rise_and_are_made_from_the_clock() -> None:
    log = MemoryLog()
    first = log.add("pets")
    assert first.ms > 1_700_000_000_000
    assert log.add("pets") > first
    with pytest.raises(ValueError, match="not greater"):
        log.add("pets", id=first)


async def test_an_event_that_no_node_could_deliver_is_refused(log: MemoryLog) -> None:
    with pytest.raises(InvalidEventError):
        log.add("pets", type="stream.live")
    log.add("pets", type="sold", key="7", data={"n": 1}, id=at(12))
    frame = await log.ask("pets", Entry(at(12)))
    assert isinstance(frame, Frame)
    assert (frame.type, frame.key, frame.data) == ("sold", "7", b'{"n":1}')


async def test_a_trim_of_delivered_entries_is_no_change(log: MemoryLog) -> None:
    follower = Follower(log)
    first = await follower.next()
    assert isinstance(first, Restart)
    assert (first.floor, ids(first.frames), first.complete) == (ZERO, [at(2), at(5), at(9)], True)
    log.trim("pets", 0)
    log.add("pets", id=at(12))
    change = await follower.next()
    assert isinstance(change, Batch)
    assert ids(change.frames) == [at(12)]


async def test_a_trim_of_what_was_not_delivered_is_a_new_beginning(log: MemoryLog) -> None:
    follower = Follower(log)
    await follower.next()
    log.add("pets", id=at(12))
    log.add("pets", id=at(13))
    log.trim("pets", 1)
    change = await follower.next()
    assert isinstance(change, Restart)
    assert (ids(change.frames), change.complete, change.parted) == ([at(13)], True, None)


async def test_a_removed_entry_is_no_change(log: MemoryLog) -> None:
    follower = Follower(log)
    await follower.next()
    for ms in (9, 5, 1):
        log.remove("pets", at(ms))
    log.add("pets", id=at(12))
    change = await follower.next()
    assert isinstance(change, Batch)
    assert ids(change.frames) == [at(12)]
    assert [await log.ask("pets", Exists(at(ms))) for ms in (5, 9, 12)] == [False, False, True]


async def test_a_rewind_reaches_each_reader_that_was_ahead_once(log: MemoryLog) -> None:
    follower = Follower(log)
    await follower.next()
    log.rewind("pets", at(5))
    assert await follower.next() == Rewind(at(5))
    log.add("pets", id=at(7))
    change = await follower.next()
    assert isinstance(change, Batch)
    assert ids(change.frames) == [at(7)]


async def test_a_stream_that_is_cleared_begins_anew(log: MemoryLog) -> None:
    follower = Follower(log)
    await follower.next()
    log.clear("pets")
    log.clear("pets")
    assert await follower.next() == Restart(ZERO, [], True, ZERO)
    log.clear("pets")
    assert await follower.next() == Restart(ZERO, [], True, None)  # there was nothing to lose
    log.add("pets", id=at(1))
    assert isinstance(await follower.next(), Batch)


async def test_a_rewind_to_before_the_window_begins_anew(log: MemoryLog) -> None:
    for ms in (12, 15, 17):
        log.add("pets", id=at(ms))
    follower = Follower(log)
    await follower.next()
    floor = follower.window.floor
    log.rewind("pets", at(9))
    change = await follower.next()
    assert isinstance(change, Restart)
    assert (ids(change.frames), change.parted) == ([at(2), at(5), at(9)], ZERO)
    assert floor > at(9)


async def test_a_position_just_before_an_entry_proves_only_before_the_oldest() -> None:
    log = MemoryLog()
    for seq in (2, 4, 6):
        log.add("pets", id=EventId(5, seq))
    exist = [await log.ask("pets", Exists(EventId(5, seq))) for seq in range(1, 8)]
    assert exist == [True, True, False, True, False, True, False]


async def test_a_window_gets_the_newest_entries_that_fit(log: MemoryLog) -> None:
    log.add("pets", id=at(12))
    change = await Follower(log).next()
    assert isinstance(change, Restart)
    assert ids(change.frames) == [at(5), at(9), at(12)]
    assert (change.floor, change.complete) == (at(5).before(), False)
