"""Reads the body of a request, within bounds of bytes and time."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from broadcaster.web.head import header
from broadcaster.web.problem import ProblemError

TIMEOUT_S = 30.0
"""The seconds in which the whole of a body must come."""
_LINGER_S = 1.0
_SMALL_BYTES = 16_384


def unread(scope: Scope, response: Response) -> Response:
    """Return the answer to a request whose body is not read. If that may be long, it closes."""
    length = header(scope, b"content-length") or b"0"
    chunked = header(scope, b"transfer-encoding") is not None
    if not chunked and length.isdigit() and int(length[:20]) <= _SMALL_BYTES:
        return response  # uvicorn drops it
    if scope["http_version"] < "2":
        response.headers["connection"] = "close"
    return Unread(response)


class Unread(Response):
    """The last answer of a connection, while a request's body comes; see `drop_rest`."""

    def __init__(self, response: Response) -> None:
        """Store what is answered."""
        super().__init__(response.body, response.status_code)
        self.raw_headers = response.raw_headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answer, then drop what still comes."""
        start = {"type": "http.response.start", "status": self.status_code}
        await send({**start, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": True})
        await drop_rest(receive)
        await send({"type": "http.response.body", "body": b""})


async def drop_rest(receive: Receive) -> None:
    """Read the rest of a body, but for a second at the most.

    If a connection is closed while bytes are unread, the client's system drops the answer, too.
    https://www.rfc-editor.org/rfc/rfc9112#section-9.6
    """
    with suppress(TimeoutError):
        async with asyncio.timeout(_LINGER_S):
            more = True
            while more:
                message = await receive()
                more = message["type"] == "http.request" and message.get("more_body", False)


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
        raise _refused(408, detail) from error
    return b"".join(parts)


def _too_large(most_bytes: int) -> ProblemError:
    return _refused(413, f"the body has more than {most_bytes} bytes")


def _refused(status: int, detail: str) -> ProblemError:
    # The connection can't have another request behind a body that is not read.
    error = ProblemError(status, detail, {"connection": "close"})
    error.response = Unread(error.response)
    return error
