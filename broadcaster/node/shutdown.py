"""The end of a node: one function, `Shutdown._steps`, names every step in order.

It may be asked for in several ways: by our own server, which drains; by another server's signal;
by the end of the application's lifespan; by `Node.aclose`. Whichever comes first begins the one
task that takes the steps, and the others wait for it, so that no step is taken twice.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable
from contextlib import suppress
from typing import Protocol

from broadcaster.core.subscriber import Subscriber

_SLICES = 20


class Stoppable(Protocol):
    """What a shutdown does to a node."""

    def fail_readiness(self) -> None:
        """Be unready from now on, and send newcomers away."""

    def subscribers(self) -> Iterable[Subscriber]:
        """The connected clients."""

    def end(self, subscribers: Iterable[Subscriber]) -> None:
        """End responses, each with its own `retry:`."""

    async def stop_tasks(self) -> None:
        """Read and write no more streams."""

    async def leave_registry(self) -> None:
        """Be no longer among the nodes."""

    async def close_clients(self) -> None:
        """Close all connections to Redis."""


class Shutdown:
    """Takes a node through the steps of its end, each once."""

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
        # The server sends the last bytes, and answers what was asked before; that takes a node.
        await self._released.wait()
        await self._node.stop_tasks()
        await self._node.leave_registry()
        await self._node.close_clients()

    def begin(self, over_s: float) -> None:
        """Begin to end the responses, and return at once. If it has begun, only 0 changes it.

        Args:
            over_s: seconds over which the responses end; 0 ends all that are left now.
        """
        if over_s == 0:
            self._hurried.set()
        if self._task is None:
            self._task = asyncio.create_task(self._steps(over_s))

    async def responses_ended(self) -> None:
        """Wait until all responses were ended. The shutdown must have begun."""
        await self._ended.wait()

    async def finish(self) -> None:
        """Take the steps that are left, and wait for them. May be called again.

        Cancelled, it waits no longer, but the steps are taken all the same.
        """
        self.begin(0)
        self._released.set()
        assert self._task is not None
        await asyncio.shield(self._task)

    async def _end_responses(self, over_s: float) -> None:
        """End all responses, in slices, so that their clients do not come back in one instant."""
        subscribers = list(self._node.subscribers())
        random.shuffle(subscribers)
        size = -(-len(subscribers) // _SLICES) or 1
        for start in range(0, len(subscribers), size):
            self._node.end(subscribers[start : start + size])
            if start + size < len(subscribers):
                with suppress(TimeoutError):
                    async with asyncio.timeout(over_s / _SLICES):
                        await self._hurried.wait()
