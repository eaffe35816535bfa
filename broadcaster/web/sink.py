"""Sinks: how bytes reach a client. There are two, with one interface.

The hub writes to the transport sink, which writes straight into uvicorn's transport. The client's
task sleeps meanwhile. The ASGI sink works on any server. There the hub wakes the client's task, and
that task sends: see `web.asgi_sink`.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from typing import Protocol

from starlette.types import Message, Scope, Send

from broadcaster.core.fanout.subscriber import Framing, unframed
from broadcaster.web.spread import Spread
from broadcaster.web.uvicorn.offer import Attach, Headers

SHARED_BYTES = 16 * 1024
"""The least bytes of a page that several clients may be sent, one after the other."""
_TCP_NOTSENT_LOWAT: int | None = getattr(socket, "TCP_NOTSENT_LOWAT", None)
_KEPT_BYTES = 256 * 1024
_KEPT = 16  # of at most _KEPT_BYTES each


class Sink(Protocol):
    """Sends bytes to one client.

    Attributes:
        pushed: True if the hub may call `write` with frames; otherwise only with heartbeats.
        framing: turns bytes into what `write` takes.
        blocked: the client does not read fast enough, so nothing should be sent.
        closed: the client has disconnected or was disconnected.
        timed_out: it was disconnected because it did not read what was sent in time.
        on_blocked: called when `blocked` becomes true.
        on_closed: called when the client disconnects, before anything else can write.
    """

    pushed: bool
    framing: Framing
    blocked: bool
    closed: bool
    timed_out: bool
    on_blocked: Callable[[], object]
    on_closed: Callable[[], object]

    def write(self, data: bytes) -> None:
        """Send framed bytes without waiting."""

    def wake(self) -> None:
        """Let `wait` return."""

    async def wait(self) -> None:
        """Wait until woken, unblocked or closed.

        Returns at once if one of these happened since the last call.
        """

    async def send(self, data: bytes) -> None:
        """Send unframed bytes; may wait for the client. The first ones come with the head."""

    async def finish(self) -> None:
        """End the response and give the connection back to the server."""

    def unsent_bytes(self) -> int:
        """Return the number of bytes that the client has yet to read. It falls while it reads."""

    def hold_back(self) -> None:
        """Let the kernel take little before the client can: what it has taken will be sent."""

    def abort(self) -> None:
        """Cut the connection, because the client did not read what was sent in time."""


class Bell:
    """An event for one waiter. Its future exists only while `wait` waits, which saves memory.

    Bells that share a `Spread` let few waiters go on in each turn of the event loop.
    """

    __slots__ = ("_future", "_rung", "_spread")

    def __init__(self, spread: Spread | None = None) -> None:
        """Begin silent.

        Args:
            spread: the one of all bells that may ring in one instant; None is for a bell alone.
        """
        self._future: asyncio.Future[None] | None = None
        self._rung = False
        self._spread = spread

    def ring(self) -> None:
        """Let `wait` return."""
        if not self._rung:
            self._rung = True
            if self._spread is None:
                self._resume()
            elif self._future is not None:
                self._spread.call(self._resume)

    def _resume(self) -> None:
        if self._future is not None and not self._future.done():
            self._future.set_result(None)

    async def wait(self) -> None:
        """Wait until it rings. Returns at once if it has rung since the last call."""
        if not self._rung:
            self._future = asyncio.get_running_loop().create_future()
            try:
                await self._future
            finally:
                self._future = None
        self._rung = False


END: Message = {"type": "http.response.body", "body": b"", "more_body": False}
"""The last message of a response."""


def chunked(data: bytes) -> bytes:
    """Return the bytes as one chunk of HTTP/1.1's chunked coding (RFC 9112, section 7.1).

    The newest pages are kept. Clients that don't read hold what they were sent, and share it if
    they were sent the same.
    """
    return _kept(data) if SHARED_BYTES <= len(data) <= _KEPT_BYTES else _chunked(data)


def _chunked(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


_kept = lru_cache(maxsize=_KEPT)(_chunked)


class TransportSink:
    """A sink that writes into uvicorn's transport. See `Sink`."""

    pushed = True

    def __init__(
        self,
        attach: Attach,
        scope: Scope,
        send: Send,
        headers: Headers,
        high_water: int,
        send_timeout_s: float,
        spread: Spread | None = None,
    ) -> None:
        """Take over the connection by the `attach` that our protocol offers.

        Args:
            attach: from the scope's extensions.
            scope: the request's ASGI scope.
            send: ASGI's `send`.
            headers: of the response. Its status is 200.
            high_water: unsent bytes above which the client is blocked.
            send_timeout_s: seconds after which the kernel cuts a silent client.
            spread: of all sinks that may be woken in one instant; None wakes it at once.

        Raises:
            TransportRefusedError: this response needs the ASGI sink.
        """
        self._bell = Bell(spread)
        self._protocol, self._transport, self._head = attach(
            send, self, headers, high_water, send_timeout_s
        )
        self._send = send
        self._high_water = high_water
        self.write = self._transport.write
        self.wake = self._bell.ring
        self.wait = self._bell.wait
        self.framing: Framing = unframed if scope["http_version"] == "1.0" else chunked
        # An earlier, pipelined response may have left more unsent bytes than the high-water mark.
        self.blocked = self._transport.get_write_buffer_size() > high_water
        self.closed = self._transport.is_closing()  # it may have closed before we attached
        self.timed_out = False
        self.on_blocked: Callable[[], object] = nothing
        self.on_closed: Callable[[], object] = nothing

    def pause_writing(self) -> None:
        """Called by the transport when its buffer is above the high-water mark."""
        self.blocked = True
        self.on_blocked()

    def resume_writing(self) -> None:
        """Called by the transport when its buffer has drained."""
        self.blocked = False
        self._bell.ring()

    def connection_lost(self, error: Exception | None) -> None:
        """Called by the transport when the connection is lost. No write may follow."""
        self.closed = True
        self.timed_out = self.timed_out or isinstance(error, TimeoutError)
        self.on_closed()
        self._bell.ring()

    async def send(self, data: bytes) -> None:
        if not self.closed:
            framed = self.framing(data)
            if self._head:
                head, self._head = self._head, b""
                if len(data) < SHARED_BYTES:
                    framed = head + framed
                else:  # a page stays as it is, so that clients share its bytes
                    self.write(head)
            self.write(framed)

    async def finish(self) -> None:
        if self._head and not self.closed:
            self.write(self._head)
        self._protocol.detach()
        # Break the reference cycle: connection -> sink -> callback -> connection.
        self.on_blocked = self.on_closed = nothing
        if not self.closed:
            await self._send(END)

    def unsent_bytes(self) -> int:
        return self._transport.get_write_buffer_size()

    def hold_back(self) -> None:
        # A socket's buffer grows to 4 MB on Linux (tcp(7), tcp_wmem): 400 s of a client that reads
        # 10 KB/s. And it becomes writable only when a third of it is free, so such a client would
        # seem to read nothing. The option bounds the part that the kernel can't send yet:
        # https://docs.kernel.org/networking/ip-sysctl.html, tcp_notsent_lowat.
        sock = self._transport.get_extra_info("socket")
        if _TCP_NOTSENT_LOWAT is not None and sock is not None:
            with suppress(OSError):  # a socket of another family has no such bound
                sock.setsockopt(socket.IPPROTO_TCP, _TCP_NOTSENT_LOWAT, self._high_water)

    def abort(self) -> None:
        self.timed_out = True
        self._transport.abort()


def nothing() -> None:
    """Do nothing, where nothing is to be called."""
    return
