"""Reads the body of a request, within bounds of bytes and time."""

from __future__ import annotations

import asyncio

from starlette.requests import ClientDisconnect, Request

from broadcaster.web.problem import ProblemError

TIMEOUT_S = 30.0
"""The seconds in which the whole of a body must come."""


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
    # The rest is not read, so the connection can't have another request.
    detail = f"the body has more than {most_bytes} bytes"
    return ProblemError(413, detail, {"connection": "close"})
