"""A TCP proxy that does to connections what networks do."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from types import TracebackType

_PIECE = 65536


class Proxy:
    """Passes bytes on to a target, until `dead` is set.

    Attributes:
        delay_s: the delay of each piece, in both directions.
        dead: drop all bytes, in both directions, without closing anything. New connections are
            accepted and get no bytes. Dropped bytes stay lost, so such connections never recover.
    """

    def __init__(self, target: tuple[str, int]) -> None:
        self.target = target
        self.delay_s = 0.0
        self.dead = False
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        assert self._server is not None
        host, port = self._server.sockets[0].getsockname()[:2]
        return host, port

    async def __aenter__(self) -> Proxy:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=4096)
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
        """End all connections."""
        for task in self._tasks:
            task.cancel()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        back: asyncio.StreamWriter | None = None
        try:
            with suppress(OSError, asyncio.CancelledError):
                if self.dead:
                    await asyncio.Event().wait()
                there, back = await asyncio.open_connection(*self.target)
                await self._pass_both(reader, writer, there, back)
        finally:
            self._tasks.discard(task)
            for end in filter(None, (writer, back)):
                end.transport.abort()

    async def _pass_both(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        there: asyncio.StreamReader,
        back: asyncio.StreamWriter,
    ) -> None:
        lost = asyncio.Event()
        ways = [
            asyncio.create_task(self._pass(reader, back, lost)),
            asyncio.create_task(self._pass(there, writer, lost)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)

    async def _pass(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, lost: asyncio.Event
    ) -> None:
        while piece := await source.read(_PIECE):
            if self.delay_s:
                await asyncio.sleep(self.delay_s)
            if self.dead:
                lost.set()
            if lost.is_set():
                continue
            sink.write(piece)
            await sink.drain()
        if lost.is_set():
            await asyncio.Event().wait()
