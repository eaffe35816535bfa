"""Where two histories part. What clients are told of it is in `e2e/test_nodes.py`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest

from broadcaster import EventId, connect
from broadcaster.backend.stream import RedisStream
from broadcaster.backend.tailer import BLOCK_S, Restart, Rewind, Tailer
from broadcaster.core.window import Window


@pytest.fixture
async def tailer(redis_url: str) -> AsyncIterator[Tailer]:
    client = connect(redis_url, timeout_s=BLOCK_S + 2.0)
    window = Window(max_events=100, max_bytes=100_000)
    yield Tailer(RedisStream(client, "pets"), window, max_event_bytes=1000)
    await client.aclose()


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
    async with aclosing(tailer.changes()) as changes, asyncio.timeout(BLOCK_S + 2.0):
        loaded = await anext(changes)
        assert isinstance(loaded, Restart)
        tailer._window.restart(loaded.floor, complete=loaded.complete)
        tailer._window.append(loaded.frames)
        await client.delete("pets")
        await add(client, "0 kept, 1 new, 2 equal")
        await client.client_kill_filter(_type="normal", skipme=True)
        assert await anext(changes) == Rewind(EventId(1, 0))
