"""Channels and a publisher to them, a Cluster of one node, and a proxy that breaks connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from broadcaster import EmbeddedRedis, EventId, Publisher, connect, connect_sync
from broadcaster.core.entry import decode
from broadcaster.core.event import Event
from tests.channels import named
from tests.wait import PATIENCE_S, until_sync

NOBODY = "redis://127.0.0.1:1"  # nothing listens there
CHANNELS = named("pets", "orders", "string", "large")


@pytest.fixture
async def publisher(redis_url: str) -> AsyncIterator[Publisher]:
    """A publisher to channels of our own."""
    async with Publisher(redis_url, channels=CHANNELS) as made:
        yield made


@pytest.fixture(scope="session")
def cluster_url() -> Iterator[str]:
    """A real Cluster: one node that has all slots."""
    with EmbeddedRedis("--cluster-enabled", "yes") as server:
        node: Any = connect_sync(server.url, timeout_s=PATIENCE_S)
        with node as client:
            client.execute_command("CLUSTER ADDSLOTSRANGE", 0, 16383)
            until_sync(lambda: client.cluster("info")["cluster_state"] == "ok")
        yield f"redis+cluster://127.0.0.1:{server.port}"


@pytest.fixture(params=["single", "cluster"])
async def used(
    request: pytest.FixtureRequest, redis_url: str, cluster_url: str
) -> AsyncIterator[Any]:
    """A client of an empty server, or Cluster."""
    url = redis_url if request.param == "single" else cluster_url
    made: Any = connect(url, timeout_s=PATIENCE_S)
    await made.flushall()
    yield made
    await made.aclose()


class Proxy:
    """Passes bytes on to a server, until it has passed so many replies back.

    Attributes:
        port: where it listens.
        replies: replies of one line or one bulk string each that it still passes on before it
            cuts the connection, once; None never cuts.
    """

    def __init__(self, target_port: int) -> None:
        self.port = 0
        self.replies: int | None = None
        self._target_port = target_port
        self._tasks: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[Proxy]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        yield self
        server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        target_reader, target = await asyncio.open_connection("127.0.0.1", self._target_port)
        up = asyncio.create_task(_pass_on(reader, target))
        try:
            await self._pass_back(target_reader, writer)
        finally:
            # The server has executed the command, and the client gets no reply.
            up.cancel()
            for one in (writer, target):
                one.close()
                with suppress(OSError):
                    await one.wait_closed()

    async def _pass_back(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while (line := await reader.readline()) and self.replies != 0:
            writer.write(line)
            # A bulk string is two lines: "$", its length, and then its text.
            if self.replies is not None and not line.startswith(b"$"):
                self.replies -= 1
        if self.replies == 0:
            self.replies = None


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)


@pytest.fixture
async def proxy(redis_server: EmbeddedRedis, redis_url: str) -> AsyncIterator[Proxy]:
    """A proxy before the empty server."""
    async with Proxy(redis_server.port).serving() as made:
        yield made


async def events_of(client: Any, stream: str) -> list[Event]:
    entries = [
        (EventId.of_entry(id), [word for pair in fields.items() for word in pair])
        for id, fields in await client.xrange(stream)
    ]
    return [decode(id, fields, 1_000_000) for id, fields in entries]
