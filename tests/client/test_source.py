"""The SSE client: its parser against httpx-sse's, and its connections against a scripted server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager, suppress

import httpx
import pytest

from broadcaster.client.source import EventSource
from broadcaster.errors import StreamRefusedError
from tests.servers import serving

pytestmark = pytest.mark.server

OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n\r\n"
GONE = b"HTTP/1.1 204 No Content\r\n\r\n"


class Script:
    """A server that gives each connection the next answer and hangs up.

    Attributes:
        requests: what was asked, in order.
    """

    def __init__(self, answers: list[bytes]) -> None:
        self._answers = iter(answers)
        self.requests: list[str] = []
        self.url = ""

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            self.requests.append((await reader.readuntil(b"\r\n\r\n")).decode())
            writer.write(next(self._answers))
            await writer.drain()
        writer.close()

    def header(self, request: int, name: str) -> str | None:
        lines = (line.partition(": ") for line in self.requests[request].split("\r\n"))
        return next((value for found, _, value in lines if found.lower() == name), None)


@asynccontextmanager
async def scripted(*answers: bytes) -> AsyncIterator[Script]:
    script = Script(list(answers))
    async with serving(script.answer) as port:
        script.url = f"http://127.0.0.1:{port}"
        yield script


async def read(
    url: str, on_change: Callable[[str, float], object] = lambda trouble, wait_s: None
) -> tuple[list[str], EventSource]:
    source = EventSource(url, on_change=on_change)
    source.retry_s = 0.01
    async with aclosing(source.events()) as events:
        return [event.data async for event in events], source


async def test_it_comes_back_with_the_last_complete_id_until_204() -> None:
    body = b"retry: 10\nid: 1-0\ndata: a\n\nid: 2-0\ndata: b\n\nid: 3-0\nda"
    async with scripted(OK + body, OK + b"id: 3-0\ndata: c\n\n", GONE) as script:
        data, source = await read(script.url)
    assert data == ["a", "b", "c"]
    assert source.last_event_id == "3-0"
    resumed = [script.header(n, "last-event-id") for n in range(3)]
    assert resumed == [None, "2-0", "3-0"]


async def test_a_position_without_an_event_is_remembered_and_not_shown() -> None:
    body = b"retry: 10\nid: 1-0\nevent: stream.at\ndata: {}\n\nid: 2-0\ndata: a\n\n:\n"
    again = b"id: 4-0\nevent: stream.at\ndata: {}\n\nevent: stream.at\ndata: {}\n\n"
    async with scripted(OK + body, OK + again, GONE) as script:
        data, source = await read(script.url)
    assert (data, source.last_event_id) == (["a"], "4-0")
    resumed = [script.header(n, "last-event-id") for n in range(3)]
    assert resumed == [None, "2-0", "4-0"]


async def test_the_events_of_a_state_are_marked_until_it_is_complete() -> None:
    cut = b"id: 1-0\ndata: a\n\nevent: stream.state\ndata: {}\n\ndata: b\n\n"
    whole = (
        b"data: c\n\nevent: stream.reset\ndata: {}\n\nevent: stream.state\ndata: {}\n\n"
        b"data: d\n\nid: 5-0\nevent: stream.live\ndata: {}\n\ndata: e\n\n"
    )
    async with scripted(OK + cut, OK + whole, GONE) as server:
        source = EventSource(server.url)
        source.retry_s = 0.01
        async with aclosing(source.events()) as events:
            found = [(event.type, event.data, event.state) async for event in events]
    assert [data for _, data, is_state in found if is_state] == ["b", "d"]
    assert [data for type_, data, _ in found if type_ == "message"] == ["a", "b", "c", "d", "e"]


async def test_an_id_may_be_any_text() -> None:
    async with scripted(OK + "id: ä→\ndata: a\n\n".encode(), GONE) as script:
        _, source = await read(script.url)
    assert script.header(1, "last-event-id") == source.last_event_id == "ä→"


async def test_trouble_that_may_pass_is_waited_out_and_reported() -> None:
    told: list[str] = []
    away = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"
    async with scripted(away, b"", OK + b"data: a\n\n", GONE) as script:
        data, _ = await read(script.url, lambda trouble, wait_s: told.append(trouble))
    assert data == ["a"]
    assert "503" in told[0]
    assert "disconnected" in told[1]
    assert told[2:] == ["", "the response ended"]


async def test_reconnects_to_a_failing_server_have_a_pause() -> None:
    waits: list[float] = []
    away = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"
    body = OK + b"retry: 0\ndata: a\n\n"
    async with scripted(body, away, away, GONE) as script:
        await read(script.url, lambda trouble, wait_s: waits.append(wait_s) if trouble else None)
    assert waits[0] == 0.0
    assert all(wait_s >= 0.05 for wait_s in waits[1:])
    assert len(waits) == 3


async def test_silence_is_trouble() -> None:
    async def say_little(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)
        writer.write(OK + b"retry: 1\ndata: a\n\n" if len(connections) == 1 else GONE)

    connections: list[asyncio.StreamWriter] = []
    async with await asyncio.start_server(say_little, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        source = EventSource(f"http://127.0.0.1:{port}", silence_s=0.1)
        async with aclosing(source.events()) as events:
            assert [event.data async for event in events] == ["a"]
        for connection in connections:
            connection.close()


@pytest.mark.parametrize(
    ("answer", "status", "detail"),
    [
        (
            b"HTTP/1.1 400 Bad Request\r\nContent-Type: application/problem+json\r\n"
            b'Content-Length: 20\r\n\r\n{"detail": "no key"}',
            400,
            "no key",
        ),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\noops", 404, "Not Found"),
        (b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n", 200, "not an event stream"),
    ],
)
async def test_a_permanent_refusal_is_an_error(answer: bytes, status: int, detail: str) -> None:
    async with scripted(answer) as script:
        with pytest.raises(StreamRefusedError, match=detail) as raised:
            await read(script.url)
    assert raised.value.status == status


@pytest.mark.parametrize("url", ["ftp://localhost/x", "nowhere", "http://host:port"])
async def test_a_url_that_can_not_be_read_is_an_error(url: str) -> None:
    with pytest.raises(StreamRefusedError):
        await read(url)


async def test_it_is_an_async_iterator() -> None:
    async with scripted(OK + b"retry: 10\nid: 1-0\ndata: a\n\n", GONE) as script:
        assert [event.data async for event in EventSource(script.url)] == ["a"]


async def test_each_connection_has_a_fresh_ticket_in_its_url() -> None:
    tickets = iter(("first", "second"))
    trouble = [httpx.ConnectError("the hub is away")]

    async def ticket() -> str:
        if trouble:
            raise trouble.pop()
        return next(tickets)

    expired = b"retry: 1\nid: 5-0\nevent: stream.expired\ndata: {}\n\n"
    said = list[str]()
    async with scripted(OK + expired, GONE) as script:
        source = EventSource(
            script.url + "/x?key=7&key=8",
            ticket=ticket,
            on_change=lambda text, _: said.append(text),
        )
        source.retry_s = 0.01
        assert [event.type async for event in source] == ["stream.expired"]
    paths = [request.split()[1] for request in script.requests]
    assert paths == [f"/x?key=7&key=8&ticket={text}" for text in ("first", "second")]
    assert script.header(1, "last-event-id") == "5-0"
    assert said[0] == "the hub is away"


async def test_after_its_grant_has_ended_it_comes_back_with_a_fresh_token() -> None:
    expired = b"retry: 1\nid: 5-0\nevent: stream.expired\ndata: {}\n\n"
    refused = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n"
    tokens = iter(("first", "second"))
    async with scripted(OK + expired, refused) as script:
        source = EventSource(script.url, headers=lambda: {"Authorization": next(tokens)})
        async with aclosing(source.events()) as events:
            assert (await anext(events)).type == "stream.expired"
            with pytest.raises(StreamRefusedError, match="401"):
                await anext(events)
        assert [script.header(n, "authorization") for n in (0, 1)] == ["first", "second"]
        assert script.header(1, "last-event-id") == "5-0"
