"""One stable port before several nodes, as a balancer is, which keeps what it passed on."""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress
from types import TracebackType
from urllib.parse import unquote

_PIECE = 65536
_STATUS = re.compile(rb"HTTP/1\.1 (\d+) ")
_CURSOR = re.compile(r"(?im)^last-event-id: *(.*?)\r$|[?&]lastEventId=([^& ]*)")


class Switch:
    """Passes connections on to its target.

    Attributes:
        target: the port of the node that new connections go to.
        limit: bytes of a response after which its connection is cut; None for no limit.
        requests: the heads of all requests, in order.
        responses: the bytes of all connections from nodes, in the order of their first byte.
    """

    def __init__(self) -> None:
        self.target = 0
        self.limit: int | None = None
        self.requests: list[str] = []
        self.responses: list[bytearray] = []
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def port(self) -> int:
        """Where it listens."""
        assert self._server is not None
        port: int = self._server.sockets[0].getsockname()[1]
        return port

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

    async def __aenter__(self) -> Switch:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        """Cut all connections, without an end of their responses."""
        for task in self._tasks:
            task.cancel()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        back: asyncio.StreamWriter | None = None
        try:
            with suppress(OSError, asyncio.CancelledError):
                there, back = await asyncio.open_connection("127.0.0.1", self.target)
                ways = (self._ask(reader, back), self._answer(there, writer))
                tasks = [asyncio.create_task(way) for way in ways]
                try:
                    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for way in tasks:
                        way.cancel()
                    await asyncio.gather(*tasks, return_exceptions=True)
        finally:
            self._tasks.discard(task)
            for end in filter(None, (writer, back)):
                end.transport.abort()

    async def _ask(self, reader: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        while head := await reader.readuntil(b"\r\n\r\n"):
            self.requests.append(head.decode("latin-1"))
            back.write(head)
            await back.drain()

    async def _answer(self, there: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen = bytearray()
        self.responses.append(seen)
        while piece := await there.read(_PIECE):
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
