"""Pages of the log over real sockets: what they have, and when they come."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import httpx
import pytest

from broadcaster.backend.memory import MemoryLog
from broadcaster.core.access.policy import Action, Caller, Decision, Denied, Grant
from broadcaster.core.channel import Channel
from broadcaster.core.event import EventId
from broadcaster.core.run import key_of
from broadcaster.core.shards import shard_of
from broadcaster.errors import BackendUnavailableError
from broadcaster.web import logpages
from broadcaster.web.dialects import paged
from broadcaster.web.dialects.paged import PageWanted
from tests.nodes import Raw, Running, events, running
from tests.wait import PATIENCE_S, http_client, until
from tests.web.tokens.issuers import SECRET, token

pytestmark = pytest.mark.server

CHANNELS = {
    "stock": Channel(name="stock", path="/stock", key_param="petId", window_events=5),
    "orders": Channel(
        name="orders", path="/orders/{key}", start="earliest", terminal=frozenset({"done"})
    ),
    "sharded": Channel(name="sharded", path="/sharded", shards=2, start="earliest"),
    "answers": Channel(name="answers", path="/answers", key_param="q", requests="asked"),
    "hidden": Channel(name="hidden", path="/hidden", listed=False),
}
NOTHING: dict[str, Any] = {"events": [], "reset": None, "more": False, "complete": False}


class Hub(NamedTuple):
    """A hub over a log in memory."""

    running: Running
    http: httpx.AsyncClient
    log: MemoryLog

    async def add(
        self, stream: str, *data: str, key: str = "", type: str = "t", to: str = ""
    ) -> list[str]:
        """Add events, and wait until the node has them."""
        ids = [self.log.add(stream, type=type, key=key, data=text) for text in data]
        window = self.running.node.hub.windows[to or stream]
        await until(lambda: window.head >= ids[-1])
        return [str(id_) for id_ in ids]

    async def page(self, channel: str, **query: Any) -> dict[str, Any]:
        """A page, of which each test knows the status."""
        answer = await self.ask(channel, **query)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def ask(self, channel: str, **query: Any) -> httpx.Response:
        """The answer to a request for a page."""
        return await self.http.get(
            f"/v1/channels/{channel}/events",
            params={name.rstrip("_"): value for name, value in query.items()},
            timeout=PATIENCE_S,
        )

    @property
    def waiting(self) -> int:
        """The number of requests that wait for an event."""
        return len(self.running.node.hub.subscribers)


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    log = MemoryLog()
    async with (
        running("", log=log, channels=CHANNELS) as node,
        http_client(base_url=node.url) as http,
    ):
        yield Hub(node, http, log)


@pytest.fixture
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """A node waits for a twentieth of what it is asked for."""
    read = paged.read

    def shortened(*asked: Any) -> PageWanted:
        found = read(*asked)
        return found._replace(wait_s=found.wait_s / 20)

    monkeypatch.setattr(paged, "read", shortened)


def texts(page: dict[str, Any]) -> list[Any]:
    return [event.get("data", event.get("text")) for event in page["events"]]


async def test_a_page_has_the_events_after_an_id_and_where_to_go_on(hub: Hub) -> None:
    ids = await hub.add("stock", "1", "2", "3", key="7")
    page = await hub.page("stock", after=ids[0], limit=1)
    assert page == {
        "events": [{"id": ids[1], "type": "t", "key": "7", "data": 2}],
        "next": ids[1],
        "reset": None,
        "more": True,
        "complete": False,
    }
    page = await hub.page("stock", after=page["next"], limit=1)
    assert (texts(page), page["next"], page["more"]) == ([3], ids[2], False)
    assert await hub.page("stock", after=page["next"]) == {**NOTHING, "next": ids[2]}


async def test_the_head_of_an_answer(hub: Hub) -> None:
    for method in ("GET", "HEAD"):
        answer = await hub.http.request(method, "/v1/channels/stock/events")
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.content == b""
    assert hub.running.node.meters.pages == {"events": 0, "empty": 1, "state": 0}
    answer = await hub.http.put("/v1/channels/stock/events")
    assert answer.status_code == 405
    assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD", "POST"}


@pytest.mark.parametrize(
    "data",
    [
        '{"kg": 1.10, "n": 1e400, "id": 123456789012345678901234567890}',
        '"\\ud800"',
        "-0",
        '{"a":1,"a":2}',
        '[\n  1,\n  "two"\n]',
        "null",
    ],
)
async def test_json_stays_as_it_was_sent(hub: Hub, data: str) -> None:
    await hub.add("stock", data, type='odd "type"', key="ключ")
    answer = await hub.ask("stock", from_="earliest")
    assert f'"key":"ключ","data":{data}}}]' in answer.text
    assert json.loads(answer.text)["events"][0]["type"] == 'odd "type"'


@pytest.mark.parametrize(
    "data", ["", "hello", "NaN", "{", "01", "[1,]", 'a "b"\nc', "[" * 100_000, "1 2"]
)
async def test_any_other_text_is_a_string(hub: Hub, data: str) -> None:
    (id_,) = await hub.add("stock", data)
    page = await hub.page("stock", from_="earliest")
    assert page["events"] == [{"id": id_, "type": "t", "key": "", "text": data}]


async def test_a_page_begins_where_a_new_stream_would(hub: Hub) -> None:
    ids = await hub.add("stock", "1", "2")
    assert await hub.page("stock") == {**NOTHING, "next": ids[1]}
    assert await hub.page("stock", after="") == {**NOTHING, "next": ids[1]}
    assert texts(await hub.page("stock", from_="earliest")) == [1, 2]
    assert texts(await hub.page("stock", from_=ids[0])) == [2]
    assert texts(await hub.page("stock", after=ids[0], from_="earliest")) == [2]
    await hub.add("orders", "1", key="7")
    assert texts(await hub.page("orders", key="7")) == [1]
    answer = await hub.http.get("/v1/channels/stock/events", headers={"last-event-id": ids[0]})
    assert texts(answer.json()) == [2]


async def test_an_empty_stream_has_a_position_to_go_on_from(hub: Hub) -> None:
    first = await hub.page("stock")
    assert first == {**NOTHING, "next": "0-0"}
    by_time = await hub.page("stock", from_="10m")
    for page in (first, by_time):
        await hub.add("stock", "1")
        found = await hub.page("stock", after=page["next"])
        assert (texts(found)[-1:], found["reset"]) == ([1], None)


async def test_what_a_filter_leaves_out_moves_the_position(hub: Hub) -> None:
    before = await hub.page("stock")
    await hub.add("stock", "1", key="7", type="a")
    await hub.add("stock", "2", key="8", type="a")
    ids = await hub.add("stock", *map(str, range(3, 30)), key="9", type="b")
    page = await hub.page("stock", after=before["next"], key=["7", "8"])
    assert (texts(page), page["next"], page["more"]) == ([1, 2], ids[-1], False)
    page = await hub.page("stock", after=before["next"], type="a")
    assert (texts(page), page["next"]) == ([1, 2], ids[-1])
    page = await hub.page("stock", after=before["next"], type="a", key="9")
    assert (texts(page), page["next"]) == ([], ids[-1])


async def test_pages_go_through_the_log_behind_the_window(hub: Hub) -> None:
    before = await hub.page("stock")
    await hub.add("stock", *map(str, range(100)))
    found, at, more = list[int](), before["next"], True
    while more:
        page = await hub.page("stock", after=at, limit=7)
        found, at, more = found + texts(page), page["next"], page["more"]
        assert len(page["events"]) == 7 or not more
    assert found == list(range(100))
    assert hub.running.node.hub.deliveries == 100


async def test_a_page_is_bounded_in_bytes(hub: Hub) -> None:
    before = await hub.page("orders", key="7")
    await hub.add("orders", *['"' + "x" * 100_000 + '"'] * 10, key="7")
    sizes, at, more = list[int](), before["next"], True
    while more:
        page = await hub.page("orders", key="7", after=at, limit=1000)
        sizes.append(len(page["events"]))
        at, more = page["next"], page["more"]
    assert sum(sizes) == 10
    assert max(sizes) <= 3


async def test_a_key_is_complete_after_its_terminal_event(hub: Hub) -> None:
    await hub.add("orders", "1", "2", key="7")
    (end,) = await hub.add("orders", "3", key="7", type="done")
    await hub.add("orders", "4", key="7")
    page = await hub.page("orders", key="7", limit=2)
    assert (texts(page), page["more"], page["complete"]) == ([1, 2], True, False)
    page = await hub.page("orders", key="7", after=page["next"], type="other")
    assert (texts(page), page["more"], page["complete"]) == ([3], False, True)
    assert page["next"] == end
    again = await hub.page("orders", key="7", after=end, wait=60)
    assert again == {**NOTHING, "next": end, "complete": True}


async def test_what_is_gone_is_a_reset_as_in_a_stream(hub: Hub) -> None:
    (before,) = await hub.add("stock", "0")
    ids = await hub.add("stock", *map(str, range(1, 30)))
    hub.log.trim("stock", 4)
    page = await hub.page("stock", after=before)
    stream = await Raw.get(hub.running.port, "/stock", f"Last-Event-ID: {before}\r\n")
    await stream.until(b"stream.live")
    reset, *_ = events(stream.body)
    assert reset.event == "stream.reset"
    assert page["reset"] == json.loads(reset.data)
    assert page["reset"]["reason"] == "trimmed"
    assert page["reset"]["requested"] == before
    assert (texts(page), page["next"]) == ([26, 27, 28, 29], ids[-1])


@pytest.mark.parametrize("after", ["banana", "orders=1-1", "1-2-3", "?"])
async def test_a_cursor_that_can_not_be_read_is_a_reset(hub: Hub, after: str) -> None:
    (id_,) = await hub.add("stock", "1")
    page = await hub.page("stock", after=after)
    reset = {"channel": "stock", "reason": "invalid", "requested": after, "resumed": id_}
    assert page == {**NOTHING, "next": id_, "reset": reset}


async def test_a_cursor_of_the_future_is_a_rollback(hub: Hub) -> None:
    (id_,) = await hub.add("stock", "1")
    page = await hub.page("stock", after="99999999999999-0")
    assert page["reset"]["reason"] == "rollback"
    assert page["next"] == id_


async def test_a_page_of_shards_has_the_cursor_of_both(hub: Hub) -> None:
    keys = {shard_of(key, 2): key for key in map(str, range(20))}
    streams = [f"sharded.{number}" for number in (0, 1)]
    for number in range(10):
        await hub.add(streams[number % 2], str(number), key=keys[number % 2])
    found, at = list[int](), ""
    for _ in range(4):
        page = await hub.page("sharded", after=at, limit=3)
        assert page["next"] == page["events"][-1]["id"]
        found, at = found + texts(page), page["next"]
        assert [part.split("=")[0] for part in at.split(",")] == streams
    assert sorted(found) == list(range(10))
    stream = await Raw.get(hub.running.port, "/sharded", f"Last-Event-ID: {at}\r\n")
    assert events(await stream.until(b"stream.live"))[0].data == '{"replayed":0}'
    page = await hub.page("sharded", after="banana")
    assert page["reset"]["reason"] == "invalid"
    assert page["reset"]["requested"] == "banana"
    assert page["reset"]["resumed"].startswith("sharded.0=")
    assert len(page["events"]) == 10


async def test_resets_of_several_shards_are_one(hub: Hub) -> None:
    keys = {shard_of(key, 2): key for key in map(str, range(20))}
    await hub.add("sharded.0", "1", key=keys[0])
    await hub.add("sharded.1", "2", key=keys[1])
    at = "sharded.0=99999999999999-0,sharded.1=99999999999999-0"
    page = await hub.page("sharded", after=at)
    assert page["reset"] == {
        "channel": "sharded",
        "reason": "rollback",
        "requested": at,
        "resumed": page["next"],
    }
    at = page["next"].split(",")[0] + ",sharded.1=99999999999999-0"
    reset = (await hub.page("sharded", after=at))["reset"]
    assert (reset["shard"], reset["requested"]) == (1, "99999999999999-0")


async def test_next_goes_on_in_a_stream_and_the_id_of_a_stream_in_a_page(hub: Hub) -> None:
    await hub.add("stock", "1", "2", "3", "4")
    page = await hub.page("stock", from_="earliest", limit=2)
    stream = await Raw.get(hub.running.port, "/stock", f"Last-Event-ID: {page['next']}\r\n")
    told = events(await stream.until(b"stream.live"))
    assert [event.data for event in told[:2]] == ["3", "4"]
    assert texts(await hub.page("stock", after=told[0].id)) == [4]


# Waiting


async def test_a_wait_ends_with_the_first_event_that_the_filter_admits(hub: Hub) -> None:
    at = (await hub.page("stock"))["next"]
    asked = asyncio.ensure_future(hub.page("stock", after=at, key="7", wait=60))
    await until(lambda: hub.running.node.hub.live)
    await hub.add("stock", "0", key="8")
    (id_,) = await hub.add("stock", "1", key="7")
    page = await asked
    assert (texts(page), page["next"], page["more"]) == ([1], id_, False)
    assert not hub.waiting
    assert hub.running.node.meters.pages == {"events": 1, "empty": 1, "state": 0}


@pytest.mark.usefixtures("short_waits")
async def test_a_wait_that_is_over_is_an_empty_page(hub: Hub) -> None:
    at = (await hub.page("stock"))["next"]
    began_s = time.monotonic()
    asked = asyncio.ensure_future(hub.page("stock", after=at, key="7", wait=2))
    (left_out,) = await hub.add("stock", "0", key="8")
    assert await asked == {**NOTHING, "next": left_out}
    assert time.monotonic() - began_s >= 2 / 20
    assert not hub.waiting


async def test_no_wait_where_there_is_something_to_tell(hub: Hub) -> None:
    await hub.add("stock", "1")
    assert (await hub.page("stock", after="banana", wait=60))["reset"]
    assert texts(await hub.page("stock", from_="earliest", wait=60)) == [1]


async def test_a_node_that_drains_ends_a_wait(hub: Hub) -> None:
    (at,) = await hub.add("stock", "1")
    asked = asyncio.ensure_future(hub.ask("stock", after=at, wait=60))
    await until(lambda: hub.running.node.hub.live)
    await hub.running.node.drain()
    answer = await asked
    assert answer.json() == {**NOTHING, "next": at}
    assert answer.headers["connection"] == "close"
    answer = await hub.ask("stock", after=at, wait=60)
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"
    assert answer.headers["content-type"] == "application/problem+json"
    assert hub.running.node.meters.shed["draining"] == 1


async def test_a_log_that_does_not_answer_is_503(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    (at,) = await hub.add("stock", "0")
    await hub.add("stock", *map(str, range(1, 30)))

    async def away(*_: Any) -> Any:
        raise BackendUnavailableError("away")

    monkeypatch.setattr(logpages, "_PATIENCE_S", 0.1)
    with monkeypatch.context() as patch:
        patch.setattr(hub.running.node.questions, "_ask_log", away)
        answer = await hub.ask("stock", after=at)
        assert answer.status_code == 503
        assert "can't be read for now" in answer.json()["detail"]
        assert not hub.waiting
    assert texts(await hub.page("stock", after=at, limit=3)) == [1, 2, 3]


# What is refused


@pytest.mark.parametrize(
    ("channel", "query", "status", "said"),
    [
        ("stock", {"limit": "0"}, 400, "limit is a whole number from 1 to 1000, not '0'"),
        ("stock", {"limit": "1001"}, 400, "from 1 to 1000"),
        ("stock", {"limit": "x"}, 400, "not 'x'"),
        ("stock", {"wait": "61"}, 400, "wait is a whole number from 0 to 60, not '61'"),
        ("stock", {"wait": "-1"}, 400, "from 0 to 60"),
        ("stock", {"from": "banana"}, 400, "is none of: an event id"),
        ("stock", {"petId": "7"}, 400, "the key is given as key=…, not as petId=…"),
        ("stock", {"limti": "7"}, 400, "did you mean 'limit'?"),
        ("stock", {"key": ["7"] * 101}, 400, "at most 100 may be"),
        ("stock", {"key": "7" * 300}, 400, "at most 256 may be"),
        ("stock", {"key": "7" * 40_000}, 414, "more than 32768 bytes"),
        ("orders", {}, 400, "needs a key"),
        ("answers", {"key": ["1", "2"]}, 400, "for one key"),
        ("hidden", {}, 404, "no channel 'hidden'; there are: answers, orders, sharded, stock"),
        ("nothing", {}, 404, "no channel 'nothing'"),
    ],
)
async def test_a_request_that_is_wrong_is_told_what_is_right(
    hub: Hub, channel: str, query: dict[str, Any], status: int, said: str
) -> None:
    answer = await hub.ask(channel, **query)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert said in answer.json()["detail"]
    assert not hub.waiting


async def only_seven(caller: Caller, action: Action, _: str, keys: frozenset[str], /) -> Decision:
    if "authorization" not in caller.headers:
        return Denied("log in first", 401)
    if action is Action.SUBSCRIBE and keys - {"7"}:
        return Denied("not yours")
    return Grant("ann", keys=frozenset({"7"}))


async def test_a_policy_decides_as_for_a_stream() -> None:
    log, ann = MemoryLog(), {"authorization": "ann"}
    settings: dict[str, Any] = {"cors_origins": ["https://shop.example"], "channels": CHANNELS}
    async with (
        running("", log=log, authorize=only_seven, **settings) as node,
        http_client(base_url=node.url, headers={"origin": "https://shop.example"}) as http,
    ):
        path = "/v1/channels/stock/events"
        answer = await http.get(path)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
        assert (await http.get(path, params={"key": "8"}, headers=ann)).status_code == 403
        for key in ("7", "8"):
            last = log.add("stock", key=key, data=key)
        await node.has_read("stock", last)
        answer = await http.get(path, params={"from": "earliest"}, headers=ann)
        assert answer.headers["access-control-allow-origin"] == "https://shop.example"
        assert texts(answer.json()) == [7]
        assert (await http.get("/v1/channels/hidden/events", headers=ann)).status_code == 404


async def test_the_end_of_a_grant_ends_a_wait(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_day, passed_s = time.time, list[float]()
    monkeypatch.setattr(time, "time", lambda: of_day() + sum(passed_s))
    async with (
        running(redis_url, channels=CHANNELS, token_secrets=[SECRET]) as node,
        http_client(base_url=node.url) as http,
    ):
        text = token(sub="ann", broadcaster={"subscribe": ["stock"]})  # for an hour
        headers = {"authorization": f"Bearer {text}"}
        path = "/v1/channels/stock/events"
        asked = asyncio.ensure_future(
            http.get(path, params={"wait": 60}, headers=headers, timeout=PATIENCE_S)
        )
        await until(lambda: node.node.hub.live)
        passed_s.append(3700)
        answer = await asked
        assert (answer.status_code, answer.json()) == (200, {**NOTHING, "next": "0-0"})
        answer = await http.get(path, params={"wait": 60}, headers=headers, timeout=PATIENCE_S)
        assert answer.status_code == 401


# Its place


def taken(node: Running) -> tuple[int, int]:
    """What is taken: places in the hub, and of addresses."""
    return len(node.node.hub.subscribers), node.node.limits.places["address"].taken


@pytest.mark.parametrize("sink", ["transport", "asgi"])
@pytest.mark.parametrize("how", ["an event", "it leaves", "it resets", "it drains", "its time"])
async def test_a_wait_takes_a_place_and_frees_it(
    sink: str, how: str, request: pytest.FixtureRequest
) -> None:
    if how == "its time":
        request.getfixturevalue("short_waits")
    log = MemoryLog()
    limits: dict[str, Any] = {"max_connections_per_address": 1}
    async with running("", log=log, channels=CHANNELS, sink=sink, **limits) as node:
        reader, writer = await asyncio.open_connection("127.0.0.1", node.port)
        wait = 1 if how == "its time" else 60
        head = f"GET /v1/channels/stock/events?wait={wait} HTTP/1.1\r\nHost: localhost\r\n\r\n"
        writer.write(head.encode())
        await until(lambda: node.node.hub.live)
        assert taken(node) == (1, 1)
        if how != "its time":
            async with http_client(base_url=node.url) as http:
                answer = await http.get("/v1/channels/stock/events")
                assert answer.status_code == 429
                assert answer.headers["retry-after"] == "1"
                assert node.node.meters.shed["address"] == 1
        match how:
            case "an event":
                log.add("stock", data="1")
            case "it leaves":
                writer.close()
            case "it resets":
                writer.transport.abort()
            case "it drains":
                node.node.end(node.node.subscribers())
        if how not in ("it leaves", "it resets"):
            assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 200")
        await until(lambda: taken(node) == (0, 0))
        writer.transport.abort()


async def test_a_full_node_sends_a_poller_away() -> None:
    async with (
        running("", log=MemoryLog(), channels=CHANNELS, max_connections=1) as node,
        http_client(base_url=node.url) as http,
    ):
        stream = await Raw.get(node.port, "/stock")
        await stream.until(b"stream.live")
        answer = await http.get("/v1/channels/stock/events")
        assert answer.status_code == 503
        assert "all the connections" in answer.json()["detail"]


async def test_a_run_is_made_once_and_followed(hub: Hub) -> None:
    first = await hub.page("answers", key="q1")
    assert first["next"].startswith("answers=0-0,run=")
    again = await hub.page("answers", key="q1", after=first["next"])
    assert again["next"] == first["next"]
    stranger = await hub.page("answers", key="q1")
    assert stranger["next"] != first["next"]
    run = EventId.parse(first["next"].partition("run=")[2])
    (id_,) = await hub.add("answers", "1", key=key_of("q1", run))
    page = await hub.page("answers", key="q1", after=first["next"])
    assert page["events"] == [
        {"id": f"answers={id_},run={run}", "type": "t", "key": key_of("q1", run), "data": 1}
    ]
    gone = await hub.page("answers", key="q1", after="answers=0-0,run=1-1")
    assert gone["reset"]["reason"] == "gone"
    assert gone["reset"]["requested"] == "answers=0-0,run=1-1"
