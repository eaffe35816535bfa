"""A uvicorn that has changed costs the transport sink, and never a response."""

from __future__ import annotations

import asyncio
import inspect
import re
import sys
from collections import Counter
from types import ModuleType
from typing import Any

import pytest
from uvicorn.protocols.http import auto, httptools_impl

from broadcaster import Publisher
from broadcaster.web.uvicorn import bounded, protocol, rehearsal, stage
from tests.nodes import Raw, running, told
from tests.wait import PATIENCE_S

_THEIRS = httptools_impl.__name__
_BUILT_ON_IT = (auto.__name__, bounded.__name__, protocol.__name__, rehearsal.__name__,
                stage.__name__)  # fmt: skip
_SOURCE = inspect.getsource(httptools_impl)
_INVENTORY = "/v1/inventory/stream"
_SEND = "    async def send(self, message: ASGISendEvent) -> None:\n"
_BUSY = "        self.transport.is_closing()\n"
_SLOTS = (
    "class RequestResponseCycle:\n"
    "    __slots__ = ('access_log', 'access_logger', 'body', 'chunked_encoding', 'default_headers',"
    " 'disconnected', 'expected_content_length', 'flow', 'keep_alive', 'logger', 'message_event',"
    " 'more_body', 'on_response', 'response_complete', 'response_started', 'scope', 'transport',"
    " 'waiting_for_100_continue')\n"
)

# Possible changes of a later uvicorn. Each works by itself.
_RENAMED = (
    "response_started", "chunked_encoding", "keep_alive", "default_headers", "message_event",
    "disconnected", "scope", "cycle", "transport",
)  # fmt: skip
CHANGES = {f"{name} is renamed": (rf"\b(self|cycle)\.{name}\b", r"\1.its_" + name)
           for name in _RENAMED} | {
    "the class of cycles is renamed": ("RequestResponseCycle", "Exchange"),
    "the end of a response has another name": ("on_response_complete", "on_response_over"),
    "cycles have slots": (r"class RequestResponseCycle:\n", _SLOTS),
    "send looks at the transport": (re.escape(_SEND), _SEND + _BUSY),
    "send takes a note": (re.escape(_SEND), _SEND + "        self.newest = message['type']\n"),
    "send waits": (re.escape(_SEND), _SEND + "        await asyncio.sleep(0)\n"),
    "send is handed out wrapped": (
        r"self\.scope, self\.receive, self\.send\n",
        "self.scope, self.receive, lambda message: self.send(message)\n",
    ),
    "a header is added to each response": (
        r'            content\.append\(b"\\r\\n"\)\n',
        r'            content.append(b"via: x\\r\\n\\r\\n")' + "\n",
    ),
    "bodies are read without a bound": (r"self\.flow\.pause_reading\(\)", "pass"),
    "the arguments of a protocol are by name": ("        _loop:", "        *, _loop:"),
}  # fmt: skip


# What the bounds don't touch. With other changes, uvicorn may have to serve as it is.
_BOUNDED = ("", "send looks at the transport", "send is handed out wrapped")


@pytest.fixture
def later_uvicorn(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Replace uvicorn's protocol by a changed copy. Return the name of the change."""
    name: str = request.param
    source = re.sub(*CHANGES[name], _SOURCE) if name else _SOURCE
    assert (source == _SOURCE) == (not name)
    changed = ModuleType(_THEIRS)
    for module in _BUILT_ON_IT:  # they are there, so that they can be put back
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, _THEIRS, changed)
    exec(compile(source, "a later uvicorn", "exec"), changed.__dict__)
    return name


async def opened_and_told(redis_url: str, publisher: Publisher) -> Counter[str]:
    """How many streams each sink was given, of two clients that were served well."""
    async with running(redis_url) as hub:
        streams = [await Raw.get(hub.port, _INVENTORY) for _ in range(2)]
        for stream in streams:
            await stream.until(b"stream.live")
        await publisher.publish("inventory", data="x")
        for stream in streams:
            await stream.until(b"data: x\n\n")
            assert stream.head.startswith(b"HTTP/1.1 200 OK\r\n")
            assert told(stream.body) == ["x"]
        return hub.node.meters.opened


def about_asgi(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if "streams go through ASGI" in r.getMessage()]


@pytest.mark.parametrize("later_uvicorn", CHANGES, indirect=True)
async def test_streams_are_served_with_a_changed_uvicorn_and_one_warning(
    later_uvicorn: str, redis_url: str, publisher: Publisher, caplog: pytest.LogCaptureFixture
) -> None:
    assert await opened_and_told(redis_url, publisher) == Counter(asgi=2)
    assert len(about_asgi(caplog)) == 1


@pytest.mark.parametrize("later_uvicorn", ["", *CHANGES], indirect=True)
async def test_requests_have_bounds_with_a_changed_uvicorn_or_a_warning_says_so(
    later_uvicorn: str, redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(redis_url) as hub:
        reader, writer = await asyncio.open_connection("127.0.0.1", hub.port)
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + b"x: y\r\n" * 200 + b"\r\n")
        answer = await reader.readuntil(b"\r\n\r\n")
        writer.close()
        warned = any("no bounds" in record.getMessage() for record in caplog.records)
        assert answer.split()[1] == (b"200" if warned else b"431")
        assert not (warned and later_uvicorn in _BOUNDED)


@pytest.mark.parametrize("later_uvicorn", [""], indirect=True)
async def test_a_uvicorn_that_has_not_changed_is_written_to_directly(
    later_uvicorn: str, redis_url: str, publisher: Publisher, caplog: pytest.LogCaptureFixture
) -> None:
    assert await opened_and_told(redis_url, publisher) == Counter(transport=2)
    assert not about_asgi(caplog)


async def test_a_send_that_is_replaced_while_a_node_runs_is_used(
    redis_url: str,
    publisher: Publisher,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """As an agent that watches applications does it."""
    cycles: Any = httptools_impl.RequestResponseCycle
    send, seen = cycles.send, list[str]()

    async def watched(self: Any, message: Any) -> None:
        seen.append(message["type"])
        await send(self, message)

    async with running(redis_url) as hub:
        monkeypatch.setattr(cycles, "send", watched)
        for _ in range(2):
            stream = await Raw.get(hub.port, _INVENTORY)
            await stream.until(b"stream.live")
        assert hub.node.meters.opened == Counter(asgi=2)
    assert seen.count("http.response.start") == 2
    assert len(about_asgi(caplog)) == 1


async def test_the_next_request_on_a_connection_is_answered(
    redis_url: str, publisher: Publisher
) -> None:
    """Return True if it comes after the end of an event stream, or was there before."""
    await publisher.publish("orders", type="complete", key="7", data="shipped")
    request = "GET {} HTTP/1.1\r\nHost: x\r\n\r\n"
    stream, health = request.format("/v1/orders/7/status/stream"), request.format("/healthz")
    async with running(redis_url) as hub, asyncio.timeout(PATIENCE_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", hub.port)
        writer.write((stream + health + stream).encode())
        for _ in range(2):
            await reader.readuntil(b"0\r\n\r\n")
            writer.write(health.encode())
            await reader.readuntil(b'{"status":"alive"}')
        assert hub.node.meters.opened == Counter(transport=2)
        writer.close()


async def test_a_connection_that_is_not_used_again_is_closed(
    redis_url: str, publisher: Publisher
) -> None:
    await publisher.publish("orders", type="complete", key="7", data="shipped")
    async with running(redis_url) as hub, asyncio.timeout(PATIENCE_S):
        for head in ("HTTP/1.0\r\n", "HTTP/1.1\r\nConnection: close\r\n"):
            reader, writer = await asyncio.open_connection("127.0.0.1", hub.port)
            writer.write(f"GET /v1/orders/7/status/stream {head}Host: x\r\n\r\n".encode())
            answer = await reader.read()
            assert b"\r\nconnection: close\r\n" in answer
            assert (b"chunked" in answer) == answer.endswith(b"\r\n0\r\n\r\n") == ("1.1" in head)
            assert answer.count(b"data: shipped\n\n") == 1
            writer.close()
        assert hub.node.meters.opened == Counter(transport=2)
