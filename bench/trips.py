"""How often a trip through a node moves between files: `python -m bench.trips [--show]`.

A trip that stays in few files is one that a reader can follow. Two are counted, of one warm client:
a reconnect whose id is in the window, from the accepted connection to `stream.live`, and an event,
from `XADD` to the socket and the next read sent. A move is a call of a function of `broadcaster`
that lies in another file than the one called before it. Heartbeats, the watches over the event
loop, over runs, connections and grants, and for operators, and the tick of uvicorn's main loop are
off, and there is one tailer.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from types import CodeType, FrameType
from typing import NamedTuple

import click
import msgpack
import redis.asyncio

import broadcaster
from broadcaster import Channel, EmbeddedRedis, Settings, create_app
from broadcaster.node import expiry
from broadcaster.node.health import Health
from broadcaster.node.operations import Lookout
from broadcaster.node.runs.requests import PendingRequests
from broadcaster.node.runs.runs import Runs
from broadcaster.web.uvicorn.open_connections import OpenConnections
from broadcaster.web.uvicorn.server import make_server

LIMITS = {"reconnect": 40, "event": 26}
"""The most moves of a trip."""

_PACKAGE = str(Path(broadcaster.__file__).parent) + "/"
_QUIET_S = 1e6
_SETTLE_S = 0.05
_BLOCK_S = 1.2  # longer than a tailer's read waits
_PATH = "/v1/inventory/stream"


class Trip(NamedTuple):
    """The calls of one trip, in order.

    Attributes:
        name: of the trip.
        calls: functions of the package.
    """

    name: str
    calls: list[CodeType]

    @property
    def files(self) -> list[str]:
        """The file of each call, from the package on."""
        return [call.co_filename.removeprefix(_PACKAGE) for call in self.calls]

    @property
    def moves(self) -> int:
        """How many calls lie in another file than the one before them."""
        files = self.files
        return sum(before != after for before, after in pairwise(files))

    def __str__(self) -> str:
        counts = f"{len(self.calls)} calls of {len(set(self.calls))} functions"
        files = f"{len(set(self.files))} files, {self.moves} moves between them"
        return f"{self.name:10} {counts} in {files} (at most {LIMITS[self.name]})"


class _Traced:
    """Notes each call of the package while the block runs."""

    def __init__(self) -> None:
        self.calls: list[CodeType] = []

    def __enter__(self) -> list[CodeType]:
        sys.setprofile(self._note)
        return self.calls

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)

    def _note(self, frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(_PACKAGE):
            self.calls.append(frame.f_code)


async def measure(redis_url: str) -> list[Trip]:
    """Take both trips at a node of this process."""
    setattr(Health, "watch_loop", _watch_nothing)  # noqa: B010 -- mypy forbids the assignment
    setattr(PendingRequests, "watch", _watch_nothing)  # noqa: B010
    setattr(expiry, "watch", _watch_nothing)  # noqa: B010
    setattr(Lookout, "watch", _watch_nothing)  # noqa: B010
    setattr(Runs, "watch", _watch_nothing)  # noqa: B010
    setattr(OpenConnections, "watch", _watch_nothing)  # noqa: B010
    # A client of redis-py's own: adding an entry calls no function of the package.
    async with redis.asyncio.Redis.from_url(redis_url) as client, _node(redis_url) as port:
        ids = [await _add(client, f"first {n}") for n in range(5)]
        await asyncio.sleep(_BLOCK_S)
        for _ in range(3):  # what is loaded and cached once
            (await _connect(port, ids[2]))[1].close()
        await asyncio.sleep(_BLOCK_S)
        with _Traced() as reconnect:
            reader, writer = await _connect(port, ids[2])
            await asyncio.sleep(_SETTLE_S)
        for n in range(3):
            await _add(client, f"warm {n}")
            await _read_until(reader, b"data: warm %d" % n)
        await asyncio.sleep(_BLOCK_S)
        with _Traced() as event:
            await _add(client, "last")
            await _read_until(reader, b"data: last")
            await asyncio.sleep(_SETTLE_S)
        writer.close()
    return [Trip("reconnect", reconnect), Trip("event", event)]


async def _add(client: redis.asyncio.Redis, data: str) -> str:
    packed = msgpack.packb(["message", "", data])
    id_ = await client.xadd("inventory", {b"m": packed})
    return id_ if isinstance(id_, str) else id_.decode()


async def _watch_nothing(*_: object) -> None:
    await asyncio.Event().wait()


@asynccontextmanager
async def _node(redis_url: str) -> AsyncIterator[int]:
    channels = {"inventory": Channel(name="inventory", path=_PATH)}
    settings = Settings(
        redis_url=redis_url, channels=channels, heartbeat_s=_QUIET_S, nodes_key="", drain_s=0.1
    )
    app = create_app(settings)
    node = app.state.node
    server = make_server(app, node.drain, settings, node.meters)
    listener = socket.create_server(("127.0.0.1", 0))
    stopping = asyncio.Event()
    setattr(server, "main_loop", stopping.wait)  # noqa: B010 -- as above
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started or node.problems():  # noqa: ASYNC110 -- nothing else tells
        await asyncio.sleep(_SETTLE_S)
    try:
        yield listener.getsockname()[1]
    finally:
        stopping.set()
        await serving


async def _connect(port: int, last_id: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = f"GET {_PATH} HTTP/1.1\r\nHost: localhost\r\nLast-Event-ID: {last_id}\r\n\r\n"
    writer.write(head.encode())
    await _read_until(reader, b"stream.live")
    return reader, writer


async def _read_until(reader: asyncio.StreamReader, text: bytes) -> None:
    data = b""
    while text not in data:
        data += await reader.read(65536)


@click.command()
@click.option("--show", is_flag=True, help="Also print each call.")
def main(show: bool) -> None:
    """Count the moves between files of two trips; status 1 if there are too many."""
    with EmbeddedRedis() as server:
        trips = asyncio.run(measure(server.url))
    for trip in trips:
        print(trip)
        for file, call in zip(trip.files, trip.calls, strict=True) if show else ():
            print(f"  {file}  {call.co_name}")
    sys.exit(any(trip.moves > LIMITS[trip.name] for trip in trips))


if __name__ == "__main__":
    main()
