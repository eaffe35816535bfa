"""A node's states are made of checkpoints while it tails, and again after each break."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest

from broadcaster import Channel, EventId, connect
from broadcaster.backend.log import Log, RedisLog
from broadcaster.backend.memory import MemoryLog
from broadcaster.core.entry import encode
from broadcaster.core.history.window import Window
from broadcaster.core.log import Batch, Restart, Rewind
from broadcaster.core.shards import shard_of
from broadcaster.core.state.checkpoint import Mark, field_of, packed_values
from broadcaster.core.state.fold import Fold
from broadcaster.core.state.values import Value
from broadcaster.node.state.folds import Folds
from tests.wait import until

CHANNELS = [
    Channel(name="pets", path="/v1/pets", state="last"),
    Channel(name="plain", path="/v1/plain"),
]


class Tailed:
    """The streams of a node, their windows, and the folds that were adopted."""

    def __init__(self, log: Log, channels: list[Channel] = CHANNELS) -> None:
        self.log = log
        self.windows = {name: Window(1_000, 1 << 30) for one in channels for name in one.streams}
        self.folds: dict[str, Fold] = {}
        self.states = Folds(channels, self.windows, log, self.folds.__setitem__)

    async def follow(self, stream: str) -> None:
        window = self.windows[stream]
        async with aclosing(self.log.changes(stream, window)) as changes:
            async for change in changes:
                match change:
                    case Batch(frames):
                        window.append(frames)
                        if stream in self.folds:
                            self.folds[stream].apply(frames)
                    case Rewind(position):
                        window.rewind(position)
                        self.states.broken(stream)
                    case Restart(floor, frames, complete, parted):
                        window.restart(floor, complete=complete, parted=parted)
                        window.append(frames)
                        self.states.broken(stream)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(self.follow(stream)) for stream in self.windows]
        tasks.append(asyncio.create_task(self.states.run()))
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self.log.aclose()


async def test_without_redis_the_state_is_that_of_the_log() -> None:
    log = MemoryLog()
    log.add("pets", type="t", key="7", data=1)
    log.add("plain", type="t", key="7", data=1)
    tailed = Tailed(log)
    async with tailed.running():
        await until(lambda: "pets" in tailed.folds)
        log.add("pets", type="t", key="7", data=2)
        await until(lambda: tailed.folds["pets"].of_key("7")[-1].data == b"2")
    assert list(tailed.folds) == ["pets"]


@pytest.mark.server
async def test_checkpoints_of_all_streams_are_loaded(redis_url: str, client: Any) -> None:
    names = [f"pets.{n}" for n in range(6)]
    channels = [Channel(name="pets", path="/v1/pets", state="last", shards=6)]
    keys = {f"pets.{shard_of(str(n), 6)}": str(n) for n in range(60)}
    for name in names:
        ids = [await client.xadd(name, encode("t", "k", n)) for n in range(3)]
        position = EventId.of_entry(ids[1])
        mark = Mark(b"m", position, None, 2, "last|", 6)
        old = Value(position, "t", keys[name], name.encode())
        fields = {b"at": mark.packed(), field_of(keys[name]): packed_values([old])}
        await client.hset(f"{{{name}}}:state", mapping=fields)
    reader: Any = connect(redis_url)
    tailed = Tailed(RedisLog(redis_url, dict(zip(names, names, strict=True)), max_event_bytes=999))
    tailed = Tailed(tailed.log, channels)
    tailed.states.use(reader, 999)
    async with tailed.running():
        await until(lambda: len(tailed.folds) == 6)
        for name, fold in tailed.folds.items():
            assert [value.data for value in fold.of_key(keys[name])] == [name.encode()]
            assert [value.data for value in fold.of_key("k")] == [b"2"]
            assert fold.since is None
    await reader.aclose()


@pytest.mark.server
async def test_a_node_that_follows_needs_no_commands_for_the_state(
    redis_url: str, client: Any
) -> None:
    reader: Any = connect(redis_url)
    await client.xadd("pets", encode("t", "7", 1))
    keys = {"pets": "pets", "plain": "plain"}
    tailed = Tailed(RedisLog(redis_url, keys, max_event_bytes=999))
    tailed.states.use(reader, 999)
    async with tailed.running():
        await until(lambda: "pets" in tailed.folds)
        await client.config_resetstat()
        for n in range(100):
            tailed.folds["pets"].cut()
            await client.xadd("pets", encode("t", "7", n))
        await until(lambda: tailed.folds["pets"].of_key("7")[-1].data == b"99")
        stats = await client.info("commandstats")
    await reader.aclose()
    assert not {"cmdstat_hget", "cmdstat_hscan", "cmdstat_hmget"} & set(stats)
