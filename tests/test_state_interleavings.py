"""State and then events, for any interleaving: what a client has adds up to the fold of the log.

Two nodes whose log is in memory, with windows of their own. Streams are trimmed, rewound and
deleted, and folds are made anew. Clients lose their connections amid states, and come back to any
node. Whenever a client is live, what it has been sent adds up to the state of the log.
"""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from broadcaster.backend.memory import MemoryLog
from broadcaster.client.parser import Parser
from broadcaster.core.channel import Channel
from broadcaster.core.entry import frame_of
from broadcaster.core.event import ZERO, EventId
from broadcaster.core.fanout.hub import Hub
from broadcaster.core.fanout.subscriber import State, Subscriber
from broadcaster.core.history.window import Window
from broadcaster.core.log import Batch, Beginning, Change, Restart, Rewind
from broadcaster.core.resume import passing
from broadcaster.core.resume.beginning import at_cursor
from broadcaster.core.resume.opening import NoContent, Opening, Serve
from broadcaster.core.resume.steps import Ask, Greeting, Send, Wait
from broadcaster.core.sse import Frame
from broadcaster.core.state import passes, states
from broadcaster.core.state.fold import Fold, Values
from broadcaster.core.state.folding import fold
from broadcaster.core.state.values import Rules
from broadcaster.core.subscription import Subscription
from broadcaster.core.wanted import Wanted

REMOVES = "sold"
KINDS = {
    "last": Rules("last", frozenset({REMOVES}), ttl_ms=1 << 40),
    "passes": Rules("last", frozenset({REMOVES}), ttl_ms=1 << 40, coalesce=True),
    "merge": Rules("merge", frozenset({REMOVES}), ttl_ms=1 << 40),
    "append": Rules("append", frozenset({REMOVES}), "text", ttl_ms=1 << 40),
}


class Client:
    """A client that keeps what it is sent, per key, and forgets it at `stream.state`."""

    def __init__(self) -> None:
        self.have: dict[str, list[Frame]] = {}
        self.since: EventId | None = None  # as the state that it has says
        self.last_id = ""
        self.complete = True
        self.node: Node | None = None
        self.subscriber: Subscriber | None = None
        self.parser = Parser("")
        self.left = -1  # bytes until the connection breaks, if they are not negative

    def read(self, data: bytes) -> None:
        if self.left >= 0:
            data = data[: self.left]
            self.left -= len(data)
        for event in self.parser.feed(data):
            if event.type == "stream.state":
                self.have, self.complete = {}, False
                since = orjson.loads(event.data).get("since")
                self.since = EventId.parse(since) if since else None
            if event.type == "stream.live":
                self.complete = True
            elif not self.complete or event.type == "stream.reset":
                assert event.id == "state", "no position leaves before the state is complete"
            self.last_id = event.id
            if not event.type.startswith("stream."):
                self.take(event.type, event.data)

    def lose(self) -> None:
        if self.subscriber is not None and self.node is not None:
            self.node.hub.remove(self.subscriber)
        self.subscriber, self.node, self.left = None, None, -1

    def take(self, type_: str, data: str) -> None:
        key = orjson.loads(data)["key"]
        if type_ == REMOVES:
            self.have.pop(key, None)
            return
        of = self.have.setdefault(key, [])
        of.append(frame_of(EventId(len(of) + 1, 0), type=type_, key=key, data=data))


def shown(rules: Rules, of: dict[str, Any]) -> dict[str, list[tuple[str, bytes]]]:
    """What is known of each key, without ids."""
    found = {key: fold(rules, frames) for key, frames in of.items()}
    return {key: sorted((value.type, value.data) for value in v) for key, v in found.items()}


class Node:
    """A hub, its tailer, and what makes its fold anew."""

    def __init__(
        self, rules: Rules, window: int, log: MemoryLog, loop: asyncio.AbstractEventLoop
    ) -> None:
        self.of, self.log, self.loop = rules, log, loop
        self.hub = Hub({"a": Window(window, 1 << 30)}, rules={"a": rules})
        self.hub.states.broken = lambda _: setattr(self, "broken", True)
        self.broken = False
        self.changes = log.changes("a", self.hub.windows["a"])
        self.pending: asyncio.Task[Change] | None = None
        self.tailed()

    def close(self) -> None:
        if self.pending:
            self.pending.cancel()
        self.loop.run_until_complete(asyncio.sleep(0))
        self.loop.run_until_complete(self.changes.aclose())

    def apply(self, change: Change) -> None:
        match change:
            case Batch(frames):
                list(self.hub.fan_out("a", frames))
            case Rewind(position):
                self.hub.rewind("a", position)
            case Restart(floor, frames, complete, parted):
                self.hub.restart("a", floor, complete=complete, parted=parted)
                list(self.hub.fan_out("a", frames))

    def tailed(self) -> bool:
        pending = self.pending or self.loop.create_task(anext(self.changes))
        self.pending = pending
        for _ in range(3):
            self.loop.run_until_complete(asyncio.sleep(0))
        if not pending.done():
            return False
        self.pending = None
        self.apply(pending.result())
        return True

    def restore(self) -> None:
        """Fold what the log retains, if the window joins it."""
        made, window = Fold(self.of), self.hub.windows["a"]
        oldest = self.ask(Beginning())
        position = ZERO if window.floor == ZERO else oldest or window.head
        made.load(position, None if position == ZERO else position, ())
        retained = self.log._streams["a"].frames
        made.apply([f for f in retained if f.id <= window.floor])
        made.apply(window.after(max(position, window.floor))[0])
        if position <= window.head and made.position in (position, window.head):
            self.broken = False
            self.hub.adopt("a", made)

    def ask(self, question: Any) -> Any:
        return self.loop.run_until_complete(self.log.ask("a", question))


class StateThenEvents(RuleBasedStateMachine):
    @initialize(
        windows=st.lists(st.sampled_from([1, 3, 100]), min_size=2, max_size=2),
        kind=st.sampled_from(sorted(KINDS)),
        spare=st.sampled_from([120, 1 << 20]),
    )
    def begin(self, windows: list[int], kind: str, spare: int) -> None:
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(states, "_PAGE_BYTES", 60)
        self.patch.setattr(passes, "SLICE", 2)
        self.patch.setattr(passing, "SPARE_BYTES", spare)
        self.of, self.ms, self.count = KINDS[kind], 1000, 0
        self.history: list[Frame] = []
        self.loop = asyncio.new_event_loop()
        self.log = MemoryLog()
        self.nodes = [Node(self.of, window, self.log, self.loop) for window in windows]
        self.clients: list[Client] = []

    @rule(number=st.integers(0, 1))
    def tail(self, number: int) -> None:
        self.nodes[number].tailed()

    @rule(number=st.integers(0, 1))
    def restore(self, number: int) -> None:
        if self.nodes[number].broken:
            self.nodes[number].restore()

    @rule(key=st.sampled_from("kl"), type_=st.sampled_from(["t", "t", "u", REMOVES]))
    def add(self, key: str, type_: str) -> None:
        self.ms += 7
        self.count += 1
        data = {"key": key, "text": str(self.count), f"n{self.count % 3}": self.count}
        if self.of.kind == "append":
            data = {"key": key, "text": str(self.count)}
        self.log.add("a", id=EventId(self.ms, 0), type=type_, key=key, data=data)
        self.history.append(self.log._streams["a"].frames[-1])

    @rule(length=st.integers(0, 4))
    def trim(self, length: int) -> None:
        self.log.trim("a", length)

    @rule(back=st.integers(1, 3))
    def rewind(self, back: int) -> None:
        frames = self.log._streams["a"].frames
        if len(frames) > back:
            position = frames[-back - 1].id
            self.log.rewind("a", position)
            self.history = [frame for frame in self.history if frame.id <= position]

    @rule()
    def clear(self) -> None:
        self.log.clear("a")
        self.history = []

    @precondition(lambda self: len(self.clients) < 4)
    @rule()
    def arrive(self) -> None:
        self.clients.append(Client())

    @precondition(lambda self: self.clients)
    @rule(data=st.data(), number=st.integers(0, 1))
    def go_on(self, data: st.DataObject, number: int) -> None:
        self.stepped(data.draw(st.sampled_from(self.clients)), number)

    @precondition(lambda self: self.clients)
    @rule(data=st.data())
    def lag(self, data: st.DataObject) -> None:
        client = data.draw(st.sampled_from(self.clients))
        if client.subscriber is not None and client.node is not None:
            client.node.hub.lag(client.subscriber)

    @precondition(lambda self: self.clients)
    @rule(data=st.data())
    def lose(self, data: st.DataObject) -> None:
        data.draw(st.sampled_from(self.clients)).lose()

    @precondition(lambda self: self.clients)
    @rule(data=st.data(), size=st.integers(0, 200))
    def break_soon(self, data: st.DataObject, size: int) -> None:
        """Let a connection break amid what it is sent next."""
        data.draw(st.sampled_from(self.clients)).left = size

    def connect(self, client: Client, node: Node) -> None:
        channel = Channel(name="a", path="/a", start="state", state="last")
        subscription = Subscription(("a",))
        wanted = Wanted((channel,), subscription)
        if client.last_id:
            wanted = at_cursor(client.last_id, (channel,), subscription)
        assert wanted.unreadable is None
        opening = Opening(node.hub.context, lambda _: None, wanted, self.ms)
        serve = opening.step()
        assert isinstance(serve, Serve)
        assert not isinstance(serve, NoContent)
        client.parser, client.node = Parser(client.last_id), node
        client.subscriber = Subscriber(subscription, client.read, lambda: None, pushed=True)
        begun = client.subscriber, serve.positions, Greeting(1)
        node.hub.add(*begun, resumed=serve.resumed, states=serve.states)

    def stepped(self, client: Client, number: int) -> bool:
        """Take one step, on a node if it has none. Return False if nothing can be done now."""
        if client.left == 0:
            client.lose()
        if client.subscriber is None:
            self.connect(client, self.nodes[number])
        subscriber, node = client.subscriber, client.node
        assert subscriber is not None
        assert node is not None
        if subscriber.state is not State.LAGGING:
            return False
        step = node.hub.advance(subscriber, 60)
        match step:
            case Send():
                client.read(b"".join(part.data for part in step.parts))
            case Ask():
                assert subscriber.resume is not None
                if not subscriber.resume.answered(step, node.ask(step.question)):
                    subscriber.resume.failed(step)
                    return False
            case Wait():
                return False
        return True

    def teardown(self) -> None:
        if not hasattr(self, "loop"):
            return
        try:
            self.settle()
            self.check()
        finally:
            self.patch.undo()
            for node in self.nodes:
                node.close()
            self.loop.close()

    def settle(self) -> None:
        """Let everything happen that can, until all clients are live."""
        for _ in range(50):
            for number, node in enumerate(self.nodes):
                node.tailed()
                self.restore(number)
            for number, client in enumerate(self.clients):
                self.stepped(client, number % 2)
                if client.subscriber and client.subscriber.resume:
                    client.subscriber.resume.beat()

    def folded(self, since: EventId | None) -> Values:
        """The state of the log after a position."""
        expected = Fold(self.of)
        expected.apply([f for f in self.history if since is None or f.id > since])
        return expected.cut().values

    def check(self) -> None:
        for node in self.nodes:
            made = node.hub.states.folds["a"]
            assert made.offered
            assert dict(made.cut().values) == dict(self.folded(made.since))
        for client in self.clients:
            assert client.node is not None
            assert client.subscriber is not None
            assert client.subscriber.state is State.LIVE
            assert client.complete
            expected = dict(self.folded(client.since))
            assert shown(self.of, client.have) == shown(self.of, expected)


StateThenEvents.TestCase.settings = hypothesis_settings(stateful_step_count=30)
TestStateThenEvents = StateThenEvents.TestCase
