"""The interface that our protocol offers to the endpoint.

This module does not import uvicorn, so no change in uvicorn can break it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, Protocol

EXTENSION = "broadcaster.transport"
"""The name in `scope["extensions"]` under which a connection offers an `Attach`."""


class TransportRefusedError(Exception):
    """The response must go through ASGI. `str(error)` says why."""


class TransportEvents(Protocol):
    """Callbacks for changes of a connection's transport."""

    def pause_writing(self) -> None:
        """The buffer is above the high-water mark."""

    def resume_writing(self) -> None:
        """The buffer has drained."""

    def connection_lost(self, error: Exception | None) -> None:
        """The connection is gone."""


class Offered(Protocol):
    """A connection that the endpoint has taken over for one response."""

    def start(self, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
        """Mark the response as started in the server's state, with status 200.

        Returns:
            The head, to be written before the first bytes of the body.
        """

    def detach(self) -> None:
        """Give the connection back to the server."""


Attach = Callable[[Any, TransportEvents, int, float], tuple[Offered, asyncio.Transport]]
"""Takes `send`, events, the high-water mark in bytes and the send timeout in seconds."""
