"""uvicorn's HTTP protocol, with its transport offered to the event stream endpoint.

A stream writes its head and its body to the transport itself. uvicorn's own `send` only ends the
response, so that the next request on the connection is uvicorn's affair again. What is used of
uvicorn's insides is in this module alone; `rehearsal` tries it all before a server takes its first
connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterable
from functools import partial
from typing import Any, ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from broadcaster.web.uvicorn.offer import EXTENSION, TransportEvents, TransportRefusedError

_TCP_USER_TIMEOUT: int | None = getattr(socket, "TCP_USER_TIMEOUT", None)
_MAX_INT = 2**31 - 1


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

    rehearsed: ClassVar[Any] = None
    """The `send` of uvicorn's cycle with which `rehearsal` has succeeded; None if with none."""

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
        send: Any,
        events: TransportEvents,
        high_water_bytes: int,
        send_timeout_s: float,
    ) -> tuple[StreamProtocol, asyncio.Transport]:
        """Take over the connection for a response that is about to start.

        Args:
            cycle: uvicorn's state of the request that is answered.
            send: the one that the endpoint was called with.
            events: is called when the transport's state changes from now on.
            high_water_bytes: above it, `pause_writing` is called.
            send_timeout_s: the kernel cuts a client that acknowledges nothing for so long.

        Returns:
            This, to detach from, and the transport to write the body to, framed as HTTP wants it.
            It may be closing already.

        Raises:
            TransportRefusedError: `send` is not uvicorn's, or not the one that was rehearsed.
                Nothing has been touched.
        """
        # A middleware that wraps `send` wants to see, and perhaps to change, each message.
        if getattr(send, "__self__", None) is not cycle:
            raise TransportRefusedError("a middleware stands between the hub and uvicorn")
        if send.__func__ is not StreamProtocol.rehearsed:
            raise TransportRefusedError(
                "uvicorn's `send` is not the one that was tried at the start"
            )
        transport = self.transport
        cycle.disconnected = cycle.disconnected or transport.is_closing()
        transport.set_write_buffer_limits(high=high_water_bytes)
        _limit_silence(transport, send_timeout_s)
        self.events, self.streaming = events, cycle
        return self, transport

    def start(self, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
        """Tell uvicorn that the response has started, with status 200.

        The request's headers are let go of: a stream would keep them for hours, and the endpoint
        has read them.

        Returns:
            The head, to be written before the first bytes of the body.
        """
        cycle = self.streaming
        assert cycle is not None
        # The chunked coding ends a body on a connection that is used again. HTTP/1.0 has neither.
        chunked = cycle.scope["http_version"] != "1.0"
        lines = [b"%b: %b\r\n" % pair for pair in (*cycle.default_headers, *headers)]
        if not cycle.keep_alive:
            lines.append(b"connection: close\r\n")
        if chunked:
            lines.append(b"transfer-encoding: chunked\r\n")
        cycle.response_started = True
        cycle.chunked_encoding = chunked
        cycle.message_event = _NOBODY_WAITS
        if isinstance(cycle.scope["headers"], list):
            cycle.scope["headers"].clear()  # in place: the protocol holds the list, too
        return b"HTTP/1.1 200 OK\r\n" + b"".join(lines) + b"\r\n"

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
