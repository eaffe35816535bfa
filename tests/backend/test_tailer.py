"""The place where two histories part. The clients' view is tested in `e2e/test_nodes.py`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from typing import Any

import pytest

from broadcaster import EventId, connect
from broadcaster.backend.stream import Info, RedisStream
from broadcaster.backend.tailer import BLOCK_S, Tailer
from broadcaster.core.entry import Row
from broadcaster.core.event import ZERO
from broadcaster.core.history.window import Window
from broadcaster.core.log import Batch, Change, Restart, Rewind
from tests.wait import PATIENCE_S


class Busy(RedisStream):
    """A real stream to which something happens while it is asked what it counts.

    Attributes:
        late: the id of an entry that is added.
        left: to how many entries it is trimmed, from the next question on: one for each of them.
        most: how many entries can be read in time.
    """

    late = ""
    left: Sequence[int | None] = ()
    most = 1000

    async def info(self) -> Info:
        if self.late:
            await self._client.xadd(self.redis_key, {"data": "late"}, id=self.late)
            self.late = ""
        if self.left:
            left, *self.left = self.left
            if left is not None:
                await self._client.xtrim(self.redis_key, maxlen=left, approximate=False)
        return await super().info()

    async def read_on(self, head: EventId, count: int, block_s: float) -> tuple[list[Row], bool]:
        if count > self.most:
            raise TimeoutError
        return await super().read_on(head, count, block_s)


@pytest.fixture
async def stream(redis_url: str) -> AsyncIterator[Busy]:
    client = connect(redis_url, timeout_s=BLOCK_S + 2.0)
    yield Busy(client, "pets")
    await client.aclose()


@pytest.fixture
def tailer(stream: Busy) -> Tailer:
    window = Window(max_events=100, max_bytes=100_000)
    return Tailer(stream, window, max_event_bytes=1000)


async def load(tailer: Tailer, changes: AsyncIterator[Change]) -> None:
    loaded = await anext(changes)
    assert isinstance(loaded, Restart)
    apply(tailer, loaded)


def apply(tailer: Tailer, change: Change) -> None:
    match change:
        case Batch(frames):
            tailer._window.append(frames)
        case Rewind(position):
            tailer._window.rewind(position)
        case Restart(floor, frames, complete, parted):
            tailer._window.restart(floor, complete=complete, parted=parted)
            tailer._window.append(frames)


async def add(client: Any, entries: str) -> None:
    """Add entries, each written as its sequence number and its data: `0 kept`."""
    for entry in entries.split(", "):
        seq, data = entry.split()
        await client.xadd("pets", {"data": data}, id=f"1-{seq}")


@pytest.mark.parametrize(
    "before",
    [
        "0 kept, 1 lost, 2 equal",  # both gave the id of the one between them
        "0 kept, 2 equal",  # there was none
    ],
)
async def test_an_equal_entry_does_not_vouch_for_those_before_it(
    client: Any, tailer: Tailer, before: str
) -> None:
    await add(client, before)
    async with aclosing(tailer.changes()) as changes, asyncio.timeout(PATIENCE_S):
        await load(tailer, changes)
        await client.delete("pets")
        await add(client, "0 kept, 1 new, 2 equal")
        await client.client_kill_filter(_type="normal", skipme=True)
        assert await anext(changes) == Rewind(EventId(1, 0))


async def test_entries_added_during_the_proof_are_part_of_it(
    client: Any, stream: Busy, tailer: Tailer
) -> None:
    await add(client, "0 read")
    async with aclosing(tailer.changes()) as changes, asyncio.timeout(PATIENCE_S):
        await load(tailer, changes)
        await client.xtrim("pets", maxlen=0, approximate=False)
        await add(client, "1 new")
        read = asyncio.ensure_future(anext(changes))
        stream.late = "1-2"
        change = await read
        assert isinstance(change, Batch)  # trimmed was only what had been read
        assert [frame.id for frame in change.frames] == [EventId(1, 1), EventId(1, 2)]


async def test_entries_trimmed_during_a_comparison_are_not_passed_over(
    client: Any, stream: Busy, tailer: Tailer
) -> None:
    await add(client, "0 read, 1 read, 2 read")
    async with aclosing(tailer.changes()) as changes, asyncio.timeout(PATIENCE_S):
        await load(tailer, changes)
        await add(client, "3 missed, 4 missed, 5 left, 6 left")
        await client.client_kill_filter(_type="normal", skipme=True)
        stream.left = [None, 2]  # the first question is asked before the comparison
        change = await anext(changes)
        assert isinstance(change, Restart)
        assert [frame.id for frame in change.frames] == [EventId(1, 5), EventId(1, 6)]


async def test_a_slow_read_is_repeated_with_fewer_entries(
    client: Any, stream: Busy, tailer: Tailer
) -> None:
    await add(client, "0 read")
    async with aclosing(tailer.changes()) as changes, asyncio.timeout(PATIENCE_S):
        await load(tailer, changes)
        await add(client, ", ".join(f"{n} large" for n in range(1, 301)))
        stream.most = 300
        read: list[int] = []
        while len(read) < 300:
            change = await anext(changes)
            assert isinstance(change, Batch)
            tailer._window.append(change.frames)
            read += [frame.id.seq for frame in change.frames]
        assert read == list(range(1, 301))


DISCONNECT = "CLIENT KILL TYPE normal"


async def at_once(client: Any, commands: str) -> None:
    """Execute commands, each in a line of its own, in one step."""
    async with client.pipeline(transaction=True) as pipe:
        for command in commands.strip().splitlines():
            pipe.execute_command(*command.split())
        await pipe.execute()


async def changes_after(client: Any, tailer: Tailer, commands: str) -> Change:
    """Return the next change after some commands on a stream of nine entries, `1-1` to `1-9`."""
    await add(client, ", ".join(f"{n} e{n}" for n in range(1, 10)))
    async with aclosing(tailer.changes()) as changes, asyncio.timeout(PATIENCE_S):
        await load(tailer, changes)
        await at_once(client, commands)
        return await anext(changes)


@pytest.mark.parametrize(
    "deleting",
    [
        "XDEL pets 1-5",
        "XDEL pets 1-4 1-5 1-7",
        "XDEL pets 1-9",
        "XDEL pets 1-7 1-8 1-9",
        "XDEL pets 1-1",
        "XDEL pets 1-1 1-5 1-9",
        "XDEL pets 1-1 1-2 1-3 1-4 1-5 1-6 1-7 1-8 1-9",
        "XDEL pets 1-5\nXTRIM pets MAXLEN 3",
        "XDEL pets 1-5 1-9\nXTRIM pets MAXLEN 2",
        "XTRIM pets MAXLEN 6\nXDEL pets 1-4",
        "XDEL pets 1-9\nXTRIM pets MAXLEN 0",
        "XADD pets 1-10 data deleted\nXDEL pets 1-10 1-5",
    ],
)
async def test_deleted_entries_do_not_look_like_a_lost_history(
    client: Any, tailer: Tailer, deleting: str
) -> None:
    """Over a new connection the histories are compared, and deletions leave holes in one."""
    added = "XADD pets 1-11 data new"
    change = await changes_after(client, tailer, f"{deleting}\n{added}\n{DISCONNECT}")
    assert isinstance(change, Batch)
    assert [frame.id for frame in change.frames] == [EventId(1, 11)]


async def test_all_entries_of_a_comparison_may_be_deleted(client: Any, stream: Busy) -> None:
    window = Window(max_events=3000, max_bytes=10_000_000)
    tailer = Tailer(stream, window, max_event_bytes=1000)
    await client.eval("for n = 1, 1500 do redis.call('XADD', 'pets', '1-'..n, 'n', n) end", 0)
    async with aclosing(tailer.changes()) as changes, asyncio.timeout(PATIENCE_S):
        await load(tailer, changes)
        newest = " ".join(f"1-{n}" for n in range(401, 1501))
        await at_once(client, f"XDEL pets {newest}\nXADD pets 2-0 data new\n{DISCONNECT}")
        change = await anext(changes)
        assert isinstance(change, Batch)
        assert [frame.id for frame in change.frames] == [EventId(2, 0)]


@pytest.mark.parametrize(
    ("history", "common"),
    [
        # The newest entry is lost. The new master has taken one, and it was deleted.
        ("1 2 3 4 5 6 7 8 10\nXDEL pets 1-10", 8),
        # The same, and then came an entry that stays.
        ("1 2 3 4 5 6 7 8 10 11\nXDEL pets 1-10", 8),
        # Entries were deleted before two were lost.
        ("1 2 3 4 5 6 7\nXDEL pets 1-4", 7),
        # The new master has lost three, and has given one of their ids again.
        ("1 2 3 4 5 6 8\nXDEL pets 1-8", 6),
        # An entry was lost that is newer than all that were deleted, though there are newer ones.
        ("1 2 3 4 5 7 8 9\nXDEL pets 1-3", 5),
    ],
)
async def test_deleted_entries_do_not_hide_a_lost_history(
    client: Any, tailer: Tailer, history: str, common: int
) -> None:
    ids, _, deleting = history.partition("\n")
    adding = "\n".join(f"XADD pets 1-{n} data e{n}" for n in ids.split())
    commands = f"DEL pets\n{adding}\n{deleting}\n{DISCONNECT}"
    assert await changes_after(client, tailer, commands) == Rewind(EventId(1, common))


MADE_ANEW = "XADD pets 1-1 data new\nXADD pets 2-0 data new"


@pytest.mark.parametrize(
    "losing",
    [
        "DEL pets",
        "FLUSHALL",
        "RENAME pets elsewhere",
        "SET pets text",
        f"DEL pets\n{DISCONNECT}",
        f"DEL pets\n{MADE_ANEW}",
        f"DEL pets\n{MADE_ANEW}\n{DISCONNECT}",
        f"RENAME pets elsewhere\n{MADE_ANEW}",
        "XADD other 2-1 data e1\nRENAME other pets",
    ],
)
async def test_a_stream_that_is_made_anew_is_not_taken_for_a_trimmed_one(
    client: Any, tailer: Tailer, losing: str
) -> None:
    change = await changes_after(client, tailer, losing)
    assert isinstance(change, Restart)
    assert (change.floor, change.complete, change.parted) == (ZERO, True, ZERO)


async def test_a_stream_that_was_trimmed_past_the_head_is_not_taken_for_a_new_one(
    client: Any, tailer: Tailer
) -> None:
    trimming = "XADD pets 2-0 data missed\nXADD pets 2-1 data new\nXTRIM pets MAXLEN 1"
    change = await changes_after(client, tailer, f"{trimming}\n{DISCONNECT}")
    assert isinstance(change, Restart)
    assert (change.floor, change.complete, change.parted) == (EventId(2, 0), True, None)


async def test_a_window_without_frames_is_not_taken_for_a_lost_history(
    client: Any, stream: Busy
) -> None:
    tailer = Tailer(stream, Window(max_events=100, max_bytes=1), max_event_bytes=1000)
    change = await changes_after(client, tailer, f"XADD pets 2-0 data new\n{DISCONNECT}")
    assert isinstance(change, Restart)
    assert change.parted is None


async def test_an_id_of_the_future_can_be_taken_back(client: Any, tailer: Tailer) -> None:
    await add(client, "1 read")
    async with aclosing(tailer.changes()) as changes, asyncio.timeout(PATIENCE_S):
        await load(tailer, changes)
        await client.xadd("pets", {"data": "future"}, id="9999999999999-0")
        apply(tailer, await anext(changes))
        # A server refuses an `XSETID` below what was deleted, so the stream is written again.
        await at_once(client, "DEL pets\nXADD pets 1-1 data read\nXADD pets 1-2 data new")
        change = await anext(changes)
        assert change == Rewind(EventId(1, 1))
        apply(tailer, change)
        apply(tailer, await anext(changes))
        window = tailer._window
        assert window.head == EventId(1, 2)
        assert window.head not in window.dropped
        assert EventId(9999999999999, 0) in window.dropped
