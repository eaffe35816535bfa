"""One stable port before several nodes, as a balancer is, which keeps what it passed on."""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress
from urllib.parse import unquote

from tests.relay import PIECE, Relay, Ways

_STATUS = re.compile(rb"HTTP/1\.1 (\d+) ")
_CURSOR = re.compile(r"(?im)^last-event-id: *(.*?)\r$|[?&]lastEventId=([^& ]*)")


class Switch(Relay):
    """Passes connections on to its target.

    Attributes:
        target: the port of the node that new connections go to.
        limit: bytes of a response after which its connection is cut; None for no limit.
        requests: the heads of all requests, in order.
        responses: the bytes of all connections from nodes, in the order of their first byte.
    """

    def __init__(self) -> None:
        super().__init__()
        self.target = 0
        self.limit: int | None = None
        self.requests: list[str] = []
        self.responses: list[bytearray] = []

    @property
    def cursors(self) -> list[str]:
        """The cursor of each request, in the header or the query; empty if it has none."""
        found = (_CURSOR.search(request) for request in self.requests)
        return [unquote(match[1] or match[2] or "") if match else "" for match in found]

    @property
    def statuses(self) -> list[int]:
        """The statuses of all responses."""
        return [int(status) for bytes_ in self.responses for status in _STATUS.findall(bytes_)]

    def passed(self, text: bytes) -> bool:
        """Return True if a node has sent these bytes."""
        return any(text in bytes_ for bytes_ in self.responses)

    async def _target(self) -> tuple[str, int]:
        return "127.0.0.1", self.target

    def _ways(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        there: asyncio.StreamReader,
        back: asyncio.StreamWriter,
    ) -> Ways:
        return self._ask(reader, back), self._answer(there, writer)

    async def _ask(self, reader: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        while head := await reader.readuntil(b"\r\n\r\n"):
            self.requests.append(head.decode("latin-1"))
            back.write(head)
            await back.drain()

    async def _answer(self, there: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen = bytearray()
        self.responses.append(seen)
        while piece := await there.read(PIECE):
            if self.limit is not None and len(seen) + len(piece) > self.limit:
                writer.write(piece[: self.limit - len(seen)])
                await writer.drain()
                await asyncio.sleep(0.1)  # else the kernel drops what the client has not read yet
                return
            seen += piece
            writer.write(piece)
            await writer.drain()
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
