"""When the number of shards changes, the values of a key move with it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from broadcaster import Channel, connect
from broadcaster.backend.checkpoints.flush import Flush
from broadcaster.backend.checkpoints.moving import Moving
from broadcaster.core.entry import encode
from broadcaster.core.event import EventId
from broadcaster.core.shards import shard_of
from broadcaster.core.state.checkpoint import Mark, named
from broadcaster.core.state.values import Rules
from broadcaster.node.state import folder as module
from broadcaster.node.state.folder import Folder, folded
from tests.wait import until

LAST, APPEND = Rules("last"), Rules("append", append="text")
KEYS = [str(n) for n in range(20)]
MAX = 1_000_000


def channel(shards: int, rules: Rules) -> Channel:
    kind, append = rules.kind, rules.append
    return Channel(name="pets", path="/v1/pets", shards=shards, state=kind, append=append)


@asynccontextmanager
async def folding(url: str, shards: int, rules: Rules) -> AsyncIterator[Folder]:
    streams = folded([channel(shards, rules)])
    made, stop = Folder(url, streams, max_event_bytes=MAX), asyncio.Event()
    task = asyncio.create_task(made.run(stop))
    try:
        yield made
    finally:
        stop.set()
        await task


class Pets:
    """The streams of a channel, and what their events add up to."""

    def __init__(self, url: str, client: Any, rules: Rules) -> None:
        self.url, self.client, self.rules = url, client, rules
        self.texts = dict[str, str]()

    def stream(self, key: str, shards: int) -> str:
        return "pets" if shards == 1 else f"pets.{shard_of(key, shards)}"

    async def add(self, shards: int, text: str) -> None:
        for key in KEYS:
            data = {"text": text}
            await self.client.xadd(self.stream(key, shards), encode("t", key, data))
            before = self.texts.get(key, "") if self.rules.kind == "append" else ""
            self.texts[key] = before + text

    async def is_folded(self, shards: int) -> bool:
        """Return True if all checkpoints are at the heads of their streams."""
        for stream in folded([channel(shards, self.rules)]):
            moving = Moving(self.client, stream.redis_key, self.rules, shards, max_event_bytes=MAX)
            mark = (await moving.marks()).get(stream.redis_key)
            head = (await self.client.xinfo_stream(stream.redis_key))["last-generated-id"]
            at_head = mark and mark.position == EventId.of_entry(head) and mark.shards == shards
            if not at_head:
                return False
        return True

    async def found(self, shards: int) -> dict[str, str]:
        """Return what a node finds, and check that no other stream has the keys of one."""
        texts = dict[str, str]()
        for stream in folded([channel(shards, self.rules)]):
            reader: Any = connect(self.url)
            moving = Moving(reader, stream.redis_key, self.rules, shards, max_event_bytes=MAX)
            found = await moving.read()
            await reader.aclose()
            for value in found.values:
                if self.stream(value.key, shards) == stream.redis_key:
                    texts[value.key] = value.data.decode().removeprefix('{"text":"')[:-2]
            assert found.mark is None or found.mark.since is None
        return texts


@pytest.mark.parametrize("rules", [LAST, APPEND], ids=lambda rules: rules.kind)
@pytest.mark.parametrize("shards", [(1, 3), (3, 1), (3, 5), (5, 2)], ids=str)
async def test_values_move_with_their_keys(
    redis_url: str,
    client: Any,
    rules: Rules,
    shards: tuple[int, int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "TIDY_S", 0.05)
    before, after = shards
    pets = Pets(redis_url, client, rules)
    await pets.add(before, "a")
    async with folding(redis_url, before, rules):
        await until(lambda: pets.is_folded(before))
    await pets.add(before, "b")  # nothing has folded these
    await pets.add(after, "c")
    assert await pets.found(after) != {}  # a node does not wait for the folder
    async with folding(redis_url, after, rules):
        await until(lambda: pets.is_folded(after))
        await pets.add(after, "d")
        await until(lambda: pets.is_folded(after))
        await until(lambda: former(client, after))
    assert await pets.found(after) == pets.texts
    async with folding(redis_url, before, rules):  # and back
        await pets.add(before, "e")
        await until(lambda: pets.is_folded(before))
    assert await pets.found(before) == pets.texts


async def former(client: Any, shards: int) -> bool:
    """Return True if no checkpoint of a former number is left."""
    present = {"{pets}:state"} if shards == 1 else {f"{{pets.{n}}}:state" for n in range(shards)}
    return {key.decode() for key in await client.keys("*:state")} == present


async def test_a_move_that_was_killed_begins_again(redis_url: str, client: Any) -> None:
    pets = Pets(redis_url, client, APPEND)
    await pets.add(2, "a")
    async with folding(redis_url, 2, APPEND):
        await until(lambda: pets.is_folded(2))
    await pets.add(2, "b")
    await begun_and_killed(redis_url, client, ["pets.0"])
    await pets.add(3, "c")
    await begun_and_killed(redis_url, client, ["pets.0"])  # it keeps what others have not got
    async with folding(redis_url, 3, APPEND):
        await pets.add(3, "d")
        await until(lambda: pets.is_folded(3))
    assert await pets.found(3) == pets.texts


@pytest.mark.parametrize("rules", [LAST, APPEND], ids=lambda rules: rules.kind)
async def test_a_key_returns_to_a_stream_that_has_kept_its_older_values(
    redis_url: str, client: Any, rules: Rules
) -> None:
    pets = Pets(redis_url, client, rules)
    await pets.add(2, "a")
    async with folding(redis_url, 2, rules):
        await until(lambda: pets.is_folded(2))
    await pets.add(3, "b")
    # The first two have exchanged keys, which they keep, because the third has not come.
    await begun_and_killed(redis_url, client, ["pets.0", "pets.1"], rules)
    returning = {key for key in KEYS if shard_of(key, 2) != shard_of(key, 3) < 2}
    assert returning
    found = await pets.found(2)
    assert {key: found[key] for key in returning} == {key: pets.texts[key] for key in returning}


async def begun_and_killed(
    url: str, client: Any, written: list[str], rules: Rules = APPEND
) -> None:
    """Move from two shards to three, until only these streams have got a new checkpoint."""
    write, begun, done = Flush.write, set[str](), set[str]()

    async def only_these(self: Flush, *words: Any, **more: Any) -> Any:
        begun.add(self._stream)
        if self._stream not in written:
            await asyncio.Event().wait()
        result = await write(self, *words, **more)
        done.add(self._stream)
        return result

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Flush, "write", only_these)
        patched.setattr(module, "_FINISH_S", 0.01)
        async with folding(url, 3, rules):
            await until(lambda: len(begun) == 3)
            await until(lambda: done == set(written))
    await client.delete(*(f"{{pets.{n}}}:folder" for n in range(3)))


async def test_of_the_former_streams_a_hole_is_said(redis_url: str, client: Any) -> None:
    pets = Pets(redis_url, client, LAST)
    await pets.add(1, "a")
    async with folding(redis_url, 1, LAST):
        await until(lambda: pets.is_folded(1))
    mark = (await Moving(client, "pets", LAST, 1, max_event_bytes=MAX).marks())["pets"]
    holed = mark._replace(since=EventId(7, 0)).packed()
    await client.hset("{pets}:state", "at", holed)
    found = await Moving(client, "pets.1", LAST, 3, max_event_bytes=MAX).read()
    assert found.mark is not None
    assert found.mark.since == EventId(7, 0)
    assert {value.key for value in found.values} == {k for k in KEYS if shard_of(k, 3) == 1}


async def test_other_rules_move_nothing(redis_url: str, client: Any) -> None:
    mark = Mark(b"m", EventId(1, 0), None, 1, named(APPEND), 1)
    await client.hset("{pets}:state", "at", mark.packed())
    found = await Moving(client, "pets.1", LAST, 3, max_event_bytes=MAX).read()
    assert found.values == []
