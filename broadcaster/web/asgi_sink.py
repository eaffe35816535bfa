"""The sink for servers that offer no transport: it sends ASGI messages. See `web.sink`."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from starlette.types import Message, Receive, Send

from broadcaster.core.fanout.subscriber import Framing, unframed
from broadcaster.core.sse import HEARTBEAT
from broadcaster.web.sink import END, Bell, nothing
from broadcaster.web.spread import Spread
from broadcaster.web.uvicorn.offer import Headers

# Errors of a write to a client that has disconnected. ASGI servers raise OSError (also for a client
# that does not read). uvloop raises RuntimeError.
_GONE = (OSError, RuntimeError)


class AsgiSink:
    """A sink that sends ASGI messages from the client's task. See `Sink`."""

    pushed = False
    blocked = False  # the server makes `send` wait

    def __init__(
        self,
        receive: Receive,
        send: Send,
        headers: Headers,
        send_timeout_s: float,
        spread: Spread | None = None,
    ) -> None:
        """Watch for the end of the connection. Nothing is sent yet.

        Args:
            receive: ASGI's `receive`.
            send: ASGI's `send`.
            headers: of the response. Its status is 200.
            send_timeout_s: seconds that a `send` may take.
            spread: as for a `TransportSink`.
        """
        self._head: Message | None = {
            "type": "http.response.start",
            "status": 200,
            "headers": headers,
        }
        self._receive = receive
        self._send = send
        self._send_timeout_s = send_timeout_s
        self._bell = Bell(spread)
        self._heartbeat = b""
        self.framing: Framing = unframed
        self.wake = self._bell.ring
        self.closed = self.timed_out = False
        self.on_blocked: Callable[[], object] = nothing
        self.on_closed: Callable[[], object] = nothing
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
        self.on_blocked = self.on_closed = nothing
        self._watcher.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._watcher
        if not self.closed:
            with contextlib.suppress(*_GONE):  # a TimeoutError is an OSError
                async with asyncio.timeout(self._send_timeout_s):
                    await self._begin()
                    await self._send(END)

    async def _begin(self) -> None:
        """Send the head of the response, unless it was sent."""
        if self._head is not None:
            head, self._head = self._head, None
            await self._send(head)

    def unsent_bytes(self) -> int:
        return 0

    def hold_back(self) -> None:
        return  # its server has the socket

    def abort(self) -> None:
        self.closed = self.timed_out = True

    async def _watch(self) -> None:
        while not self.closed:
            if (await self._receive())["type"] == "http.disconnect":
                self.closed = True
                self.on_closed()
        self._bell.ring()
