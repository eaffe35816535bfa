"""Shares one read among all callers that need it at the same time. Part of `backend`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass
class _Read:
    task: asyncio.Task[Any]
    waiting: int = 0


class SharedReads:
    """Runs one read for all concurrent callers with the same key.

    If a caller is cancelled, the read goes on for the others. It is cancelled with the last one.
    """

    def __init__(self) -> None:
        self._reads: dict[Hashable, _Read] = {}

    async def of(self, key: Hashable, read: Callable[[], Awaitable[T]]) -> T:
        """Return the result of the read under a key, and start the read if none is running.

        Args:
            key: equal keys share a read.
            read: makes the read; called only if none is running. Its errors reach every caller.
        """
        found = self._reads.get(key)
        if found is None or found.task.done():
            found = self._reads[key] = _Read(asyncio.ensure_future(read()))
        found.waiting += 1
        try:
            result: T = await asyncio.shield(found.task)
            return result
        finally:
            found.waiting -= 1
            if found.task.done() or not found.waiting:
                if self._reads.get(key) is found:  # a later caller must read again
                    del self._reads[key]
                found.task.cancel()

    async def aclose(self) -> None:
        """Cancel the reads that are on their way, and wait for their end."""
        tasks = [found.task for found in self._reads.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
