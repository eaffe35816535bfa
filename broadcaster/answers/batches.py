"""Joins the tokens of an answer, so that each does not cost an entry of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

BATCH_S = 0.1
"""The default of the seconds for which tokens are gathered."""
_MOST_CHARS = 64 * 1024


class Batches:
    """Publishes texts, joined. The first leaves at once; later ones are gathered for a moment.

    It is for one task, and `aclose` must follow.
    """

    def __init__(self, publish: Callable[[str], Awaitable[None]], batch_s: float) -> None:
        """Begin without a text.

        Args:
            publish: is called with the texts of a moment, one call after the other.
            batch_s: seconds for which texts are gathered.
        """
        self._publish = publish
        self._batch_s = batch_s
        self._texts: list[str] = []
        self._chars = 0
        self._some, self._room = asyncio.Event(), asyncio.Event()
        self._closed = asyncio.Event()
        self._work = asyncio.create_task(self._run())

    async def write(self, text: str) -> None:
        """Take a text. Wait only if too much is gathered, because publishing takes long.

        Raises:
            Exception: any exception of `publish`.
        """
        self._texts.append(text)
        self._chars += len(text)
        self._some.set()
        while self._chars > _MOST_CHARS and not self._work.done():
            self._room.clear()
            waiting = asyncio.create_task(self._room.wait())
            await asyncio.wait({waiting, self._work}, return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
        if self._work.done():
            self._work.result()

    async def flush(self) -> None:
        """Publish what is left. Nothing may be written any more. Raises as `write` does."""
        self._closed.set()
        self._some.set()
        await self._work

    async def aclose(self) -> None:
        """Stop, and drop what is left."""
        self._work.cancel()
        await asyncio.wait([self._work])
        if not self._work.cancelled():
            self._work.exception()  # its reader has it, or does not care

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while self._texts or not self._closed.is_set():
            await self._some.wait()
            self._some.clear()
            if not self._texts:
                continue
            text, self._texts, self._chars = "".join(self._texts), [], 0
            self._room.set()
            due_s = loop.time() + self._batch_s
            await self._publish(text)
            with suppress(TimeoutError):
                async with asyncio.timeout_at(due_s):
                    await self._closed.wait()
