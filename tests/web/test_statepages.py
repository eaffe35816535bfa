"""The state of a channel as JSON, over real sockets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from functools import partial
from typing import Any, NamedTuple

import httpx
import pytest

from broadcaster import Publisher
from broadcaster.backend.memory import MemoryLog
from broadcaster.core.channel import Channel
from broadcaster.core.history.window import Window
from broadcaster.core.shards import shard_of
from broadcaster.web import statepages
from tests.nodes import Raw, Running, events, running
from tests.wait import PATIENCE_S, http_client, until

pytestmark = pytest.mark.server

CHANNELS = {
    "stock": Channel(
        name="stock", path="/stock", key_param="petId", state="last", removes=frozenset({"sold"})
    ),
    "carts": Channel(name="carts", path="/carts", state="merge", state_bytes=1000),
    "orders": Channel(
        name="orders", path="/orders/{key}", state="last", terminal=frozenset({"done"})
    ),
    "sharded": Channel(name="sharded", path="/sharded", shards=2, state="last"),
    "plain": Channel(name="plain", path="/plain"),
    "answers": Channel(name="answers", path="/answers", key_param="q", requests="asked"),
    "hidden": Channel(name="hidden", path="/hidden", listed=False, state="last"),
}


class Hub(NamedTuple):
    """A hub over a log in memory."""

    running: Running
    http: httpx.AsyncClient
    log: MemoryLog

    async def add(self, stream: str, data: str, key: str = "", type: str = "t") -> str:
        """Add an event, and wait until the node has it."""
        id_ = self.log.add(stream, type=type, key=key, data=data)
        await until(lambda: self.running.node.hub.windows[stream].head >= id_)
        return str(id_)

    async def ask(self, channel: str, tag: str = "", **query: Any) -> httpx.Response:
        """The answer to a request for a state."""
        headers = {"if-none-match": tag} if tag else {}
        path = f"/v1/channels/{channel}/state"
        return await self.http.get(path, params=query, headers=headers, timeout=PATIENCE_S)

    async def state(self, channel: str, **query: Any) -> dict[str, Any]:
        """A state, of which the test knows that there is one."""
        answer = await self.ask(channel, **query)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    log = MemoryLog()
    async with (
        running("", log=log, channels=CHANNELS) as node,
        http_client(base_url=node.url) as http,
    ):
        yield Hub(node, http, log)


def texts(state: dict[str, Any]) -> list[Any]:
    return [event.get("data", event.get("text")) for event in state["events"]]


async def test_a_state_has_what_is_and_where_to_go_on(hub: Hub) -> None:
    await hub.add("stock", "1", "7")
    await hub.add("stock", '{"price": 1.10}', "7", "price")
    await hub.add("stock", "no JSON", "8")
    last = await hub.add("stock", "2", "7")
    answer = await hub.ask("stock")
    assert '"data":{"price": 1.10}' in answer.text
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == {
        "position": last,
        "since": None,
        "complete": False,
        "events": [
            {"type": "price", "key": "7", "data": {"price": 1.10}},
            {"type": "t", "key": "7", "data": 2},
            {"type": "t", "key": "8", "text": "no JSON"},
        ],
    }
    assert texts(await hub.state("stock", key="8")) == ["no JSON"]
    assert texts(await hub.state("stock", key=["7", "8"], type="price")) == [{"price": 1.10}]
    assert not hub.running.node.hub.subscribers
    assert hub.running.node.meters.pages["state"] == 3


async def test_an_empty_state_has_a_position(hub: Hub) -> None:
    expected: dict[str, Any] = {"position": "0-0", "since": None, "complete": False, "events": []}
    assert await hub.state("stock") == expected


async def test_a_removed_key_is_not_in_it(hub: Hub) -> None:
    await hub.add("stock", "1", "7")
    await hub.add("stock", "1", "8")
    last = await hub.add("stock", "", "7", "sold")
    state = await hub.state("stock")
    assert (texts(state), state["position"]) == ([1], last)
    assert texts(await hub.state("stock", key="7")) == []


async def test_a_state_is_sent_once(hub: Hub) -> None:
    await hub.add("stock", "1", "7")
    first = await hub.ask("stock")
    tag = first.headers["etag"]
    assert tag.startswith('"')
    for known in (tag, f'"other", {tag}', f"W/{tag}"):
        again = await hub.ask("stock", known)
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    assert (await hub.ask("stock", '"other"')).status_code == 200
    await hub.add("stock", "1", "7")
    other = await hub.ask("stock", tag)
    assert other.status_code == 200
    assert other.headers["etag"] != tag
    assert (await hub.ask("stock", other.headers["etag"])).status_code == 304


async def test_a_key_that_is_over_is_complete(hub: Hub) -> None:
    await hub.add("orders", "1", "7")
    assert (await hub.state("orders", key="7"))["complete"] is False
    last = await hub.add("orders", "2", "7", "done")
    state = await hub.state("orders", key="7")
    assert (texts(state), state["complete"], state["position"]) == ([1, 2], True, last)


async def test_shards_have_one_position(hub: Hub) -> None:
    keys = {shard_of(key, 2): key for key in map(str, range(20))}
    at = {n: await hub.add(f"sharded.{n}", str(n), keys[n]) for n in (0, 1)}
    answer = await hub.ask("sharded")
    assert answer.json()["position"] == f"sharded.0={at[0]},sharded.1={at[1]}"
    assert sorted(texts(answer.json())) == [0, 1]
    assert (await hub.ask("sharded", answer.headers["etag"])).status_code == 304


async def test_a_state_that_is_not_there_yet(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    await hub.add("stock", "1", "7")
    fold = hub.running.node.hub.states.folds["stock"]
    fold.offered = False
    asked = asyncio.ensure_future(hub.ask("stock"))
    await until(lambda: hub.running.node.hub.subscribers)
    fold.offered = False
    with monkeypatch.context() as patch:
        patch.setattr(statepages, "_PATIENCE_S", 0.01)
        late = await hub.ask("stock")
    assert late.status_code == 503
    assert late.headers["retry-after"] == "1"
    hub.running.node.hub.adopt("stock", fold)
    assert texts((await asked).json()) == [1]
    assert not hub.running.node.hub.subscribers


async def test_a_state_that_is_too_large_is_not_there_in_part(hub: Hub) -> None:
    await hub.add("carts", json.dumps({"a": "x" * 2000}), "7")
    answer = await hub.ask("carts")
    assert answer.status_code == 409
    assert "more than 1000 bytes (state_bytes)" in answer.json()["detail"]


async def test_of_a_state_that_is_too_large_one_key_is_known_by_a_folder_alone(hub: Hub) -> None:
    await hub.add("carts", json.dumps({"a": "x" * 2000}), "7")
    answer = await hub.ask("carts", key="7")
    assert answer.status_code == 409
    assert "broadcaster fold must have kept it" in answer.json()["detail"]


@pytest.mark.parametrize("how", ["leaves", "resets"])
async def test_a_client_that_leaves_while_its_state_is_made_takes_no_place(
    hub: Hub, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statepages, "_PATIENCE_S", 600.0)
    node = hub.running.node
    node.hub.states.folds["stock"].offered = False
    _, writer = await asyncio.open_connection("127.0.0.1", hub.running.port)
    writer.write(b"GET /v1/channels/stock/state HTTP/1.1\r\nHost: localhost\r\n\r\n")
    await until(lambda: len(node.hub.subscribers) == 1)
    if how == "leaves":
        writer.close()
    else:
        writer.transport.abort()
    await until(lambda: not node.hub.subscribers)


@pytest.mark.parametrize(
    ("channel", "query", "status", "said"),
    [
        ("plain", {}, 404, "channel 'plain' has no state: set state ="),
        ("hidden", {}, 404, "no channel 'hidden'"),
        ("orders", {}, 400, "needs a key"),
        ("answers", {"key": "q"}, 400, "made on demand"),
        ("stock", {"petId": "7"}, 400, "the key is given as key=…"),
        ("stock", {"tpye": "7"}, 400, "did you mean 'type'?"),
    ],
)
async def test_a_request_that_is_wrong_is_told_what_is_right(
    hub: Hub, channel: str, query: dict[str, Any], status: int, said: str
) -> None:
    for method in ("GET", "HEAD"):
        answer = await hub.http.request(method, f"/v1/channels/{channel}/state", params=query)
        assert answer.status_code == status
        assert method == "HEAD" or said in answer.json()["detail"]
    assert not hub.running.node.hub.subscribers


def has(window: Window, count: int) -> bool:
    return len(window) >= count


async def test_a_page_and_a_stream_go_on_from_a_state_under_load(
    redis_url: str, client: Any
) -> None:
    """Render on a server, then open the stream at that position: together they are the log."""
    channels = {"stock": CHANNELS["stock"], "sharded": CHANNELS["sharded"]}
    async with (
        running(redis_url, channels=channels) as server,
        running(redis_url, channels=channels, sink="asgi") as other,
        http_client() as http,
        Publisher(redis_url, channels=channels) as publisher,
    ):

        async def load() -> None:
            for number in range(600):
                name = ("stock", "sharded")[number % 2]
                await publisher.publish(
                    name, type=f"t{number % 3}", key=str(number % 7), data=number
                )

        async def seen(name: str) -> dict[tuple[str, str], int]:
            url = f"{server.url}/v1/channels/{name}/state"
            state = (await http.get(url, timeout=PATIENCE_S)).json()
            found = {(e["key"], e["type"]): e["data"] for e in state["events"]}
            path = f"/{name}"
            stream = await Raw.get(other.port, path, f"Last-Event-ID: {state['position']}\r\n")
            for number in range(CHANNELS[name].shards):
                await stream.until(f"data: end {number}\n".encode())
            told = events(stream.body)
            stream.close()
            assert "stream.reset" not in {event.event for event in told}
            for event in told:
                if event.data.isdecimal():
                    number = int(event.data)
                    found[str(number % 7), event.event] = number
            return found

        window = server.node.hub.windows["stock"]
        loading, readers = asyncio.create_task(load()), list[asyncio.Task[Any]]()
        for number in range(10):
            await until(partial(has, window, number * 25))
            readers.append(asyncio.create_task(seen(("stock", "sharded")[number % 2])))
        await loading
        await publisher.publish("stock", type="end", key="0", data="end 0")
        for shard, key in {shard_of(key, 2): key for key in map(str, range(20))}.items():
            await publisher.publish("sharded", type="end", key=key, data=f"end {shard}")
        results = await asyncio.gather(*readers)
    for number, result in enumerate(results):
        first = number % 2
        expected = {(str(n % 7), f"t{n % 3}"): n for n in range(first, 600, 2)}
        assert result == expected, number


async def test_a_node_that_starts_after_a_trim_says_since_when_its_state_is_whole(
    redis_url: str, client: Any
) -> None:
    channels = {"stock": CHANNELS["stock"]}
    async with Publisher(redis_url, channels=channels) as publisher:
        ids = [
            await publisher.publish("stock", type="t", key=str(number), data=number)
            for number in range(3)
        ]
    await client.xtrim("stock", maxlen=1, approximate=False)
    async with running(redis_url, channels=channels) as node, http_client() as http:
        url = f"{node.url}/v1/channels/stock/state"
        answer = await http.get(url)
        state = answer.json()
        assert texts(state) == [2]
        assert state["position"] == str(ids[-1])
        assert state["since"] is not None
        tag = answer.headers["etag"]
        again = await http.get(url, headers={"if-none-match": tag})
        assert again.status_code == 304
