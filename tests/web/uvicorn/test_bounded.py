"""What a client sends before and behind its request is bounded. Real sockets, both sinks."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import random
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import pytest

from broadcaster.core.counters import Meters
from broadcaster.core.wire import Refusal
from broadcaster.settings import Settings
from broadcaster.web.spread import Spread
from broadcaster.web.uvicorn.bounded import BoundedProtocol
from broadcaster.web.uvicorn.open_connections import Bounds, OpenConnections
from broadcaster.web.uvicorn.stage import Loop, Transport
from broadcaster.web.uvicorn.stage import connected as connected_stage
from tests.nodes import Raw, Running, events, running
from tests.wait import PATIENCE_S, allowed_s, until

INVENTORY = "/v1/inventory/stream"
GET = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"
STREAM = b"GET /v1/inventory/stream HTTP/1.1\r\nHost: localhost\r\n"
POST = b"POST /healthz HTTP/1.1\r\nHost: localhost\r\n"
PUT = b"PUT /healthz HTTP/1.1\r\nHost: localhost\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
SINKS = pytest.mark.parametrize("sink", ["transport", "asgi"])
SMALL: dict[str, Any] = {"max_head_bytes": 8192, "max_headers": 20, "head_timeout_s": 0.5}


async def connected(hub: Running) -> Raw:
    return Raw(*await asyncio.open_connection("127.0.0.1", hub.port))


async def answered(hub: Running, *sent: bytes) -> bytes:
    """Send pieces, and return all that comes until the node closes the connection."""
    raw = await connected(hub)
    answer = b""
    with suppress(ConnectionError, RuntimeError):  # uvloop's word for a closed connection
        for piece in sent:
            raw.writer.write(piece)
            await raw.writer.drain()
    try:
        async with asyncio.timeout(PATIENCE_S):
            while piece := await raw.reader.read(65536):
                answer += piece
    except ConnectionError:
        pass
    return answer


async def is_closed(raw: Raw) -> bool:
    try:
        async with asyncio.timeout(PATIENCE_S):
            while await raw.reader.read(65536):
                pass
    except ConnectionError:
        pass
    return True


def status(answer: bytes) -> int:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"\r\nconnection: close" in head
    assert b"\r\ncontent-type: application/problem+json" in head
    assert json.loads(body)["status"] == int(head.split()[1])
    return int(head.split()[1])


REFUSED = {
    "endless header": ((GET + b"X: ", *[b"x" * 3000] * 9), 431, "head"),
    "one large header at once": ((GET + b"X: " + b"x" * 300_000,), 431, "head"),
    "endless header lines": ((GET, *[b"x: y\r\n" * 100] * 100), 431, "head"),
    "many headers": ((GET + b"x: y\r\n" * 21 + b"\r\n",), 431, "head"),
    "endless header name": ((GET, *[b"x" * 3000] * 9), 431, "head"),
    "endless request line": ((b"GET /", *[b"x" * 3000] * 9), 414, "head"),
    "endless query": ((b"GET /?", *[b"x=y&" * 900] * 9), 414, "head"),
    "slow head": ((GET,), 408, "slow"),
    "slow request line": ((b"G",), 408, "slow"),
    "rubbish like TLS": ((b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",), 400, "invalid"),
    "HTTP/2 without an upgrade": ((b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",), 400, "invalid"),
    "random bytes": ((random.Random(1).randbytes(4000),), 400, "invalid"),
    "a large body at once": ((PUT + b"Content-Length: 900000\r\n\r\n" + b"x" * 300_000,), 413,
                             "behind"),
    "a body without a byte": ((POST + CHUNKED + b"1;x=" + b"y" * 300_000,), 413, "behind"),
    "a trailer without an end": ((POST + CHUNKED + b"1\r\nx\r\n0\r\nx: " + b"y" * 300_000,),
                                 413, "behind"),
}  # fmt: skip


@SINKS
@pytest.mark.parametrize("name", REFUSED)
async def test_a_request_above_a_bound_is_refused(name: str, sink: str, redis_url: str) -> None:
    sent, expected, reason = REFUSED[name]
    patient = {} if reason == "slow" else {"head_timeout_s": PATIENCE_S}
    async with running(redis_url, sink=sink, **(SMALL | patient)) as hub:
        assert status(await answered(hub, *sent)) == expected
        refused = hub.node.meters.refused
        assert {name: count for name, count in refused.items() if count} == {reason: 1}
        assert hub.node.meters.waiting == 0


@pytest.mark.parametrize(
    ("name", "readable"),
    [
        ("many headers", True),
        ("a large body at once", True),
        ("slow head", True),
        ("endless request line", False),  # the header Origin would come behind it
    ],
)
async def test_a_page_of_another_origin_can_read_why_it_was_refused(
    redis_url: str, name: str, readable: bool
) -> None:
    first, *more = REFUSED[name][0]
    origins = ["https://shop.example"]
    async with running(redis_url, cors_origins=origins, cors_credentials=True, **SMALL) as hub:
        for origin, allowed in ((b"https://shop.example", readable), (b"https://other.example", 0)):
            line, end, rest = first.partition(b"\r\n")
            sent = line + end + (b"Origin: " + origin + end if end else b"") + rest
            head = (await answered(hub, sent, *more)).partition(b"\r\n\r\n")[0]
            given = [one for one in head.split(b"\r\n") if one.startswith(b"access-control-")]
            assert given == [
                b"access-control-allow-origin: https://shop.example",
                b"access-control-allow-credentials: true",
            ] * bool(allowed)
            assert head.count(b"\r\nvary: Origin") == 1


@pytest.mark.parametrize("sent", [b"", b"\r\n\r\n"])
async def test_a_connection_without_a_request_is_closed_silently(
    redis_url: str, sent: bytes
) -> None:
    """A browser opens connections in advance. It would show an answer that it has not asked for."""
    async with running(redis_url, **SMALL) as hub:
        raw = await connected(hub)
        raw.writer.write(sent)
        assert await raw.reader.read() == b""
        assert hub.node.meters.refused["slow"] == 1


async def test_bytes_that_keep_coming_do_not_prolong_the_time(redis_url: str) -> None:
    async with running(redis_url, **SMALL) as hub:
        loop = asyncio.get_running_loop()
        for number, (sent, more) in enumerate(((GET + b"X: ", b"x"), (b"\r\n", b"\r\n")), 1):
            raw, began_s = await connected(hub), loop.time()
            raw.writer.write(sent)

            async def drips(raw: Raw = raw, more: bytes = more) -> bool:
                if not raw.writer.transport.is_closing():
                    raw.writer.write(more)
                return raw.reader.at_eof() or raw.writer.transport.is_closing()

            await until(drips)
            assert loop.time() - began_s < allowed_s(3.0)
            assert hub.node.meters.refused["slow"] == number  # it was no request that is wrong


@SINKS
async def test_an_ordinary_request_is_not_refused(redis_url: str, sink: str) -> None:
    """Return a large `Last-Event-ID` and many headers, in pieces of one byte to 4 KB."""
    head = GET + b"x: y\r\n" * 90 + b"Last-Event-ID: " + b"1" * 60_000 + b"\r\n\r\n"
    async with running(redis_url, sink=sink) as hub:
        for size in (1, 1000, 4096, len(head)):
            raw = await connected(hub)
            for at in range(0, len(head), size):
                raw.writer.write(head[at : at + size])
            assert (await raw.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
        assert not any(hub.node.meters.refused.values())


@pytest.mark.parametrize(
    "behind",
    [
        [GET + b"\r\n"] * 50,
        [GET + b"\r\n"] * 9000,
        [STREAM + b"\r\n"] * 9000,
        [GET + b"Upgrade: h2c\r\nConnection: upgrade\r\n\r\n"] * 9000,
        [b"x" * 1000] * 300,
        [GET + b"X: "] + [b"x" * 1000] * 300,
        [b"\r\n" * 1000] * 300,
        [b"\x16\x03\x01\x02\x00"],
    ],
)
@pytest.mark.parametrize("at_once", [True, False])
async def test_too_much_behind_a_stream_closes_the_connection(
    redis_url: str, behind: list[bytes], at_once: bool
) -> None:
    async with running(redis_url) as hub:
        raw = await connected(hub)
        raw.writer.write(STREAM + b"\r\n")
        if not at_once:
            await raw.reader.readuntil(b"stream.live")
        raw.writer.write(b"".join(behind))
        assert await is_closed(raw)
        await until(lambda: not hub.node.hub.subscribers)
        assert sum(hub.node.meters.refused.values()) == 1
        assert (hub.node.meters.waiting, len(asyncio.all_tasks()) < 30) == (0, True)


@pytest.mark.parametrize(
    ("head", "pieces"),
    [
        (b"Content-Length: 100000000\r\n\r\n", [b"x" * 5000] * 50),
        (CHUNKED, [b"1388\r\n" + b"x" * 5000 + b"\r\n"] * 50),
        (CHUNKED, [b"1;x=" + b"y" * 5000] + [b"y" * 5000] * 50),
        (CHUNKED + b"0\r\n", [b"x: y\r\n" * 100] * 50),
    ],
)  # fmt: skip
async def test_a_body_that_does_not_end_closes_a_stream(
    redis_url: str, head: bytes, pieces: list[bytes]
) -> None:
    async with running(redis_url) as hub:
        raw = await connected(hub)
        raw.writer.write(STREAM + head)
        await raw.reader.readuntil(b"stream.live")
        for piece in pieces:
            raw.writer.write(piece)
        assert await is_closed(raw)
        await until(lambda: not hub.node.hub.subscribers)


async def test_a_small_body_is_ignored(redis_url: str) -> None:
    async with running(redis_url) as hub:
        raw = await connected(hub)
        raw.writer.write(STREAM + b"Content-Length: 3\r\n\r\na" + b"bc")
        await raw.reader.readuntil(b"stream.live")
        raw.writer.write(GET + b"\r\n")
        await until(lambda: len(hub.node.hub.subscribers) == 1)
        assert not any(hub.node.meters.refused.values())


@pytest.mark.parametrize("further", [b"", b"b"])
async def test_a_body_that_nothing_reads_has_a_time_limit_after_the_answer(
    redis_url: str, further: bytes
) -> None:
    async with running(redis_url, **SMALL) as hub:
        raw = await connected(hub)
        raw.writer.write(POST + b"Content-Length: 3\r\n\r\na")
        answer = await raw.reader.readuntil(b'"}')
        assert answer.startswith(b"HTTP/1.1 405 ")
        raw.writer.write(further)
        assert await raw.reader.read() == b""  # not a second answer to the same request
        assert hub.node.meters.refused["slow"] == 1


@SINKS
async def test_pipelined_requests_are_answered_up_to_a_bound(redis_url: str, sink: str) -> None:
    async with running(redis_url, sink=sink) as hub:
        answer = await answered(hub, (GET + b"\r\n") * 100)
        assert answer.count(b'{"status":"alive"}') == answer.count(b"HTTP/1.1 200 OK") == 17
        assert answer.count(b"connection: close") == 1
        answer = await answered(hub, (GET + b"\r\n") * 3 + b"\x00rubbish")
        assert answer.count(b'{"status":"alive"}') == answer.count(b"HTTP/1.1 200 OK") == 3


async def test_a_client_that_leaves_with_a_request_behind_its_stream_is_noticed(
    redis_url: str,
) -> None:
    async with running(redis_url) as hub:
        raw = await connected(hub)
        raw.writer.write(STREAM + b"\r\n" + GET + b"\r\n")
        await raw.reader.readuntil(b"stream.live")
        raw.writer.close()
        await until(lambda: not hub.node.hub.subscribers)


@SINKS
async def test_connections_without_a_request_count_as_connections(
    redis_url: str, sink: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(redis_url, sink=sink, max_connections=3, head_timeout_s=600.0) as hub:
        empty, half, rested = [await connected(hub) for _ in range(3)]
        half.writer.write(GET)
        rested.writer.write(GET + b"\r\n")
        await rested.reader.readuntil(b"alive")
        await until(lambda: hub.node.meters.waiting == 3)
        shed = await Raw.get(hub.port, INVENTORY)
        assert b"all the connections" in await shed.rest()
        assert hub.node.meters.shed["full"] == 1
        later_s = time.monotonic() + 600.0
        monkeypatch.setattr(time, "monotonic", lambda: later_s)
        assert await is_closed(empty)
        assert await is_closed(half)
        monkeypatch.undo()
        await (await Raw.get(hub.port, INVENTORY)).until(b"stream.live")


async def test_a_flood_of_connections_ends_at_a_bound_and_newcomers_are_answered(
    redis_url: str,
) -> None:
    async with running(redis_url, max_connections=5, head_timeout_s=100.0) as hub:
        flood = [await connected(hub) for _ in range(200)]
        await until(lambda: hub.node.meters.refused["full"] >= 95)
        assert hub.node.meters.waiting <= 105
        assert await is_closed(flood[0])
        shed = await Raw.get(hub.port, INVENTORY)
        assert b"all the connections" in await shed.rest()


async def test_an_idle_connection_is_closed_after_its_time(redis_url: str) -> None:
    async with running(redis_url, keep_alive_s=0.5) as hub:
        raw, loop = await connected(hub), asyncio.get_running_loop()
        raw.writer.write(GET + b"\r\n")
        await raw.reader.readuntil(b"}")
        began_s, looks = loop.time(), itertools.count(1)
        # A busy machine looks less often. In 2 s it looks 120 times at the most.
        await until(lambda: next(looks) and raw.reader.at_eof())
        assert loop.time() - began_s > 0.3
        assert next(looks) < 120


UPGRADES = [
    b"Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQAoAAA\r\n",
    b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
    b"Upgrade: TLS/1.2, h2c\r\nConnection: keep-alive, upgrade\r\n",
    b"Upgrade: h2c\r\n",
    b"Connection: upgrade\r\n",
    b"Upgrade: \r\nConnection: upgrade\r\n",
]


@SINKS
@pytest.mark.parametrize("upgrade", UPGRADES)
async def test_a_request_to_upgrade_is_served_without_a_word(
    redis_url: str, upgrade: bytes, sink: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(redis_url, sink=sink) as hub:
        raw = await connected(hub)
        raw.writer.write(GET + upgrade + b"\r\n" + GET + upgrade + b"\r\n")
        for _ in range(2):
            await raw.reader.readuntil(b"alive")
        stream = await connected(hub)
        stream.writer.write(STREAM + upgrade + b"\r\n")
        stream.head = await stream.reader.readuntil(b"\r\n\r\n")
        assert stream.head.startswith(b"HTTP/1.1 200 ")
        await stream.until(b"stream.live")
        assert events(stream.body)
        assert not any(hub.node.meters.refused.values())
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]


async def test_a_body_of_a_request_to_upgrade_is_not_the_next_request(redis_url: str) -> None:
    async with running(redis_url) as hub:
        body = b"Content-Length: 29\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n..."
        answer = await answered(hub, POST + UPGRADES[0] + body)
        assert answer.count(b"HTTP/1.1 ") == 1
        assert answer.startswith(b"HTTP/1.1 405 ")


async def test_nothing_that_is_refused_is_worth_a_warning(
    redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(redis_url, **SMALL) as hub:
        for sent, _, _ in REFUSED.values():
            await answered(hub, *sent)
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]


class Turn:
    """Turns of an event loop for a few connections."""

    def __init__(self, places: int = 1, connections: int = 2) -> None:
        self._next: list[Callable[[], object]] = []
        bounds = Bounds.of(Settings())._replace(max_head_bytes=8192, max_connections=1)
        self.opened = OpenConnections(bounds, Meters(), Spread(places, self._next.append))
        self.loops = [Loop() for _ in range(connections)]
        self.transports = [Transport() for _ in range(connections)]
        self.protocols: list[Any] = [
            connected_stage(partial(BoundedProtocol, opened=self.opened), loop, transport)
            for loop, transport in zip(self.loops, self.transports, strict=True)
        ]

    def end(self) -> None:
        later, self._next[:] = list(self._next), []
        for function in later:
            function()


def test_a_request_waits_for_its_turn_and_nothing_more_is_read_meanwhile() -> None:
    turn = Turn()
    first, second = turn.protocols
    first.data_received(GET + b"\r\n")
    second.data_received(GET)
    second.data_received(b"\r\n" + GET + b"\r\n")  # TLS brings what it has read already
    assert [loop.begun for loop in turn.loops] == [["a request"], []]
    assert [transport.reading for transport in turn.transports] == [True, False]
    turn.end()
    assert turn.loops[1].begun == ["a request"]
    assert [len(protocol.answering) for protocol in turn.protocols] == [1, 2]
    assert turn.transports[1].reading


def test_each_request_of_a_connection_takes_a_place() -> None:
    turn = Turn(places=3)
    first, second = turn.protocols
    first.data_received((GET + b"\r\n") * 3)
    second.data_received(GET + b"\r\n")
    assert not turn.loops[1].begun
    turn.end()
    assert turn.loops[1].begun == ["a request"]
    assert turn.transports[1].reading


def test_a_request_that_has_waited_takes_one_place() -> None:
    turn = Turn(places=2, connections=6)
    for protocol in turn.protocols:
        protocol.data_received(GET + b"\r\n")
    begun = [sum(bool(loop.begun) for loop in turn.loops)]
    for _ in range(2):
        turn.end()
        begun.append(sum(bool(loop.begun) for loop in turn.loops))
    assert begun == [2, 4, 6]


async def test_a_connection_whose_request_waits_for_its_turn_does_not_rest() -> None:
    turn = Turn()
    _, second = turn.protocols
    for _ in range(2):  # a request that is answered, and one that is held meanwhile
        second.data_received(GET + b"\r\n")
    await second.cycle.send({"type": "http.response.start", "status": 200, "headers": []})
    await second.cycle.send({"type": "http.response.body", "body": b""})
    assert not second.answering
    assert second.timeout_keep_alive_task is None
    for _ in range(100):  # the one too many closes one that rests, or waits longest
        turn.opened.enter(Idle())
    assert [transport.is_closing() for transport in turn.transports] == [True, False]
    turn.end()
    assert turn.loops[1].begun == ["a request", "a timer", "a request"]
    assert second.timeout_keep_alive_task is None


class Idle:
    """A connection that sends nothing."""

    def close_for(self, reason: Refusal) -> None:
        raise AssertionError(reason)


def test_a_connection_that_is_lost_before_its_turn_is_forgotten() -> None:
    turn = Turn()
    first, second = turn.protocols
    first.data_received(GET + b"\r\n")
    second.data_received(GET + b"\r\n")
    turn.transports[1].close()
    second.connection_lost(None)
    turn.end()
    assert not turn.loops[1].begun
    assert turn.opened.count == 1


def test_a_connection_that_is_refused_before_its_turn_is_read_to_its_end() -> None:
    turn = Turn()
    first, second = turn.protocols
    second.data_received(GET[:9])
    turn.end()
    first.data_received(GET + b"\r\n")
    second.data_received(GET[9:] + b"\r\n")
    second.close_for(Refusal.SLOW)
    assert turn.transports[1].written.startswith(b"HTTP/1.1 408 ")
    turn.end()
    # The client's system drops an answer if bytes are left unread at the end.
    assert turn.transports[1].reading
    assert turn.loops[1].begun == ["a timer"]


def test_a_body_is_read_without_waiting_for_a_turn() -> None:
    turn = Turn()
    first, second = turn.protocols
    second.data_received(POST + b"Content-Length: 10\r\n\r\n")
    turn.end()
    first.data_received(GET + b"\r\n")
    second.data_received(b"0123456789")
    assert bytes(second.cycle.body) == b"0123456789"


def test_what_uvicorn_has_stopped_reading_is_not_read_on() -> None:
    turn = Turn()
    first, second = turn.protocols
    first.data_received(GET + b"\r\n")
    second.data_received(GET + b"\r\n")
    second.flow.pause_reading()
    turn.end()
    assert not turn.transports[1].reading
