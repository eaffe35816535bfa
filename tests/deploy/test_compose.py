"""The documents' compose commands under load: every client gets every event, once.

Runs the very commands of the page, in their order. 300 clients come in through the balancer; a node
is killed, nodes are added, all are replaced one by one, Redis is restarted. At the end what each
client got is compared with what the streams in Redis have.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from urllib.parse import quote

import pytest

from broadcaster import EventId
from tests.channels import demo_variable
from tests.deploy.event_source import EventSource, Seen
from tests.deploy.stack import NEEDS, Entry, Stack, page_commands, stack
from tests.wait import PATIENCE_S, until

pytestmark = [
    pytest.mark.skipif(not os.environ.get("COMPOSE_TEST"), reason=NEEDS),
    pytest.mark.timeout(600),
]

INVENTORY = "/v1/inventory/stream"
ORDERS = "/v1/events?channel=orders"
BOTH = "/v1/events?channel=inventory&channel=orders"
RECOMMENDATIONS = "/v1/pets/recommendations/stream?userId="
PETS = ("019b4132", "01a7c0de", "02038cb4")
QUICK = {
    "BROADCASTER_DRAIN_S": "3",
    "BROADCASTER_TERMINAL_RETRY_MS": "1000",
    "BROADCASTER_CHANNELS": demo_variable(),
}
REST_S = 20.0


class Crowd:
    """300 clients: those that stay, and those whose streams end, which begin another one."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.staying: list[EventSource] = []
        self.ended: list[EventSource] = []
        self.tasks: list[asyncio.Task[None]] = []
        self.leaving = False

    def enter(self) -> None:
        """Connect them all."""
        narrow = f"{INVENTORY}?" + "&".join(f"petId={pet}" for pet in PETS)
        shares = ((INVENTORY, 100), (narrow, 60), (ORDERS, 40), (BOTH, 40))
        self.staying = [EventSource(self.port, path) for path, n in shares for _ in range(n)]
        self.tasks = [asyncio.create_task(source.run()) for source in self.staying]
        orders = (self._an_order for _ in range(30))
        users = (lambda n=n: f"{RECOMMENDATIONS}user{n}" for n in range(30))
        self.tasks += [asyncio.create_task(self._again(path)) for path in (*orders, *users)]

    def _an_order(self) -> str:
        newest = next(source for source in self.staying if source.path == ORDERS).seen[-40:]
        steps = (json.loads(event.data) for event in newest if event.data.startswith("{"))
        placed = [step["orderId"] for step in steps if "orderId" in step]
        return f"/v1/orders/{quote(random.choice(placed))}/status/stream" if placed else ""

    async def _again(self, path: Callable[[], str]) -> None:
        while not self.leaving:
            source = EventSource(self.port, await until(path, PATIENCE_S))
            self.ended.append(source)
            await source.run()

    @property
    def sources(self) -> list[EventSource]:
        return self.staying + self.ended

    async def all_live(self) -> None:
        """Wait until all clients are connected and up to date."""
        await until(lambda: all(source.live for source in self.staying), PATIENCE_S)

    async def leave(self) -> None:
        """End all of them."""
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


@asynccontextmanager
async def crowd(port: int) -> AsyncIterator[Crowd]:
    made = Crowd(port)
    try:
        made.enter()
        await made.all_live()
        yield made
    finally:
        await made.leave()


def positions(cursor: str, stream: str) -> dict[str, EventId]:
    """The positions in an event's id."""
    parts = cursor.split(",") if "=" in cursor else [f"{stream}={cursor}"]
    return {name: EventId.parse(id_) for name, _, id_ in (part.partition("=") for part in parts)}


def got(source: EventSource, stream: str) -> list[tuple[str, str, str]]:
    """A client's events of one stream: id, type, data."""
    before = positions(source.first_id, stream)
    found = []
    for event in source.seen:
        now = positions(event.id, stream)
        if now[stream] != before[stream]:
            found.append((str(now[stream]), event.type, event.data))
        before = now
    return found


def due(source: EventSource, stream: str, entries: Iterable[Entry]) -> list[tuple[str, str, str]]:
    """The events of one stream that a client of this path must have."""
    after = positions(source.first_id, stream)[stream]
    keys = PETS if "petId=" in source.path else None
    return [
        (entry.id, entry.type, entry.data)
        for entry in entries
        if EventId.parse(entry.id) > after and (keys is None or entry.key in keys)
    ]


def streams_of(source: EventSource) -> list[str]:
    return [name for name in ("inventory", "orders") if name in source.path]


def check_whole(source: EventSource, entries: dict[str, list[Entry]]) -> None:
    for stream in streams_of(source):
        assert got(source, stream) == due(source, stream, entries[stream]), source.path


def check_ended(source: EventSource, entries: dict[str, list[Entry]]) -> None:
    """A stream that has an end: all of the order's, or of the run's, events."""
    if source.path.startswith(RECOMMENDATIONS):
        stream, _, run = source.first_id.partition(",run=")
        key = f"{source.path.removeprefix(RECOMMENDATIONS)}#{run}"
        stream = "recommendations"
    else:
        stream, key = "orders", source.path.split("/")[3]
    wanted = [Seen(e.id, e.type, e.data) for e in entries[stream] if e.key == key]
    ids = (event.id.removeprefix("recommendations=").partition(",")[0] for event in source.seen)
    seen = [event._replace(id=id_) for event, id_ in zip(source.seen, ids, strict=True)]
    assert seen == wanted, source.path
    assert seen[-1].type == "complete"


async def run_the_page(services: Stack, clients: Crowd, commands: list[str]) -> None:
    for command in commands:
        if "--scale" in command:
            await services.kill(random.choice(await services.nodes()))
        began_s = time.monotonic()
        await services.run(command)
        await clients.all_live()
        print(f"{time.monotonic() - began_s:5.1f} s  {command}")  # noqa: T201


async def come_to_rest(services: Stack, clients: Crowd) -> dict[str, list[Entry]]:
    """Stop the workers, and wait until each client has all events. Return the streams."""
    clients.leaving = True
    await until(lambda: all(s.statuses[-1:] == [204] for s in clients.ended), PATIENCE_S)
    await services.run("docker compose stop orders inventory recommendations")
    names = ("inventory", "orders", "recommendations")
    entries = {name: await services.entries(name) for name in names}
    counts = {
        id(s): sum(len(due(s, n, entries[n])) for n in streams_of(s)) for s in clients.staying
    }
    with suppress(TimeoutError):  # the comparison says what is missing
        await until(lambda: all(len(s.seen) >= counts[id(s)] for s in clients.staying), REST_S)
    return entries


async def evenly_spread(services: Stack) -> bool:
    """Return True if all nodes are up for the balancer, with about as many responses open to each.

    This takes a while after Redis was away. The balancer checks a node before it uses it again.
    """
    counts = await services.connections()
    if not counts:
        return False
    print(f"streams open at each node: {', '.join(map(str, counts))}")  # noqa: T201
    return max(counts) <= 1.25 * min(counts)


def report(clients: Crowd, entries: dict[str, list[Entry]]) -> None:
    lengths = ", ".join(f"{len(found)} of {name}" for name, found in entries.items())
    events = sum(len(source.seen) for source in clients.sources)
    visits = sum(len(source.statuses) for source in clients.sources)
    print(f"events published: {lengths}")  # noqa: T201
    print(f"{events} events received in {visits} responses")  # noqa: T201


async def test_no_client_misses_an_event() -> None:
    up, *commands, down = page_commands()
    async with stack(**QUICK) as services:
        await services.run(up)
        async with crowd(services.port) as clients:
            await run_the_page(services, clients, commands)
            await until(lambda: evenly_spread(services), PATIENCE_S)
            entries = await come_to_rest(services, clients)
            report(clients, entries)
            for source in clients.staying:
                check_whole(source, entries)
            for source in clients.ended:
                check_ended(source, entries)
            assert not [event for s in clients.sources for event in s.own if "reset" in event.type]
            assert {status for s in clients.sources for status in s.statuses} == {200, 204}
            assert all(204 not in source.statuses[:-1] for source in clients.sources)
        await services.run(down)
