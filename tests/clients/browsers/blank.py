"""An empty page of an origin of its own, for clients that come from elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

_BLANK = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 15\r\nConnection: close\r\n\r\n"
    b"<!doctype html>"
)


@asynccontextmanager
async def answering(answer: bytes, port: int = 0) -> AsyncIterator[int]:
    """Answer each request with the same bytes until the block is left; yield the port.

    Browsers also open connections that they use later, or never. These are closed at the end.
    """
    opened, over = list[asyncio.StreamWriter](), asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        opened.append(writer)
        with suppress(EOFError, ConnectionError):
            if not over.is_set():
                await reader.readuntil(b"\r\n\r\n")
                writer.write(answer)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", port) as server:
        yield server.sockets[0].getsockname()[1]
    over.set()
    for writer in opened:
        writer.close()


@asynccontextmanager
async def blank_page() -> AsyncIterator[str]:
    """Serve it until the block is left; yield its address."""
    async with answering(_BLANK) as port:
        yield f"http://127.0.0.1:{port}/"
