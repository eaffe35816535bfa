"""What the tests of clients share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.clients.browsers import Browser, Tab

_BLANK = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 15\r\nConnection: close\r\n\r\n"
    b"<!doctype html>"
)


async def _serve_blank(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(_BLANK)
    writer.close()


@pytest.fixture
async def blank(browser: Browser) -> AsyncIterator[Tab]:
    """A tab with an empty page of an origin of its own."""
    async with await asyncio.start_server(_serve_blank, "127.0.0.1", 0) as server:
        tab = await browser.tab()
        await tab.open(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
        yield tab
