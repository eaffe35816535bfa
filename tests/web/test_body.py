"""Bodies of requests: how large they may be, and how slow."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from starlette.requests import ClientDisconnect, Request

from broadcaster.web import body
from broadcaster.web.body import unread, whole
from broadcaster.web.problem import ProblemError, problem


def request(*parts: bytes, length: str = "", ends: bool = True) -> Request:
    """A request whose body comes in parts, and then ends or goes on without a byte."""
    messages: Sequence[dict[str, Any]] = [
        {"type": "http.request", "body": part, "more_body": True} for part in parts
    ]
    rest = iter([*messages, *([{"type": "http.request", "body": b""}] if ends else [])])

    async def receive() -> Any:
        if message := next(rest, None):
            return message
        return await asyncio.Future()

    headers = [(b"content-length", length.encode())] if length else []
    return Request({"type": "http", "method": "POST", "headers": headers}, receive)


async def test_a_body_is_read_to_its_end() -> None:
    assert await whole(request(b"ab", b"", b"cd"), 4) == b"abcd"
    assert await whole(request(), 4) == b""


@pytest.mark.parametrize("length", ["", "5", "9" * 5_000])
async def test_a_body_that_is_too_large_is_refused(length: str) -> None:
    with pytest.raises(ProblemError) as caught:
        await whole(request(b"ab", b"cde", length=length, ends=False), 4)
    assert caught.value.response.status_code == 413
    assert caught.value.response.headers["connection"] == "close"


async def test_what_is_said_to_be_too_large_is_not_read() -> None:
    with pytest.raises(ProblemError):
        await whole(request(length="5", ends=False), 4)


async def test_a_body_that_does_not_come_is_refused() -> None:
    with pytest.raises(ProblemError) as caught:
        await whole(request(b"ab", ends=False), 4, timeout_s=0.01)
    assert caught.value.response.status_code == 408


async def test_a_client_that_leaves_is_no_body() -> None:
    async def receive() -> Any:
        return {"type": "http.disconnect"}

    with pytest.raises(ClientDisconnect):
        await whole(Request({"type": "http", "method": "POST", "headers": []}, receive), 4)


async def answered(*bodies: bytes, length: str = "", chunked: bool = False) -> list[Any]:
    """What is sent after a refusal, between the parts of the body that are read."""
    seen = list[Any]()
    of_body = request(*bodies)
    headers = [(b"content-length", length.encode())] if length else []
    if chunked:
        headers.append((b"transfer-encoding", b"chunked"))

    async def receive() -> Any:
        message = await of_body.receive()
        seen.append(message["body"])
        return message

    async def send(message: Any) -> None:
        seen.append(message["status"] if "status" in message else message.get("more_body", False))

    scope = {"type": "http", "http_version": "1.1", "headers": headers}
    response = unread(scope, problem(401, "no"))
    closes = response.headers.get("connection") == "close"
    await response(scope, receive, send)
    return [closes, *seen]


async def test_the_rest_of_a_long_body_is_dropped_after_its_answer() -> None:
    assert await answered(b"a", b"b", length="99999") == [True, 401, True, b"a", b"b", b"", False]
    assert await answered(b"a", chunked=True) == [True, 401, True, b"a", b"", False]
    assert await answered(length="9" * 5_000) == [True, 401, True, b"", False]


async def test_after_a_refusal_of_a_short_body_the_connection_stays() -> None:
    assert await answered(b"a", length="1") == [False, 401, False]
    assert await answered() == [False, 401, False]


async def test_a_body_without_end_is_dropped_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body, "_LINGER_S", 0.01)
    with pytest.raises(ProblemError) as caught:
        await whole(request(b"ab", b"cde", ends=False), 4)
    sent = list[Any]()

    async def send(message: Any) -> None:
        sent.append(message.get("more_body", False))

    await caught.value.response({"type": "http"}, request(ends=False).receive, send)
    assert sent == [False, True, False]
