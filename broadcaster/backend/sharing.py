"""Reads that are on their way, each for all who want the same. Part of `backend`."""

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
    """Joins callers that want the same at the same time.

    Cancelling one of several callers leaves the read to the others; it ends with the last of them.
    """

    def __init__(self) -> None:
        self._reads: dict[Hashable, _Read] = {}

    async def of(self, key: Hashable, read: Callable[[], Awaitable[T]]) -> T:
        """Wait for what is read under a key, and begin to read it if nobody does."""
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
                if self._reads.get(key) is found:  # whoever comes now reads anew
                    del self._reads[key]
                found.task.cancel()

    async def aclose(self) -> None:
        """Cancel what is being read."""
        tasks = [found.task for found in self._reads.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
