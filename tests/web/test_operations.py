"""The event stream for operators: figures of all nodes, each second, until the node goes."""

from __future__ import annotations

import json
from socket import gethostname
from typing import Any

import pytest

from broadcaster.backend.memory import MemoryLog
from broadcaster.node import operations as lookout
from broadcaster.web import operations
from tests.nodes import Raw, running
from tests.wait import http_client, until

pytestmark = pytest.mark.server

PATH = "/v1/operations/stream"


def looks(body: bytes) -> list[Any]:
    blocks = (block.split("\n") for block in body.decode().split("\n\n"))
    return [json.loads(lines[1][6:]) for lines in blocks if lines[0] == "event: operations"]


async def test_it_begins_with_the_past_and_goes_on_with_each_look(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lookout, "LOOK_S", 0.02)
    async with running("", log=MemoryLog(), node_name="a") as hub:
        client = await Raw.get(hub.port, "/v1/inventory/stream")
        stream = await Raw.get(hub.port, PATH)
        assert b"content-type: text/event-stream" in stream.head
        body = await stream.until(b"event: stream.live")
        assert body.startswith(b"retry: ")
        assert body.index(b"event: history") < body.index(b"event: stream.live")
        await stream.until(b'"a/0":{"clients":1,')
        assert looks(stream.body)[-1]["node"] == "a/0"
        assert gethostname().encode() not in stream.body
        client.close()
        stream.body = b""
        await stream.until(b'"a/0":{"clients":0,')
        assert [len(hub.node.operations.viewers), len(hub.node.hub.subscribers)] == [1, 0]
        stream.close()
        await until(lambda: not hub.node.operations.viewers)


async def test_operators_see_all_nodes_by_their_own_names(redis_url: str, client: Any) -> None:
    async with (
        running(redis_url, two_ports=True) as first,
        running(redis_url, two_ports=True) as second,
    ):
        port = int(first.operators_url.rpartition(":")[2])
        stream = await Raw.get(port, PATH)
        await stream.until(second.node.name.encode())  # once it is announced
        assert looks(stream.body)[-1]["node"] == first.node.name
        async with http_client() as http:
            assert (await http.get(first.url + PATH)).status_code == 404


async def test_it_ends_when_the_node_does_and_newcomers_come_back_later() -> None:
    async with running("", log=MemoryLog()) as hub:
        stream = await Raw.get(hub.port, PATH)
        await stream.until(b"event: operations")
        hub.node.end_responses()
        await stream.rest()
        assert stream.ended
        late = await Raw.get(hub.port, PATH)
        await late.rest()
        assert late.head.startswith(b"HTTP/1.1 200")
        assert late.body.startswith(b": this node is shutting down\nretry: ")


async def test_there_are_only_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operations, "MOST_VIEWERS", 1)
    async with running("", log=MemoryLog()) as hub:
        stream = await Raw.get(hub.port, PATH)
        await stream.until(b"event: operations")
        other = await Raw.get(hub.port, PATH)
        await other.rest()
        assert b": this node has all the connections it may have\n" in other.body
        async with http_client() as http:
            assert (await http.head(hub.url + PATH)).status_code == 200
        stream.close()
        await until(lambda: not hub.node.operations.viewers)
