"""Shares one read among all callers that need it at the same time. Part of `backend`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar

T = TypeVar("T")

Sending: TypeAlias = Callable[[], None]
"""A read calls it when it begins to send: from then on it is not cancelled."""


@dataclass
class _Read:
    task: asyncio.Task[Any] = field(init=False)
    waiting: int = 0
    sent: bool = False

    def sending(self) -> None:
        self.sent = True


class SharedReads:
    """Runs one read for all concurrent callers with the same key.

    If a caller is cancelled, the read goes on for the others. If the last one is cancelled, a read
    that still waits for its turn is cancelled as well. One that was sent goes on, and its answer is
    dropped. redis-py closes a connection whose reply nothing reads, so a client that leaves would
    cost Redis a new connection.
    """

    def __init__(self) -> None:
        self._reads: dict[Hashable, _Read] = {}

    async def of(self, key: Hashable, read: Callable[[Sending], Awaitable[T]]) -> T:
        """Return the result of the read under a key, and start the read if none is running.

        Args:
            key: equal keys share a read.
            read: makes the read; called only if none is running. Its errors reach every caller.
        """
        found = self._reads.get(key)
        if found is None or found.task.done():
            found = self._begin(key, read)
        found.waiting += 1
        try:
            # Not `shield`: from Python 3.14 on it logs the error of a task that has no caller left.
            await asyncio.wait([found.task])
            result: T = found.task.result()
            return result
        finally:
            found.waiting -= 1
            if not found.waiting and not found.sent:
                self._forget(key, found)  # a later caller must read again
                found.task.cancel()

    def _begin(self, key: Hashable, read: Callable[[Sending], Awaitable[Any]]) -> _Read:
        begun = self._reads[key] = _Read()
        begun.task = asyncio.ensure_future(read(begun.sending))
        begun.task.add_done_callback(lambda task: self._ended(key, begun, task))
        return begun

    def _ended(self, key: Hashable, read: _Read, task: asyncio.Task[Any]) -> None:
        self._forget(key, read)
        if not task.cancelled():
            task.exception()  # asyncio would log an error that has no caller left

    def _forget(self, key: Hashable, read: _Read) -> None:
        if self._reads.get(key) is read:
            del self._reads[key]

    async def aclose(self) -> None:
        """Cancel the reads that are on their way, and wait for their end."""
        tasks = [found.task for found in self._reads.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
