"""The processes of one `serve --workers N`, which answer for each other.

A scrape of the shared port reaches any of them. Each listens on a socket in a directory that only
they can enter, and writes its own numbers to whoever connects.
"""

from __future__ import annotations

import asyncio
import logging
from asyncio import StreamReader, StreamWriter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

logger = logging.getLogger(__name__)

_ANSWER_S = 2.0

Answer = Callable[[], Awaitable[bytes]]


class Peers:
    """The way to the other processes. With no directory there are none.

    Attributes:
        process: the name of this one among them, from 0 on.
    """

    def __init__(self, directory: Path | None = None, process: int = 0) -> None:
        self._directory = directory
        self.process = str(process)

    async def serve(self, answer: Answer) -> None:
        """Answer the others, until cancelled."""
        if self._directory is None:
            return

        async def write(_: StreamReader, writer: StreamWriter) -> None:
            try:
                with suppress(OSError):  # it waits no longer; a TimeoutError is one, too
                    async with asyncio.timeout(_ANSWER_S):
                        writer.write(await answer())
                        await writer.drain()
            finally:
                writer.close()

        path = self._directory / self.process
        async with await asyncio.start_unix_server(write, str(path)) as server:
            await server.serve_forever()

    async def gather(self, answer: Answer) -> dict[str, bytes]:
        """What each process answers, by its name; one that does not is left out."""
        others = [] if self._directory is None else sorted(self._directory.iterdir())
        paths = [path for path in others if path.name != self.process]
        answers = await asyncio.gather(answer(), *(_ask(path) for path in paths))
        names = [self.process, *(path.name for path in paths)]
        return {name: text for name, text in zip(names, answers, strict=True) if text}


async def _ask(path: Path) -> bytes:
    try:
        async with asyncio.timeout(_ANSWER_S):
            reader, writer = await asyncio.open_unix_connection(str(path))
            try:
                return await reader.read()
            finally:
                writer.close()
    except OSError as error:  # it has died, and is about to be replaced
        logger.debug("process %s does not answer: %s", path.name, error)
        return b""
