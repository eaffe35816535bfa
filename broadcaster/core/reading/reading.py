"""A subscriber whose events are taken one by one, as values instead of bytes. Pure.

Its owner calls `advance` and `take`, and waits when there is nothing to do until `wake` is called.
It has no queue: what is not taken stays in the windows or the log.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

from broadcaster.core import cursor
from broadcaster.core.cursor import Positions
from broadcaster.core.event import Event, Live, Reset, StateFollows, Superseded
from broadcaster.core.fanout.driver import AsksLog, Driver
from broadcaster.core.fanout.hub import Hub
from broadcaster.core.fanout.subscriber import State, Subscriber
from broadcaster.core.fanout.turns import Reader
from broadcaster.core.resume.opening import Serve
from broadcaster.core.resume.page import PAGE_BYTES, Page
from broadcaster.core.resume.steps import (
    UNREADABLE_CHARS,
    Ask,
    For,
    Greeting,
    Hello,
    LivePart,
    ResetPart,
    Send,
    StatePart,
)
from broadcaster.core.shards import without_shard
from broadcaster.core.wire import Ending

Yielded: TypeAlias = Event | Reset | StateFollows | Superseded | Live


class Reading(Driver):
    """A subscriber that is read by its owner.

    Attributes:
        waits_for: what it waits for, if `advance` has returned False while it was lagging.
        partial: it begins with a state of which nothing was taken, so that it has no position yet.
    """

    def __init__(
        self,
        hub: Hub,
        questions: AsksLog,
        serve: Serve,
        wake: Callable[[], object],
        reader: Reader | None = None,
        *,
        with_state: bool = True,
    ) -> None:
        """Add a subscriber to the hub. `close` must follow.

        Args:
            hub: holds the windows of the streams.
            questions: asks the log for what the windows do not hold.
            serve: what it subscribes to, and where it begins.
            wake: makes its owner go on. It must not keep the owner alive.
            reader: the client, for the order of questions; None for one in this process.
            with_state: False if it is sent no state, not even after a reset.
        """
        subscriber = Subscriber(
            serve.subscription, write=_ignored, wake=wake, pushed=False, holder=serve.holder
        )
        subscriber.with_state = with_state
        super().__init__(hub, questions, subscriber)
        self.partial = with_state and bool(serve.states)
        self._in_state = self.partial
        self._at = b""  # the id amid a state
        self._reader = reader
        self.waits_for: For | None = None
        self._serve = serve
        self._positions: Positions = dict(serve.positions)
        self._ready: Iterator[Yielded] | None = None
        self._left_out = 0.0
        self._page: Page | None = None
        self._taken = 0
        greeting = Greeting(0, serve.unreadable, serve.reason)
        begun = self.subscriber, serve.positions, greeting
        hub.add(*begun, resumed=serve.resumed, states=serve.states)

    @property
    def positions(self) -> Positions:
        """Return the position after the last value that was taken."""
        if self._ready is None and self.subscriber.state is State.LIVE:
            return self._hub.live_position(self.subscriber)
        return self._positions

    @property
    def cursor(self) -> bytes:
        """Return the id that restores this position, which is never empty."""
        subscription, at = self.subscriber.subscription, self.positions
        return self._at or subscription.cursor(at) or cursor.render(at, subscription.run)

    @property
    def at_head(self) -> bool:
        """Return True if everything was taken that the node has."""
        if self._ready is not None:
            return False
        return self.subscriber.state is State.LIVE or self.waits_for is For.TAILER

    @property
    def ended(self) -> Ending | None:
        """Return why nothing will follow; None if something may."""
        over = self._ready is None and self.subscriber.state is State.ENDED
        return self.subscriber.ending if over else None

    @property
    def untaken(self) -> bool:
        """Return True if events of the last step were not taken yet."""
        return self._page is not None and self._taken < len(self._page.placed)

    def advance(self, max_bytes: int = PAGE_BYTES) -> bool:
        """Take a step, after all values of the last one were taken.

        Args:
            max_bytes: about the most bytes of events.

        Returns:
            False if there is nothing to do until it is woken.
        """
        resume = self.subscriber.resume
        self.waits_for, self._left_out = None, 0.0
        if resume is None or self._resting:
            return False
        while isinstance(step := self._hub.advance(self.subscriber, max_bytes), Ask):
            self._ask(step)
        if isinstance(step, Send):
            self._left_out = step.left_out
            self._ready = self._sent(step, dict(resume.position))
            return True
        self.waits_for = step.reason
        return False

    def take(self) -> Yielded | None:
        """Return the next value; None if the next step has to be taken."""
        if self._ready is not None:
            for value in self._ready:
                return value
            self._ready = None
        return None

    def _sent(self, send: Send, reached: Positions) -> Iterator[Yielded]:
        """Yield what a step sends. The positions move along, and at the end to `reached`."""
        serve, positions = self._serve, self._positions
        for part in send.parts:
            match part:
                case Page():
                    yield from self._of_page(part)
                case ResetPart(_, stream, reason, requested, resumed, at, state):
                    if state:
                        self._amid(at)
                    else:
                        positions[stream] = resumed
                    yield Reset(*without_shard(stream), reason, str(requested), str(resumed), state)
                case StatePart():
                    self._amid(part.at)
                    yield from _state(part)
                case LivePart(_, replayed, _):
                    positions.update(reached)
                    self._in_state, self._at = False, b""
                    yield Live(replayed)
                case Hello() if serve.unreadable is not None:
                    told = serve.reason, serve.unreadable[:UNREADABLE_CHARS]
                    for stream in sorted(positions.keys() - part.later):
                        yield Reset(*without_shard(stream), *told, str(positions[stream]))
        if not self._in_state:
            positions.update(reached)

    def _amid(self, at: bytes) -> None:
        """Note that it has a part of a state, and the id that says so, if there is a new one."""
        self._in_state = True
        if at:
            self._at, self.partial = at, False

    def _of_page(self, page: Page) -> Iterator[Yielded]:
        yield from page.superseded
        self._page = page
        for self._taken, (stream, frame) in enumerate(page.placed, 1):
            self._positions[stream] = frame.id
            channel, _ = without_shard(stream)
            yield Event(frame.id, frame.type, frame.key, frame.data, channel)
        self._page = None

    def give_back(self) -> None:
        """Count no delivery of the events that were not taken.

        Call it in the same turn of the event loop as `advance`, so that no count is seen to shrink.
        """
        if self._page is not None:
            rest = self._page.placed[self._taken :]
            self._hub.deliveries -= len(rest)
            self._hub.delivered_bytes -= sum(len(frame.wire) for _, frame in rest)
            self._page = None

    def charge(self, cost_s: float) -> None:
        """Let a client in another process rest if a filter left out much of the last step.

        Args:
            cost_s: seconds of the node's time that the step has cost.
        """
        if self._left_out:
            self._rest(cost_s, self._left_out)

    def close(self) -> None:
        """Remove it from the hub, and drop open questions. May be called twice."""
        self._positions, self._ready = self.positions, None
        self._hub.remove(self.subscriber)
        self._stop_asking()


def _state(part: StatePart) -> Iterator[Yielded]:
    if part.begins is not None:
        yield part.begins
    channel, _ = without_shard(part.stream)
    for frame in part.frames():
        yield Event(frame.id, frame.type, frame.key, frame.data, channel)


def _ignored(_: bytes) -> Any:
    """Heartbeats are for sockets."""
