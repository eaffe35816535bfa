"""The registry of nodes: one line each, those that are gone are struck out."""

from __future__ import annotations

import time
from typing import Any

import orjson
import pytest

from broadcaster import BackendUnavailableError, connect
from broadcaster.backend.nodes import NodesHash

KEY = "nodes"


def line(age_s: float, **about: Any) -> bytes:
    return orjson.dumps({**about, "at_ms": int((time.time() - age_s) * 1000)})


async def test_each_node_sees_the_lines_of_all_without_their_time(client: Any) -> None:
    for name in ("b", "a"):
        await NodesHash(client, KEY, name).announce({"clients": 7})
    nodes = await NodesHash(client, KEY, "c").nodes()
    assert nodes == {"a": {"clients": 7}, "b": {"clients": 7}}
    assert list(nodes) == ["a", "b"]


async def test_a_node_that_has_not_written_for_long_is_not_shown(client: Any) -> None:
    await client.hset(KEY, mapping={"new": line(1.0), "old": line(20.0), "rubbish": "{"})
    assert list(await NodesHash(client, KEY, "a").nodes()) == ["new"]


async def test_an_announcement_is_one_write(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    await client.ping()  # connects
    made, writes = client.connection_pool.connection_class, list[bytes]()
    send = made.send_unhurried

    async def noted(connection: Any, data: bytes) -> None:
        writes.append(data)
        await send(connection, data)

    monkeypatch.setattr(made, "send_unhurried", noted)
    monkeypatch.setattr(made, "send_packed_command", None)  # redis-py's own way
    await NodesHash(client, KEY, "b").announce({})
    assert await NodesHash(client, KEY, "a").announce({}) == {"b": {}}
    assert len(writes) == 2


async def test_on_a_cluster_other_nodes_are_found_too(cluster_url: str) -> None:
    client: Any = connect(cluster_url)
    await NodesHash(client, KEY, "b").announce({"clients": 7})
    assert await NodesHash(client, KEY, "a").announce({}) == {"b": {"clients": 7}}
    await client.aclose()


async def test_an_announcement_strikes_out_lines_that_are_too_old(client: Any) -> None:
    await client.hset(KEY, mapping={"late": line(20.0), "dead": line(3600.0), "rubbish": "{}"})
    await NodesHash(client, KEY, "a").announce({})
    assert sorted(await client.hkeys(KEY)) == [b"a", b"late"]
    assert 0 < await client.ttl(KEY) <= 60


async def test_a_node_that_leaves_is_gone_at_once(client: Any) -> None:
    nodes_hash = NodesHash(client, KEY, "a")
    await nodes_hash.announce({})
    await nodes_hash.leave()
    assert await nodes_hash.nodes() == {}


async def test_without_redis_it_is_trouble_that_passes() -> None:
    away: Any = connect("redis://127.0.0.1:1")
    nodes_hash = NodesHash(away, KEY, "a")
    for call in (lambda: nodes_hash.announce({}), nodes_hash.leave, nodes_hash.nodes):
        with pytest.raises(BackendUnavailableError, match=KEY):
            await call()
    await away.aclose()
