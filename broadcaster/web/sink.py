"""How bytes reach a client: two sinks with one interface.

The transport sink is written to by the hub, straight into uvicorn's transport; its task sleeps
until it is needed. The ASGI sink works on any server: its task is woken, and sends by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Protocol

from starlette.types import Message, Receive, Scope, Send

from broadcaster.core.subscriber import Framing, unframed
from broadcaster.web.framing import chunked
from broadcaster.web.uvicorn.offer import Attach


class Sink(Protocol):
    """Where a subscriber's bytes go.

    Attributes:
        pushed: the hub may call `write` with frames; else only with heartbeats.
        framing: makes of bytes what `write` wants.
        blocked: the client does not read fast enough; nothing should be sent.
        closed: the client is gone.
        timed_out: it is gone because it did not take what was sent in time.
        on_blocked: called when `blocked` becomes true.
        on_closed: called when the client goes by itself, before anything else can write.
    """

    pushed: bool
    framing: Framing
    blocked: bool
    closed: bool
    timed_out: bool
    on_blocked: Callable[[], object]
    on_closed: Callable[[], object]

    def write(self, data: bytes) -> None:
        """Take bytes without waiting."""

    def wake(self) -> None:
        """Let `wait` return."""

    async def wait(self) -> None:
        """Return when woken, unblocked or closed, or because that happened since the last call."""

    async def send(self, data: bytes) -> None:
        """Send unframed bytes; may wait for the client."""

    async def start(self, headers: list[tuple[bytes, bytes]]) -> None:
        """Begin the response, with status 200; it may go out with the first `send`."""

    async def finish(self) -> None:
        """End the response and leave the connection to the server."""

    def unsent_bytes(self) -> int:
        """How much waits to be read by the client; falls while it reads."""

    def abort(self) -> None:
        """Cut the connection: the client has not taken what was sent in time."""


class _Bell:
    """Something to wait for: one future, made only while somebody waits."""

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


def _start(headers: list[tuple[bytes, bytes]]) -> Message:
    return {"type": "http.response.start", "status": 200, "headers": headers}


# The client is gone, as ASGI's servers say it (OSError, also for one that does not read), and as
# uvloop does when it is written to all the same.
_GONE = (OSError, RuntimeError)

_END: Message = {"type": "http.response.body", "body": b"", "more_body": False}


class TransportSink:
    """Writes into uvicorn's transport. See `Sink`."""

    pushed = True

    def __init__(
        self, attach: Attach, scope: Scope, send: Send, high_water: int, send_timeout_s: float
    ) -> None:
        """Take over the connection, with what our protocol offers.

        Raises:
            TransportRefusedError: use the ASGI sink.
        """
        self._bell = _Bell()
        self._protocol, self._transport = attach(send, self, high_water, send_timeout_s)
        self._send = send
        self._head = b""
        self.write = self._transport.write
        self.wake = self._bell.ring
        self.wait = self._bell.wait
        self.framing: Framing = unframed if scope["http_version"] == "1.0" else chunked
        # What is left of an earlier, pipelined response may be more than there should be.
        self.blocked = self._transport.get_write_buffer_size() > high_water
        self.closed = self._transport.is_closing()  # gone before we were told of anything
        self.timed_out = False
        self.on_blocked: Callable[[], object] = _nothing
        self.on_closed: Callable[[], object] = _nothing

    def pause_writing(self) -> None:
        """From the transport: above the high-water mark."""
        self.blocked = True
        self.on_blocked()

    def resume_writing(self) -> None:
        """From the transport: drained."""
        self.blocked = False
        self._bell.ring()

    def connection_lost(self, error: Exception | None) -> None:
        """From the transport: gone; it must not be written to any more."""
        self.closed = True
        self.timed_out = self.timed_out or isinstance(error, TimeoutError)
        self.on_closed()
        self._bell.ring()

    async def start(self, headers: list[tuple[bytes, bytes]]) -> None:
        if not self.closed:
            self._head = self._protocol.start(headers)

    async def send(self, data: bytes) -> None:
        if not self.closed:
            framed = self.framing(data)
            if self._head:
                framed, self._head = self._head + framed, b""
            self.write(framed)

    async def finish(self) -> None:
        if self._head and not self.closed:
            self.write(self._head)
        self._protocol.detach()
        self.on_blocked = self.on_closed = _nothing  # they hold who holds us
        if not self.closed:
            await self._send(_END)

    def unsent_bytes(self) -> int:
        return self._transport.get_write_buffer_size()

    def abort(self) -> None:
        self.timed_out = True
        self._transport.abort()


class AsgiSink:
    """Sends ASGI messages from the connection's own task. See `Sink`."""

    pushed = False
    blocked = False  # the server makes `send` wait

    def __init__(self, receive: Receive, send: Send, send_timeout_s: float) -> None:
        self._receive = receive
        self._send = send
        self._send_timeout_s = send_timeout_s
        self._bell = _Bell()
        self._heartbeat = b""
        self.framing: Framing = unframed
        self._watcher: asyncio.Task[None] | None = None
        self.wake = self._bell.ring
        self.closed = self.timed_out = False
        self.on_blocked: Callable[[], object] = _nothing
        self.on_closed: Callable[[], object] = _nothing

    def write(self, data: bytes) -> None:
        self._heartbeat = data
        self._bell.ring()

    async def wait(self) -> None:
        await self._bell.wait()
        if self._heartbeat:
            data, self._heartbeat = self._heartbeat, b""
            await self.send(data)

    async def start(self, headers: list[tuple[bytes, bytes]]) -> None:
        self._watcher = asyncio.create_task(self._watch())
        await self._send(_start(headers))

    async def send(self, data: bytes) -> None:
        self._heartbeat = b""  # one that still waits names a position before this data
        try:
            async with asyncio.timeout(self._send_timeout_s):
                await self._send({"type": "http.response.body", "body": data, "more_body": True})
        except TimeoutError:
            self.abort()
        except _GONE:
            self.closed = True

    async def finish(self) -> None:
        self.on_blocked = self.on_closed = _nothing  # they hold who holds us
        if self._watcher is not None:
            self._watcher.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watcher
        if not self.closed:
            with contextlib.suppress(*_GONE):  # a TimeoutError is an OSError
                async with asyncio.timeout(self._send_timeout_s):
                    await self._send(_END)

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
