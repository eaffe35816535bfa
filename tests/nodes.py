"""Real nodes under real uvicorn on free ports, and a client that shows every byte."""

from __future__ import annotations

import asyncio
import gc
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, ClassVar, cast

import httpx
import httpx_sse
import uvicorn.server

from broadcaster.app import create_app
from broadcaster.backend.log import Log
from broadcaster.core.access.policy import Policy, Verifier
from broadcaster.core.event import EventId
from broadcaster.node.node import Node
from broadcaster.settings import Settings
from broadcaster.web.uvicorn import rehearsal
from broadcaster.web.uvicorn.bounded import BoundedProtocol
from broadcaster.web.uvicorn.server import ByPort, make_server
from tests.channels import demo
from tests.wait import PATIENCE_S, until

QUICK: dict[str, Any] = {
    "retry_min_ms": 10,
    "retry_max_ms": 20,
    "shed_retry_ms": 50,
    "terminal_retry_ms": 20,
    "drain_s": 0.1,
}


class _ShortPauses:
    """`asyncio` as uvicorn's server sees it, with pauses of a twentieth.

    uvicorn looks every 0.1 s whether it shall stop, and pauses again while it stops. The tests stop
    hundreds of nodes.
    """

    def __getattr__(self, name: str) -> Any:
        return getattr(asyncio, name)

    async def sleep(self, delay_s: float) -> None:
        await asyncio.sleep(delay_s / 20)


vars(uvicorn.server)["asyncio"] = _ShortPauses()

# A node tries uvicorn's internals before it listens, which is a third of its start. All nodes of a
# process would find the same.
vars(rehearsal)["rehearse"] = cache(rehearsal.rehearse)


@dataclass
class Running:
    """A node that is up.

    Attributes:
        url: its address.
        port: its port.
        operators_url: the address of operators' application, if it has a port of its own.
        node: what runs there.
    """

    url: str
    port: int
    node: Node
    operators_url: str = ""

    async def has_read(self, stream: str, head: EventId) -> None:
        """Wait until the newest event that the node has of a stream is this one."""
        await until(lambda: self.node.hub.windows[stream].head == head)


@asynccontextmanager
async def running(
    redis_url: str,
    *,
    authorize: Policy | None = None,
    verifier: Verifier | None = None,
    log: Log | None = None,
    sink: str = "transport",
    ready: bool = True,
    two_ports: bool = False,
    **settings: Any,
) -> AsyncIterator[Running]:
    """Run a node until the block is left, with a port of its own for operators if wanted.

    It listens where the settings `host` and `port` say; without them, on a free port of 127.0.0.1.
    It has the channels of the demo, unless the settings have others.
    """
    host = settings.get("host", "127.0.0.1")
    addresses = [(host, settings.get("port", 0)), (host, 0)][: 1 + two_ports]
    listeners = [socket.create_server(address, backlog=512) for address in addresses]
    port, *others = [listener.getsockname()[1] for listener in listeners]
    if others:
        settings["metrics_port"] = others[0]
    made = Settings(redis_url=redis_url, **(QUICK | {"channels": demo()} | settings))
    app = create_app(made, authorize=authorize, log=log)
    node: Node = app.state.node
    node.verifier = verifier or node.verifier
    served = ByPort(app, app.operators, others[0]) if others else app
    server = make_server(served, node.drain, made, node.meters)
    if sink == "asgi":
        server.config.http = cast("Any", partial(BoundedProtocol, opened=server.opened))
    task = asyncio.create_task(server.serve(sockets=listeners))
    try:
        await until(lambda: server.started)
        if ready:
            await until(lambda: not node.problems())
        url, *more = [f"http://{host}:{number}" for number in (port, *others)]
        yield Running(url, port, node, *more)
    finally:
        Raw.close_all()
        server.should_exit = True
        await task


class Raw:
    """A connection that reads a response as it was sent, and decodes only HTTP's chunks."""

    made: ClassVar[list[Raw]] = []

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.head = b""
        self.body = b""
        self.ended = False  # as HTTP wants it: the last chunk has come
        self._framed = b""
        self.made.append(self)

    @classmethod
    async def get(
        cls, port: int, path: str, headers: str = "", version: str = "1.1", address: str = ""
    ) -> Raw:
        """Send a request, from this address if one is given, and read the answer's head."""
        ours = (address, 0) if address else None
        raw = cls(*await asyncio.open_connection("127.0.0.1", port, local_addr=ours))
        request = (
            f"GET {path} HTTP/{version}\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n"
        )
        raw.writer.write(request.encode("latin-1"))
        raw.head = await raw.reader.readuntil(b"\r\n\r\n")
        return raw

    async def until(self, text: bytes, timeout_s: float = PATIENCE_S) -> bytes:
        """Read until the body contains a text, and return the body."""
        async with asyncio.timeout(timeout_s):
            while text not in self.body:
                assert await self._read(), f"it ended with {self.body[-200:]!r}"
        return self.body

    async def told(self, count: int, timeout_s: float = PATIENCE_S) -> list[str]:
        """Read until so many events of producers have come. Return their data."""
        async with asyncio.timeout(timeout_s):
            while len(told(self.body)) < count:
                assert await self._read(), f"it ended with {self.body[-200:]!r}"
        return told(self.body)

    async def _read(self) -> bool:
        piece = await self.reader.read(65536)
        if b"transfer-encoding: chunked" in self.head.lower():
            self._framed += piece
            self._take_chunks()
        else:
            self.body += piece
        return bool(piece) and not self.ended

    def _take_chunks(self) -> None:
        while not self.ended and b"\r\n" in self._framed:
            size, _, rest = self._framed.partition(b"\r\n")
            length = int(size, 16)
            if len(rest) < length + 2:
                return
            assert rest[length : length + 2] == b"\r\n"
            self.body += rest[:length]
            self._framed = rest[length + 2 :]
            self.ended = not length

    async def rest(self, timeout_s: float = PATIENCE_S) -> bytes:
        """Read to the end of the body, and return all of it."""
        async with asyncio.timeout(timeout_s):
            while await self._read():
                pass
        return self.body

    def close(self) -> None:
        """Cut the connection, without a goodbye."""
        self.writer.transport.abort()

    @classmethod
    def close_all(cls) -> None:
        """Cut all connections of a test. What starts nodes calls this before the loop is closed."""
        while cls.made:
            cls.made.pop().close()


def _has_ended(hub: Running, streams: int) -> bool:
    return hub.node.meters.closed.total() == streams and not hub.node.hub.subscribers


async def garbage_of(hub: Running, opened: Callable[[], Awaitable[Raw]], count: int) -> int:
    """Return how many objects are left to the garbage collector when so many streams are gone.

    Args:
        hub: has no other streams.
        opened: opens one.
        count: the number of streams.
    """
    gc.disable()  # else it may have been at work before it is asked
    try:
        for _ in range(2):  # the first time there is more than connections
            gc.collect()
            ended = hub.node.meters.closed.total() + count
            for stream in [await opened() for _ in range(count)]:
                await stream.until(b"stream.live")
                stream.close()
            stream.made.clear()
            del stream
            await until(partial(_has_ended, hub, ended))
        return gc.collect()
    finally:
        gc.enable()


def events(body: bytes) -> list[httpx_sse.ServerSentEvent]:
    """The complete events of a body, without those that only carry a position."""
    complete, separator, _ = body.rpartition(b"\n\n")
    headers = {"content-type": "text/event-stream"}
    response = httpx.Response(200, headers=headers, content=complete + separator)
    return [
        e for e in httpx_sse.EventSource(response).iter_sse() if e.data and e.event != "stream.at"
    ]


def told(body: bytes) -> list[str]:
    """The data of what is not the hub's own."""
    return [event.data for event in events(body) if not event.event.startswith("stream.")]
