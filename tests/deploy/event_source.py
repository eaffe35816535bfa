"""A browser's `EventSource`, as far as the standard describes it, which keeps all that it got."""

from __future__ import annotations

import asyncio
import contextlib
from typing import NamedTuple

_SILENCE_S = 60.0


class Seen(NamedTuple):
    """An event as it came."""

    id: str
    type: str
    data: str


class EventSource:
    """Follows a stream, comes back after its `retry:`, and stops at 204 or a failure.

    Attributes:
        path: what is asked for.
        seen: all events but the hub's own.
        own: the hub's own, such as `stream.reset`.
        statuses: of all responses.
        first_id: the position before the first event.
        last_id: the last id, which it resumes from.
        live: connected, and up to date since.
    """

    def __init__(self, port: int, path: str) -> None:
        self.path = path
        self.seen: list[Seen] = []
        self.own: list[Seen] = []
        self.statuses: list[int] = []
        self.first_id = self.last_id = ""
        self.live = False
        self._port = port
        self._retry_s = 1.0

    async def run(self) -> None:
        """Follow until the response says that it is over."""
        while not self.statuses or self.statuses[-1] == 200:
            with contextlib.suppress(OSError, EOFError, TimeoutError):
                await self._connect()
            self.live = False
            if self.statuses and self.statuses[-1] != 200:
                return
            await asyncio.sleep(self._retry_s)

    async def _connect(self) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            resume = f"Last-Event-ID: {self.last_id}\r\n" if self.last_id else ""
            host = "Host: localhost\r\nAccept: text/event-stream"
            head = f"GET {self.path} HTTP/1.1\r\n{host}\r\n{resume}"
            writer.write(f"{head}\r\n".encode())
            answer = (await reader.readuntil(b"\r\n\r\n")).lower()
            self.statuses.append(int(answer.split()[1]))
            if self.statuses[-1] == 200:
                await self._read(reader, chunked=b"chunked" in answer)
        finally:
            writer.transport.abort()

    async def _read(self, reader: asyncio.StreamReader, *, chunked: bool) -> None:
        unfinished = b""  # the rest of a response that was cut, which is no event
        while True:
            async with asyncio.timeout(_SILENCE_S):
                piece = await (_chunk(reader) if chunked else reader.read(65536))
            if not piece:
                return
            *blocks, unfinished = (unfinished + piece).split(b"\n\n")
            for block in blocks:
                self._take(block.decode())

    def _take(self, block: str) -> None:
        fields = [line.partition(":") for line in block.split("\n")]
        value = {name: text.removeprefix(" ") for name, _, text in fields}
        if "retry" in value:
            self._retry_s = int(value["retry"]) / 1000
        data = [text.removeprefix(" ") for name, _, text in fields if name == "data"]
        if not data:  # as in Firefox and WebKit, an id without data is ignored
            return
        if "id" in value:
            self.last_id = value["id"]
            self.first_id = self.first_id or self.last_id
        event = Seen(self.last_id, value.get("event", "message"), "\n".join(data))
        own = event.type.startswith("stream.")
        (self.own if own else self.seen).append(event)
        self.live = self.live or event.type == "stream.live"


async def _chunk(reader: asyncio.StreamReader) -> bytes:
    size = int(await reader.readuntil(b"\r\n"), 16)
    return (await reader.readexactly(size + 2))[:-2]
