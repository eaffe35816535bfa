"""The promise with a log that answers late, twice, never, and out of order.

One hub over `MemoryLog`. Hypothesis decides what happens to the streams, when the hub learns of it,
and which of the questions asked so far is answered next, with what was true when it was asked, when
it is answered, or in between. Whatever happens, each event comes once and in order, or a reset
comes first.
"""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from broadcaster.backend.memory import MemoryLog
from broadcaster.core.event import ZERO, EventId
from broadcaster.core.fanout.hub import Hub
from broadcaster.core.fanout.subscriber import State, Subscriber
from broadcaster.core.history.window import Window
from broadcaster.core.log import Answer, Batch, Change, Known, Request, Restart, Rewind, StateOf
from broadcaster.core.resume.machine import Resume
from broadcaster.core.resume.page import Page
from broadcaster.core.resume.steps import Ask, Greeting, ResetPart, Send
from broadcaster.core.subscription import Subscription
from tests.test_interleavings import finish

STREAMS = ("a", "b")


class Asked(NamedTuple):
    """A question, and what was true when it was asked."""

    resume: Resume
    ask: Ask
    truth: Answer


class Reader:
    """A client, and what it was sent since continuity began."""

    def __init__(self, hub: Hub, subscription: Subscription, positions: dict[str, EventId]) -> None:
        self.seen: dict[str, list[EventId]] = {stream: [] for stream in subscription.streams}
        self.since = dict(positions)
        self.subscriber = Subscriber(
            subscription, write=lambda _: None, wake=lambda: None, pushed=False
        )
        hub.add(self.subscriber, positions, Greeting(1), resumed=True)

    def take(self, send: Send) -> None:
        for part in send.parts:
            if isinstance(part, ResetPart):
                self.seen[part.stream].clear()
                self.since[part.stream] = part.resumed
            elif isinstance(part, Page):
                for stream, frame in part.placed:
                    seen = self.seen[stream]
                    assert not seen or frame.id > seen[-1]
                    seen.append(frame.id)


class LateAnswers(RuleBasedStateMachine):
    @initialize(window=st.sampled_from([1, 3, 100]))
    def begin(self, window: int) -> None:
        self.ms = 1000
        self.removed: set[EventId] = set()
        self.loop = asyncio.new_event_loop()
        self.log = MemoryLog()
        self.hub = Hub({stream: Window(window, 1 << 30) for stream in STREAMS})
        self.changes = {s: self.log.changes(s, self.hub.windows[s]) for s in STREAMS}
        self.pending: dict[str, asyncio.Task[Change] | None] = dict.fromkeys(STREAMS)
        self.readers: list[Reader] = []
        self.asked: list[Asked] = []
        for stream in STREAMS:
            self.tailed(stream)

    def apply(self, stream: str, change: Change) -> None:
        match change:
            case Batch(frames):
                list(self.hub.fan_out(stream, frames))
            case Rewind(position):
                self.hub.rewind(stream, position)
            case Restart(floor, frames, complete, parted):
                self.hub.restart(stream, floor, complete=complete, parted=parted)
                list(self.hub.fan_out(stream, frames))

    @rule(stream=st.sampled_from(STREAMS))
    def tail(self, stream: str) -> None:
        """Let the hub learn of the next change, if there is one."""
        self.tailed(stream)

    def tailed(self, stream: str) -> bool:
        pending = self.pending[stream] or self.loop.create_task(anext(self.changes[stream]))
        self.pending[stream] = pending
        for _ in range(3):
            self.loop.run_until_complete(asyncio.sleep(0))
        if not pending.done():
            return False
        self.pending[stream] = None
        self.apply(stream, pending.result())
        return True

    @rule(stream=st.sampled_from(STREAMS))
    def add(self, stream: str) -> None:
        self.ms += 7
        self.log.add(stream, id=EventId(self.ms, 0))

    @rule(stream=st.sampled_from(STREAMS), length=st.integers(0, 4))
    def trim(self, stream: str, length: int) -> None:
        self.log.trim(stream, length)

    @rule(stream=st.sampled_from(STREAMS), back=st.integers(1, 3))
    def rewind(self, stream: str, back: int) -> None:
        """A failover loses the newest entries. Their ids are never given again."""
        frames = self.log._streams[stream].frames
        if len(frames) > back:
            self.log.rewind(stream, frames[-back - 1].id)

    @rule(stream=st.sampled_from(STREAMS), back=st.integers(1, 4))
    def remove(self, stream: str, back: int) -> None:
        """One of the newest entries is deleted. A reader may still get it from the window."""
        frames = self.log._streams[stream].frames
        if len(frames) >= back:
            self.removed.add(frames[-back].id)
            self.log.remove(stream, frames[-back].id)

    @rule(stream=st.sampled_from(STREAMS))
    def clear(self, stream: str) -> None:
        """The stream is deleted, and made anew with the next entry."""
        self.log.clear(stream)

    @precondition(lambda self: len(self.readers) < 5)
    @rule(streams=st.sampled_from([("a",), STREAMS]), data=st.data())
    def arrive(self, streams: tuple[str, ...], data: st.DataObject) -> None:
        positions = {}
        for stream in streams:
            ids = [frame.id for frame in self.log._streams[stream].frames]
            positions[stream] = data.draw(st.sampled_from([ZERO, *ids]))
        self.readers.append(Reader(self.hub, Subscription(streams), positions))
        self.run(len(self.readers) - 1)

    @precondition(lambda self: self.readers)
    @rule(number=st.integers(0, 4))
    def run(self, number: int) -> None:
        reader = self.readers[number % len(self.readers)]
        for _ in range(100):
            resume = reader.subscriber.resume
            if resume is None:
                return
            step = self.hub.advance(reader.subscriber, max_bytes=40)
            if isinstance(step, Send):
                reader.take(step)
            elif isinstance(step, Ask):
                self.asked.append(Asked(resume, step, self.truth(step)))
            else:
                return

    def truth(self, ask: Ask) -> Answer:
        assert not isinstance(ask.question, Request | Known | StateOf)
        return finish(self.log.ask(ask.stream, ask.question))

    @precondition(lambda self: self.asked)
    @rule(number=st.integers(0, 30), late=st.booleans(), again=st.booleans())
    def answer(self, number: int, late: bool, again: bool) -> None:
        """Answer any question, truly for now or for an earlier time. The question may stay open."""
        asked = self.asked[number % len(self.asked)]
        if not again:
            self.asked.remove(asked)
        truth = asked.truth
        if late:
            truth = self.truth(asked.ask)
        if not asked.resume.answered(asked.ask, truth):
            asked.resume.failed(asked.ask)

    @precondition(lambda self: self.asked)
    @rule(number=st.integers(0, 30))
    def fail(self, number: int) -> None:
        asked = self.asked[number % len(self.asked)]
        asked.resume.failed(asked.ask)

    @precondition(lambda self: self.readers)
    @rule(number=st.integers(0, 4))
    def stall(self, number: int) -> None:
        self.hub.lag(self.readers[number % len(self.readers)].subscriber)

    @rule()
    def heartbeat(self) -> None:
        for _ in range(30):
            list(self.hub.beat())

    def teardown(self) -> None:
        """Answer all questions truly. Then each reader has each retained event once."""
        if not hasattr(self, "log"):
            return
        try:
            for _ in range(8):
                self.come_to_rest()
            for reader in self.readers:
                self.check(reader)
        finally:
            for pending in filter(None, self.pending.values()):
                pending.cancel()
            self.loop.run_until_complete(asyncio.sleep(0))
            self.loop.close()

    def come_to_rest(self) -> None:
        for stream in STREAMS:
            while self.tailed(stream):
                pass
        self.heartbeat()
        for asked in self.asked:  # those that were never answered
            asked.resume.failed(asked.ask)
        self.asked.clear()
        for _ in range(10):
            for number in range(len(self.readers)):
                self.run(number)
            while self.asked:
                self.answer(0, late=True, again=False)

    def check(self, reader: Reader) -> None:
        assert reader.subscriber.state is State.LIVE
        for stream, seen in reader.seen.items():
            retained = [frame.id for frame in self.log._streams[stream].frames]
            lasting = [id_ for id_ in seen if id_ not in self.removed]
            newest = [id_ for id_ in lasting if retained and id_ >= retained[0]]
            assert newest == [id_ for id_ in retained if id_ > reader.since[stream]]


# At least so many, of what each test draws: see the profiles in tests/conftest.py.
LateAnswers.TestCase.settings = hypothesis_settings(
    max_examples=max(200, hypothesis_settings.default.max_examples),  # type: ignore[union-attr]
    stateful_step_count=50,
)
TestLateAnswers = LateAnswers.TestCase
