"""A fold is made of the checkpoint and the log after it, and again after each break."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest

from broadcaster.backend.checkpoints.checkpoint import NOTHING, Found
from broadcaster.backend.memory import MemoryLog
from broadcaster.core.event import EventId
from broadcaster.core.history.window import Window
from broadcaster.core.log import Batch, Restart, Rewind
from broadcaster.core.state.checkpoint import Mark
from broadcaster.core.state.fold import Fold
from broadcaster.core.state.values import Rules, Value
from broadcaster.errors import BackendUnavailableError
from broadcaster.node.state import restoring as module
from broadcaster.node.state.restoring import Restoring
from tests.wait import until

LAST = Rules("last")


class Stream:
    """A stream in memory that is tailed, its checkpoint, and the folds that were made."""

    def __init__(self, window_events: int = 100_000) -> None:
        self.log = MemoryLog()
        self.window = Window(window_events, 1 << 30)
        self.checkpoint = NOTHING
        self.folds: list[Fold] = []
        self.reads = 0
        self.newest = EventId(1_000, 0)
        self.restoring = Restoring("pets", LAST, self.log, self.window, self.read, self.adopt)

    async def read(self) -> Found:
        self.reads += 1
        return self.checkpoint

    def adopt(self, fold: Fold, found: Found) -> None:
        assert fold.position == self.window.head
        self.folds.append(fold)

    def add(self, key: str, data: Any) -> EventId:
        """Add an event. Its id follows the one before, however many milliseconds this takes."""
        self.newest = self.newest.after()
        return self.log.add("pets", type="t", key=key, data=data, id=self.newest)

    def save(self, position: EventId, values: dict[str, Any], since: EventId | None = None) -> None:
        """Write a checkpoint of these values, all of which have the id of the position."""
        mark = Mark(b"m", position, since, 0, "last")
        found = [Value(position, "t", key, b"%d" % data) for key, data in values.items()]
        self.checkpoint = Found(mark, found, position, b"at", mark)

    def data(self) -> dict[str, bytes]:
        """Return what the newest fold has."""
        return {
            key: self.folds[-1].of_key(key)[-1].data for key in "abc" if self.folds[-1].of_key(key)
        }

    async def follow(self) -> None:
        async with aclosing(self.log.changes("pets", self.window)) as changes:
            async for change in changes:
                match change:
                    case Batch(frames):
                        self.window.append(frames)
                        if self.folds:
                            self.folds[-1].apply(frames)
                    case Rewind(position):
                        self.window.rewind(position)
                        self.restoring.broken()
                    case Restart(floor, frames, complete, parted):
                        self.window.restart(floor, complete=complete, parted=parted)
                        self.window.append(frames)
                        self.restoring.broken()

    @asynccontextmanager
    async def running(self, folds: int = 1) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(work()) for work in (self.follow, self.restoring.run)]
        try:
            await until(lambda: len(self.folds) >= folds)
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def test_without_a_checkpoint_it_is_that_of_the_log() -> None:
    stream = Stream()
    for n in range(5):
        stream.add("ab"[n % 2], n)
    async with stream.running():
        assert stream.data() == {"a": b"4", "b": b"3"}
        assert stream.folds[0].since is None


@pytest.mark.parametrize("window_events", [2, 100_000])
async def test_where_the_log_was_trimmed_it_says_since_when(window_events: int) -> None:
    stream = Stream(window_events)
    ids = [stream.add("ab"[n // 2], n) for n in range(4)]
    stream.log.trim("pets", 3)
    async with stream.running():
        assert stream.data() == {"a": b"1", "b": b"3"}
        assert stream.folds[0].since == ids[1].before()


@pytest.mark.parametrize("window_events", [1, 2, 100_000])
async def test_the_log_after_the_checkpoint_is_folded_onto_it(window_events: int) -> None:
    stream = Stream(window_events)
    stream.add("b", 0)
    position = stream.add("a", 1)
    stream.save(position, {"a": 1, "b": 0})
    for n in range(2, 1_500):
        stream.add("a", n)
    stream.log.trim("pets", 1_499)
    async with stream.running():
        assert stream.data() == {"a": b"1499", "b": b"0"}
        assert stream.folds[0].since is None


async def test_what_a_checkpoint_says_of_a_hole_is_kept() -> None:
    stream = Stream()
    position = stream.add("a", 1)
    stream.save(position, {"a": 1}, since=EventId(1, 1))
    async with stream.running():
        assert stream.folds[0].since == EventId(1, 1)


async def test_a_checkpoint_whose_log_is_missing_is_not_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stream = Stream(1)
    stream.save(stream.add("b", 0), {"a": 1, "b": 0})
    ids = [stream.add("a", n) for n in range(3)]
    stream.log.trim("pets", 2)
    async with stream.running():
        assert stream.data() == {"a": b"2"}
        assert stream.folds[0].since == ids[1].before()


async def test_if_its_log_is_missing_a_newer_checkpoint_is_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_BACKOFF_S", (0.001, 0.001))
    stream = Stream(1)
    stream.save(stream.add("b", 0), {"b": 0})
    ids = [stream.add("a", n) for n in range(3)]
    stream.log.trim("pets", 2)
    older = stream.checkpoint

    async def read() -> Found:
        stream.reads += 1
        return older if stream.reads == 1 else stream.checkpoint

    stream.save(ids[0], {"a": 0, "b": 0})
    stream.checkpoint = stream.checkpoint._replace(at=b"later")
    stream.restoring = Restoring("pets", LAST, stream.log, stream.window, read, stream.adopt)
    async with stream.running():
        assert stream.data() == {"a": b"2", "b": b"0"}
        assert stream.folds[0].since is None


async def test_it_waits_for_the_window_to_have_what_a_value_has() -> None:
    stream = Stream()
    position, later = stream.add("a", 1), EventId(1 << 50, 0)
    stream.save(position, {"a": 1})
    stream.checkpoint.values.append(Value(later, "t", "b", b"2"))
    stream.checkpoint = stream.checkpoint._replace(newest=later)
    async with stream.running(folds=0):
        await until(lambda: stream.reads)
        for _ in range(20):
            await asyncio.sleep(0)
        assert not stream.folds
        stream.log.add("pets", type="t", key="b", data=2, id=later)
        await until(lambda: stream.folds)
        assert stream.data() == {"a": b"1", "b": b"2"}


async def test_it_waits_for_the_window_to_reach_the_checkpoint() -> None:
    stream = Stream()
    stream.add("a", 1)
    later = EventId(1 << 50, 0)
    stream.save(later, {"a": 3})
    async with stream.running(folds=0):
        await until(lambda: stream.reads)
        stream.log.add("pets", type="t", key="a", data=3, id=later)
        await until(lambda: stream.folds)
        assert stream.data() == {"a": b"3"}


async def test_after_a_rewind_another_one_is_made() -> None:
    stream = Stream()
    position = stream.add("a", 1)
    async with stream.running():
        lost = stream.add("a", 2)
        await until(lambda: stream.data() == {"a": b"2"})
        stream.log.rewind("pets", position)
        await until(lambda: len(stream.folds) == 2)
        assert stream.data() == {"a": b"1"}
        stream.log.add("pets", type="t", key="b", data=3, id=lost)
        await until(lambda: stream.data() == {"a": b"1", "b": b"3"})


async def test_a_break_while_it_is_made_begins_it_again() -> None:
    stream, going_on = Stream(), asyncio.Event()
    position = stream.add("a", 1)
    stream.save(stream.add("a", 2), {"a": 2})

    async def read() -> Found:
        found = await Stream.read(stream)
        if stream.reads == 1:
            await going_on.wait()
        return found

    stream.read = read  # type: ignore[method-assign]
    stream.restoring = Restoring("pets", LAST, stream.log, stream.window, read, stream.adopt)
    async with stream.running(folds=0):
        await until(lambda: stream.reads == 1)
        stream.log.rewind("pets", position)
        stream.save(position, {"a": 1})
        await until(lambda: stream.restoring.breaks == 2)
        going_on.set()
        await until(lambda: stream.folds)
        assert stream.data() == {"a": b"1"}
        assert len(stream.folds) == 1


async def test_while_redis_is_away_it_tries_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BACKOFF_S", (0.001, 0.001))
    stream = Stream()
    stream.add("a", 1)
    said = []

    async def read() -> Found:
        stream.reads += 1
        said.append(stream.restoring.problem)
        if stream.reads < 4:
            raise BackendUnavailableError("away")
        return NOTHING

    stream.restoring = Restoring("pets", LAST, stream.log, stream.window, read, stream.adopt)
    async with stream.running(folds=0):
        await until(lambda: stream.folds)
        assert said == ["", "away", "away", "away"]
        assert (stream.reads, stream.restoring.problem) == (4, "")
