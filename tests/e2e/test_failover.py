"""Real failovers under load: a Sentinel set, and a Cluster, lose or move their master."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from itertools import chain, count
from typing import Any

import pytest

from broadcaster import (
    BackendUnavailableError,
    EmbeddedRedis,
    EventId,
    PartialPublishError,
    Publisher,
    RunLostError,
    RunQueue,
    SyncPublisher,
)
from broadcaster.core.entry import decode
from tests import ha
from tests.channels import stateless
from tests.nodes import Raw, Running, events, running, told
from tests.wait import PATIENCE_S, TEST_S, allowed_s, until

logger = logging.getLogger(__name__)

Topology = ha.SentinelSet | ha.Cluster
STREAM = "inventory"
END = b"event: end\n"
PATH = "/v1/inventory/stream"
RECOVERY_S = 5.0  # the product's promise: from the promotion to the first new event at a client


@pytest.fixture(params=["sentinel", "cluster"])
def topology(request: pytest.FixtureRequest) -> Iterator[Topology]:
    """A Sentinel set, then a Cluster, of its own for each test."""
    with ha.sentinel_set() if request.param == "sentinel" else ha.cluster() as made:
        yield made


class Load:
    """Producers and a worker that go on until they are stopped, in spite of errors.

    Attributes:
        stored: the acknowledged ids, in order, of each kind of producer.
        refused: how often Redis was not available to one of them.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.stored: dict[str, list[EventId]] = {"one": [], "many": [], "sync": []}
        self.refused = 0
        self._number = count()  # no two events are equal, whatever their ids
        self._stopping = False
        self._tasks: list[asyncio.Future[None]] = []

    async def __aenter__(self) -> Load:
        tasks = (self._one(), self._many(), asyncio.to_thread(self._sync), self._work())
        self._tasks = [asyncio.ensure_future(task) for task in tasks]
        await until(lambda: all(self.stored.values()))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stopping = True
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.gather(*self._tasks)

    async def goes_on(self) -> None:
        """Wait until each producer has had an event acknowledged after this moment."""
        before = [len(ids) for ids in self.stored.values()]
        await until(
            lambda: all(len(ids) > n for ids, n in zip(self.stored.values(), before, strict=True)),
            allowed_s(RECOVERY_S),
        )

    async def _one(self) -> None:
        async with Publisher(self.url) as publisher:
            while not self._stopping:
                with self._trying():
                    self.stored["one"].append(
                        await publisher.publish(STREAM, data=next(self._number))
                    )
                await asyncio.sleep(0.005)

    async def _many(self) -> None:
        # One that never publishes in another way: it has to find the new master by itself.
        async with Publisher(self.url) as publisher:
            while not self._stopping:
                with self._trying():
                    self.stored["many"] += await publisher.publish_many(
                        [(STREAM, "t", "", next(self._number)) for _ in range(3)]
                    )
                await asyncio.sleep(0.02)

    def _sync(self) -> None:
        with SyncPublisher(self.url) as publisher:
            while not self._stopping:
                with self._trying():
                    self.stored["sync"].append(publisher.publish(STREAM, data=next(self._number)))
                time.sleep(0.005)

    async def _work(self) -> None:
        async with Publisher(self.url) as publisher:
            queue = RunQueue(publisher, "recommendations", takeover_s=1.0)
            while not self._stopping:
                with self._trying():
                    for run in await queue.take(10, wait_s=0.2):
                        queue.release(run)  # if this fails, it is to be found again
                        await run.complete(data={"for": run.key})

    @contextmanager
    def _trying(self) -> Iterator[None]:
        try:
            yield
        except (BackendUnavailableError, PartialPublishError, RunLostError):
            self.refused += 1


class Followers:
    """Clients that stay connected throughout, and read all the time."""

    def __init__(self, streams: list[Raw]) -> None:
        self.streams = streams
        self._reading = [asyncio.ensure_future(stream.until(END, TEST_S)) for stream in streams]

    @classmethod
    async def of(cls, *nodes: Running) -> Followers:
        return cls([await Raw.get(node.port, PATH) for node in nodes for _ in range(2)])

    async def have(self, entry_id: str, timeout_s: float) -> None:
        """Wait until every one has got an event."""
        line = f"id: {entry_id}\n".encode()
        await until(lambda: all(line in stream.body for stream in self.streams), timeout_s)

    async def at_the_end(self) -> list[bytes]:
        """All that each one has read, once it has read the end."""
        await asyncio.gather(*self._reading)
        return [stream.body for stream in self.streams]

    def close(self) -> None:
        for reading in self._reading:
            reading.cancel()


def check_history(body: bytes, final: list[str], cursor: str = "") -> list[str]:
    """Every event that is retained came once and in order, or a reset came before the next one.

    After a reset, events may come again; none that is retained may be left out.

    Args:
        body: what one client got, to the end of the stream.
        final: what the stream retains, as `fact` gives it. Ids are not enough: two masters give
            the same ones to different events.
        cursor: the fact that the client had seen last, if it was one that resumed.

    Returns:
        The reasons of its resets.
    """
    index = {one: place for place, one in enumerate(final)}
    following = index[cursor] + 1 if cursor in index else None  # the place of what has to come
    gone = bool(cursor) and cursor not in index
    resets: list[str] = []
    excused = False
    for event in events(body):
        if event.event == "stream.reset":
            gone, excused = False, True
            resets.append(json.loads(event.data)["reason"])
        elif event.event != "stream.live" and fact(event.id, event.data) not in index:
            gone = True
        elif event.event != "stream.live":
            place = index[fact(event.id, event.data)]
            assert not gone, f"{event.id} follows what has gone, and no reset came between"
            assert following in (None, place) or (excused and place <= (following or 0)), (
                f"{event.id} is entry {place}, and {following} should have come"
            )
            following, excused = place + 1, False
    assert following in (None, len(final))
    return resets


def fact(entry_id: str, data: str) -> str:
    """Identifies an event."""
    return f"{entry_id} {data}"


def retained(master: EmbeddedRedis) -> list[str]:
    """The facts that the stream retains."""
    rows = ha.ask(master, "XRANGE", STREAM, "-", "+")
    found = (decode(EventId.of_entry(i), [*chain(*f.items())], 10_000) for i, f in rows)
    return [fact(str(event.id), event.data.decode()) for event in found]


class Scene:
    """Two nodes under load, with clients.

    Attributes:
        topology: the Redis of both.
        load: what is published and asked for.
        followers: clients of both nodes.
        nodes: the two; the second one writes through ASGI.
    """

    def __init__(
        self, topology: Topology, load: Load, followers: Followers, nodes: tuple[Running, Running]
    ) -> None:
        self.topology = topology
        self.load = load
        self.followers = followers
        self.nodes = nodes

    def master(self) -> EmbeddedRedis:
        master = self.topology.owner(STREAM)
        assert master
        return master

    async def promoted(self, old: EmbeddedRedis) -> EmbeddedRedis:
        """Wait until another server than the old one is the master, and log how long it took."""
        began_s = time.monotonic()
        await until(lambda: self.topology.owner(STREAM) not in (None, old))
        logger.info("promoted after %.2f s", time.monotonic() - began_s)
        return self.master()

    async def goes_on(self) -> None:
        """Everything works on with the server that is the master now."""
        began_s = time.monotonic()
        mark = ha.ask(self.master(), "XADD", STREAM, "*", "data", "mark").decode()
        await self.followers.have(mark, allowed_s(RECOVERY_S))
        logger.info("the clients had a new event %.2f s later", time.monotonic() - began_s)
        await self.load.goes_on()
        logger.info("all producers %.2f s later", time.monotonic() - began_s)
        for node in self.nodes:
            await ready(node)
            await newcomer(node)
            await recommended(node)

    async def check(self) -> None:
        """Add the end, and compare what every client got with what the stream retains."""
        master = self.master()
        ha.ask(master, "XADD", STREAM, "*", "type", "end", "data", "0")
        bodies = await self.followers.at_the_end()
        final = retained(master)
        ids = {one.split()[0] for one in final}
        resets = [check_history(body, final) for body in bodies]
        lost = {
            kind: len({str(entry_id) for entry_id in stored} - ids)
            for kind, stored in self.load.stored.items()
        }
        logger.info("lost %s, kept %d, resets %s", lost, len(final), resets)
        await self._resume(bodies[0], final)

    async def _resume(self, body: bytes, final: list[str]) -> None:
        """From wherever a client has been, it can go on at the other node."""
        seen = [fact(e.id, e.data) for e in events(body) if not e.event.startswith("stream.")][:-1]
        ids = {one.split()[0] for one in final}
        phantoms = [one for one in seen if one.split()[0] not in ids]
        for cursor in {*(one for one in seen[:: len(seen) // 5] if one in final), *phantoms[-1:]}:
            headers = f"Last-Event-ID: {cursor.split()[0]}\r\n"
            again = await Raw.get(self.nodes[1].port, PATH, headers)
            check_history(await again.until(END), final, cursor)
            again.close()


async def ready(node: Running) -> None:
    """The node finds nothing wrong with itself."""
    await until(lambda: not node.node.problems(), allowed_s(RECOVERY_S))


async def newcomer(node: Running) -> None:
    """Check that a newcomer gets 200 and the event stream."""
    stream = await Raw.get(node.port, PATH)
    assert stream.head.startswith(b"HTTP/1.1 200")
    await stream.until(b"stream.live")


async def recommended(node: Running) -> None:
    """Ask for a run, and follow it to its end. If it is shed, come back as a client does."""

    async def complete() -> bool:
        stream = await Raw.get(node.port, "/v1/pets/recommendations/stream?userId=u")
        assert stream.head.startswith(b"HTTP/1.1 200")
        return b"event: complete" in await stream.rest()

    await until(complete, allowed_s(RECOVERY_S))


@asynccontextmanager
async def scene(topology: Topology) -> AsyncIterator[Scene]:
    """Start the servers and clients. At the end of the block, check the history of each client."""
    url = topology.url
    async with (
        running(url, channels=stateless()) as first,
        running(url, sink="asgi", channels=stateless()) as second,
    ):
        followers = await Followers.of(first, second)
        try:
            async with Load(url) as load:
                made = Scene(topology, load, followers, (first, second))
                await made.goes_on()
                yield made
            await made.check()
        finally:
            followers.close()


async def test_a_killed_master(topology: Topology) -> None:
    async with scene(topology) as now:
        old = now.master()
        old.kill()
        await newcomer(now.nodes[0])
        await now.promoted(old)
        await now.goes_on()
        assert now.load.refused


async def test_a_master_that_changes_places_with_its_replica(topology: Topology) -> None:
    async with scene(topology) as now:
        old = now.master()
        topology.failover(old)
        await now.promoted(old)
        await now.goes_on()


async def test_a_master_that_only_the_sentinels_have_lost() -> None:
    with ha.sentinel_set() as topology:
        async with scene(topology) as now:
            old = now.master()
            topology.shut_out(old)
            await now.promoted(old)
            await now.goes_on()
            assert ha.role(old) == "master"  # it would have gone on to serve us for ever


async def test_a_slot_that_moves_to_another_master() -> None:
    with ha.cluster() as topology:
        async with scene(topology) as now:
            source = now.master()
            target = topology.other_master(source)
            topology.begin_move(STREAM, source, target)
            await now.load.goes_on()
            topology.end_move(STREAM, source, target)
            await now.promoted(source)
            await now.goes_on()


async def test_a_master_whose_clock_was_ahead_leaves_no_trace() -> None:
    """One id of the future is lost with it. Later ids are lower, and they prove as much as ever."""
    with ha.sentinel_set() as topology:
        nodes = running(topology.url, channels=stateless())
        async with nodes as hub, Publisher(topology.url) as publisher:
            before = await publisher.publish(STREAM, data="before")
            stream = await Raw.get(hub.port, PATH + f"?from={before}")
            await stream.until(b"stream.live")
            old = topology.owner()
            assert old is not None
            await until(lambda: ha.ask(topology.servers[1], "EXISTS", STREAM))
            topology.shut_out(old)
            ha.ask(old, "XADD", STREAM, "9999999999999-0", "data", "future")
            assert await stream.told(1) == ["future"]
            await until(lambda: topology.owner() not in (None, old))
            await stream.until(b"stream.reset")
            ids = [await _published(publisher, str(number)) for number in range(5)]
            assert await stream.told(6) == ["future", "0", "1", "2", "3", "4"]
            assert resets_of(stream.body) == [("rollback", str(before))]
            for place, cursor in enumerate(ids, 1):
                again = await Raw.get(hub.port, PATH, f"Last-Event-ID: {cursor}\r\n")
                await again.until(b"stream.live")
                assert not resets_of(again.body)
                assert told(again.body) == [str(number) for number in range(place, 5)]
            lost = await Raw.get(hub.port, PATH, "Last-Event-ID: 9999999999999-0\r\n")
            await lost.until(b"stream.live")
            assert resets_of(lost.body) == [("rollback", str(before))]
            assert told(lost.body) == ["0", "1", "2", "3", "4"]


async def _published(publisher: Publisher, data: str) -> EventId:
    async def try_to() -> Any:
        with suppress(BackendUnavailableError):
            return await publisher.publish(STREAM, data=data)
        return None

    published: EventId = await until(try_to)
    return published


def resets_of(body: bytes) -> list[tuple[str, str]]:
    """The reason and the new position of each reset."""
    made = [json.loads(event.data) for event in events(body) if event.event == "stream.reset"]
    return [(reset["reason"], reset["resumed"]) for reset in made]
