"""A TCP server that passes connections on. What it does to their bytes is up to its subclasses."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from types import TracebackType
from typing import Any, Self, TypeAlias

from tests.servers import serving

Ways: TypeAlias = tuple[Coroutine[Any, Any, None], Coroutine[Any, Any, None]]
PIECE = 65536
"""The most bytes that are read at once."""


class Relay:
    """Listens on a free port, and connects to a target for each client.

    A subclass has `_target` and `_ways`.
    """

    def __init__(self) -> None:
        self._serving = serving(self._serve, backlog=4096)
        self._port = 0
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        return "127.0.0.1", self._port

    @property
    def port(self) -> int:
        """The port of the address."""
        return self.address[1]

    async def __aenter__(self) -> Self:
        self._port = await self._serving.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._serving.__aexit__(kind, error, trace)

    def cut(self) -> None:
        """Cut all connections, without an end of their responses."""
        for task in self._tasks:
            task.cancel()

    async def _target(self) -> tuple[str, int]:
        """Return where to connect to for a new client. It may wait."""
        raise NotImplementedError

    def _ways(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        there: asyncio.StreamReader,
        back: asyncio.StreamWriter,
    ) -> Ways:
        """Return what passes bytes on, in both directions. The end of one is that of both."""
        raise NotImplementedError

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        back: asyncio.StreamWriter | None = None
        try:
            with suppress(OSError, asyncio.CancelledError):
                there, back = await asyncio.open_connection(*await self._target())
                ways = [asyncio.create_task(w) for w in self._ways(reader, writer, there, back)]
                try:
                    await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for way in ways:
                        way.cancel()
                    await asyncio.gather(*ways, return_exceptions=True)
        finally:
            self._tasks.discard(task)
            for end in filter(None, (writer, back)):
                end.transport.abort()
