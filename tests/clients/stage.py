"""What a scenario plays on: nodes over a real Valkey, one port before them, and one driver."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple

from broadcaster import Channel, Publisher
from broadcaster.backend.lifeline import bound_to_us
from broadcaster.core import entry
from broadcaster.core.event import EventId
from tests.clients import toolchain
from tests.clients.roster import Client
from tests.clients.switch import Switch
from tests.nodes import Running, running

KEY = "7"
ORDER = f"/v1/orders/{KEY}/status/stream"
STOCK = "/v1/stock/stream"
WINDOW = 10
_LINE_BYTES = 1 << 24
_NONE: Mapping[str, Any] = MappingProxyType({})
_MAX_BYTES = 1 << 24

CHANNELS = {
    "orders": Channel(
        name="orders",
        path="/v1/orders/{key}/status/stream",
        start="earliest",
        terminal=frozenset({"complete"}),
    ),
    "stock": Channel(name="stock", path=STOCK, window_events=WINDOW),
    "prices": Channel(name="prices", path="/v1/prices/stream"),
}
# The heartbeat is short, as positions come with it. Some clients make a pause of seconds of their
# own when they come back, which no setting of the hub changes.
SETTINGS: dict[str, Any] = {"channels": CHANNELS, "heartbeat_s": 0.3}


class Seen(NamedTuple):
    """An event as a client's handler got it."""

    id: str
    type: str
    data: str


@dataclass
class Driver:
    """A foreign client that follows a stream.

    Attributes:
        process: its program.
        seen: all events, the hub's own and empty ones included.
        troubles: errors that it was shown.
    """

    process: Process
    seen: list[Seen] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)

    @property
    def events(self) -> list[Seen]:
        """The events of producers."""
        return [e for e in self.seen if e.data and not e.type.startswith("stream.")]

    @property
    def stopped(self) -> bool:
        """Return True if it has ended by itself."""
        return self.process.returncode is not None

    def own(self, type_: str) -> list[Seen]:
        """The hub's own events of a type."""
        return [event for event in self.seen if event.type == type_]

    async def read(self) -> None:
        """Read what it writes, until it ends."""
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            found = json.loads(line)
            if "trouble" in found:
                self.troubles.append(found["trouble"])
            else:
                self.seen.append(Seen(found["id"], found["type"] or "message", found["data"]))


@dataclass
class Stage:
    """The stage.

    Attributes:
        client: the client that is tried.
        mode: `recipe`, as our documents show it; `plain`, as its own do.
        redis_url: of an empty Valkey.
        nodes: two nodes over it.
        switch: the port that the client knows.
        publisher: publishes to the channels.
    """

    client: Client
    mode: str
    redis_url: str
    nodes: Sequence[Running]
    switch: Switch
    publisher: Publisher
    stack: AsyncExitStack

    async def follow(self, path: str) -> Driver:
        """Start the client."""
        program, *rest = toolchain.command(self.client.language)
        command = [shutil.which(program) or program, *rest]
        url = f"http://127.0.0.1:{self.switch.port}{path}"
        process = await asyncio.create_subprocess_exec(
            *bound_to_us([*command, self.client.module, self.mode, url]),
            cwd=toolchain.ROOT,
            stdin=DEVNULL,
            stdout=PIPE,
            limit=_LINE_BYTES,
        )
        driver = Driver(process)
        reading = asyncio.create_task(driver.read())
        self.stack.push_async_callback(_end, process, reading)
        return driver

    async def publish(self, channel: str, count: int, key: str = KEY) -> list[Seen]:
        """Publish some events."""
        events = [(channel, "stock-change", key, f'"{channel} {n}"') for n in range(count)]
        ids = await self.publisher.publish_many(events)
        return [Seen(str(id_), e[1], e[3]) for id_, e in zip(ids, events, strict=True)]

    @property
    def redis(self) -> Any:
        """Return a client of the Valkey."""
        return self.publisher.redis

    async def stream(self, channel: str) -> list[Seen]:
        """Return what the stream itself has about the key."""
        found = []
        for id_, fields in await self.redis.xrange(channel):
            flat = [part for pair in fields.items() for part in pair]
            event = entry.decode(EventId.parse(id_.decode()), flat, _MAX_BYTES)
            if event.key == KEY:
                found.append(Seen(str(event.id), event.type, event.data.decode()))
        return found


async def _end(process: Process, reading: asyncio.Task[None]) -> None:
    with suppress(ProcessLookupError):
        process.send_signal(signal.SIGKILL)
    await process.wait()
    await reading


@asynccontextmanager
async def staged(
    client: Client, mode: str, redis_url: str, *, first: Mapping[str, Any] = _NONE, **settings: Any
) -> AsyncIterator[Stage]:
    """Set the stage, with the first node behind the port.

    Args:
        client: the client to try.
        mode: `recipe` or `plain`.
        redis_url: of an empty Valkey.
        first: settings of the first node alone.
        settings: of both nodes.
    """
    async with AsyncExitStack() as stack:
        made = SETTINGS | settings
        nodes = [
            await stack.enter_async_context(running(redis_url, **more))
            for more in ({**made, **first}, made)
        ]
        switch = await stack.enter_async_context(Switch())
        switch.target = nodes[0].port
        publisher = Publisher(redis_url, channels=CHANNELS)
        await stack.enter_async_context(publisher)
        yield Stage(client, mode, redis_url, nodes, switch, publisher, stack)
