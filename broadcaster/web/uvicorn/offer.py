"""The interface that our protocol offers to the endpoint.

This module does not import uvicorn, so no change in uvicorn can break it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol, TypeAlias

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

    def detach(self) -> None:
        """Give the connection back to the server."""


Headers: TypeAlias = list[tuple[bytes, bytes]]

Attach: TypeAlias = Callable[
    [Any, TransportEvents, Headers, int, float], tuple[Offered, asyncio.Transport, bytes]
]
"""Takes `send`, events, the response's headers, the high-water mark in bytes and the send timeout
in seconds. Returns what is taken over, and the head that has to be written first."""
