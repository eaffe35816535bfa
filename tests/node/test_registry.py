"""Which nodes are there."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
from socket import gethostname
from typing import Any

import pytest

from broadcaster.node.node import Node
from broadcaster.settings import Settings
from tests.nodes import Raw, running
from tests.wait import http_client, until

STREAM = "/v1/inventory/stream"


async def test_an_announcement_leaves_no_reference_cycle() -> None:
    node = Node(Settings(redis_url="redis://unused"))
    node.registry._about()
    gc.collect()
    gc.disable()
    try:
        for _ in range(100):
            node.registry._about()
        assert gc.collect() < 100
    finally:
        gc.enable()


async def test_each_node_lists_all_nodes(redis_url: str, client: Any) -> None:
    stale = json.dumps({"clients": 9, "at_ms": 0})
    await client.hset("broadcaster.nodes", mapping={"dead/0": stale, "rubbish": "{"})
    async with (
        running(redis_url, node_name="a") as first,
        running(redis_url, node_name="b") as second,
        http_client() as http,
    ):
        await (await Raw.get(first.port, STREAM)).until(b"stream.live")

        async def seen() -> dict[str, Any]:
            answer = (await http.get(f"{second.url}/v1/nodes")).json()
            nodes: dict[str, Any] = answer["nodes"]
            return nodes if len(nodes) == 2 and nodes["a/0"]["clients"] else {}

        nodes = await until(seen)
        assert sorted(nodes) == ["a/0", "b/0"]
        assert nodes["a/0"]["clients"] == 1
        assert nodes["a/0"]["problems"] == []

        async def both() -> bool:
            return sorted(await client.hkeys("broadcaster.nodes")) == [b"a/0", b"b/0"]

        await until(both)
    assert not await client.exists("broadcaster.nodes")  # both have left


async def test_nodes_that_have_no_name_do_not_take_each_others_line() -> None:
    """They may have the same host name and port: at two addresses, or mounted under an unknown."""
    first, second = (Node(Settings(redis_url="redis://unused", port=8000)) for _ in range(2))
    assert first.name != second.name
    assert first.name.startswith(f"{gethostname()}:8000-")


async def test_concurrent_requests_for_the_list_share_a_read(redis_url: str, client: Any) -> None:
    async with running(redis_url) as hub, http_client() as http:
        answers = await asyncio.gather(*(http.get(f"{hub.url}/v1/nodes") for _ in range(300)))
        assert not [answer for answer in answers if "incomplete" in answer.json()]
        ours = [one for one in await client.client_list() if one["name"] == "broadcaster"]
    assert len(ours) <= 8  # three tailers, reads of the past, requests, and one or two for this


async def test_without_rights_a_node_lists_itself(
    redis_url: str, client: Any, caplog: pytest.LogCaptureFixture
) -> None:
    rules = ["on", "nopass", "~*", "-@all", "+@read", "+@connection", "+xinfo|stream", "-hgetall"]
    await client.execute_command("ACL", "SETUSER", "reader", *rules)
    url = redis_url.replace("redis://", "redis://reader:x@")
    caplog.set_level(logging.INFO)
    async with running(url, node_name="a") as hub, http_client() as http:
        await until(lambda: "not announced" in caplog.text)
        answer = (await http.get(f"{hub.url}/v1/nodes")).json()
    assert list(answer["nodes"]) == ["a/0"]
    assert "rights" in answer["incomplete"]
    await client.execute_command("ACL", "DELUSER", "reader")
