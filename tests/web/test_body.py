"""Bodies of requests: how large they may be, and how slow."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from typing import Any

import pytest
from starlette.requests import ClientDisconnect, Request

from broadcaster.core.access.policy import NotYet
from broadcaster.core.catalogue import Catalogue
from broadcaster.web import body
from broadcaster.web.body import lingering, may_be_long, whole
from broadcaster.web.problem import ProblemError, as_json, problem
from tests.channels import named
from tests.nodes import running
from tests.wait import PATIENCE_S


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


async def test_what_is_said_to_be_too_large_is_not_read() -> None:
    with pytest.raises(ProblemError):
        await whole(request(length="5", ends=False), 4)


async def test_a_body_that_does_not_come_is_refused() -> None:
    with pytest.raises(ProblemError) as caught:
        await whole(request(b"ab", ends=False), 4, timeout_s=0.01)
    assert caught.value.response.status_code == 408
    assert caught.value.response.headers["connection"] == "close"


async def test_a_client_that_leaves_is_no_body() -> None:
    async def receive() -> Any:
        return {"type": "http.disconnect"}

    with pytest.raises(ClientDisconnect):
        await whole(Request({"type": "http", "method": "POST", "headers": []}, receive), 4)


def scope_of(length: str = "", *, chunked: bool = False, version: str = "1.1") -> dict[str, Any]:
    headers = [(b"content-length", length.encode())] if length else []
    if chunked:
        headers.append((b"transfer-encoding", b"chunked"))
    return {"type": "http", "http_version": version, "headers": headers}


@pytest.mark.parametrize(
    ("scope", "long"),
    [
        (scope_of(), False),
        (scope_of("16384"), False),
        (scope_of("16385"), True),
        (scope_of("9" * 5_000), True),
        (scope_of("many"), True),
        (scope_of(chunked=True), True),
    ],
)
def test_only_a_long_body_is_more_than_a_server_drops(scope: Any, long: bool) -> None:
    assert may_be_long(scope) is long


async def answered(
    of_body: Request, *, reads: int = 0, status: int = 401, version: str = "1.1"
) -> list[Any]:
    """What is sent by an answer, between the parts of the body that are read.

    First there are the values of its header `Connection`.
    """
    seen = list[Any]()

    async def receive() -> Any:
        message = await of_body.receive()
        seen.append(message["body"])
        return message

    async def send(message: Any) -> None:
        if "status" in message:
            seen.insert(0, [value for name, value in message["headers"] if name == b"connection"])
        seen.append(message["status"] if "status" in message else message.get("more_body", False))

    scope = scope_of(chunked=True, version=version)
    receive_it, send_it = lingering(scope, receive, send)
    for _ in range(reads):
        await receive_it()
    response = problem(status, "no", {"connection": "keep-alive"}) if status > 400 else as_json({})
    await response(scope, receive_it, send_it)
    return seen


async def test_the_rest_of_a_long_body_is_dropped_before_its_answer_ends() -> None:
    assert await answered(request(b"a", b"b")) == [[b"close"], 401, True, b"a", b"b", b"", False]


async def test_after_an_answer_to_a_whole_body_the_connection_stays() -> None:
    assert await answered(request(b"a"), reads=2) == [[b"keep-alive"], b"a", b"", 401, False]
    assert await answered(request(), status=200) == [[], 200, True, b"", False]
    kept = await answered(request(), version="2")
    assert kept == [[b"keep-alive"], 401, True, b"", False]


async def test_a_body_without_end_is_dropped_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body, "_LINGER_S", 0.01)
    endless = request(b"ab", ends=False)
    assert await answered(endless) == [[b"close"], 401, True, b"ab", False]


def sent_before_reading(port: int, head: str, content: bytes) -> bytes:
    """The answer to a client that reads nothing before all is sent."""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as connection:
        connection.sendall(head.encode() + content)
        answer = b""
        while part := connection.recv(65536):
            answer += part
    return answer


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/channels/pets/events", 503),
        ("/v1/answers/stream", 503),
        ("/v1/runs/1-1/stop", 404),
        ("/v1/pets/stream", 405),
        ("/nothing", 404),
    ],
)
async def test_an_answer_to_a_long_body_arrives_whatever_it_is(
    redis_url: str, monkeypatch: pytest.MonkeyPatch, path: str, status: int
) -> None:
    monkeypatch.setattr(body, "_LINGER_S", PATIENCE_S)

    async def fails() -> None:
        raise RuntimeError("away")

    content = b" " * 10_000_000
    head = (
        f"POST {path} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer x\r\n"
        f"content-type: application/json\r\ncontent-length: {len(content)}\r\n\r\n"
    )
    async with running(
        redis_url,
        authorize=lambda *_: NotYet(fails),
        verifier=lambda _: NotYet(fails),
        channels=Catalogue(named("pets") + named("answers", requests="answers.requests")),
    ) as node:
        answer = await asyncio.to_thread(sent_before_reading, node.port, head, content)
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert answer.count(b"connection: close") == 1
