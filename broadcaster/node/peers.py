"""The processes of one `serve --workers N`, which answer for each other.

A scrape of the shared port reaches any of them. Each listens on a socket in a directory that only
they and their parent can enter. A question is one line: `figures` for the metrics of the process,
`alive` from the parent. The answer ends with the connection.
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
_FIGURES, _ALIVE = b"figures\n", b"alive\n"

Answer = Callable[[], Awaitable[bytes]]


class Peers:
    """The way to the other processes. With no directory there are none.

    Attributes:
        process: the name of this one among them, from 0 on.
    """

    def __init__(self, directory: Path | None = None, process: int = 0) -> None:
        self._directory = directory
        self.process = str(process)

    async def serve(self, figures: Answer) -> None:
        """Answer the others and the parent, until cancelled.

        Args:
            figures: the metrics of this process.
        """
        if self._directory is None:
            return

        async def write(reader: StreamReader, writer: StreamWriter) -> None:
            try:
                with suppress(OSError):  # it waits no longer; a TimeoutError is one, too
                    async with asyncio.timeout(_ANSWER_S):
                        is_figures = await reader.readline() == _FIGURES
                        writer.write(await figures() if is_figures else _ALIVE)
                        await writer.drain()
            finally:
                writer.close()

        path = self._directory / self.process
        async with await asyncio.start_unix_server(write, str(path)) as server:
            await server.serve_forever()

    async def gather(self, figures: Answer) -> dict[str, bytes]:
        """Return the figures of each process, by its name; one that gives none is left out."""
        others = [] if self._directory is None else sorted(self._directory.iterdir())
        paths = [path for path in others if path.name != self.process]
        answers = await asyncio.gather(figures(), *(_ask(path, _FIGURES) for path in paths))
        names = [self.process, *(path.name for path in paths)]
        return {name: text for name, text in zip(names, answers, strict=True) if text}


async def is_alive(path: Path, timeout_s: float) -> bool:
    """Return whether the process that listens there answers in time."""
    return await _ask(path, _ALIVE, timeout_s) == _ALIVE


async def _ask(path: Path, question: bytes, timeout_s: float = _ANSWER_S) -> bytes:
    try:
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_unix_connection(str(path))
            try:
                writer.write(question)
                return await reader.read()
            finally:
                writer.close()
    except OSError as error:  # it has died, and is about to be replaced
        logger.debug("process %s does not answer: %s", path.name, error)
        return b""
