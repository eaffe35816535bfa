"""Shutdown of a node: one function, `Shutdown._steps`, names every step in order.

Four callers may ask for it: our own server, which drains; a signal under another server; the end of
the application's lifespan; and `Node.aclose`. The first call starts the one task that takes the
steps. Later calls join it, so no step is taken twice.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable
from contextlib import suppress
from typing import Protocol

from broadcaster.core.fanout.subscriber import Subscriber

_SLICES = 20


class Stoppable(Protocol):
    """The steps that a node offers to its shutdown."""

    def fail_readiness(self) -> None:
        """Become unready, and shed newcomers from now on."""

    def subscribers(self) -> Iterable[Subscriber]:
        """Return the connected clients."""

    def end(self, subscribers: Iterable[Subscriber]) -> None:
        """End responses, each with its own `retry:`."""

    async def stop_tasks(self) -> None:
        """Stop all tasks, so that no stream is read or written any more."""

    async def leave_registry(self) -> None:
        """Remove the node's line from the registry."""

    async def close_clients(self) -> None:
        """Close all connections to Redis."""


class Shutdown:
    """Takes each step of a node's shutdown once, in order."""

    def __init__(self, node: Stoppable) -> None:
        self._node = node
        self._task: asyncio.Task[None] | None = None
        self._hurried = asyncio.Event()
        self._ended = asyncio.Event()
        self._released = asyncio.Event()

    async def _steps(self, over_s: float) -> None:
        self._node.fail_readiness()
        try:
            await self._end_responses(over_s)
        finally:
            self._ended.set()
        # The server sends last bytes and answers earlier requests. It still needs the node.
        await self._released.wait()
        await self._node.stop_tasks()
        await self._node.leave_registry()
        await self._node.close_clients()

    def begin(self, over_s: float) -> None:
        """Begin to end the responses, and return at once.

        If the shutdown has begun, another call changes nothing, except with `over_s=0`.

        Args:
            over_s: seconds over which the responses are ended. 0 ends all that are left now.
        """
        if over_s == 0:
            self._hurried.set()
        if self._task is None:
            self._task = asyncio.create_task(self._steps(over_s))

    async def responses_ended(self) -> None:
        """Wait until all responses have been ended. The shutdown must have begun."""
        await self._ended.wait()

    async def finish(self) -> None:
        """Take the steps that are left, and wait for them. May be called again.

        If it is cancelled, it stops waiting, but the steps go on.
        """
        self.begin(0)
        self._released.set()
        assert self._task is not None
        await asyncio.shield(self._task)

    async def _end_responses(self, over_s: float) -> None:
        """End all responses in slices, so that their clients do not reconnect in one instant."""
        subscribers = list(self._node.subscribers())
        random.shuffle(subscribers)
        size = -(-len(subscribers) // _SLICES) or 1
        for start in range(0, len(subscribers), size):
            self._node.end(subscribers[start : start + size])
            if start + size < len(subscribers):
                with suppress(TimeoutError):
                    async with asyncio.timeout(over_s / _SLICES):
                        await self._hurried.wait()
