"""One client of a run on a raw socket: it asks, follows, loses its connection and comes back."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import orjson

from tests.chaos.attempts import Heard
from tests.chaos.hearing import ABORT, FAILURE, KINDS, SUCCESS, AiSdk, Native, OpenAi, told
from tests.chaos.sse import Splitter, Unchunker

PATH = "/v1/answers/stream"
_PAUSE_S = (0.02, 0.3)
_CONNECT_S = 5.0
_PIECE = 1 << 16
_NOT_NOW = (429, 502, 503)
_SAVED = {"completed": SUCCESS, "failed": FAILURE, "cancelled": ABORT}


@dataclass
class Places:
    """What all clients share.

    Attributes:
        nodes: host and port of each node.
        pods: host and port of each process of the application.
        mean_life_s: connections are cut at random after so long; 0 for never.
        rejoins: for each kind of client, how long each return took, in milliseconds.
        connections: how many there were.
    """

    nodes: list[tuple[str, int]] = field(default_factory=list)
    pods: list[tuple[str, int]] = field(default_factory=list)
    mean_life_s: float = 0.0
    random: random.Random = field(default_factory=random.Random)
    rejoins: dict[str, list[float]] = field(default_factory=lambda: {kind: [] for kind in KINDS})
    connections: int = 0


class Refused(Exception):
    """A status that is no stream. Its arguments are the status and the body."""


class Response:
    """A response whose body is read in pieces.

    Attributes:
        status: of it.
        whole: True if it has ended as a response that was not cut does.
    """

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self.status = 0
        self.whole = False
        self._reader = reader
        self._unchunker: Unchunker | None = None
        self._left = 0

    async def begin(self) -> None:
        """Read its head."""
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        status, *lines = head.lower().split("\r\n")
        self.status = int(status.split()[1])
        headers = dict(line.split(": ", 1) for line in lines if line)
        if headers.get("transfer-encoding") == "chunked":
            self._unchunker = Unchunker()
        self._left = int(headers.get("content-length", 0))
        self.whole = self._unchunker is None and not self._left

    async def piece(self) -> bytes:
        """Return more of the body; nothing at its end, whole or not."""
        while not (self.whole or self._reader.at_eof()):
            data = await self._reader.read(_PIECE)
            if self._unchunker is None:
                self._left -= len(data)
                self.whole = self._left <= 0
                return data
            found = self._unchunker.feed(data)
            self.whole = self._unchunker.ended
            if found:
                return found
        return b""

    async def body(self) -> bytes:
        """Return the rest of the body. Raises an `EOFError` if that is cut."""
        found = b""
        while piece := await self.piece():
            found += piece
        if not self.whole:
            raise EOFError
        return found


class Follower:
    """A client of one run.

    Attributes:
        run: that it follows; empty until it knows.
        hearer: what it has of the answer.
        ended: it will not come back.
    """

    def __init__(self, places: Places, kind: str, name: str, run: str = "") -> None:
        """Prepare.

        Args:
            places: shared by all clients.
            kind: one of `KINDS`.
            name: of the chat, which no other client that asks has.
            run: that it follows; without one it asks for one.
        """
        self.kind, self.name, self.run = kind, name, run
        self.hearer = KINDS[kind]()
        self.ended = False
        self._places = places
        self._attempts = places.random.randrange(1 << 20)
        self._transport: asyncio.WriteTransport | None = None
        self._begun_s: float | None = None  # of a return that has not brought anything yet
        self._returns = bool(run)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Ask, and follow to the end."""
        self._task = asyncio.create_task(self._live())

    def heard(self) -> Heard:
        """Return what it has."""
        wrong = tuple(self.hearer.wrong)
        return Heard(f"{self.kind} {self.name}", self.run, self.hearer.end, self.hearer.text, wrong)

    def cut(self) -> None:
        """Lose the connection, as with a broken network."""
        if self._transport is not None:
            self._transport.abort()

    @property
    def settled(self) -> bool:
        """True if its return has brought something, or it will not come back."""
        return self.ended or (self._transport is not None and self._begun_s is None)

    async def aclose(self) -> None:
        """Stop."""
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _live(self) -> None:
        while not self.hearer.end:
            try:
                await self._once()
            except (OSError, EOFError, asyncio.IncompleteReadError, TimeoutError):
                pass
            except Exception as error:  # the fault is reported, and ends this client
                self.hearer.wrong.append(repr(error))
                break
            if not self.hearer.end:
                await asyncio.sleep(self._places.random.uniform(*_PAUSE_S))
        self.ended = True

    async def _once(self) -> None:
        if not self.run and self.kind in ("native", "bare"):
            answer = await self._asked(False, "POST", PATH, {"key": self.name})
            self.run = orjson.loads(answer)["run"]
            return
        in_pods = self.kind in ("ai-sdk", "openai")
        try:
            await self._followed(in_pods, *self._request())
        except Refused as refused:
            status, body = refused.args
            if status == 204 and not self.run:  # it was never asked for
                self._returns = False
            elif status == 204:
                await self._saved()
            elif status == 409 and isinstance(self.hearer, OpenAi) and self.hearer.last >= 0:
                self.hearer.anew()
            elif status not in _NOT_NOW:
                raise ValueError(f"{status} {body!r}") from None

    def _request(self) -> tuple[str, str, Any]:
        """Return the method, the path and the body of the next request for the stream."""
        hearer = self.hearer
        if isinstance(hearer, AiSdk):
            if not self._returns:
                self._returns = True
                return "POST", "/api/chat", {"id": self.name}
            return "GET", f"/api/chat/{self.name}/stream", None
        if isinstance(hearer, OpenAi):
            if not self.run:
                return "POST", "/v1/responses", {"user": self.name}
            after = f"&starting_after={hearer.last}" if hearer.last >= 0 else ""
            return "GET", f"/v1/responses/{self.run}?stream=true{after}", None
        bare = "" if isinstance(hearer, Native) else "&profile=bare"
        return "GET", f"{PATH}?run={self.run}{bare}", None

    async def _followed(self, in_pods: bool, method: str, path: str, body: Any) -> None:
        """Read a response to its end. Raises a `Refused`."""
        returns = method == "GET" and bool(self.hearer.text)
        reader, writer = await self._connected(in_pods)
        self._transport = writer.transport
        life: asyncio.TimerHandle | None = self._life()
        try:
            self._begun_s = time.monotonic() if returns else None
            last_id = self.hearer.last_id if isinstance(self.hearer, Native) else ""
            writer.write(_request(method, path, body, last_id))
            response = Response(reader)
            await response.begin()
            if response.status != 200:
                raise Refused(response.status, await response.body())
            self.hearer.begin()
            if isinstance(self.hearer, OpenAi) and self.hearer.last >= 0:
                self._arrived()  # a tail begins with the next event, whenever that is
            await self._read(response)
        finally:
            self._transport = None
            if life:
                life.cancel()
            writer.transport.abort()

    async def _read(self, response: Response) -> None:
        splitter = Splitter()
        while piece := await response.piece():
            for raw in splitter.feed(piece):
                if not raw:
                    continue
                block = told(raw)
                if self.hearer.take(block):
                    self._arrived()
                if not self.run:
                    self.run = _named(block.data)
        if response.whole and not self.hearer.end and not isinstance(self.hearer, Native):
            self.hearer.wrong.append("a response has ended cleanly before the answer")

    def _arrived(self) -> None:
        if self._begun_s is not None:
            took_ms = (time.monotonic() - self._begun_s) * 1_000
            self._places.rejoins[self.kind].append(took_ms)
            self._begun_s = None

    def _life(self) -> asyncio.TimerHandle | None:
        mean_s = self._places.mean_life_s
        if not mean_s:
            return None
        life_s = self._places.random.expovariate(1 / mean_s)
        return asyncio.get_running_loop().call_later(life_s, self.cut)

    async def _saved(self) -> None:
        """Load what the application has saved, as the answer has ended without this client."""
        found = orjson.loads(await self._asked(True, "GET", f"/v1/responses/{self.run}", None))
        if found["status"] == "in_progress":
            raise ValueError("204 for an answer that goes on")
        self.hearer.end = _SAVED[found["status"]]
        parts = [part["text"] for item in found["output"] for part in item["content"]]
        self.hearer.text = "".join(parts)

    async def _asked(self, in_pods: bool, method: str, path: str, body: Any) -> bytes:
        """Return the answer to a short request.

        Raises:
            ConnectionError: there is none now.
            ValueError: it is a wrong one.
        """
        reader, writer = await self._connected(in_pods)
        try:
            writer.write(_request(method, path, body, ""))
            response = Response(reader)
            await response.begin()
            answer = await response.body()
        finally:
            writer.transport.abort()
        if response.status in _NOT_NOW:
            raise ConnectionError(answer)
        if response.status not in (200, 201):
            raise ValueError(f"{method} {path}: {response.status} {answer!r}")
        return answer

    async def _connected(self, in_pods: bool) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        targets = self._places.pods if in_pods else self._places.nodes
        self._attempts += 1
        self._places.connections += 1
        async with asyncio.timeout(_CONNECT_S):
            return await asyncio.open_connection(*targets[self._attempts % len(targets)])


def _request(method: str, path: str, body: Any, last_id: str) -> bytes:
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n"
    if last_id:
        head += f"Last-Event-ID: {last_id}\r\n"
    if body is None:
        return f"{head}\r\n".encode()
    content = orjson.dumps(body)
    head += f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    return head.encode() + content


def _named(data: str) -> str:
    """Return the run that the first part of a response names."""
    if not data.startswith("{"):
        return ""
    part = orjson.loads(data)
    found: str = part.get("messageId") or part.get("response", {}).get("id", "")
    return found


def spread(actions: list[Callable[[], object]], seconds: float) -> None:
    """Call actions evenly over some time."""
    loop = asyncio.get_running_loop()
    for number, action in enumerate(actions):
        loop.call_later(seconds * number / len(actions), action)


async def ended(followers: list[Follower]) -> None:
    """Stop them."""
    with suppress(asyncio.CancelledError):
        await asyncio.gather(*(follower.aclose() for follower in followers))
