"""The event stream endpoint over real sockets, with both sinks."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import msgpack
import pytest

from broadcaster import EmbeddedRedis, Publisher
from broadcaster.core import sse
from broadcaster.core.fanout.turns import Reader
from broadcaster.core.log import AnyAnswer, AnyQuestion
from broadcaster.core.wire import Shed
from broadcaster.node import questions
from tests.nodes import QUICK, Raw, Running, events, garbage_of, running, told
from tests.wait import PATIENCE_S, allowed_s, http_client, until

LIVE = b"stream.live"


@pytest.fixture(params=["transport", "asgi"])
async def hub(request: pytest.FixtureRequest, redis_url: str) -> AsyncIterator[Running]:
    async with running(redis_url, sink=request.param) as made:
        yield made
        other = {"transport": "asgi", "asgi": "transport"}[request.param]
        assert made.node.meters.opened[other] == 0


async def opened(hub: Running, path: str, last_id: str | None = None, version: str = "1.1") -> Raw:
    headers = "" if last_id is None else f"Last-Event-ID: {last_id}\r\n"
    return await Raw.get(hub.port, path, headers, version)


async def test_a_plain_xadd_arrives_byte_for_byte_and_soon(hub: Running, client: Any) -> None:
    stream = await opened(hub, "/v1/inventory/stream")
    await stream.until(LIVE)
    delays = []
    for number in range(20):
        before, began = stream.body, time.monotonic()
        fields = {"type": "stock-change", "key": "a", "data": f'{{"n":{number}}}'}
        entry_id = (await client.xadd("inventory", fields)).decode()
        await stream.until(f'{{"n":{number}}}\n\n'.encode())
        delays.append(time.monotonic() - began)
        assert stream.body[len(before) :].endswith(
            f'id: {entry_id}\nevent: stock-change\ndata: {{"n":{number}}}\n\n'.encode()
        )
    assert sorted(delays)[10] < allowed_s(0.05)
    stream.close()


async def test_the_head_of_the_response(hub: Running) -> None:
    stream = await opened(hub, "/v1/inventory/stream")
    await stream.until(LIVE)
    old = await opened(hub, "/v1/inventory/stream", version="1.0")
    await old.until(LIVE)
    # uvicorn alone would send chunks, which HTTP/1.0 has not.
    if hub.node.meters.opened["transport"]:
        assert b"chunked" not in old.head
    old.close()
    head = stream.head.lower()
    assert head.startswith(b"http/1.1 200")
    for header in (
        b"content-type: text/event-stream",
        b"cache-control: no-cache, no-store, no-transform",
        b"x-accel-buffering: no",
        b"transfer-encoding: chunked",
    ):
        assert header in head
    retry_ms = int(stream.body.split(b"retry: ")[1].split(b"\n")[0])
    assert QUICK["retry_min_ms"] <= retry_ms <= QUICK["retry_max_ms"]
    assert stream.body.startswith(sse.retry(retry_ms) + sse.live(b"0-0", 0))
    stream.close()


@pytest.mark.parametrize("sink", ["transport", "asgi"])
async def test_the_connection_is_kept_unless_the_client_closes_it(
    redis_url: str, publisher: Publisher, sink: str
) -> None:
    last = await publisher.publish("orders", type="complete", key="7", data="shipped")
    async with running(redis_url, sink=sink) as hub, http_client(base_url=hub.url) as browser:
        await until(lambda: len(hub.node.hub.windows["orders"]) == 1)
        for path, status in {
            "/v1/orders/7/status/stream": 200,
            f"/v1/orders/7/status/stream?lastEventId={last}": 204,
            "/v1/inventory/stream?from=never": 400,
        }.items():
            answer = await browser.get(path)
            assert answer.status_code == status
            assert answer.headers.get_list("connection") == ["keep-alive"]
        answer = await browser.get("/v1/orders/7/status/stream", headers={"connection": "close"})
        assert answer.headers.get_list("connection") == ["close"]


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/v1/inventory/stream", "0"),
        ("/v1/inventory/stream?from=0", None),
        ("/v1/inventory/stream?lastEventId=0", None),
        ("/v1/inventory/stream", "{ms}"),
        ("/v1/inventory/stream?from={ms}", None),
        ("/v1/inventory/stream", "000{ms}-00"),
        ("/v1/events?channel=inventory,orders", "0"),
        ("/v1/events?channel=inventory,orders&from=0", None),
        ("/v1/events?channel=inventory,orders", "inventory={ms},orders=0"),
        ("/v1/events?channel=inventory,orders&from=inventory=0,orders=0", None),
        ("/v1/orders/7/status/stream", "0"),
    ],
)
async def test_ids_are_read_as_redis_reads_them(
    hub: Running, client: Any, path: str, text: str | None
) -> None:
    first = await client.xadd("inventory", {"data": "first", "key": "7"}, id="1710000000000-0")
    await client.xadd("orders", {"data": "second", "key": "7"}, id="1710000000001-0")
    await client.xadd("inventory", {"data": "third", "key": "7"}, id="1710000000002-0")
    await until(lambda: len(hub.node.hub.windows["inventory"]) == 2)
    await until(lambda: len(hub.node.hub.windows["orders"]) == 1)
    ms = first.decode().partition("-")[0]
    stream = await opened(hub, path.format(ms=ms), text.format(ms=ms) if text else None)
    await stream.until(LIVE)
    expected = ["first", "second", "third"]
    if "{ms}" in path + (text or ""):
        expected.remove("first")
    if "events" not in path:
        expected = ["second"] if "orders" in path else [e for e in expected if e != "second"]
    assert told(stream.body) == expected
    assert b"stream.reset" not in stream.body
    stream.close()


async def test_the_beginning_of_what_has_no_run_yet_is_a_new_run(hub: Running, client: Any) -> None:
    for text in ("0", "0-0"):
        stream = await opened(hub, "/v1/pets/recommendations/stream?userId=you", text)
        await stream.until(b"retry: ")
        await until(lambda: client.xlen("recommendations.requests"))
        await stream.until(LIVE)
        assert b"stream.reset" not in stream.body
        stream.close()


async def test_other_forms_of_entries(hub: Running, client: Any) -> None:
    stream = await opened(hub, "/v1/inventory/stream")
    await stream.until(LIVE)
    await client.xadd("inventory", {"m": msgpack.packb(["t", "k", {"n": 1}])})
    await client.xadd("inventory", {"data": "just data"})
    await client.xadd("inventory", {"type": "bad\ntype", "data": "no"})
    await client.xadd("inventory", {"data": "a\r\nb\rc\nd"})
    await client.xadd("inventory", {"data": "\x00\u2028🐈" + "x" * 1_000_000})
    await client.xadd("inventory", {"data": "end"})
    await stream.until(b"data: end\n\n")
    assert told(stream.body) == [
        '{"n":1}', "just data", "a\nb\nc\nd", "\x00\u2028🐈" + "x" * 1_000_000, "end",
    ]  # fmt: skip
    assert [event.event for event in events(stream.body)[-5:-3]] == ["t", "message"]
    assert hub.node.log.status("inventory").malformed == 1
    stream.close()


async def test_an_order_is_replayed_and_followed_to_its_end(
    hub: Running, publisher: Publisher
) -> None:
    await publisher.publish("orders", type="status", key="7", data="paid")
    await publisher.publish("orders", type="status", key="8", data="another order")
    await until(lambda: len(hub.node.hub.windows["orders"]) == 2)
    stream = await opened(hub, "/v1/orders/7/status/stream")
    await stream.until(LIVE)
    last = await publisher.publish("orders", type="complete", key="7", data="shipped")
    await publisher.publish("orders", type="status", key="7", data="after the end")
    await stream.rest()
    assert told(stream.body) == ["paid", "shipped"]
    late = await opened(hub, "/v1/orders/7/status/stream")
    await late.rest()
    assert [event.event for event in events(late.body)] == ["status", "complete"]
    again = await opened(hub, "/v1/orders/7/status/stream", str(last))
    assert again.head.startswith(b"HTTP/1.1 204")
    assert await again.rest() == b""
    await until(lambda: not hub.node.hub.subscribers)


async def test_a_client_that_saw_the_end_gets_204_even_if_the_end_is_just_evicted(
    redis_url: str, publisher: Publisher
) -> None:
    async with running(redis_url, window_events=2) as hub:
        window = hub.node.hub.windows["orders"]
        last = await publisher.publish("orders", type="complete", key="7", data="shipped")
        for number in range(2):
            await publisher.publish("orders", type="status", key="8", data=f"{number}")
        await until(lambda: window.floor == last)
        again = await opened(hub, "/v1/orders/7/status/stream", str(last))
        assert again.head.startswith(b"HTTP/1.1 204")


async def test_a_response_over_http_1_1_ends_and_the_connection_is_used_again(
    hub: Running, publisher: Publisher
) -> None:
    await publisher.publish("orders", type="complete", key="7", data="shipped")
    async with http_client(base_url=hub.url) as browser:
        for _ in range(3):
            response = await browser.get("/v1/orders/7/status/stream")
            assert told(response.content) == ["shipped"]
        assert (await browser.get("/healthz")).json() == {"status": "alive"}


async def test_filters_by_key_and_type(hub: Running, publisher: Publisher) -> None:
    one = await opened(hub, "/v1/inventory/stream?petId=a&petId=b")
    other = await opened(hub, "/v1/events?channel=inventory&type=t&type=u&key=a")
    for stream in (one, other):
        await stream.until(LIVE)
    for key, type_, data in (
        ("a", "t", "1"), ("b", "t", "2"), ("c", "t", "3"), ("a", "x", "4"), ("a", "u", "5"),
    ):  # fmt: skip
        await publisher.publish("inventory", type=type_, key=key, data=data)
    for stream, wanted in ((one, ["1", "2", "4", "5"]), (other, ["1", "5"])):
        await stream.until(b"data: 5\n\n")
        assert told(stream.body) == wanted
        stream.close()


async def test_several_channels_on_one_connection(hub: Running, publisher: Publisher) -> None:
    stream = await opened(hub, "/v1/events?channel=orders&channel=inventory&from=latest")
    await stream.until(LIVE)
    first = await publisher.publish("orders", type="t", data="1")
    await stream.until(b"data: 1\n\n")
    second = await publisher.publish("inventory", type="t", data="2")
    await stream.until(b"data: 2\n\n")
    assert [event.id for event in events(stream.body)] == [
        "inventory=0-0,orders=0-0",
        f"inventory=0-0,orders={first}",
        f"inventory={second},orders={first}",
    ]
    stream.close()
    await publisher.publish("orders", type="t", data="3")
    await publisher.publish("inventory", type="t", data="4")
    again = await opened(
        hub, "/v1/events?channel=orders&channel=inventory", f"inventory=0-0,orders={first}"
    )
    await again.until(LIVE)
    await again.until(b"data: 3\n\n")
    await again.until(b"data: 4\n\n")
    assert sorted(told(again.body)) == ["2", "3", "4"]  # between streams no order is promised
    again.close()


async def test_where_a_client_starts(hub: Running, publisher: Publisher) -> None:
    ids = [await publisher.publish("inventory", data=str(number)) for number in range(3)]
    await until(lambda: len(hub.node.hub.windows["inventory"]) == 3)
    for start, wanted in (
        ("earliest", ["0", "1", "2"]),
        ("latest", []),
        (str(ids[0]), ["1", "2"]),
        (f"inventory={ids[1]}", ["2"]),
        ("10m", ["0", "1", "2"]),
        ("2020-01-01T00:00:00Z", ["0", "1", "2"]),
    ):
        stream = await opened(hub, f"/v1/inventory/stream?from={start}")
        await stream.until(LIVE)
        assert told(stream.body) == wanted, start
        assert b"stream.reset" not in stream.body
        stream.close()


async def test_a_client_that_sends_its_cursor_in_the_query_misses_nothing(
    hub: Running, publisher: Publisher
) -> None:
    """As `event-source-polyfill` does it: each time it comes back, it puts the newest id there."""
    path, last_id, seen = "/v1/inventory/stream", "", list[str]()
    for number in range(3):
        stream = await opened(hub, f"{path}?lastEventId={last_id}" if last_id else path)
        await stream.until(LIVE)
        await publisher.publish("inventory", data=f"{number} seen")
        await stream.until(f"{number} seen\n\n".encode())
        assert b"stream.reset" not in stream.body
        seen += told(stream.body)
        last_id = [event.id for event in events(stream.body) if event.id][-1]
        stream.close()
        await publisher.publish("inventory", data=f"{number} while away")
    stream = await opened(hub, f"{path}?lastEventId={last_id}")
    await stream.until(b"2 while away\n\n")
    seen += told(stream.body)
    assert seen == [f"{number} {when}" for number in range(3) for when in ("seen", "while away")]


async def test_an_order_that_is_over_says_so_to_a_cursor_in_the_query(
    hub: Running, publisher: Publisher
) -> None:
    last = await publisher.publish("orders", type="complete", key="7", data="shipped")
    again = await opened(hub, f"/v1/orders/7/status/stream?lastEventId={last}")
    assert again.head.startswith(b"HTTP/1.1 204")


@pytest.mark.parametrize("text", ["x", "1-0%201-0", "%F0%9F%90%88"])
async def test_a_cursor_in_the_query_that_can_not_be_read_gets_a_reset(
    hub: Running, text: str
) -> None:
    stream = await opened(hub, f"/v1/inventory/stream?lastEventId={text}")
    assert stream.head.startswith(b"HTTP/1.1 200")
    await stream.until(LIVE)
    (reset,) = [json.loads(e.data) for e in events(stream.body) if e.event == "stream.reset"]
    assert reset["reason"] == "invalid"


HOSTILE = [
    "x", "$", "+", "-", "*", "18446744073709551616-0", "0-18446744073709551616",
    "\xff\xfe", "1-1,1-1", "inventory=", "run=1-0", "a" * 60_000, "1-" + "1" * 60_000,
    "\t1-0\x80", "1-0 1-0",
]  # fmt: skip


@pytest.mark.parametrize("last_id", HOSTILE)
async def test_a_hostile_last_event_id_gets_a_reset_and_the_stream(
    hub: Running, publisher: Publisher, last_id: str
) -> None:
    stream = await opened(hub, "/v1/inventory/stream", last_id)
    assert stream.head.startswith(b"HTTP/1.1 200")
    await stream.until(LIVE)
    (reset,) = [json.loads(e.data) for e in events(stream.body) if e.event == "stream.reset"]
    assert reset["reason"] == "invalid"
    assert len(reset["requested"]) <= 64
    await publisher.publish("inventory", data="it goes on")
    await stream.until(b"it goes on")
    stream.close()


INJECTED = "%0D%0A%0D%0Aevent:%20evil%0Adata:%20x%0A%0A%E2%80%A8%00"


@pytest.mark.parametrize(
    "query", ["lastEventId=1-0", "lastEventId=", "key=7", "type=t", "from=1-0", "ticket=t", "x="]
)
@pytest.mark.parametrize("draining", [False, True])
async def test_no_parameter_becomes_a_line_of_the_answer(
    hub: Running, query: str, draining: bool
) -> None:
    """Injected lines would be events, or headers of the response."""
    hub.node.draining = draining
    answer = await Raw.get(hub.port, f"/v1/inventory/stream?{query}{INJECTED}")
    if b" 400 " not in answer.head:
        await answer.until(b"stream.at" if draining else b"stream.live")
    assert b"evil" not in answer.head
    assert not re.search(rb"[\r\n]event: ?evil", answer.body)
    own = {"stream.at", "stream.live", "stream.reset", "stream.state"}
    assert {e.event for e in events(answer.body)} <= own
    answer.close()


@pytest.mark.parametrize("start", ["x", "%00", "%FF", "1-", "-", "9" * 30, "2099-01-01T00:00:00Z"])
async def test_a_bad_from_is_a_problem(hub: Running, start: str) -> None:
    async with http_client(base_url=hub.url) as browser:
        response = await browser.get(f"/v1/inventory/stream?from={start}")
    assert response.status_code == 400
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["status"] == 400


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/events", 400),
        ("/v1/events?channel=nope", 404),
        ("/v1/pets/recommendations/stream", 400),
        ("/v1/pets/recommendations/stream?userId=a&userId=b", 400),
        ("/v1/nothing", 404),
        ("/v1/channels/nope", 404),
        ("/v1/inventory/stream?" + "&".join(["petId=x"] * 101), 400),
    ],
)
async def test_requests_that_would_fail_again(hub: Running, path: str, status: int) -> None:
    async with http_client(base_url=hub.url) as browser:
        response = await browser.get(path)
    assert (response.status_code, response.json()["status"]) == (status, status)
    assert response.headers["content-type"] == "application/problem+json"


async def test_methods(hub: Running) -> None:
    async with http_client(base_url=hub.url) as browser:
        response = await browser.post("/v1/inventory/stream")
        assert (response.status_code, response.headers["allow"]) == (405, "GET, HEAD")
        response = await browser.head("/v1/inventory/stream")
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        assert (await browser.post("/healthz")).status_code == 405
    await until(lambda: not hub.node.hub.subscribers)


async def test_a_client_that_leaves_is_forgotten(hub: Running) -> None:
    streams = [await opened(hub, "/v1/inventory/stream") for _ in range(20)]
    for stream in streams:
        await stream.until(LIVE)
    assert len(hub.node.hub.subscribers) == 20
    for number, stream in enumerate(streams):
        if number % 2:
            stream.close()
        else:
            stream.writer.close()
    await until(lambda: not hub.node.hub.subscribers)
    assert not len(hub.node.hub._audiences)


async def test_one_encoding_per_event_and_no_redis_connection_per_client(
    hub: Running, publisher: Publisher, client: Any
) -> None:
    before = len(await client.client_list())
    streams = [await opened(hub, "/v1/inventory/stream") for _ in range(50)]
    for stream in streams:
        await stream.until(LIVE)
    for number in range(10):
        await publisher.publish("inventory", data=str(number))
    for stream in streams:
        await stream.until(b"data: 9\n\n")
        stream.close()
    assert hub.node.log.status("inventory").frames == 10
    assert hub.node.hub.deliveries == 500
    # The publisher's own, and those of what a node does by itself now and then.
    assert len(await client.client_list()) <= before + 3
    assert hub.node.log.reads == 0


async def test_a_newcomer_above_the_limit_gets_a_retry_time(redis_url: str) -> None:
    async with running(redis_url, max_connections=1) as hub:
        first = await opened(hub, "/v1/inventory/stream")
        await first.until(LIVE)
        shed = await opened(hub, "/v1/inventory/stream")
        assert shed.head.startswith(b"HTTP/1.1 200")
        assert b"text/event-stream" in shed.head
        assert b"\nretry: " in await shed.rest()
        first.close()


@pytest.mark.parametrize(
    ("path", "last_id", "sent"),
    [
        ("/v1/inventory/stream", "5-1", "id: 5-1\n"),
        ("/v1/inventory/stream", "inventory=5-1", "id: 5-1\n"),
        ("/v1/inventory/stream", "", ""),
        ("/v1/inventory/stream", "nonsense\x80", "id: nonsense\ufffd\n"),
        ("/v1/events?channel=inventory&channel=orders&key=7", "inventory=5-1",
         "id: inventory=5-1\n"),
        ("/v1/pets/recommendations/stream?userId=a", "recommendations=5-1,run=4-0",
         "id: recommendations=5-1,run=4-0\n"),
    ],
)  # fmt: skip
async def test_a_client_that_is_shed_keeps_its_position(
    redis_url: str, path: str, last_id: str, sent: str
) -> None:
    async with running(redis_url, max_connections=1) as hub:
        first = await opened(hub, "/v1/inventory/stream")
        await first.until(LIVE)
        shed = await Raw.get(hub.port, path, f"Last-Event-ID: {last_id}\r\n")
        block = (await shed.rest()).partition(b"\nretry: ")[2]
        assert block.partition(b"\n")[2] == f"{sent}event: stream.at\ndata: {{}}\n\n".encode()
        assert shed.head.lower().count(b"connection:") == 1
        assert b"connection: close" in shed.head.lower()
        first.close()


def asks_first(hub: Running) -> Callable[[str, AnyQuestion, Reader | None], Awaitable[AnyAnswer]]:
    """Let a client that begins at `earliest` ask the log. Return the function that asks."""
    hub.node.hub.windows["inventory"].complete = False
    return hub.node.ask


async def test_the_limit_holds_for_newcomers_that_come_together(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(redis_url, max_connections=1) as hub:
        ask, asked, all_ask = asks_first(hub), asyncio.Semaphore(0), asyncio.Barrier(3)

        async def when_all_ask(stream: str, question: AnyQuestion, reader: Reader) -> AnyAnswer:
            asked.release()
            await all_ask.wait()
            return await ask(stream, question, reader)

        monkeypatch.setattr(hub.node.questions, "_ask_log", when_all_ask)
        opening = []
        for _ in range(3):  # a connection without a request would count, too
            path = "/v1/inventory/stream?from=earliest"
            opening.append(asyncio.create_task(opened(hub, path)))
            async with asyncio.timeout(PATIENCE_S):
                await asked.acquire()
        said = [await stream.until(b"\n\n") for stream in await asyncio.gather(*opening)]
        assert sorted(b"all the connections" in text for text in said) == [False, True, True]
        assert sum(LIVE in text for text in said) == 1


async def test_quiet_clients_get_heartbeats_that_move_their_cursor(
    redis_url: str, publisher: Publisher
) -> None:
    for sink in ("transport", "asgi"):
        async with running(redis_url, sink=sink, heartbeat_s=0.3) as hub:
            stream = await opened(hub, "/v1/inventory/stream?petId=a")
            await stream.until(LIVE)
            other = await publisher.publish("inventory", key="b", data="x")
            position = sse.at(str(other).encode())
            await stream.until(position)
            began = time.monotonic()
            await stream.until(position + sse.HEARTBEAT * 2)  # nothing moved since
            assert time.monotonic() - began < allowed_s(0.9)
            stream.close()


async def test_cors(redis_url: str) -> None:
    origin = "https://shop.example"
    async with (
        running(redis_url, cors_origins=(origin,)) as hub,
        http_client(base_url=hub.url, headers={"origin": origin}) as browser,
    ):
        response = await browser.options(
            "/v1/inventory/stream",
            headers={
                "access-control-request-method": "GET",
                "access-control-request-headers": "last-event-id",
            },
        )
        assert response.status_code == 200
        assert response.headers["access-control-allow-origin"] == origin
        assert "last-event-id" in response.headers["access-control-allow-headers"].lower()
        async with browser.stream("GET", "/v1/inventory/stream") as stream:
            assert stream.headers["access-control-allow-origin"] == origin
        async with browser.stream(
            "GET", "/v1/inventory/stream", headers={"origin": "https://evil.example"}
        ) as stream:
            assert "access-control-allow-origin" not in stream.headers
        assert hub.node.meters.opened["transport"] == 2


async def test_a_client_that_does_not_read_holds_up_no_other_and_misses_nothing(
    hub: Running, publisher: Publisher
) -> None:
    stalled = await opened(hub, "/v1/inventory/stream")
    await stalled.until(LIVE)
    stalled.writer.transport.pause_reading()  # type: ignore[attr-defined]
    reading = await opened(hub, "/v1/inventory/stream")
    await reading.until(LIVE)
    for start in range(0, 2000, 100):
        numbers = range(start, start + 100)
        data = "x" * 5000
        await publisher.publish_many([("inventory", "t", "", f"{n} {data}") for n in numbers])
        await reading.until(f"data: {start + 99} ".encode())
        reading.body = reading.body[-10:]
    if hub.node.meters.opened["transport"]:
        waiting = [p.get_write_buffer_size() for p in transports(hub)]
        # The high-water mark and one batch.
        assert max(waiting) <= 64 * 1024 + 1000 * 5100
    stalled.writer.transport.resume_reading()  # type: ignore[attr-defined]
    await stalled.until(b"data: 1999 ")
    await until(lambda: all(not s.blocked for s in hub.node.hub.subscribers))
    assert [int(data.split()[0]) for data in told(stalled.body)][:1999] == list(range(1999))
    stalled.close()
    reading.close()


def transports(hub: Running) -> list[asyncio.Transport]:
    return [s.write.__self__ for s in hub.node.hub.subscribers]  # type: ignore[attr-defined]


async def test_a_client_that_never_reads_again_is_cut(redis_url: str, publisher: Publisher) -> None:
    async with running(redis_url, send_timeout_s=0.3) as hub:
        stream = await opened(hub, "/v1/inventory/stream")
        await stream.until(LIVE)
        stream.writer.transport.pause_reading()  # type: ignore[attr-defined]
        for _ in range(10):
            await publisher.publish_many([("inventory", "t", "", "x" * 10_000)] * 100)
        await until(lambda: not hub.node.hub.subscribers)
        stream.close()


async def test_a_run_is_requested_once_and_continued(hub: Running, publisher: Publisher) -> None:
    path = "/v1/pets/recommendations/stream?userId=u"
    redis: Any = publisher.redis
    first, second = await opened(hub, path), await opened(hub, path)
    for stream in (first, second):
        await stream.until(LIVE)
    runs = [run.decode() for run, _ in await redis.xrange("recommendations.requests")]
    assert len(runs) == 2
    for number in range(3):
        for run in runs:
            key = f"u#{run}"
            await publisher.publish("recommendations", type="t", key=key, data=f"{run} {number}")
    for stream in (first, second):
        await stream.until(b" 2\n\n")
    mine = told(first.body)[0].split()[0]
    assert told(first.body) == [f"{mine} {n}" for n in range(3)]
    assert told(second.body) == [f"{run} {n}" for run in runs if run != mine for n in range(3)]
    last = next(event for event in events(first.body) if event.data.endswith(" 1"))
    again = await opened(hub, path, last.id)
    await again.until(LIVE)
    end = await publisher.publish("recommendations", type="complete", key=f"u#{mine}", data="end")
    await again.rest()
    assert told(again.body) == [f"{mine} 2", "end"]
    over = await opened(hub, path, f"recommendations={end},run={mine}")
    assert over.head.startswith(b"HTTP/1.1 204")
    assert await redis.xlen("recommendations.requests") == 2
    # The name of another client's run is not enough to get its events.
    other = await opened(hub, "/v1/pets/recommendations/stream?userId=v", last.id)
    await other.until(LIVE)
    assert told(other.body) == []
    for stream in (first, second, other):
        stream.close()


async def test_the_channels_are_listed_with_their_bounds(
    hub: Running, publisher: Publisher
) -> None:
    async with http_client(base_url=hub.url) as browser:
        empty = (await browser.get("/v1/channels/inventory")).json()
        assert (empty["oldest"], empty["newest"], empty["length"]) == (None, None, 0)
        ids = [str(await publisher.publish("inventory", data=n)) for n in range(3)]
        await until(lambda: len(hub.node.hub.windows["inventory"]) == 3)
        assert (await browser.get("/v1/channels/inventory")).json() == {
            "channel": "inventory",
            "path": "/v1/inventory/stream",
            "key_param": "petId",
            "key_required": False,
            "on_demand": False,
            "oldest": ids[0],
            "newest": ids[2],
            "length": 3,
        }
        every = (await browser.get("/v1/channels")).json()["channels"]
        assert [c["channel"] for c in every] == ["orders", "inventory", "recommendations"]
        assert (await browser.get("/readyz")).json() == {"status": "ready"}
        assert "broadcaster" in (await browser.get("/")).text


@pytest.mark.server
async def test_redis_goes_away_and_comes_back() -> None:
    with EmbeddedRedis("--appendonly", "yes", "--appendfsync", "always") as server:
        async with (
            running(server.url, heartbeat_s=0.3) as hub,
            http_client(base_url=hub.url) as browser,
        ):
            streams = [await opened(hub, "/v1/inventory/stream") for _ in range(3)]
            async with Publisher(server.url) as publisher:
                await publisher.publish("inventory", data="before")
            for stream in streams:
                await stream.until(b"data: before\n\n")
            server.stop()
            await until(lambda: any("inventory" in problem for problem in hub.node.problems()))
            response = await browser.get("/v1/health")
            assert response.status_code == 503
            assert any("inventory" in reason for reason in response.json()["reasons"])
            assert (await browser.get("/readyz")).status_code == 200  # it serves newcomers
            newcomer = await opened(hub, "/v1/inventory/stream?from=earliest")
            await newcomer.until(b"data: before\n\n")
            beats = [stream.body.count(sse.HEARTBEAT) for stream in streams]
            for stream, count in zip(streams, beats, strict=True):
                stream.body = b""
                await stream.until(sse.HEARTBEAT)
                assert count >= 0
            server.start()
            async with Publisher(server.url) as publisher:
                await publisher.publish("inventory", data="after")
            for stream in (*streams, newcomer):
                await stream.until(b"data: after\n\n")
                assert b"stream.reset" not in stream.body
                stream.close()
            await until(lambda: not hub.node.problems())


async def test_a_page_can_go_on_from_the_id_of_an_event(hub: Running, publisher: Publisher) -> None:
    entry_id = await publisher.publish("inventory", data="state")
    await hub.has_read("inventory", entry_id)
    async with http_client(base_url=hub.url) as browser:
        newest = (await browser.get("/v1/channels/inventory")).json()["newest"]
    await publisher.publish("inventory", data="change")
    stream = await opened(hub, f"/v1/inventory/stream?from={newest}")
    await stream.until(b"data: change\n\n")
    assert told(stream.body) == ["change"]
    stream.close()


async def test_a_client_that_leaves_at_once_leaves_nothing_behind(
    redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    head = "GET /v1/inventory/stream{} HTTP/1.1\r\nHost: x\r\n{}\r\n"
    asks = head.format("", "Last-Event-ID: 9-9\r\n")  # Redis is asked before it is answered
    # uvicorn reads no further after a second request, so only a heartbeat notices the disconnect.
    pipelined = head.format("", "") + head.format("?from=earliest", "")
    async with running(redis_url, heartbeat_s=0.3) as hub:
        for number in range(200):
            _, writer = await asyncio.open_connection("127.0.0.1", hub.port)
            writer.write((asks, pipelined)[number % 2].encode())
            for _ in range(number % 7):
                await asyncio.sleep(0)
            writer.transport.abort()
        stream = await opened(hub, "/v1/inventory/stream")
        await stream.until(LIVE)
        await until(lambda: len(hub.node.hub.subscribers) == 1)
    assert [r.message for r in caplog.records if r.levelname == "ERROR"] == []


async def test_a_connection_that_is_gone_leaves_nothing_for_the_garbage_collector(
    redis_url: str,
) -> None:
    """With many objects, the collector runs late, and memory grows until then."""
    async with running(redis_url) as hub:
        assert await garbage_of(hub, lambda: opened(hub, "/v1/inventory/stream"), 20) < 20 * 5


@pytest.mark.parametrize(
    "path",
    [
        "/v1/inventory/stream?from=earliest",
        "/v1/pets/recommendations/stream?userId=u",
    ],
)
async def test_a_client_that_waits_too_long_for_its_position_gets_a_retry_time(
    hub: Running, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    async def hang(*_: object) -> AnyAnswer:
        await asyncio.Event().wait()
        raise AssertionError

    asks_first(hub)
    monkeypatch.setattr(hub.node.questions, "_ask_log", hang)
    monkeypatch.setattr(questions, "_OPEN_TIMEOUT_S", 0.1)
    async with http_client() as http:
        answer = await http.get(hub.url + path)
    assert (answer.status_code, answer.text.count("retry: ")) == (200, 1)
    assert hub.node.meters.shed["redis"] == 1


async def test_a_request_that_redis_refuses_for_good_is_told_apart_from_an_outage(
    hub: Running, client: Any, caplog: pytest.LogCaptureFixture
) -> None:
    path = "/v1/pets/recommendations/stream?userId=u"
    await client.set("recommendations.requests", "no stream")
    async with http_client() as http:
        answer = await http.get(hub.url + path)
    assert (answer.status_code, answer.text.count("retry: ")) == (200, 1)
    assert Shed.REFUSED.text in answer.text
    assert hub.node.meters.shed["refused"] == 1
    assert "WRONGTYPE" in caplog.text
    await client.delete("recommendations.requests")
    await (await opened(hub, path)).until(LIVE)


async def test_a_client_that_comes_while_a_drain_begins_gets_a_retry_time(
    hub: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = asks_first(hub)

    async def drain_first(stream: str, question: AnyQuestion, reader: Reader) -> AnyAnswer:
        await hub.node.drain()
        return await ask(stream, question, reader)

    monkeypatch.setattr(hub.node.questions, "_ask_log", drain_first)
    await assert_sent_away(hub)


async def assert_sent_away(hub: Running) -> None:
    async with asyncio.timeout(PATIENCE_S), http_client() as http:
        answer = await http.get(f"{hub.url}/v1/inventory/stream?from=earliest")
    assert (answer.status_code, answer.text.count("retry: ")) == (200, 1)


async def test_a_client_that_disconnects_while_its_position_is_looked_up_is_not_served(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = asyncio.Event()
    async with running(redis_url) as hub:
        ask = asks_first(hub)

        async def wait_first(stream: str, question: AnyQuestion, reader: Reader) -> AnyAnswer:
            await gone.wait()
            return await ask(stream, question, reader)

        monkeypatch.setattr(hub.node.questions, "_ask_log", wait_first)
        _, writer = await asyncio.open_connection("127.0.0.1", hub.port)
        writer.write(b"GET /v1/inventory/stream?from=earliest HTTP/1.1\r\nHost: x\r\n\r\n")
        (task,) = await until(lambda: [t for t in asyncio.all_tasks() if "run_asgi" in repr(t)])
        writer.transport.abort()
        async with http_client() as http:  # what comes later is answered later
            await http.get(f"{hub.url}/healthz")
        gone.set()
        await asyncio.wait([task])
        assert not hub.node.meters.opened.total()
