"""State and then events, for any interleaving: what a client has adds up to the fold of the log.

A hub whose log is in memory. Streams are trimmed, rewound and deleted, folds are made anew, and
clients lose their connections after any part of a state. Whenever a client is live, what it has
been sent adds up to the state of the log.
"""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from broadcaster.backend.memory import MemoryLog
from broadcaster.client.parser import Parser
from broadcaster.core import states
from broadcaster.core.channel import Channel
from broadcaster.core.entry import frame_of
from broadcaster.core.event import ZERO, EventId
from broadcaster.core.fold import Fold
from broadcaster.core.folding import fold
from broadcaster.core.hub import Hub
from broadcaster.core.log import Batch, Beginning, Change, Restart, Rewind
from broadcaster.core.opening import NoContent, Opening, Serve
from broadcaster.core.sse import Frame
from broadcaster.core.state import Rules
from broadcaster.core.steps import Ask, Greeting, Send, Wait
from broadcaster.core.subscriber import State, Subscriber
from broadcaster.core.subscription import Subscription
from broadcaster.core.wanted import Wanted
from broadcaster.core.window import Window

REMOVES = "sold"
KINDS = {
    "last": Rules("last", frozenset({REMOVES}), ttl_ms=1 << 40),
    "merge": Rules("merge", frozenset({REMOVES}), ttl_ms=1 << 40),
    "append": Rules("append", frozenset({REMOVES}), "text", ttl_ms=1 << 40),
}


class Client:
    """A client that keeps what it is sent, per key, and forgets it at `stream.state`."""

    def __init__(self) -> None:
        self.have: dict[str, list[Frame]] = {}
        self.last_id = ""
        self.complete = True
        self.subscriber: Subscriber | None = None
        self.parser = Parser("")

    def read(self, data: bytes) -> None:
        for event in self.parser.feed(data):
            if event.type == "stream.state":
                self.have, self.complete = {}, False
            if event.type == "stream.live":
                self.complete = True
            elif not self.complete or event.type == "stream.reset":
                assert event.id == self.last_id, "no id leaves before the state is complete"
            self.last_id = event.id
            if not event.type.startswith("stream."):
                self.take(event.type, event.data)

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


class StateThenEvents(RuleBasedStateMachine):
    @initialize(window=st.sampled_from([1, 3, 100]), kind=st.sampled_from(sorted(KINDS)))
    def begin(self, window: int, kind: str) -> None:
        self.page_bytes, states._PAGE_BYTES = states._PAGE_BYTES, 60
        self.of, self.ms, self.count = KINDS[kind], 1000, 0
        self.history: list[Frame] = []
        self.loop = asyncio.new_event_loop()
        self.log = MemoryLog()
        self.hub = Hub({"a": Window(window, 1 << 30)}, rules={"a": self.of})
        self.hub.states.broken = lambda _: setattr(self, "broken", True)
        self.broken = False
        self.changes = self.log.changes("a", self.hub.windows["a"])
        self.pending: asyncio.Task[Change] | None = None
        self.clients: list[Client] = []
        self.tailed()

    def apply(self, change: Change) -> None:
        match change:
            case Batch(frames):
                list(self.hub.fan_out("a", frames))
            case Rewind(position):
                self.hub.rewind("a", position)
            case Restart(floor, frames, complete, parted):
                self.hub.restart("a", floor, complete=complete, parted=parted)
                list(self.hub.fan_out("a", frames))

    @rule()
    def tail(self) -> None:
        self.tailed()

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

    @precondition(lambda self: self.broken)
    @rule()
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
    @rule(data=st.data())
    def go_on(self, data: st.DataObject) -> None:
        self.stepped(data.draw(st.sampled_from(self.clients)))

    @precondition(lambda self: self.clients)
    @rule(data=st.data())
    def lose(self, data: st.DataObject) -> None:
        client = data.draw(st.sampled_from(self.clients))
        if client.subscriber is not None:
            self.hub.remove(client.subscriber)
            client.subscriber = None

    def connect(self, client: Client) -> None:
        channel = Channel(name="a", path="/a", start="state", state="last")
        subscription = Subscription(("a",))
        positions = {"a": EventId.parse(client.last_id)} if client.last_id else {}
        wanted = Wanted((channel,), subscription, positions)
        opening = Opening(self.hub.context, lambda _: None, wanted, self.ms)
        serve = opening.step()
        assert isinstance(serve, Serve)
        assert not isinstance(serve, NoContent)
        client.parser = Parser(client.last_id)
        client.subscriber = Subscriber(subscription, client.read, lambda: None, pushed=True)
        begun = client.subscriber, serve.positions, Greeting(1)
        self.hub.add(*begun, resumed=serve.resumed, states=serve.states)

    def stepped(self, client: Client) -> bool:
        """Take one step. Return False if nothing can be done now."""
        if client.subscriber is None:
            self.connect(client)
        subscriber = client.subscriber
        assert subscriber is not None
        if subscriber.state is not State.LAGGING:
            return False
        step = self.hub.advance(subscriber, 60)
        match step:
            case Send():
                client.read(b"".join(part.data for part in step.parts))
            case Ask():
                assert subscriber.resume is not None
                if not subscriber.resume.answered(step, self.ask(step.question)):
                    subscriber.resume.failed(step)
                    return False
            case Wait():
                return False
        return True

    def teardown(self) -> None:
        if not hasattr(self, "loop"):
            return
        states._PAGE_BYTES = self.page_bytes
        try:
            self.settle()
            self.check()
        finally:
            if self.pending:
                self.pending.cancel()
            self.loop.run_until_complete(asyncio.sleep(0))
            self.loop.run_until_complete(self.changes.aclose())
            self.loop.close()

    def settle(self) -> None:
        """Let everything happen that can, until all clients are live."""
        for _ in range(50):
            self.tailed()
            if self.broken:
                self.restore()
            for client in self.clients:
                self.stepped(client)
                if client.subscriber and client.subscriber.resume:
                    client.subscriber.resume.beat()

    def check(self) -> None:
        made = self.hub.states.folds["a"]
        assert made.offered
        expected = Fold(self.of)
        expected.apply([f for f in self.history if made.since is None or f.id > made.since])
        cut = expected.cut().values
        assert dict(made.cut().values) == dict(cut)
        for client in self.clients:
            assert client.subscriber is not None
            assert client.subscriber.state is State.LIVE
            assert client.complete
            assert shown(self.of, client.have) == shown(self.of, dict(cut))


StateThenEvents.TestCase.settings = hypothesis_settings(stateful_step_count=30)
TestStateThenEvents = StateThenEvents.TestCase
