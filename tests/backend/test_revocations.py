"""The stream of revocations in a real Redis: what was revoked reaches every node that follows."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, cast

import pytest

from broadcaster import (
    BackendUnavailableError,
    ConfigurationError,
    EmbeddedRedis,
    InvalidRequestError,
    connect,
)
from broadcaster.backend import revocations
from broadcaster.backend.revocations import RevocationStream
from tests.backend.conftest import NOBODY, Proxy
from tests.wait import until

KEY = "revocations"
DAY_S = 86_400.0


class Follower:
    """A node that follows the stream.

    Attributes:
        names: of the revocations that it has got, in order.
    """

    def __init__(self, client: Any) -> None:
        self.stream = RevocationStream(client, KEY)
        self.names: list[str] = []
        self.times: list[int] = []

    async def note(self, found: Sequence[tuple[str, int]]) -> None:
        self.names += [name for name, _ in found]
        self.times += [at_ms for _, at_ms in found]


@asynccontextmanager
async def following(url: str) -> AsyncIterator[Follower]:
    client = connect(url, timeout_s=2.5)
    follower = Follower(client)
    task = asyncio.create_task(follower.stream.follow(follower.note))
    try:
        yield follower
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await client.aclose()


async def test_every_node_hears_of_old_and_new_revocations(client: Any, redis_url: str) -> None:
    writer = RevocationStream(client, KEY)
    done = await writer.revoke("ann", DAY_S)
    assert done.replicas == 0
    assert abs(done.id.ms - time.time() * 1000) < 60_000
    async with following(redis_url) as one, following(redis_url) as two:
        await until(lambda: one.stream.read.is_set() and two.stream.read.is_set())
        assert one.names == two.names == ["ann"]
        assert one.times == [done.id.ms]
        await writer.revoke("bob ü", DAY_S)
        await until(lambda: one.names == two.names == ["ann", "bob ü"])
        assert one.stream.problem == ""


async def test_a_long_stream_is_read_to_its_end_before_it_counts_as_read(
    client: Any, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(revocations, "_COUNT", 3)
    for number in range(10):
        await client.xadd(KEY, {"name": str(number)})
    async with following(redis_url) as node:
        await until(node.stream.read.is_set)
        assert node.names == [str(number) for number in range(10)]


async def test_without_a_stream_there_is_nothing_to_read(redis_url: str) -> None:
    async with following(redis_url) as node:
        await until(node.stream.read.is_set)
        assert node.names == []


async def test_entries_of_others_are_passed_over(client: Any, redis_url: str) -> None:
    await client.xadd(KEY, {"else": "x"})
    await client.xadd(KEY, {"name": b"\xff", "more": "y"})
    async with following(redis_url) as node:
        await until(node.stream.read.is_set)
        assert node.names == ["�"]


async def test_after_a_break_the_whole_stream_is_read_again(client: Any, proxy: Proxy) -> None:
    """The new server may have lost the newest entries, and give new ones lower ids."""
    async with following(f"redis://127.0.0.1:{proxy.port}") as node:
        await client.xadd(KEY, {"name": "lost"}, id="9000000000000-0")
        await until(lambda: node.names == ["lost"])
        await client.delete(KEY)
        await client.xadd(KEY, {"name": "kept"}, id="5-0")
        proxy.replies = 0
        await until(lambda: node.names == ["lost", "kept"])
        await client.xadd(KEY, {"name": "new"}, id="7-0")
        await until(lambda: node.names[-1] == "new")


async def test_a_connection_replaced_in_silence_is_read_from_the_beginning(client: Any) -> None:
    """redis-py replaces a closed connection between two commands, without an error."""
    stream, asked = RevocationStream(client, KEY), list[str]()

    class Replaced:
        connections = 1

        async def wait_after(self, position: Any, *_: Any) -> list[Any]:
            asked.append(str(position))
            if len(asked) == 1:
                return [[b"5-0", [b"name", b"ann"]]]
            if len(asked) > 4:
                raise asyncio.CancelledError
            self.connections += len(asked) == 3
            return []

    async def note(_: Any) -> None:
        pass

    stream._stream = cast("Any", Replaced())
    with pytest.raises(asyncio.CancelledError):
        await stream.follow(note)
    assert asked == ["0-0", "5-0", "5-0", "0-0", "0-0"]


async def test_old_entries_are_dropped_when_a_new_one_comes(client: Any) -> None:
    old_ms = int((time.time() - 2 * DAY_S) * 1000)
    for number in range(500):
        await client.xadd(KEY, {"name": "old"}, id=f"{old_ms + number}-0")
    await RevocationStream(client, KEY).revoke("ann", DAY_S)
    assert await client.xlen(KEY) < 200
    await RevocationStream(client, KEY).revoke("bob", 100 * DAY_S)
    assert [fields[1] for _, fields in (await client.xrange(KEY))[-2:]] == [b"ann", b"bob"]


@pytest.mark.parametrize("name", ["", "x" * 1025, "ü" * 513])
async def test_a_name_has_a_bound(client: Any, name: str) -> None:
    with pytest.raises(InvalidRequestError, match="1024"):
        await RevocationStream(client, KEY).revoke(name, DAY_S)


async def test_without_redis_it_is_trouble_that_passes() -> None:
    away = connect(NOBODY)
    with pytest.raises(BackendUnavailableError, match="revoke 'ann'"):
        await RevocationStream(away, KEY).revoke("ann", DAY_S)
    async with following(NOBODY) as node:
        await until(lambda: "127.0.0.1:1" in node.stream.problem)
        assert not node.stream.read.is_set()
    await away.aclose()


async def test_a_key_of_another_type_is_refused_for_good(client: Any, redis_url: str) -> None:
    await client.set(KEY, "x")
    with pytest.raises(ConfigurationError, match="WRONGTYPE"):
        await RevocationStream(client, KEY).revoke("ann", DAY_S)
    async with following(redis_url) as node:
        await until(lambda: "WRONGTYPE" in node.stream.problem)


async def test_it_says_how_many_replicas_have_it(redis_server: EmbeddedRedis, client: Any) -> None:
    with EmbeddedRedis("--replicaof", "127.0.0.1", str(redis_server.port)) as replica:
        own: Any = connect(replica.url)

        async def linked() -> bool:
            return bool((await own.info("replication"))["master_link_status"] == "up")

        await until(linked)
        assert (await RevocationStream(client, KEY).revoke("ann", DAY_S)).replicas == 1
        assert await own.xlen(KEY) == 1
        await own.aclose()


async def test_a_user_who_may_not_wait_can_revoke(client: Any, redis_url: str) -> None:
    rules = ["on", ">x", "~*", "+@all", "-wait"]
    await client.execute_command("ACL", "SETUSER", "few", *rules)
    own = connect(redis_url.replace("redis://", "redis://few:x@"))
    assert (await RevocationStream(own, KEY).revoke("ann", DAY_S)).replicas is None
    await own.aclose()
    await client.execute_command("ACL", "DELUSER", "few")


async def test_on_a_cluster_it_is_heard_too(cluster_url: str) -> None:
    own = connect(cluster_url)
    async with following(cluster_url) as node:
        assert (await RevocationStream(own, KEY).revoke("ann", DAY_S)).replicas is None
        await until(lambda: node.names == ["ann"])
    await own.aclose()
