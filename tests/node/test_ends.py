"""Every way in which a connection can end, and nothing that it has taken stays taken."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import struct
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from broadcaster import BackendUnavailableError, Caller, Grant, Publisher
from broadcaster.core.access.policy import Action
from broadcaster.node.expiry import sweep
from broadcaster.web import sink as sinks
from tests.nodes import Raw, Running, events, running, told
from tests.tls import OPENSSL, Authority, Files
from tests.wait import http_client, until
from tests.web.tokens.issuers import SECRET, token

ORDER = "/v1/orders/7/status/stream"
LIVE = b"stream.live"
LAST_CHUNK = b"\r\n0\r\n\r\n"
KINDS = ("transport", "asgi", "tls")
LIMITS: dict[str, Any] = {"max_connections_per_address": 1, "max_connections_per_subject": 1}


def request(subject: str = "ann", path: str = ORDER, method: str = "GET") -> bytes:
    rights = {"subscribe": ["inventory", "orders:7"]}
    text = token(sub=subject, iat=int(time.time()) - 10, broadcaster=rights)
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {text}\r\n\r\n"
    return head.encode()


async def connected(hub: Running, trust: ssl.SSLContext | None = None) -> Raw:
    return Raw(*await asyncio.open_connection("127.0.0.1", hub.port, ssl=trust))


async def opened(hub: Running, trust: ssl.SSLContext | None = None, *wanted: str) -> Raw:
    """Open a stream on a connection that may be used again."""
    raw = await connected(hub, trust)
    raw.writer.write(request(*wanted))
    raw.head = await raw.reader.readuntil(b"\r\n\r\n")
    return raw


def taken(hub: Running) -> tuple[int, ...]:
    """What is taken: of an address, of a subject, streams, expiries, and waiting connections."""
    node = hub.node
    places = [places.taken for places in node.limits.places.values()]
    subscribers = node.hub.subscribers
    return (*places, len(subscribers), len(subscribers.expiries), node.meters.waiting)


ONE, NONE = (1, 1, 1, 1, 0), (0, 0, 0, 0, 0)
RESTING = (0, 0, 0, 0, 1)  # the response is over, and the connection is open


# The ends of a stream

End = Callable[[Running, Raw], Awaitable[object]]


async def closes(_: Running, stream: Raw) -> None:
    stream.writer.close()


async def half_closes(_: Running, stream: Raw) -> None:
    stream.writer.get_extra_info("socket").shutdown(socket.SHUT_WR)


async def resets(_: Running, stream: Raw) -> None:
    sock = stream.writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    stream.writer.transport.abort()


async def reads_nothing(hub: Running, stream: Raw) -> None:
    stream.writer.transport.pause_reading()  # type: ignore[attr-defined]
    async with Publisher(hub.node.settings.redis_url) as publisher:
        while hub.node.subscribers():
            await publisher.publish_many([("orders", "t", "7", "x" * 10_000)] * 100)


async def closes_behind(hub: Running, stream: Raw) -> None:
    """The client leaves when it has not read what it was sent."""
    stream.writer.transport.pause_reading()  # type: ignore[attr-defined]
    (subscriber,) = hub.node.subscribers()
    async with Publisher(hub.node.settings.redis_url) as publisher:
        while subscriber.resume is None and hub.node.subscribers():
            await publisher.publish_many([("orders", "t", "7", "x" * 10_000)] * 10)
    stream.close()


async def sends_rubbish(_: Running, stream: Raw) -> None:
    stream.writer.write(b"\x00 is no request\r\n\r\n")


async def sends_too_much(_: Running, stream: Raw) -> None:
    stream.writer.write(request() * 1000)


async def closes_with_a_request_behind(_: Running, stream: Raw) -> None:
    stream.writer.write(request())
    stream.writer.close()


async def breaks_tls(_: Running, stream: Raw) -> None:
    """The client sends a record of TLS that nothing can decrypt; without TLS it is no request."""
    fd = stream.writer.get_extra_info("socket").fileno()
    os.write(fd, b"\x17\x03\x03\x00\x20" + b"?" * 32)


async def is_killed(_: Running, __: Raw) -> None:
    (task,) = (t for t in asyncio.all_tasks() if "run_asgi" in repr(t.get_coro()))
    task.cancel()


async def drains(hub: Running, _: Raw) -> None:
    hub.node.end(hub.node.subscribers())


async def shuts_down(hub: Running, _: Raw) -> None:
    await hub.node.aclose()


async def expires(hub: Running, _: Raw) -> None:
    await sweep(hub.node.hub.subscribers.expiries, hub.node.end, time.time() + 10_000)


async def is_revoked(hub: Running, _: Raw) -> None:
    await hub.node.revoking.revoke("ann")


async def is_complete(hub: Running, _: Raw) -> None:
    async with Publisher(hub.node.settings.redis_url) as publisher:
        await publisher.publish("orders", type="complete", key="7")


ENDS: dict[str, End] = {
    "the client closes": closes,
    "it closes its half": half_closes,
    "it resets": resets,
    "it reads nothing": reads_nothing,
    "it closes, and has read little": closes_behind,
    "it sends rubbish": sends_rubbish,
    "it sends too much": sends_too_much,
    "it closes with a request behind": closes_with_a_request_behind,
    "it breaks TLS": breaks_tls,
    "its task is cancelled": is_killed,
}
#: The response ends, and the connection may be used again.
FAREWELLS: dict[str, End] = {
    "the node drains": drains,
    "the node shuts down": shuts_down,
    "the token expires": expires,
    "the token is revoked": is_revoked,
    "the order is complete": is_complete,
}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    if request.param == "tls" and not OPENSSL:
        pytest.skip("there is no openssl")
    kind: str = request.param
    return kind


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authorities") / "one", "one")


@pytest.fixture
def trust(kind: str, request: pytest.FixtureRequest, tmp_path: Any) -> ssl.SSLContext | None:
    if kind != "tls":
        return None
    return Files(tmp_path).use(request.getfixturevalue("authority"))


@pytest.fixture
def given(kind: str, trust: ssl.SSLContext | None, tmp_path: Any) -> dict[str, Any]:
    """The arguments of a node that has one place for each address and each subject."""
    tls = Files(tmp_path).settings if trust else {}
    sink = "asgi" if kind == "asgi" else "transport"
    return {"sink": sink, "token_secrets": [SECRET], **LIMITS, **tls}


async def is_served_again(hub: Running, trust: ssl.SSLContext | None) -> None:
    """Another subject at the same address gets a stream, and ends it."""
    stream = await opened(hub, trust, "bob", "/v1/inventory/stream")
    await stream.until(LIVE)
    assert taken(hub) == ONE
    stream.close()
    await until(lambda: taken(hub) == NONE)


@pytest.mark.parametrize("how", [*ENDS, *FAREWELLS])
async def test_nothing_stays_taken_when_a_stream_ends(
    redis_url: str, trust: ssl.SSLContext | None, given: dict[str, Any], how: str
) -> None:
    if how == "it reads nothing":
        given["send_timeout_s"] = 0.3
    async with running(redis_url, **given) as hub:
        stream = await opened(hub, trust)
        await stream.until(LIVE)
        assert taken(hub) == ONE
        refused = await opened(hub, trust)
        assert LIVE not in await refused.rest()
        refused.close()
        await until(lambda: taken(hub) == ONE)
        await {**ENDS, **FAREWELLS}[how](hub, stream)
        if how in FAREWELLS:
            await stream.rest()
            assert stream.ended
            await until(lambda: taken(hub) in (RESTING, NONE))
            stream.close()
        await until(lambda: taken(hub) == NONE)
        if how != "the node shuts down":
            await is_served_again(hub, trust)


async def test_a_connection_that_is_used_again_takes_one_place_at_a_time(
    redis_url: str, trust: ssl.SSLContext | None, given: dict[str, Any]
) -> None:
    async with running(redis_url, **given) as hub:
        raw = await connected(hub, trust)
        raw.writer.write(request(method="HEAD") + request())  # the second one waits for the first
        for behind in (True, False):
            await raw.reader.readuntil(LIVE)
            assert taken(hub) == ONE
            if behind:
                raw.writer.write(request())
            hub.node.end(hub.node.subscribers())
            await raw.reader.readuntil(LAST_CHUNK)
        await until(lambda: taken(hub) == RESTING)
        raw.writer.write(request())
        await raw.reader.readuntil(LIVE)
        assert taken(hub) == ONE
        raw.close()
        await until(lambda: taken(hub) == NONE)


@pytest.mark.parametrize("where", ["__init__", "finish", "send"])
async def test_nothing_stays_taken_after_a_mistake_in_the_sink(
    redis_url: str, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(*_: Any) -> None:
        raise ZeroDivisionError

    def fails_at_once(*_: Any) -> None:
        raise ZeroDivisionError

    async with running(redis_url, token_secrets=[SECRET], **LIMITS) as hub:
        with monkeypatch.context() as patch:
            patch.setattr(
                sinks.TransportSink, where, fails_at_once if where == "__init__" else fails
            )
            raw = await connected(hub)
            raw.writer.write(request())
            await until(lambda: hub.node.meters.opened["transport"] or where == "__init__")
            raw.writer.write_eof()
            raw.close()
            await until(lambda: taken(hub) == NONE)
        await is_served_again(hub, None)


# Before the first byte


class Gate:
    """Something that a newcomer waits for, and that may fail."""

    def __init__(self) -> None:
        self.reached, self.opens = asyncio.Event(), asyncio.Event()
        self.error: Exception | None = None

    async def __call__(self, *_: Any) -> Any:
        self.reached.set()
        await self.opens.wait()
        if self.error:
            raise self.error
        return None

    async def policy(self, _: Caller, __: Action, ___: str, ____: frozenset[str]) -> Grant:
        await self()
        return Grant("ann", expires_s=time.time() + 100)


@pytest.mark.parametrize("where", ["policy", "log"])
@pytest.mark.parametrize("how", ["it leaves", "its task is cancelled", "it fails", "it is served"])
async def test_nothing_is_taken_before_the_first_byte(
    redis_url: str, monkeypatch: pytest.MonkeyPatch, where: str, how: str
) -> None:
    gate = Gate()
    policy = gate.policy if where == "policy" else lambda *_: Grant("ann", expires_s=2e9)
    async with running(redis_url, authorize=policy, **LIMITS) as hub:
        if where == "log":
            hub.node.hub.windows["orders"].complete = False
            monkeypatch.setattr(hub.node.questions, "_ask_log", gate)
        raw = await connected(hub)
        raw.writer.write(request(path=ORDER + "?from=earliest"))
        await gate.reached.wait()
        (task,) = [t for t in asyncio.all_tasks() if "run_asgi" in repr(t.get_coro())]
        assert taken(hub) == NONE
        if how == "it leaves":
            raw.close()
            async with http_client() as http:  # what comes later is answered later
                await http.get(f"{hub.url}/healthz")
        elif how == "its task is cancelled":
            task.cancel()
        elif how == "it fails":
            gate.error = BackendUnavailableError("away")
        gate.opens.set()
        if how == "it is served":
            await raw.reader.readuntil(LIVE)
            assert taken(hub) == ONE
        else:
            await asyncio.wait([task])
            assert taken(hub)[:-1] == NONE[:-1]
        raw.close()
        await until(lambda: taken(hub) == NONE)


async def test_what_opens_no_stream_takes_no_place(redis_url: str, publisher: Publisher) -> None:
    await publisher.publish("orders", type="complete", key="7", data="x")
    async with running(redis_url, **LIMITS) as hub, http_client(base_url=hub.url) as http:
        body = await (await Raw.get(hub.port, ORDER)).rest()  # up to its terminal event
        seen = events(body)[-1].id
        assert told(body) == ["x"]
        assert (await http.head(ORDER)).status_code == 200
        assert (await http.get(ORDER, headers={"last-event-id": seen})).status_code == 204
        assert (await http.get(ORDER + "?form=1")).status_code == 400
        assert (await http.get("/v1/events?channel=none")).status_code == 404
        assert (await http.post(ORDER)).status_code == 405
        hub.node.draining = True
        assert (await http.get(ORDER)).status_code == 200
        hub.node.draining = False
    assert taken(hub) == NONE


@pytest.mark.skipif(not OPENSSL, reason="there is no openssl")
@pytest.mark.parametrize("sent", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01", b""])
async def test_a_handshake_that_fails_takes_no_place(
    redis_url: str, tmp_path: Any, authority: Authority, sent: bytes
) -> None:
    files = Files(tmp_path)
    files.use(authority)
    async with running(redis_url, **files.settings, **LIMITS) as hub:
        raw = await connected(hub)
        raw.writer.write(sent)
        await until(lambda: hub.node.meters.waiting or hub.node.meters.refused["tls"])
        raw.close()
        await until(lambda: hub.node.meters.refused["tls"])
        assert taken(hub) == NONE
