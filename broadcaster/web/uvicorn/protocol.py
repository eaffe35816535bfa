"""uvicorn's HTTP protocol, with its transport offered to the event stream endpoint.

The one place that knows uvicorn's internals. If an upgrade breaks it, the endpoint says so once and
uses the ASGI sink, which is slower and needs nothing but ASGI.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable
from functools import partial
from io import BytesIO
from typing import Any, Protocol, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

_TCP_USER_TIMEOUT: int | None = getattr(socket, "TCP_USER_TIMEOUT", None)
_MAX_INT = 2**31 - 1

EXTENSION = "broadcaster.transport"
"""The name in `scope["extensions"]` under which the protocol offers itself."""


class TransportEvents(Protocol):
    """Who wants to know what happens to a connection's transport."""

    def pause_writing(self) -> None:
        """The buffer is above the high-water mark."""

    def resume_writing(self) -> None:
        """The buffer has drained."""

    def connection_lost(self, error: Exception | None) -> None:
        """The connection is gone."""


class _NobodyWaits:
    """In the place of the event that wakes a `receive`, which a stream never calls.

    In Python 3.11 each `asyncio.Event` has a deque of 760 bytes, whether somebody waits or not.
    """

    __slots__ = ()

    def set(self) -> None:
        """Something has come."""

    def clear(self) -> None:
        """It has been seen."""


_NOBODY_WAITS: Any = _NobodyWaits()


class StreamProtocol(HttpToolsProtocol):
    """Passes on what asyncio tells a protocol, so that a stream needs no task that receives."""

    # A slot: one more entry in the instance's dict would be beyond what CPython shares between the
    # instances of a class, and cost each connection 1.3 KB.
    __slots__ = ("events", "streaming")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """As uvicorn's."""
        super().__init__(*args, **kwargs)
        self.events: TransportEvents | None = None
        self.streaming: RequestResponseCycle | None = None

    def on_headers_complete(self) -> None:
        """Offer this connection to the request that has begun."""
        super().on_headers_complete()
        # A pipelined request has a cycle of its own while an earlier one is being answered.
        extensions: dict[str, Any] = {EXTENSION: partial(self.attach, self.cycle)}
        self.scope["extensions"] = extensions

    def attach(
        self,
        cycle: RequestResponseCycle,
        events: TransportEvents,
        high_water_bytes: int,
        send_timeout_s: float,
    ) -> tuple[StreamProtocol, asyncio.Transport]:
        """Take over the connection for a response that is about to start.

        Args:
            cycle: uvicorn's state of the request that is answered.
            events: who is told of the transport's state from now on.
            high_water_bytes: above it, `pause_writing` is called.
            send_timeout_s: the kernel cuts a client that acknowledges nothing for so long.

        Returns:
            This, to detach from, and the transport to write the body to, framed as HTTP wants it.
            It may be closing already.

        Raises:
            AttributeError: uvicorn has changed; nothing has been touched.
        """
        transport = self.transport
        cycle.disconnected = cycle.disconnected or transport.is_closing()
        if cycle.scope["http_version"] == "1.0":
            # uvicorn would use the chunked coding, which HTTP/1.0 does not have.
            cycle.chunked_encoding = False
        transport.set_write_buffer_limits(high=high_water_bytes)
        _limit_silence(transport, send_timeout_s)
        self.events, self.streaming = events, cycle
        return self, transport

    async def head(self, started: Awaitable[None]) -> bytes:
        """What uvicorn would write when the response starts, to be sent with the first bytes.

        Args:
            started: sends the message that starts it.
        """
        assert self.streaming is not None
        head = BytesIO()  # uvicorn does nothing but `write` to it
        self.streaming.transport = cast("asyncio.Transport", head)
        try:
            await started
        finally:
            self.streaming.transport = self.transport
        return head.getvalue()

    def forget_request(self) -> None:
        """Let go of what a stream would keep for hours and never looks at again.

        To be called after the response has started, for which CORS needs to know the origin.
        """
        if self.streaming:
            self.streaming.message_event = _NOBODY_WAITS
            headers = self.streaming.scope["headers"]
            if isinstance(headers, list):
                headers.clear()  # in place: the protocol holds the list, too

    def detach(self) -> None:
        """Leave the connection to uvicorn again."""
        self.events = self.streaming = None

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the stream, then uvicorn."""
        if self.events:
            self.events.connection_lost(exc)
        if self.streaming:  # uvicorn tells only the newest of pipelined requests
            self.streaming.disconnected = True
        super().connection_lost(exc)
        # Or everything about this connection would wait for the next full garbage collection, which
        # in a process with many objects is long in coming.
        newest: RequestResponseCycle | None = self.cycle
        if newest is not None:
            newest.scope.pop("extensions", None)
        self.cycle = None  # type: ignore[assignment]  # as uvicorn itself begins

    def pause_writing(self) -> None:
        """Tell the stream, then uvicorn."""
        if self.events:
            self.events.pause_writing()
        super().pause_writing()

    def resume_writing(self) -> None:
        """Tell the stream, then uvicorn."""
        if self.events:
            self.events.resume_writing()
        super().resume_writing()


def _limit_silence(transport: asyncio.Transport, timeout_s: float) -> None:
    """Let the kernel notice a client that is gone without a word, of which we hear nothing.

    Its unacknowledged heartbeats would be sent again for a quarter of an hour (tcp(7),
    tcp_retries2). Linux alone has the option; elsewhere that is what happens.
    """
    sock = transport.get_extra_info("socket")
    if _TCP_USER_TIMEOUT is not None and sock is not None and sock.family != socket.AF_UNIX:
        timeout_ms = int(min(timeout_s * 1000, _MAX_INT))
        with contextlib.suppress(OSError):  # our own timeout is still there
            sock.setsockopt(socket.IPPROTO_TCP, _TCP_USER_TIMEOUT, timeout_ms)
