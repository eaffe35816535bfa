"""The rights that `docs/operations.md` gives to users of Redis: enough for a role, and no more."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from broadcaster import (
    EmbeddedRedis,
    EventSource,
    Publisher,
    RunQueue,
    SyncPublisher,
)
from broadcaster.core.state.checkpoint import mark_of
from tests.channels import demo_variable
from tests.command_line import finished, ready, starting
from tests.wait import PATIENCE_S, http_client, until
from tests.workers.conftest import StartWorker, store_of

PAGE = (Path(__file__).parents[2] / "docs" / "operations.md").read_text("utf-8")
RIGHTS = re.compile(r"^ACL (SETUSER .*\n(?: +.*\n)+)", re.MULTILINE)
ROW = re.compile(r"^\| ([a-z]+)(?:, on demand)? \| ((?:`[a-z\\|]+` ?)+)\|", re.MULTILINE)
WORKERS = ("orders", "inventory", "recommendations")
# Commands that a stolen password of a role must not be good for. Neither is any that an
# administrator uses.
FOREIGN = {
    "node": (
        "XADD orders * a b", "XTRIM orders MAXLEN 0", "DEL orders", "XDEL orders 1-1",
        "XADD broadcaster.revocations * name ann", "DEL broadcaster.revocations", "GET cart:7",
        "HSET {orders}:state a b", "HDEL {orders}:state a",
        "XREAD STREAMS others 0", "XREADGROUP GROUP a b STREAMS recommendations.requests >",
    ),
    "folder": (
        "XADD orders * a b", "XTRIM orders MAXLEN 0", "DEL orders", "UNLINK orders", "SET orders a",
        "EVAL return 1 orders", "HSET broadcaster.nodes a b", "GET broadcaster.ticket-secret",
        "XREAD STREAMS others 0", "XREAD STREAMS broadcaster.revocations 0",
    ),
    "publisher": (
        "XRANGE orders - +", "XREAD STREAMS orders 0", "XINFO STREAM orders", "XLEN orders",
        "XTRIM orders MAXLEN 0", "XDEL orders 1-1", "XADD others * a b",
        "XADD recommendations.requests * a b", "XADD broadcaster.revocations * name ann",
        "GET broadcaster.ticket-secret", "HGETALL broadcaster.nodes", "EVAL return 0",
    ),
    "worker": (
        "XRANGE orders - +", "XTRIM orders MAXLEN 0", "DEL orders", "XADD others * a b",
        "GET broadcaster.ticket-secret", "SET broadcaster.ticket-secret mine",
        "HSET broadcaster.nodes a b", "XADD broadcaster.revocations * name ann",
    ),
    "revoke": (
        "XRANGE broadcaster.revocations - +", "DEL broadcaster.revocations", "XADD orders * a b",
        "XDEL broadcaster.revocations 1-1", "GET broadcaster.ticket-secret",
    ),
}  # fmt: skip
OF_ADMINISTRATORS = (
    "FLUSHALL", "KEYS *", "SCAN 0", "CONFIG GET *", "ACL LIST", "SHUTDOWN", "REPLICAOF NO ONE",
    "MONITOR", "CLIENT KILL TYPE normal", "CLIENT PAUSE 9", "CLIENT LIST", "DEBUG SLEEP 1",
    "SCRIPT FLUSH", "FUNCTION LIST", "SUBSCRIBE a", "SAVE", "INFO",
)  # fmt: skip


@pytest.fixture
def server() -> Iterator[EmbeddedRedis]:
    """A server with the users of the page, and without any others."""
    with EmbeddedRedis() as server, store_of(server.url) as client:
        lines = [line.split() for line in RIGHTS.findall(PAGE)]
        assert [line[1] for line in lines] == list(FOREIGN)
        for line in lines:
            client.execute_command("ACL", *line)
        yield server


async def comes(url: str, type_: str) -> None:
    """Wait until a stream has an event of this type."""
    async with asyncio.timeout(PATIENCE_S), aclosing(EventSource(url).events()) as events:
        async for event in events:
            if event.type == type_:
                return


def as_user(server: EmbeddedRedis, user: str) -> str:
    return server.url.replace("//", f"//{user}:secret@")


def all_folded(server: EmbeddedRedis) -> bool:
    """Return True if each stream has a checkpoint."""
    with store_of(server.url) as client:
        found: list[Any] = [client.hget(f"{{{stream}}}:state", "at") for stream in WORKERS]
    marks = [mark_of(at) for at in found]
    return all(mark is not None and mark.position is not None for mark in marks)


@pytest.mark.server
@pytest.mark.parametrize("user", list(FOREIGN))
def test_a_password_is_good_for_its_role_alone(server: EmbeddedRedis, user: str) -> None:
    with store_of(server.url) as client:
        for command in FOREIGN[user] + OF_ADMINISTRATORS:
            said = client.execute_command("ACL", "DRYRUN", user, *command.split())
            assert b"has no permissions" in said, command


def test_the_table_and_the_users_have_the_same_commands() -> None:
    table = dict[str, set[str]]()
    for role, commands in ROW.findall(PAGE):
        table.setdefault(role, set()).update(re.findall(r"`([^`]+)`", commands.replace("\\", "")))
    found = {
        line.split()[1]: {word[1:] for word in line.split() if word[0] == "+" and "@" not in word}
        for line in RIGHTS.findall(PAGE)
    }
    assert table == found


@pytest.mark.server
async def test_a_publisher_needs_no_more(server: EmbeddedRedis) -> None:
    url = as_user(server, "publisher")
    async with Publisher(url) as publisher:
        await publisher.publish("orders", type="t", key="7", data=1)
        await publisher.publish_many([("inventory", "t", "7", n) for n in range(3)])
        async with publisher.transaction() as transaction:
            transaction.publish("orders", type="t", key="7", data=2)
            transaction.publish("inventory", type="t", key="7", data=2)
    with SyncPublisher(url) as sync:
        sync.publish("recommendations", type="t", key="7", data=1)
    async with starting() as start:
        env = {"BROADCASTER_REDIS_URL": url}
        status, ids, said = await finished(
            await start("publish", "orders", env=env), '{"type": "t", "key": "7", "data": 1}\n'
        )
    assert (status, len(ids), said) == (0, 1, "")
    with store_of(server.url) as client:
        lengths = [client.xlen(stream) for stream in WORKERS]
    assert lengths == [3, 4, 1]


@pytest.mark.server
async def test_to_revoke_needs_no_more(server: EmbeddedRedis) -> None:
    async with starting() as start:
        env = {"BROADCASTER_REDIS_URL": as_user(server, "revoke")}
        status, lines, _ = await finished(await start("revoke", "ann", env=env))
    assert status == 0
    assert lines[0].endswith("replicas that have it: 0")


@pytest.mark.server
async def test_a_worker_of_runs_needs_no_more(server: EmbeddedRedis) -> None:
    with store_of(server.url) as client:
        for key in "abc":
            client.xadd("recommendations.requests", {"key": key})
    async with Publisher(as_user(server, "worker")) as publisher:
        queue = RunQueue(publisher, "recommendations")
        leaving = RunQueue(publisher, "recommendations")
        run, failing = await queue.take(2)
        (given_back,) = await leaving.take(1)
        assert await queue.keep() == []
        await run.write("old")
        await run.flush()
        await run.restart()
        await run.publish(data="new")
        assert await run.complete()
        assert await failing.fail("trouble")
        await leaving.aclose()
        (again,) = await queue.take(1)
        assert (again.id, again.attempt) == (given_back.id, 2)
        await queue.aclose()
    with store_of(server.url) as client:
        kinds = [fields.get(b"type") for _, fields in client.xrange("recommendations")]
    assert kinds == [None, b"stream.restart", None, b"complete", b"failed"]


async def test_a_node_and_workers_need_no_more(
    server: EmbeddedRedis, start_worker: StartWorker
) -> None:
    of_node, of_worker = as_user(server, "node"), as_user(server, "worker")
    workers = [start_worker(of_worker, name, "--rate", "50") for name in WORKERS]
    async with starting() as start, http_client() as http:
        env = {"BROADCASTER_REDIS_URL": of_node, "BROADCASTER_CHANNELS": demo_variable()}
        folder = await start("fold", env=env | {"BROADCASTER_REDIS_URL": as_user(server, "folder")})
        node = await start("serve", "--port", "0", env=env)
        url = await node.url()
        await ready(url)
        await comes(f"{url}/v1/events?channel=orders", "complete")
        await comes(f"{url}/v1/inventory/stream", "stock-change")
        await comes(f"{url}/v1/pets/recommendations/stream?userId=you", "complete")
        nodes = (await http.get(f"{url}/v1/nodes")).json()
        await until(lambda: all_folded(server))
        status, found, _ = await finished(await start("check", env=env))
        assert await node.stop() == 0
        assert await folder.stop() == 0
    ended = [await asyncio.to_thread(worker.stop) for worker in workers]
    said = "".join(["\n".join([*node.err, *folder.err]), *(worker.said() for worker in workers)])
    assert len(nodes["nodes"]) == 1
    assert "incomplete" not in nodes
    assert status == 0
    assert not [line for line in found if line.startswith("problem")]
    assert sum("its checkpoint ends at" in line for line in found) == len(WORKERS)
    assert ended == [0, 0, 0]
    assert "permission" not in said
