"""Notices that a client has left, while its answer is made."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from starlette.requests import Request
from starlette.types import Receive


class Leaving:
    """Watches the connection of one request, once there is something to wait for.

    Attributes:
        left: True once the client is gone.
    """

    def __init__(self, request: Request, wake: Callable[[], object]) -> None:
        """Begin without a watch.

        Args:
            request: whose body was read, or that has none.
            wake: called when the client leaves.
        """
        self.left = False
        self._request = request
        self._wake = wake
        self._watching: asyncio.Task[None] | None = None

    def watch(self) -> None:
        """Watch from now on. `stop` must follow. May be called again."""
        if self._watching is None:
            self._watching = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        await left(self._request.receive)
        self.left = True
        self._wake()

    async def stop(self) -> None:
        """End the watch, if there is one."""
        if self._watching:
            self._watching.cancel()
            with suppress(asyncio.CancelledError):
                await self._watching


async def left(receive: Receive) -> None:
    """Wait until the client of a request leaves. What it sends meanwhile is dropped."""
    while (await receive())["type"] != "http.disconnect":
        pass
