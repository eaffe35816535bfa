"""What folders write is the fold of the log, whatever happens to them and to Redis."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from broadcaster import EmbeddedRedis, connect
from broadcaster.backend.checkpoints import flush as flushes
from broadcaster.backend.checkpoints.checkpoint import Checkpoint, Found
from broadcaster.backend.checkpoints.flush import Flush, Flushed
from broadcaster.core.entry import encode, frames_of
from broadcaster.core.event import ZERO, EventId
from broadcaster.core.sse import Frame
from broadcaster.core.state.checkpoint import named
from broadcaster.core.state.fold import Fold
from broadcaster.core.state.values import Rules
from broadcaster.node.state import folding
from broadcaster.node.state.folder import Folded, Folder
from tests.relay import PIECE, Relay, Ways
from tests.wait import until

pytestmark = pytest.mark.server

LAST = Rules("last", removes=frozenset({"sold"}))
MERGE, APPEND = Rules("merge"), Rules("append", append="text")
HASH = "{pets}:state"
MAX = 1_000_000


@asynccontextmanager
async def folder(url: str, rules: Rules = LAST) -> AsyncIterator[Folder]:
    made, stop = Folder(url, [Folded("pets", "pets", rules)], max_event_bytes=MAX), asyncio.Event()
    task = asyncio.create_task(made.run(stop))
    try:
        yield made
    finally:
        stop.set()
        await task


class Log:
    """The stream, and all that was ever added to it."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.frames: list[Frame] = []

    async def add(self, key: str, data: Any, type_: str = "t") -> EventId:
        id_ = await self.client.xadd("pets", encode(type_, key, data))
        (frame,) = frames_of([(id_, [b"m", encode(type_, key, data)[b"m"]])], MAX, print)
        self.frames.append(frame)
        return frame.id

    def fold(self, rules: Rules = LAST, since: EventId = ZERO) -> Fold:
        """Return the fold of what was added after a position."""
        made = Fold(rules)
        made.load(ZERO, None, ())
        made.apply([frame for frame in self.frames if frame.id > since])
        return made


async def read(url: str, rules: Rules = LAST) -> Found:
    client = connect(url)
    try:
        return await Checkpoint(client, "pets", named(rules)).read()
    finally:
        await client.aclose()


async def reaches(url: str, head: EventId, rules: Rules = LAST) -> Found:
    """Wait until the checkpoint is that of the log up to its head."""

    async def reached() -> Found | None:
        found = await read(url, rules)
        return found if found.mark and found.mark.position == head else None

    found = await until(reached)
    assert found is not None
    return found


def contents(values: Any) -> dict[str, Any]:
    """Return what clients would see of values, by key."""
    found = dict[str, Any]()
    for _, type_, key, *rest in values:
        found.setdefault(key, []).append((type_, *rest))
    return found


def of_fold(fold: Fold, keys: str) -> dict[str, Any]:
    return contents(value for key in keys for value in fold.of_key(key))


async def test_the_checkpoint_is_the_fold_of_the_log(redis_url: str, client: Any) -> None:
    log = Log(client)
    for n in range(200):
        await log.add("abcdefg"[n % 7], n, "sold" if n % 20 == 0 else f"t{n % 3}")
    async with folder(redis_url):
        await reaches(redis_url, log.frames[-1].id)
        for n in range(100):
            head = await log.add("efgh"[n % 4], n)
        found = await reaches(redis_url, head)
    assert contents(found.values) == of_fold(log.fold(), "abcdefgh")
    assert found.mark is not None
    assert (found.mark.since, found.mark.added) == (None, 300)


async def test_what_became_of_flushes_is_logged(
    redis_url: str, client: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "broadcaster")

    def told(pattern: str) -> bool:
        return any(re.search(pattern, record.message) for record in caplog.records)

    log = Log(client)
    head = await log.add("a", 1)
    async with folder(redis_url) as made:
        found = await reaches(redis_url, head)
        assert found.mark is not None
        assert not told("flushes")
        other = found.mark._replace(maker=b"another folder")
        (of_pets,) = made.foldings

        async def overtaken() -> int:
            await client.hset(HASH, "at", other.packed())
            await log.add("a", 2)
            return of_pets.refused

        await until(overtaken)
        monkeypatch.setattr(folding, "_TELL_S", 0.0)
        await until(lambda: told(r"'pets': [1-9]\d* flushes were written, [1-9]\d* refused, and"))
        before = of_pets.flushes
        monkeypatch.setattr(folding, "_TELL_S", 1e9)
        await log.add("a", 3)
        await until(lambda: of_pets.flushes > before)
    assert told(rf"'pets': {of_pets.flushes} flushes were written, {of_pets.refused} refused, and")


async def test_a_folder_that_stops_flushes_and_another_begins_at_once(
    redis_url: str, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = Log(client)
    head = await log.add("a", 1)
    async with folder(redis_url) as made:
        await reaches(redis_url, head)
        with monkeypatch.context() as patched:
            patched.setattr(folding.Folding, "_flush_now", lambda _: asyncio.sleep(0))
            head = await log.add("b", 2)
            await until(lambda: made.foldings[0]._window.head == head)
    found = await read(redis_url)
    assert found.mark is not None
    assert found.mark.position == head
    assert contents(found.values) == of_fold(log.fold(), "ab")
    assert not await client.exists("{pets}:folder")


async def test_of_a_stream_trimmed_to_nothing_the_state_is_whole(
    redis_url: str, client: Any
) -> None:
    log = Log(client)
    for n in range(10):
        head = await log.add("ab"[n % 2], n)
    async with folder(redis_url):
        await reaches(redis_url, head)
    await client.xtrim("pets", 0, approximate=False)
    async with folder(redis_url):
        head = await log.add("b", 10)
        found = await reaches(redis_url, head)
    assert contents(found.values) == of_fold(log.fold(), "ab")
    assert found.mark is not None
    assert found.mark.since is None


async def test_after_a_hole_it_says_since_when_it_is_whole(
    redis_url: str, client: Any, caplog: pytest.LogCaptureFixture
) -> None:
    log = Log(client)
    head = await log.add("a", 1)
    async with folder(redis_url):
        await reaches(redis_url, head)
    for n in range(5):
        await log.add("b", n)
    await client.xtrim("pets", 2, approximate=False)
    async with folder(redis_url):
        found = await reaches(redis_url, log.frames[-1].id)
    since = log.frames[-2].id.before()
    assert found.mark is not None
    assert found.mark.since == since
    assert (
        contents(found.values)
        == of_fold(log.fold(since=since), "ab")
        == {"b": [("t", b"4", (), False)]}
    )
    assert f"the log after {head} was trimmed, its state is whole since {since}" in caplog.text


async def test_a_checkpoint_of_other_rules_is_made_anew(
    redis_url: str, client: Any, caplog: pytest.LogCaptureFixture
) -> None:
    log, other = Log(client), Rules("last", removes=frozenset({"t"}))
    await log.add("a", 1)
    head = await log.add("b", 1)
    async with folder(redis_url):
        await reaches(redis_url, head)
    await client.xtrim("pets", 1, approximate=False)
    async with folder(redis_url, other):
        found = await reaches(redis_url, head, other)
    assert contents(found.values) == {"b": [("t", b"", (), True)]}
    assert "the checkpoint is of other rules" in caplog.text


async def test_after_all_was_removed_the_state_is_that_of_the_new_log(
    redis_url: str, client: Any
) -> None:
    log = Log(client)
    head = await log.add("a", 1)
    async with folder(redis_url):
        await reaches(redis_url, head)
        await client.flushall()
        log.frames.clear()
        head = await log.add("b", 1)
        found = await reaches(redis_url, head)
    assert contents(found.values) == of_fold(log.fold(), "ab")
    assert found.mark is not None
    assert found.mark.since is None


async def test_while_another_one_holds_the_lock_it_writes_nothing(
    redis_url: str, client: Any
) -> None:
    log = Log(client)
    head = await log.add("a", 1)
    await client.set("{pets}:folder", "other")
    async with folder(redis_url) as made:
        await asyncio.sleep(0.5)
        assert not made.foldings[0].holds
        assert not await client.exists(HASH)
        await client.delete("{pets}:folder")
        await reaches(redis_url, head)
    assert await client.get("{pets}:folder") is None


async def test_two_folders_that_both_hold_the_lock_write_nothing_wrong(
    redis_url: str, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hold(self: Flush, holder: str, ttl_s: float) -> bool:
        return True

    monkeypatch.setattr(Flush, "hold", hold)
    monkeypatch.setattr(folding, "FLUSH_S", 0.01)
    log = Log(client)
    async with folder(redis_url), folder(redis_url):
        for n in range(600):
            head = await log.add("abcdefgh"[n % 8], n, f"t{n % 3}")
            if n % 100 == 99:
                found = await reaches(redis_url, head)
                assert contents(found.values) == of_fold(log.fold(), "abcdefgh")


@pytest.mark.parametrize("rules", [LAST, MERGE, APPEND], ids=lambda rules: rules.kind)
@pytest.mark.parametrize("killed_at", [1, 3])
async def test_after_a_kill_between_two_pieces_the_state_is_right(
    redis_url: str, client: Any, monkeypatch: pytest.MonkeyPatch, killed_at: int, rules: Rules
) -> None:
    log = Log(client)
    for n in range(8):
        head = await log.add("abcd"[n % 4], {"text": f"{n} "})
    async with folder(redis_url, rules):
        await reaches(redis_url, head, rules)
    before = await read(redis_url, rules)
    write, pieces = Flush.write, []

    async def dies(self: Flush, expected: bytes, **words: Any) -> Flushed:
        pieces.append(words)
        if len(pieces) > killed_at:
            await asyncio.Event().wait()
        return await write(self, expected, **words)

    for n in range(8, 16):
        head = await log.add("abcd"[n % 4], {"text": f"{n} "})
    with monkeypatch.context() as patched:
        patched.setattr(flushes, "PIECE_KEYS", 1)
        patched.setattr(Flush, "write", dies)
        patched.setattr(folding.Folding, "finish", lambda _: asyncio.sleep(0))
        async with folder(redis_url, rules):
            await until(lambda: len(pieces) > killed_at)
    await client.delete("{pets}:folder")
    found = await read(redis_url, rules)
    assert found.mark is not None
    assert before.mark is not None
    position = before.mark.position
    assert position is not None
    assert found.mark.position == position
    ahead = [value for value in found.values if value.id > position]
    assert len(ahead) == killed_at
    read_by_others = Fold(rules)
    read_by_others.load(position, None, found.values)
    read_by_others.apply([f for f in log.frames if f.id > position])
    assert of_fold(read_by_others, "abcd") == of_fold(log.fold(rules), "abcd")
    async with folder(redis_url, rules):
        head = await log.add("a", {"text": "16 "})
        found = await reaches(redis_url, head, rules)
    assert contents(found.values) == of_fold(log.fold(rules), "abcd")


class Address(Relay):
    """The address of the master, which is another server after a failover.

    Attributes:
        target: the port of the master.
    """

    def __init__(self, target: int) -> None:
        super().__init__()
        self.target = target

    async def _target(self) -> tuple[str, int]:
        return "127.0.0.1", self.target

    def _ways(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        there: asyncio.StreamReader,
        back: asyncio.StreamWriter,
    ) -> Ways:
        return _pass_on(reader, back), _pass_on(there, writer)


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(PIECE):
        writer.write(data)


@pytest.mark.parametrize("flushed", [True, False], ids=["flushed", "folded"])
async def test_after_a_failover_that_lost_the_tail_the_state_is_that_of_the_new_master(
    monkeypatch: pytest.MonkeyPatch, flushed: bool
) -> None:
    at_once = ("--repl-diskless-sync-delay", "0")
    with EmbeddedRedis(*at_once) as old, EmbeddedRedis(*at_once) as new:
        replicaof = "REPLICAOF", "127.0.0.1", old.port
        async with Address(old.port) as address, connected(old) as client, connected(new) as later:
            await later.execute_command(*replicaof)
            url, log = f"redis://127.0.0.1:{address.port}", Log(client)
            async with folder(url) as made:
                for n in range(20):
                    head = await log.add("abcd"[n % 4], n)
                await reaches(url, head)
                await until(lambda: same(client, later))
                if not flushed:
                    monkeypatch.setattr(folding.Folding, "_flush_now", lambda _: asyncio.sleep(0))
                await later.execute_command("REPLICAOF", "NO", "ONE")
                lost = [await log.add("abcdef"[n % 6], -n) for n in range(20)]
                await until(lambda: made.foldings[0]._window.head == lost[-1])
                if flushed:
                    await reaches(url, lost[-1])
                del log.frames[20:]
                log.client, address.target = later, new.port
                address.cut()
                monkeypatch.undo()
                for n in range(20, 30):
                    head = await log.add("ac"[n % 2], n)
                found = await reaches(url, head)
            assert contents(found.values) == of_fold(log.fold(), "abcdef")
            assert found.mark is not None
            assert found.mark.since is None


@asynccontextmanager
async def connected(server: EmbeddedRedis) -> AsyncIterator[Any]:
    client: Any = connect(server.url)
    yield client
    await client.aclose()


async def same(one: Any, other: Any) -> bool:
    """Return True if the replica has the checkpoint of the master."""
    return bool(await one.hgetall(HASH) == await other.hgetall(HASH))
