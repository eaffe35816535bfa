"""What our protocol offers to the endpoint. It imports nothing of uvicorn, which may change."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, Protocol

EXTENSION = "broadcaster.transport"
"""The name in `scope["extensions"]` under which a connection offers an `Attach`."""


class TransportRefusedError(Exception):
    """The response has to go through ASGI. `str(error)` says why."""


class TransportEvents(Protocol):
    """Is called when the state of a connection's transport changes."""

    def pause_writing(self) -> None:
        """The buffer is above the high-water mark."""

    def resume_writing(self) -> None:
        """The buffer has drained."""

    def connection_lost(self, error: Exception | None) -> None:
        """The connection is gone."""


class Offered(Protocol):
    """A connection that was taken over for one response."""

    def start(self, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
        """Tell the server that the response has started, with status 200.

        Returns:
            The head, to be written before the first bytes of the body.
        """

    def detach(self) -> None:
        """Leave the connection to the server again."""


Attach = Callable[[Any, TransportEvents, int, float], tuple[Offered, asyncio.Transport]]
"""Takes `send`, events, the high-water mark in bytes and the send timeout in seconds."""
