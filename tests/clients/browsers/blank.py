"""An empty page of an origin of its own, for clients that come from elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from tests.servers import serving

_BLANK = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 15\r\nConnection: close\r\n\r\n"
    b"<!doctype html>"
)


@asynccontextmanager
async def answering(answer: bytes, port: int = 0) -> AsyncIterator[int]:
    """Answer each request with the same bytes until the block is left; yield the port.

    Browsers also open connections that they use later, or never. These are cut at the end.
    """

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(EOFError, ConnectionError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
        writer.close()

    async with serving(serve, port) as bound:
        yield bound


@asynccontextmanager
async def blank_page() -> AsyncIterator[str]:
    """Serve it until the block is left; yield its address."""
    async with answering(_BLANK) as port:
        yield f"http://127.0.0.1:{port}/"
