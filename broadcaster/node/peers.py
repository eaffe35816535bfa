"""Lets the processes of one `serve --workers N` ask each other for metrics.

They share a port, so a scrape reaches any one of them. That process asks the others. Each listens
on a Unix socket in a directory that only they and their parent can enter. A question is one line:
`figures` asks for the metrics, and `alive` comes from the parent. Closing the connection ends the
answer.
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
    """Talks to the other processes. Without a directory there are none.

    Attributes:
        process: the number of this process, from "0" on.
    """

    def __init__(self, directory: Path | None = None, process: int = 0) -> None:
        self._directory = directory
        self.process = str(process)

    async def serve(self, figures: Answer) -> None:
        """Answer the other processes and the parent, until cancelled.

        Args:
            figures: returns the metrics of this process.
        """
        if self._directory is None:
            return

        async def write(reader: StreamReader, writer: StreamWriter) -> None:
            try:
                with suppress(OSError):  # the peer has gone, or is too slow
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
        """Return the metrics of each process, by its number, without those that do not answer."""
        others = [] if self._directory is None else sorted(self._directory.iterdir())
        paths = [path for path in others if path.name != self.process]
        answers = await asyncio.gather(figures(), *(_ask(path, _FIGURES) for path in paths))
        names = [self.process, *(path.name for path in paths)]
        return {name: text for name, text in zip(names, answers, strict=True) if text}


async def is_alive(path: Path, timeout_s: float) -> bool:
    """Return True if the process that listens at this path answers in time."""
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
    except OSError as error:  # the process has died, and will be replaced
        logger.debug("process %s does not answer: %s", path.name, error)
        return b""
