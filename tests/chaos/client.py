"""One client on a raw socket: it does what an `EventSource` does, and logs what it sees."""

from __future__ import annotations

import asyncio
import random
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

from tests.chaos.history import Block, Chain, Id, Kind, Recording, Subscription
from tests.chaos.sse import Splitter, Unchunker, read

_SOURCES = 50
_LARGE_BUFFER, _SMALL_BUFFER = 1 << 20, 4096
_DEFAULT_RETRY_MS = 3000
_CONNECT_TIMEOUT_S = 10.0


@dataclass
class Memory:
    """The state that all clients share. Each distinct block is parsed once.

    Attributes:
        numbers: of blocks, by their bytes.
        notable: numbers of the blocks that change more than a client's position.
        targets: host and port of nodes or proxies; clients go through them in turn.
        mean_life_s: connections are cut at random after so long; 0 for never.
    """

    recording: Recording = field(default_factory=Recording)
    numbers: dict[bytes, int] = field(default_factory=dict)
    notable: set[int] = field(default_factory=set)
    targets: list[tuple[str, int]] = field(default_factory=list)
    mean_life_s: float = 0.0
    random: random.Random = field(default_factory=random.Random)

    def learn(self, raw: bytes) -> int:
        """Parse a block that no client has seen before."""
        block, number = read(raw), len(self.recording.blocks)
        self.recording.blocks.append(block)
        self.numbers[raw] = number
        if block.kind in (Kind.LIVE, Kind.NOTHING) or block.retry_ms is not None:
            self.notable.add(number)
        return number


class Client(asyncio.Protocol):
    """A client, across its connections.

    Attributes:
        chain: what it has seen.
        group: which clients it belongs to.
        live: it has received `stream.live` on this connection.
        arrived: it has been live once.
        stopped: it will not come back: the stream is over, or an answer has ended it.
        source: the address that it connects from.
        cut_at: how many bytes of its first connection it gets before it loses it; 0 for all.
        received: bytes on this connection.
    """

    def __init__(
        self, memory: Memory, group: str, number: int, path: str, subscription: Subscription
    ) -> None:
        """Prepare.

        Args:
            memory: shared by all clients.
            group: which clients it belongs to.
            number: in its group; decides its address, and the target that it begins with.
            path: of its stream, with the query.
            subscription: what that means.
        """
        self.chain = Chain(f"{group} {number}", subscription)
        self.group = group
        self.live = False
        self.arrived = False
        self.stopped = False
        # Several addresses, for one has no more than some 28,000 free ports.
        self.source = f"127.0.0.{2 + number % _SOURCES}"
        self.cut_at = 0
        self.received = 0
        self._memory = memory
        self._path = path
        self._attempts = number
        self._retry_ms = _DEFAULT_RETRY_MS
        self._transport: asyncio.Transport | None = None
        self._head: bytes | None = b""
        self._unchunker: Unchunker | None = None
        self._left: int | None = None  # bytes, if the response has a length
        self._splitter = Splitter()
        self._cause = ""
        self._timers: list[asyncio.TimerHandle] = []
        self._connecting: asyncio.Task[None] | None = None
        memory.recording.chains.append(self.chain)

    # Connecting

    def resume_from(self, last_id: str) -> None:
        """Have a position before the first connection."""
        self.chain.block(
            self._memory.learn(f"id: {last_id}\nevent: stream.at\ndata: {{}}".encode()),
            time.monotonic(),
        )

    def connect(self) -> None:
        """Open the next connection."""
        if not self.stopped:
            self._connecting = asyncio.create_task(self._connect())

    async def _connect(self) -> None:
        targets = self._memory.targets
        target = targets[self._attempts % len(targets)]
        self._attempts += 1
        self.chain.note("connect", f"{target[1]} {self.last_id}", time.monotonic())
        sock = socket.socket()
        try:
            sock.setblocking(False)
            sock.bind((self.source, 0))
            loop = asyncio.get_running_loop()
            async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                await loop.sock_connect(sock, target)
                await loop.create_connection(lambda: self, sock=sock)
        except OSError as error:  # a TimeoutError is one, too
            sock.close()
            self._lost(f"not connected: {error!r}")

    @property
    def last_id(self) -> str:
        """The `Last-Event-ID` that it would send."""
        blocks = self._memory.recording.blocks
        for number in reversed(self.chain.log):
            if number >= 0 and (id_ := blocks[number].id) is not None:
                return id_
        return ""

    def positions(self) -> dict[str, Id]:
        """Its position in each stream."""
        return Block(Kind.CHECKPOINT, self.last_id).positions(self.chain.subscription.streams)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the stream."""
        self._transport = made = cast("asyncio.Transport", transport)
        self._head, self._unchunker, self._splitter = b"", None, Splitter()
        self._left = None
        self.received = 0
        resume = f"Last-Event-ID: {self.last_id}\r\n" if self.last_id else ""
        made.write(
            f"GET {self._path} HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n"
            f"{resume}\r\n".encode()
        )
        self.live_on()

    def live_on(self) -> None:
        """Draw when this connection is to be lost."""
        if self._memory.mean_life_s and self._transport is not None:
            life_s = self._memory.random.expovariate(1 / self._memory.mean_life_s)
            self._later(life_s, self.cut)

    def _later(self, delay_s: float, action: Callable[[], object]) -> None:
        self._timers.append(asyncio.get_running_loop().call_later(delay_s, action))

    # Reading

    def data_received(self, data: bytes) -> None:
        """Log what has come."""
        now_s = time.monotonic()
        if self.cut_at:
            data = data[: self.cut_at - self.received]
        self.received += len(data)
        try:
            if self._head is not None:
                data = self._read_head(data, now_s)
            data = self._unframed(data)
        except ValueError as error:
            self._end("fatal", f"no HTTP: {error}", now_s)
            return
        numbers, log, times = self._memory.numbers, self.chain.log, self.chain.times
        for raw in self._splitter.feed(data):
            number = numbers.get(raw)
            if number is None:
                number = self._memory.learn(raw)
            if number in self._memory.notable and not self._note(self._memory, number):
                continue
            log.append(number)
            times.append(now_s)
        if self._left == 0 or (self._unchunker and self._unchunker.ended):
            self._close("ended")
        if self.cut_at and self.received >= self.cut_at:
            self.cut_at = 0
            self._close("cut")

    def _unframed(self, data: bytes) -> bytes:
        if self._unchunker is not None:
            return self._unchunker.feed(data)
        if self._left is not None:
            self._left -= len(data)
        return data

    def _note(self, memory: Memory, number: int) -> bool:
        """Handle a block that changes more than the position. Return True if it is to be logged."""
        block = memory.recording.blocks[number]
        if block.kind is Kind.LIVE:
            self.live = self.arrived = True
        if block.retry_ms is not None:
            self._retry_ms = block.retry_ms
        return block.kind is not Kind.NOTHING

    def _read_head(self, data: bytes, now_s: float) -> bytes:
        self._head = (self._head or b"") + data
        head, separator, rest = self._head.partition(b"\r\n\r\n")
        if not separator:
            return b""
        self._head = None
        status_line, *lines = head.decode("latin-1").split("\r\n")
        headers = {n.lower(): v.strip() for n, _, v in (line.partition(":") for line in lines)}
        status = int(status_line.split()[1])
        if status != 200:
            self._end("status" if status == 204 else "fatal", f"{status}", now_s)
            return b""
        if not headers.get("content-type", "").startswith("text/event-stream"):
            self._end("fatal", f"content-type {headers.get('content-type')!r}", now_s)
            return b""
        if headers.get("transfer-encoding", "").lower() == "chunked":
            self._unchunker = Unchunker()
        elif "content-length" in headers:
            self._left = int(headers["content-length"])
        return rest

    # Ends

    def _end(self, what: str, value: str, now_s: float) -> None:
        self.chain.note(what, value.split(" ", 1)[0] if what == "status" else value, now_s)
        self.stopped = True
        self._close(value)

    def _close(self, cause: str) -> None:
        self._cause = self._cause or cause
        if self._transport is not None:
            self._transport.abort()

    def cut(self) -> None:
        """Lose the connection, as with a broken network. The client reconnects."""
        self._close("cut")

    def connection_lost(self, exc: Exception | None) -> None:
        """Come back, unless it is over."""
        self._lost(self._cause or (f"lost: {exc!r}" if exc else "closed"))

    def _lost(self, cause: str) -> None:
        self.chain.note("disconnect", cause, time.monotonic())
        self._transport, self.live, self._cause = None, False, ""
        self._forget_timers()
        if not self.stopped:
            self._later(self._retry_ms / 1000, self.connect)

    def _forget_timers(self) -> None:
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()

    def read_on(self, wanted: bool) -> None:
        """Stop reading from the socket, with a small buffer, or go on at full speed."""
        if self._transport is not None:
            sock = self._transport.get_extra_info("socket")
            size = _LARGE_BUFFER if wanted else _SMALL_BUFFER
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)
            (self._transport.resume_reading if wanted else self._transport.pause_reading)()

    def leave(self, *, complete: bool = True) -> None:
        """Stop for good. If it must be complete and is connected, it receives all events first."""
        if self.stopped:
            return
        self.chain.complete = complete and self._transport is not None
        self.stopped = True
        self._forget_timers()
        self._close("left")
