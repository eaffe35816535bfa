"""uvicorn's HTTP protocol, with its transport offered to the event stream endpoint.

An event stream writes its head and body to the transport itself. uvicorn's own `send` only ends the
response, so uvicorn handles the next request on the connection as usual. Only this module and
`bounded` use uvicorn's internals. `rehearsal` tries all of them before a server accepts its first
connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import Any, ClassVar

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from broadcaster.web.uvicorn.bounded import BoundedProtocol
from broadcaster.web.uvicorn.offer import Headers, TransportEvents, TransportRefusedError

_TCP_USER_TIMEOUT: int | None = getattr(socket, "TCP_USER_TIMEOUT", None)
_MAX_INT = 2**31 - 1


class _NobodyWaits:
    """Replaces the event that wakes `receive`, because an event stream never calls `receive`.

    In Python 3.11 each `asyncio.Event` has a deque of 760 bytes, even if no task waits for it.
    """

    __slots__ = ()

    def set(self) -> None:
        """Do nothing, as no task waits."""

    def clear(self) -> None:
        """Do nothing, as `set` does nothing."""


_NOBODY_WAITS: Any = _NobodyWaits()


class StreamProtocol(BoundedProtocol):
    """Forwards asyncio's callbacks, so an event stream needs no task that waits in `receive`."""

    __slots__ = ("events", "streaming")  # not in the dict, as in `BoundedProtocol`

    rehearsed: ClassVar[Any] = None
    """The `send` of uvicorn's cycle that `rehearsal` has approved; None if it approved none."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Take the arguments of `BoundedProtocol`."""
        super().__init__(*args, **kwargs)
        self.events: TransportEvents | None = None
        self.streaming: RequestResponseCycle | None = None

    def attach(
        self,
        send: Any,
        events: TransportEvents,
        headers: Headers,
        high_water_bytes: int,
        send_timeout_s: float,
    ) -> tuple[StreamProtocol, asyncio.Transport, bytes]:
        """Take over the connection for a response with status 200, which starts now.

        Args:
            send: the `send` that the endpoint was called with.
            events: receives the transport's callbacks from now on.
            headers: of the response.
            high_water_bytes: unsent bytes above which `pause_writing` is called.
            send_timeout_s: seconds without an acknowledgement after which the kernel cuts the
                client.

        Returns:
            This protocol, to detach; the transport, which may already be closing; and the head of
            the response, to be written before the framed body.

        Raises:
            TransportRefusedError: `send` is not uvicorn's, or `rehearsal` did not approve it.
                Nothing has been changed.
        """
        # A middleware that wraps `send` must see each message, because it may change it.
        cycle = getattr(send, "__self__", None)
        if not isinstance(cycle, RequestResponseCycle):
            raise TransportRefusedError("a middleware wraps uvicorn's `send`")
        if send.__func__ is not StreamProtocol.rehearsed:
            raise TransportRefusedError(
                "uvicorn's `send` is not the one that was checked at start-up"
            )
        transport = self.transport
        if self.refused:  # too much came behind this request, and its response may never end
            transport.abort()
        cycle.disconnected = cycle.disconnected or transport.is_closing()
        transport.set_write_buffer_limits(high=high_water_bytes)
        _limit_silence(transport, send_timeout_s)
        self.events, self.streaming = events, cycle
        return self, transport, _started(cycle, headers)

    def on_body(self, body: bytes) -> None:
        """Drop the body of a request that is answered by an event stream, which reads none."""
        if self.streaming is None or self.streaming is not self.cycle:
            super().on_body(body)

    def detach(self) -> None:
        """Give the connection back to uvicorn."""
        self.events = self.streaming = None

    def connection_lost(self, exc: Exception | None) -> None:
        """Notify the stream, then uvicorn."""
        if self.events:
            self.events.connection_lost(exc)
        super().connection_lost(exc)
        # Break reference cycles. Otherwise this connection's objects would stay until the next full
        # garbage collection, which is rare in a process with many objects.
        newest: RequestResponseCycle | None = self.cycle
        if newest is not None:
            newest.scope.pop("extensions", None)
        self.cycle = None  # type: ignore[assignment]  # as uvicorn itself begins

    def pause_writing(self) -> None:
        """Notify the stream, then uvicorn."""
        if self.events:
            self.events.pause_writing()
        super().pause_writing()

    def resume_writing(self) -> None:
        """Notify the stream, then uvicorn."""
        if self.events:
            self.events.resume_writing()
        super().resume_writing()


def _started(cycle: RequestResponseCycle, headers: Headers) -> bytes:
    """Mark a response as started in uvicorn's state, and return its head.

    Also frees the request's headers. The endpoint has read them, and a stream would keep them for
    hours.
    """
    # HTTP/1.0 has no chunked coding. There, closing the connection ends the body.
    chunked = cycle.scope["http_version"] != "1.0"
    lines = [b"%b: %b\r\n" % pair for pair in (*cycle.default_headers, *headers)]
    if not cycle.keep_alive:
        lines.append(b"connection: close\r\n")
    if chunked:
        lines.append(b"transfer-encoding: chunked\r\n")
    cycle.response_started = True
    cycle.chunked_encoding = chunked
    cycle.message_event = _NOBODY_WAITS
    cycle.body.clear()
    if isinstance(cycle.scope["headers"], list):
        cycle.scope["headers"].clear()  # in place, because the protocol holds this list too
    return b"HTTP/1.1 200 OK\r\n" + b"".join(lines) + b"\r\n"


def _limit_silence(transport: asyncio.Transport, timeout_s: float) -> None:
    """Let the kernel cut a client that vanished without closing its connection.

    Otherwise the kernel retransmits unacknowledged heartbeats for a quarter of an hour (tcp(7),
    tcp_retries2). Only Linux has this option. Other systems go on retransmitting.
    """
    sock = transport.get_extra_info("socket")
    if _TCP_USER_TIMEOUT is not None and sock is not None and sock.family != socket.AF_UNIX:
        timeout_ms = int(min(timeout_s * 1000, _MAX_INT))
        with contextlib.suppress(OSError):  # our own send timeout still applies
            sock.setsockopt(socket.IPPROTO_TCP, _TCP_USER_TIMEOUT, timeout_ms)
