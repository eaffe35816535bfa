"""The promise, for any interleaving: each event once and in order, or a reset first.

Two real nodes: hubs, windows, pumps, tailers, replayers, openings and connections. Only Redis's
answers, the sockets and the event loop are made here, so that Hypothesis decides what happens when.
The bytes that clients got are cut anywhere, and read by a parser that is not ours.
"""

from __future__ import annotations

import asyncio
import types
from collections.abc import Awaitable, Callable, Coroutine, Generator, Hashable, Mapping
from contextlib import nullcontext, suppress
from typing import Any, TypeVar

import httpx
import httpx_sse
import orjson
import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from broadcaster.backend.lane import Lane
from broadcaster.backend.log import RedisLog
from broadcaster.backend.replayer import Replayer
from broadcaster.backend.stream import Info, RedisStream, id_of
from broadcaster.backend.tailer import Tailer
from broadcaster.core import cursor
from broadcaster.core.channel import Channel
from broadcaster.core.cursor import Start
from broadcaster.core.entry import Row
from broadcaster.core.event import ZERO, EventId
from broadcaster.core.fanout import writes
from broadcaster.core.fanout.subscriber import State, Subscriber, unframed
from broadcaster.core.fanout.turns import Reader
from broadcaster.core.filter import KeysAndTypes
from broadcaster.core.log import Change
from broadcaster.core.resume.beginning import restore
from broadcaster.core.resume.machine import Resume
from broadcaster.core.resume.opening import Opening, Serve
from broadcaster.core.resume.steps import Ask
from broadcaster.core.subscription import Subscription
from broadcaster.core.wanted import Wanted
from broadcaster.node.node import Node
from broadcaster.node.questions import Questions
from broadcaster.settings import Settings
from broadcaster.web import connection
from broadcaster.web.connection import Connection

T = TypeVar("T")
STREAMS = ("a", "b")
KEYS = ("", "k", "l")


@types.coroutine
def suspend(reason: str | None = None) -> Generator[str | None, None, None]:
    """An awaitable for something that has not happened yet."""
    yield reason


async def suspend_for_a_rest(_: float) -> None:
    """In the place of the rest after a page that was left out."""
    await suspend()


async def suspend_for_long() -> None:
    """In the place of a pause."""
    await suspend("a pause")


async def never() -> bool:
    """In the place of waiting for windows."""
    raise AssertionError("they are loaded")


def finish(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that has nothing to wait for."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]
    raise AssertionError("it waited")


class Store(RedisStream):
    """A stream as Redis keeps it, with everything that can happen to one."""

    def __init__(self, name: str) -> None:
        self.redis_key = name
        self.rows: list[Row] = []
        self.last = ZERO
        self.added = 0
        self.deleted: set[EventId] = set()

    def add(self, entry_id: EventId, key: str, type_: str) -> None:
        fields = [b"type", type_.encode(), b"key", key.encode(), b"data", str(entry_id).encode()]
        self.rows.append([str(entry_id).encode(), fields])
        self.last = entry_id
        self.added += 1

    async def wait_after(self, position: EventId, count: int, block_s: float) -> list[Row]:
        rows = [row for row in self.rows if id_of(row) > position][:count]
        if not rows:
            await suspend()
        return rows

    async def read_on(self, head: EventId, count: int, block_s: float) -> tuple[list[Row], bool]:
        # As on a Cluster, where the two are sent one by one: more can come between them.
        rows = await self.wait_after(head, count, block_s)
        return rows, bool(await self.from_on(head, head, 1))

    async def from_on(
        self, position: EventId, last: EventId | None = None, count: int | None = None
    ) -> list[Row]:
        end = self.last if last is None else last
        return [row for row in self.rows if position <= id_of(row) <= end][:count]

    async def back_from(self, position: EventId, count: int) -> list[Row]:
        return [row for row in reversed(self.rows) if id_of(row) <= position][:count]

    async def info(self) -> Info:
        return Info(self.last, self.added, len(self.rows), max(self.deleted, default=ZERO))


class Link(Store):
    """A tailer's connection to a stream: after a failover it is another one.

    Attributes:
        slow: each answer is waited for, so that anything may happen before it.
    """

    def __init__(self, store: Store) -> None:
        self.redis_key = store.redis_key
        self.store = store
        self.broken = False
        self.slow = False
        self._made = 1

    @property
    def connections(self) -> int:
        return self._made

    async def reach(self) -> Store:
        if self.slow:
            await suspend()
        # redis-py replaces a connection that was closed while it was unused, without an error.
        self._made += self.broken
        self.broken = False
        return self.store

    async def wait_after(self, position: EventId, count: int, block_s: float) -> list[Row]:
        return await (await self.reach()).wait_after(position, count, block_s)

    async def from_on(
        self, position: EventId, last: EventId | None = None, count: int | None = None
    ) -> list[Row]:
        return await (await self.reach()).from_on(position, last, count)

    async def back_from(self, position: EventId, count: int) -> list[Row]:
        return await (await self.reach()).back_from(position, count)

    async def info(self) -> Info:
        return await (await self.reach()).info()


class DirectReplayer(Replayer):
    """Reads when it is asked, and answers at once or later."""

    slow = False

    async def _read(
        self,
        key: Hashable,
        lane: Lane,
        reader: Reader,
        read: Callable[[], Awaitable[T]],
        *,
        counted: bool = True,
    ) -> T:
        found = await read()
        if self.slow:
            await suspend()
        return found


class DirectLog(RedisLog):
    """The log in Redis, whose commands a stand-in answers."""

    def __init__(self, stores: Mapping[str, Store]) -> None:
        self._tailers = {}
        self._replayer = self.replaying = DirectReplayer(
            stores, max_event_bytes=10_000, page_bytes=1 << 20
        )


class World(Node):
    """A node whose tailers take one step at a time."""

    def __init__(self, stores: dict[str, Store], window_events: int) -> None:
        channels = {
            name: Channel(name=name, path=f"/{name}", window_events=window_events)
            for name in STREAMS
        }
        log = DirectLog(stores)
        super().__init__(Settings(redis_url="redis://unused", channels=channels), log=log)
        self.replaying = log.replaying
        self.questions = Questions(
            self.ask, pause=suspend_for_long, rest=suspend_for_a_rest, limit=nullcontext
        )
        self.tailing: dict[str, Any] = {}
        self.rounds: list[Coroutine[Any, Any, object]] = []
        self.links = {name: Link(store) for name, store in stores.items()}
        for name, link in self.links.items():
            tailer = Tailer(link, self.hub.windows[name], max_event_bytes=10_000)
            self.tailing[name] = (tailer.changes(), None)

    def start(self) -> None:
        """Nothing runs by itself here."""

    def tail(self, name: str, *, slow: bool = False) -> bool:
        """Let a tailer go on until it has read something or must wait."""
        self.links[name].slow = slow
        changes, pending = self.tailing[name]
        pending = pending or changes.__anext__()
        try:
            pending.send(None)
        except StopIteration as end:
            self.tailing[name] = (changes, None)
            self.apply(name, end.value)
            return True
        self.tailing[name] = (changes, pending)
        return False

    def stop(self) -> None:
        """Cancel the tailers, wherever they are."""
        for changes, pending in self.tailing.values():
            with suppress(asyncio.CancelledError):
                if pending is not None:
                    pending.throw(asyncio.CancelledError())
            finish(changes.aclose())

    def apply(self, name: str, change: Change) -> None:
        """Begin to apply a change: the batch is in the window, the writes may wait."""
        self.settle()
        self.rounds.append(self.pump.apply(name, change))
        self.write_a_slice()

    def write_a_slice(self) -> None:
        """Let the round in progress go on to its next slice."""
        for round_ in tuple(self.rounds):
            try:
                round_.send(None)
            except StopIteration:
                self.rounds.remove(round_)

    def settle(self) -> None:
        """Finish the round in progress, as the node does before the next one."""
        while self.rounds:
            self.write_a_slice()

    def beat(self) -> None:
        """Send heartbeats until each quiet client has one."""
        for _ in range(30):
            for _ in self.hub.beat():
                pass

    def load(self) -> None:
        self.clock.asked.set()
        for name in STREAMS:
            while not self.pump.loaded[name].is_set():
                self.tail(name)
        self.settle()


class Asked:
    """A question of a connection that the log has not answered."""

    def __init__(self, answer: Coroutine[Any, Any, None]) -> None:
        self.answer = answer
        self.pauses = self.over = False

    def go_on(self) -> bool:
        """Let the log do one step. Return True if it did something."""
        if self.over:
            return False
        try:
            self.pauses = self.answer.send(None) is not None
        except StopIteration:
            self.over = True
        return not self.pauses

    def cancel(self) -> None:
        self.over = True
        self.answer.close()


class Socket:
    """A sink that takes all bytes, unless the test makes it full."""

    closed = timed_out = blocked = False
    framing = staticmethod(unframed)
    on_blocked: Callable[[], object]
    on_closed: Callable[[], object]

    def __init__(self, pushed: bool) -> None:
        self.pushed = pushed
        self.received = b""

    def write(self, data: bytes) -> None:
        self.received += data

    def wake(self) -> None:
        return

    async def wait(self) -> None:
        raise AssertionError("the connection is driven by hand")

    send = start = finish = unsent_bytes = hold_back = abort = wait


class Resting:
    """A rest, which ends by itself."""

    def cancel(self) -> None:
        return


class Client:
    """An EventSource. It knows its last id and all blocks that it has received."""

    def __init__(self, subscription: Subscription, start: Start, pushed: bool) -> None:
        self.subscription = subscription
        self.start = start
        self.pushed = pushed
        self.last_id = ""
        self.unparsed = b""
        self.node: World | None = None
        self.connection: Connection | None = None
        self.socket = Socket(pushed)
        self.asked: list[Asked] = []
        self.rests: list[Callable[[], object]] = []
        # For each stream what it has been shown since continuity began.
        self.seen: dict[str, list[EventId]] = {name: [] for name in subscription.streams}
        self.since: dict[str, EventId | None] = dict.fromkeys(subscription.streams)

    def connect(self, node: World) -> None:
        node.replaying.slow = False
        wanted = self.wanted(node)
        opening = Opening(node.hub.context, node.why_shed, wanted, now_ms=0)
        serve = finish(node.questions.open(opening, opening.step(), never))
        assert isinstance(serve, Serve)
        assert serve.positions.keys() == set(self.subscription.streams)
        if not self.last_id:
            self.since |= serve.positions
        self.node, self.socket, self.asked = node, Socket(self.pushed), []
        sink: Any = self.socket
        self.connection = Connection(node.hub, self, sink, serve, 1000, page_bytes=40)  # type: ignore[arg-type]
        self.connection.open()
        self.socket.write(self.connection.next() or b"")  # the first bytes leave at once

    def wanted(self, node: World) -> Wanted:
        channels = tuple(node.settings.channels[name] for name in self.subscription.streams)
        if not self.last_id:
            return Wanted(channels, self.subscription, {}, start=self.start)
        positions, *_ = restore(self.last_id, self.subscription, channels)
        assert positions.keys() == set(self.subscription.streams)  # or it would begin anew
        return Wanted(channels, self.subscription, positions)

    def ask(self, resume: Resume, ask: Ask, wake: Callable[[], object], reader: Reader) -> Asked:
        """In the place of the node's questions, which would make a task."""
        assert self.node is not None
        asked = Asked(self.node.questions.answer(resume, ask, wake, reader))
        self.asked.append(asked)
        asked.go_on()
        return asked

    def rest(self, _: Reader, wake: Callable[[], object]) -> Resting:
        """As `ask`: the rest is over at the next step."""
        self.rests.append(wake)
        return Resting()

    @property
    def subscriber(self) -> Subscriber | None:
        return None if self.connection is None else self.connection.subscriber

    def block(self) -> None:
        self.socket.blocked = True
        self.socket.on_blocked()

    def unblock(self) -> None:
        assert self.connection is not None
        self.socket.blocked = self.connection.subscriber.blocked = False

    def step(self) -> bool:
        """Do one step of its connection. Return True if there may be more to do."""
        if self.connection is None:
            return False
        rested, self.rests = self.rests, []
        for wake in rested:
            wake()
        answered = [asked.go_on() for asked in self.asked if not asked.pauses]
        self.asked = [asked for asked in self.asked if not asked.over]
        if self.socket.blocked:
            return any(answered)
        data = self.connection.next()
        if data:
            self.socket.write(data)
        return data is not None or any(answered) or bool(self.rests)

    def run(self, steps: int, *, slow: bool = False) -> None:
        if self.node is not None:
            self.node.replaying.slow = slow
        for asked in self.asked:
            asked.pauses = False  # the pause is over
        while steps and self.step():
            steps -= 1

    def leave(self, cut: int) -> None:
        """The connection ends, `cut` bytes before the end of what was sent."""
        if self.connection is not None:
            self.connection.close()
            self.node = self.connection = None
            self.socket.received = self.socket.received[: -cut or None]
            self.read()
            self.unparsed = b""  # a block that is not complete counts for nothing

    def read(self) -> None:
        """Parse what has arrived, as far as it is complete blocks, and check it."""
        received, self.socket.received = self.unparsed + self.socket.received, b""
        complete, separator, self.unparsed = received.rpartition(b"\n\n")
        headers = {"content-type": "text/event-stream"}
        response = httpx.Response(200, headers=headers, content=complete + separator)
        for event in httpx_sse.EventSource(response).iter_sse():
            assert event.data, "a block without data"
            self.last_id = event.id or self.last_id
            if event.event == "stream.reset":
                told = orjson.loads(event.data)
                self.seen[told["channel"]].clear()
                self.since[told["channel"]] = EventId.parse(told["resumed"])
            elif event.event not in ("stream.at", "stream.live"):
                stream, entry_id = self.origin(event)
                ids = self.seen[stream]
                assert not ids or entry_id > ids[-1], f"{entry_id} after {ids[-1]}"
                ids.append(entry_id)

    def origin(self, event: httpx_sse.ServerSentEvent) -> tuple[str, EventId]:
        entry_id = EventId.parse(event.data)
        if len(self.subscription.streams) == 1:
            assert event.id == event.data
            return self.subscription.streams[0], entry_id
        positions, *_ = cursor.parse(event.id)
        stream = event.event[0]
        assert positions[stream] == entry_id
        return stream, entry_id


subscriptions = st.just(Subscription(STREAMS)) | st.builds(
    Subscription,
    streams=st.sampled_from([("a",), STREAMS]),
    filter=st.builds(
        KeysAndTypes,
        keys=st.sampled_from([frozenset[str](), frozenset({"k"}), frozenset({"k", "l"})]),
        types=st.sampled_from([frozenset[str](), frozenset({"a1", "b1"})]),
    ),
)


steps = st.sampled_from([0, 1, 2, 99, 99, 99])


class Interleavings(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(writes, "SLICE", 1)  # between any two writes anything may happen
        self.patch.setattr(connection, "_SMALL_BYTES", 1)

    @initialize(events=st.integers(0, 5), window=st.sampled_from([1, 3, 100]))
    def begin(self, events: int, window: int) -> None:
        self.ms = 1000
        self.lost = self.future = 0
        self.deleted: set[EventId] = set()
        self.successors: set[EventId] = set()
        self.window = window
        self.stores = {name: Store(name) for name in STREAMS}
        self.everything: dict[str, list[tuple[EventId, str, str]]] = {n: [] for n in STREAMS}
        self.clients: list[Client] = []
        for number in range(events):
            self.publish(STREAMS[number % 2], "k", "1")
        self.nodes = [World(self.stores, window) for _ in range(2)]
        for node in self.nodes:
            node.load()

    @rule(number=st.integers(0, 1), name=st.sampled_from(STREAMS), key=st.sampled_from(KEYS))
    def publish_and_tail(self, number: int, name: str, key: str) -> None:
        self.publish(name, key, "1")
        self.publish(name, "k", "2")
        self.nodes[number].tail(name)

    @rule(
        name=st.sampled_from(STREAMS), key=st.sampled_from(KEYS), kind=st.sampled_from(["1", "2"])
    )
    def publish(self, name: str, key: str, kind: str) -> None:
        self.ms += 7
        entry_id = EventId(self.ms, self.ms % 3)
        self.stores[name].add(entry_id, key, name + kind)
        self.everything[name].append((entry_id, key, name + kind))

    @rule(name=st.sampled_from(STREAMS), left=st.integers(0, 4))
    def trim(self, name: str, left: int) -> None:
        store = self.stores[name]
        if not left or self.is_told(store.rows[-left:]):
            store.rows = store.rows[-left:] if left else []

    def is_told(self, rows: list[Row]) -> bool:
        """Return False if the id just before the oldest entry is of a lost one.

        A client may have that id, or stand at the beginning of what is retained.
        """
        return not rows or id_of(rows[0]) not in self.successors

    @rule(name=st.sampled_from(STREAMS), places=st.sets(st.integers(-4, -1)))
    def delete_entries(self, name: str, places: set[int]) -> None:
        """`XDEL`. A client may still get such an entry from a window, or not."""
        store = self.stores[name]
        gone = {id_of(store.rows[place]) for place in places if -place <= len(store.rows)}
        rows = [row for row in store.rows if id_of(row) not in gone]
        if not self.is_told(rows):
            return
        store.rows = rows
        store.deleted |= gone
        self.deleted |= gone

    @rule(
        name=st.sampled_from(STREAMS),
        lost=st.integers(1, 3),
        back=st.sampled_from(["", "an older clock", "the next id"]),
    )
    def fail_over(self, name: str, lost: int, back: str) -> None:
        """A replica without the newest entries becomes master, perhaps with an older clock."""
        store = self.stores[name]
        here = store.deleted | {id_of(row) for row in store.rows}
        newest = [entry_id for entry_id, _, _ in self.everything[name][-lost:] if entry_id in here]
        if not newest or store.added <= len(newest):
            return
        gone = set(newest)
        store.rows = [row for row in store.rows if id_of(row) not in gone]
        store.deleted -= gone
        kept = [entry for entry in self.everything[name] if entry[0] not in gone]
        self.everything[name] = kept
        store.added -= len(gone)
        store.last = kept[-1][0] if kept else ZERO
        if back:
            # No id that has been before, since the two would be the same.
            self.lost += 2
            last = EventId(store.last.ms, store.last.seq + self.lost)
            entry_id = newest[0].after() if back == "the next id" and store.rows else last
            self.successors.add(entry_id)
            store.add(entry_id, "k", name + "1")
            self.everything[name].append((store.last, "k", name + "1"))
        for node in self.nodes:  # a failover breaks every connection
            node.links[name].broken = True

    @rule(name=st.sampled_from(STREAMS), seen=st.sets(st.integers(0, 1)), steps=steps)
    def lose_the_future(self, name: str, seen: set[int], steps: int) -> None:
        """A failover from a master whose clock was ahead. Later ids are lower than the lost one."""
        if self.stores[name].added <= 0:
            return  # nothing would be left
        self.future += 1
        entry_id = EventId(1_000_000 + self.future, 0)
        self.stores[name].add(entry_id, "k", name + "1")
        self.everything[name].append((entry_id, "k", name + "1"))
        for number in seen:
            self.nodes[number].tail(name)
        for client in self.clients:
            client.run(steps)
        self.fail_over(name, 1, "")

    @rule(name=st.sampled_from(STREAMS))
    def delete(self, name: str) -> None:
        """`DEL`, `FLUSHALL`, a TTL. Redis counts from 0 again.

        Here it counts from another number. A node can't distinguish two streams with equal counts.
        """
        store = self.stores[name]
        store.rows, store.last, store.added = [], ZERO, store.added - 1000
        store.deleted.clear()
        self.everything[name].clear()

    @rule(number=st.integers(0, 1), name=st.sampled_from(STREAMS), slow=st.booleans())
    def tail(self, number: int, name: str, slow: bool) -> None:
        self.nodes[number].tail(name, slow=slow)

    @rule(number=st.integers(0, 1))
    def write_a_slice(self, number: int) -> None:
        self.nodes[number].write_a_slice()

    @rule(number=st.integers(0, 1))
    def finish_round(self, number: int) -> None:
        self.nodes[number].settle()

    @rule(number=st.integers(0, 1))
    def heartbeat(self, number: int) -> None:
        self.nodes[number].settle()
        self.nodes[number].beat()

    @rule(number=st.integers(0, 1))
    def restart_node(self, number: int) -> None:
        for client in self.clients:
            if client.node is self.nodes[number]:
                client.leave(0)
        self.nodes[number].stop()
        self.nodes[number] = World(self.stores, self.window)
        self.nodes[number].load()

    @precondition(lambda self: len(self.clients) < 6)
    @rule(
        number=st.integers(0, 1),
        client=st.builds(
            Client,
            subscriptions,
            start=st.sampled_from(["latest", "earliest"]),
            pushed=st.sampled_from([True, True, False]),
        ),
        steps=steps,
    )
    def arrive(self, number: int, client: Client, steps: int) -> None:
        self.clients.append(client)
        self.clients[-1].connect(self.nodes[number])
        self.clients[-1].run(steps)

    @precondition(lambda self: self.clients)
    @rule(
        data=st.data(),
        number=st.integers(0, 1),
        cut=st.integers(0, 60),
        steps=steps,
        slow=st.booleans(),
    )
    def reconnect(self, data: st.DataObject, number: int, cut: int, steps: int, slow: bool) -> None:
        client = data.draw(st.sampled_from(self.clients))
        client.leave(cut)
        client.connect(self.nodes[number])
        client.run(steps, slow=slow)

    @precondition(lambda self: self.clients)
    @rule(data=st.data())
    def stall(self, data: st.DataObject) -> None:
        client = data.draw(st.sampled_from(self.clients))
        if client.subscriber is not None:
            client.block()

    @precondition(lambda self: self.clients)
    @rule(data=st.data(), steps=steps, slow=st.booleans())
    def go_on(self, data: st.DataObject, steps: int, slow: bool) -> None:
        client = data.draw(st.sampled_from(self.clients))
        if client.subscriber is not None:
            client.unblock()
            client.run(steps, slow=slow)

    def teardown(self) -> None:
        """Let all work end. Then no client may have missed an event or received one twice."""
        self.patch.undo()
        if not hasattr(self, "clients"):
            return
        for client in self.clients:
            if client.subscriber is None:
                client.connect(self.nodes[0])
            client.unblock()
        for _ in range(6):
            self.come_to_rest()
        for node in self.nodes:
            node.stop()
        for client in self.clients:
            assert client.subscriber is not None
            assert client.subscriber.state is State.LIVE
            client.read()
            for stream, seen in client.seen.items():
                self.check(client, stream, seen)

    def come_to_rest(self) -> None:
        for node in self.nodes:
            for name in STREAMS:
                node.tail(name)  # what it was waiting for
                while node.tail(name):
                    node.settle()
            node.settle()
            node.beat()
        for client in self.clients:
            client.run(10_000)

    def check(self, client: Client, stream: str, seen: list[EventId]) -> None:
        since = client.since[stream]
        assert since is not None
        filter_ = client.subscription.filter
        assert isinstance(filter_, KeysAndTypes)
        keys, types = filter_.keys, filter_.types
        wanted = [
            entry_id
            for entry_id, key, type_ in self.everything[stream]
            if entry_id > since and (not keys or key in keys) and (not types or type_ in types)
        ]
        lasting = [entry_id for entry_id in seen if entry_id not in self.deleted]
        wanted = [entry_id for entry_id in wanted if entry_id not in self.deleted]
        assert lasting == wanted, f"{stream}: since {since}"


# Twice as many as other tests; how they are drawn is said in tests/conftest.py.
Interleavings.TestCase.settings = hypothesis_settings(
    max_examples=2 * hypothesis_settings.default.max_examples,  # type: ignore[union-attr]
    stateful_step_count=50,
)
TestInterleavings = Interleavings.TestCase
