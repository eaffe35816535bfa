"""Reads the body of a request, within bounds of bytes and time, and drops what is not wanted."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from starlette.requests import ClientDisconnect, Request
from starlette.types import Message, Receive, Scope, Send

from broadcaster.web.head import header
from broadcaster.web.problem import ProblemError

TIMEOUT_S = 30.0
"""The seconds in which the whole of a body must come."""
_LINGER_S = 1.0
_SMALL_BYTES = 16_384


def may_be_long(scope: Scope) -> bool:
    """Return True if a request may have more of a body than a server drops without being asked."""
    length = header(scope, b"content-length") or b"0"
    chunked = header(scope, b"transfer-encoding") is not None
    return chunked or not length.isdigit() or int(length[:20]) > _SMALL_BYTES


def lingering(scope: Scope, receive: Receive, send: Send) -> tuple[Receive, Send]:
    """Return a `receive` and a `send` with which the answer to a long body arrives.

    An answer may come before the end of the body. Its own end then waits, for a second at the most,
    and what still comes is dropped. A refusal closes the connection, so that its client may stop.

    If a connection is closed while bytes are unread, the client's system drops the answer, too.
    https://www.rfc-editor.org/rfc/rfc9112#section-9.6

    Args:
        scope: the request's ASGI scope.
        receive: ASGI's `receive`.
        send: ASGI's `send`.
    """
    answer = _Lingering(receive, send, closes=scope["http_version"] < "2")
    return answer.receive, answer.send


class _Lingering:
    """An answer that ends after the body of its request, or a second later."""

    def __init__(self, receive: Receive, send: Send, *, closes: bool) -> None:
        self._receive = receive
        self._send = send
        self._closes = closes  # HTTP/2 does not allow the header
        self._more = True  # of the body may come

    async def receive(self) -> Message:
        message = await self._receive()
        self._more = message["type"] == "http.request" and message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        if not self._more:
            await self._send(message)
        elif message["type"] == "http.response.start":
            refuses = message["status"] >= 400
            await self._send(_closing(message) if refuses and self._closes else message)
        elif message.get("more_body", False):
            await self._send(message)
        else:
            await self._send({**message, "more_body": True})
            await self._drop_rest()
            await self._send({"type": "http.response.body", "body": b""})

    async def _drop_rest(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(_LINGER_S):
                while self._more:
                    await self.receive()


def _closing(start: Message) -> Message:
    others = [pair for pair in start.get("headers", ()) if pair[0].lower() != b"connection"]
    return {**start, "headers": [*others, (b"connection", b"close")]}


async def whole(request: Request, most_bytes: int, timeout_s: float = TIMEOUT_S) -> bytes:
    """Return the body of a request.

    Args:
        request: whose body was not read.
        most_bytes: of the body.
        timeout_s: seconds in which all of it must come.

    Raises:
        ProblemError: 413 or 408.
        ClientDisconnect: the client has left.
    """
    named = request.headers.get("content-length", "")
    if named.isdecimal() and int(named[:20]) > most_bytes:
        raise _too_large(most_bytes)
    parts, size, more = list[bytes](), 0, True
    try:
        async with asyncio.timeout(timeout_s):
            while more:
                message = await request.receive()
                if message["type"] != "http.request":
                    raise ClientDisconnect
                parts.append(message.get("body", b""))
                more = message.get("more_body", False)
                size += len(parts[-1])
                if size > most_bytes:
                    raise _too_large(most_bytes)
    except TimeoutError as error:
        detail = f"the body was not complete within {timeout_s:g} s"
        raise ProblemError(408, detail, {"connection": "close"}) from error
    return b"".join(parts)


def _too_large(most_bytes: int) -> ProblemError:
    return ProblemError(413, f"the body has more than {most_bytes} bytes")
