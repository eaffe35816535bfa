"""Sinks: how bytes reach a client. There are two, with one interface.

The hub writes to the transport sink, which writes straight into uvicorn's transport. The client's
task sleeps meanwhile. The ASGI sink works on any server. There the hub wakes the client's task, and
that task sends.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from functools import lru_cache
from typing import Protocol

from starlette.types import Message, Receive, Scope, Send

from broadcaster.core.sse import HEARTBEAT
from broadcaster.core.subscriber import Framing, unframed
from broadcaster.web.uvicorn.offer import Attach, Headers

SHARED_BYTES = 16 * 1024
"""The least bytes of a page that several clients may be sent, one after the other."""
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

    def abort(self) -> None:
        """Cut the connection, because the client did not read what was sent in time."""


class _Bell:
    """An event for one waiter. Its future exists only while `wait` waits, which saves memory."""

    __slots__ = ("_future", "_rung")

    def __init__(self) -> None:
        self._future: asyncio.Future[None] | None = None
        self._rung = False

    def ring(self) -> None:
        self._rung = True
        if self._future is not None and not self._future.done():
            self._future.set_result(None)

    async def wait(self) -> None:
        if not self._rung:
            self._future = asyncio.get_running_loop().create_future()
            try:
                await self._future
            finally:
                self._future = None
        self._rung = False


# Errors of a write to a client that has disconnected. ASGI servers raise OSError (also for a client
# that does not read). uvloop raises RuntimeError.
_GONE = (OSError, RuntimeError)

_END: Message = {"type": "http.response.body", "body": b"", "more_body": False}


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
    ) -> None:
        """Take over the connection by the `attach` that our protocol offers.

        Args:
            attach: from the scope's extensions.
            scope: the request's ASGI scope.
            send: ASGI's `send`.
            headers: of the response. Its status is 200.
            high_water: unsent bytes above which the client is blocked.
            send_timeout_s: seconds after which the kernel cuts a silent client.

        Raises:
            TransportRefusedError: this response needs the ASGI sink.
        """
        self._bell = _Bell()
        self._protocol, self._transport, self._head = attach(
            send, self, headers, high_water, send_timeout_s
        )
        self._send = send
        self.write = self._transport.write
        self.wake = self._bell.ring
        self.wait = self._bell.wait
        self.framing: Framing = unframed if scope["http_version"] == "1.0" else chunked
        # An earlier, pipelined response may have left more unsent bytes than the high-water mark.
        self.blocked = self._transport.get_write_buffer_size() > high_water
        self.closed = self._transport.is_closing()  # it may have closed before we attached
        self.timed_out = False
        self.on_blocked: Callable[[], object] = _nothing
        self.on_closed: Callable[[], object] = _nothing

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
        self.on_blocked = self.on_closed = _nothing
        if not self.closed:
            await self._send(_END)

    def unsent_bytes(self) -> int:
        return self._transport.get_write_buffer_size()

    def abort(self) -> None:
        self.timed_out = True
        self._transport.abort()


class AsgiSink:
    """A sink that sends ASGI messages from the client's task. See `Sink`."""

    pushed = False
    blocked = False  # the server makes `send` wait

    def __init__(
        self, receive: Receive, send: Send, headers: Headers, send_timeout_s: float
    ) -> None:
        """Watch for the end of the connection. Nothing is sent yet.

        Args:
            receive: ASGI's `receive`.
            send: ASGI's `send`.
            headers: of the response. Its status is 200.
            send_timeout_s: seconds that a `send` may take.
        """
        self._head: Message | None = {
            "type": "http.response.start",
            "status": 200,
            "headers": headers,
        }
        self._receive = receive
        self._send = send
        self._send_timeout_s = send_timeout_s
        self._bell = _Bell()
        self._heartbeat = b""
        self.framing: Framing = unframed
        self.wake = self._bell.ring
        self.closed = self.timed_out = False
        self.on_blocked: Callable[[], object] = _nothing
        self.on_closed: Callable[[], object] = _nothing
        self._watcher = asyncio.create_task(self._watch())

    def write(self, data: bytes) -> None:
        if data != HEARTBEAT or not self._heartbeat:  # a position that waits is kept
            self._heartbeat = data
        self._bell.ring()

    async def wait(self) -> None:
        await self._bell.wait()
        if self._heartbeat:
            data, self._heartbeat = self._heartbeat, b""
            await self.send(data)

    async def send(self, data: bytes) -> None:
        self._heartbeat = b""  # a heartbeat that still waits carries a position before this data
        try:
            async with asyncio.timeout(self._send_timeout_s):
                await self._begin()
                await self._send({"type": "http.response.body", "body": data, "more_body": True})
        except TimeoutError:
            self.abort()
        except _GONE:
            self.closed = True

    async def finish(self) -> None:
        # Break the reference cycle: connection -> sink -> callback -> connection.
        self.on_blocked = self.on_closed = _nothing
        self._watcher.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._watcher
        if not self.closed:
            with contextlib.suppress(*_GONE):  # a TimeoutError is an OSError
                async with asyncio.timeout(self._send_timeout_s):
                    await self._begin()
                    await self._send(_END)

    async def _begin(self) -> None:
        """Send the head of the response, unless it was sent."""
        if self._head is not None:
            head, self._head = self._head, None
            await self._send(head)

    def unsent_bytes(self) -> int:
        return 0

    def abort(self) -> None:
        self.closed = self.timed_out = True

    async def _watch(self) -> None:
        while not self.closed:
            if (await self._receive())["type"] == "http.disconnect":
                self.closed = True
                self.on_closed()
        self._bell.ring()


def _nothing() -> None:
    return None
