"""A TCP proxy that does to connections what networks do."""

from __future__ import annotations

import asyncio

from tests.relay import PIECE, Relay, Ways


class Proxy(Relay):
    """Passes bytes on to a target, until `dead` is set.

    Attributes:
        delay_s: the delay of each piece, in both directions.
        dead: drop all bytes, in both directions, without closing anything. New connections are
            accepted and get no bytes. Dropped bytes stay lost, so such connections never recover.
    """

    def __init__(self, target: tuple[str, int]) -> None:
        super().__init__()
        self.target = target
        self.delay_s = 0.0
        self.dead = False

    async def _target(self) -> tuple[str, int]:
        if self.dead:
            await asyncio.Event().wait()
        return self.target

    def _ways(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        there: asyncio.StreamReader,
        back: asyncio.StreamWriter,
    ) -> Ways:
        lost = asyncio.Event()
        return self._pass(reader, back, lost), self._pass(there, writer, lost)

    async def _pass(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, lost: asyncio.Event
    ) -> None:
        while piece := await source.read(PIECE):
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
