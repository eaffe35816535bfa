"""The hub connects the windows of a node to its subscribers. Pure: its sinks never wait.

One rule joins catching up and live, and it needs no lock because it contains no `await`. A
subscriber becomes live if its position is the head of each of its windows. Otherwise it is sent the
events in between. `fan_out` writes to a live subscriber until its socket is full.

A round of writes over many thousand sockets is cut into slices, so that heartbeats and accepts are
not held up. `fan_out` and `beat` are generators that yield between slices. The caller runs one of
them at a time, to its end. A subscriber may change its state between two slices, so its `tick`
shows whether the round in progress has reached it.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product

from broadcaster.core.counters import from_zero
from broadcaster.core.cursor import Positions
from broadcaster.core.event import EventId
from broadcaster.core.fanout import writes
from broadcaster.core.fanout.audience import Audiences
from broadcaster.core.fanout.heartbeat import BEATS, heartbeat
from broadcaster.core.fanout.subscriber import State, Subscriber, Subscribers
from broadcaster.core.fanout.writes import Round
from broadcaster.core.history.window import Window
from broadcaster.core.resume.inquiry import Context
from broadcaster.core.resume.machine import Resume
from broadcaster.core.resume.page import PAGE_BYTES, TERMINAL_RETRY_MS, Page, Pages
from broadcaster.core.resume.steps import Greeting, Send, StatePart, Step, Wait
from broadcaster.core.sse import Frame
from broadcaster.core.state.fold import Fold
from broadcaster.core.state.states import HubStates
from broadcaster.core.state.values import NO_RULES, Rules
from broadcaster.core.wire import Ending, ResetReason, ResumeOutcome


class Hub:
    """Joins subscribers to the windows of a node.

    Attributes:
        windows: a window for each stream.
        subscribers: all connected ones, in any state.
        deliveries: events written to subscribers, each counted once per subscriber.
        delivered_bytes: their bytes.
        resumes: subscribers that came with a cursor, by the way they were served: from the
            `window`, with pages from `redis`, with a `state`, or after a `reset`.
        resets: resets that were sent, by stream and reason.
        states: the folds of its streams.
        context: the objects that its step machines share.
    """

    def __init__(
        self,
        windows: Mapping[str, Window],
        terminal_retry_ms: int = TERMINAL_RETRY_MS,
        rules: Mapping[str, Rules] = NO_RULES,
    ) -> None:
        self.windows = windows
        self.subscribers = Subscribers()
        self.deliveries = 0
        self.delivered_bytes = 0
        self.resumes = from_zero(*ResumeOutcome)
        self.resets: Counter[tuple[str, str]] = from_zero(*product(windows, ResetReason))
        self._audiences = Audiences(windows)
        self._waiting: dict[str, set[Subscriber]] = {name: set() for name in windows}
        self._pages = Pages(windows, terminal_retry_ms)
        self.states = HubStates(windows, rules)
        self.context = Context(windows, self._pages, self.resumes, self.resets, self.states)
        self._clock = 0  # counts rounds and beats
        self._round: tuple[str, EventId] | None = None  # the stream, and its head before
        self._beats: deque[int] = deque(maxlen=BEATS - 1)

    @property
    def live(self) -> int:
        """Return the number of LIVE subscribers."""
        return self._audiences.subscribers

    # Subscribers come and go

    def add(
        self,
        subscriber: Subscriber,
        positions: Positions,
        greeting: Greeting,
        *,
        resumed: bool = False,
        states: Iterable[str] = (),
    ) -> None:
        """Add a subscriber, as LAGGING.

        Args:
            subscriber: a new one.
            positions: where it begins in each stream.
            greeting: the first bytes of its response are made from it.
            resumed: the positions come from the client's cursor, so they are not proven yet.
            states: the streams whose state is sent first.
        """
        if subscriber.state is not State.ENDED:
            subscription = subscriber.subscription
            begun = self.context, subscription, positions
            first = states if subscriber.with_state else None
            subscriber.resume = Resume(*begun, resumed=resumed, greeting=greeting, states=first)
        subscriber.tick = self._clock
        self.subscribers.add(subscriber)

    def remove(self, subscriber: Subscriber) -> None:
        """Remove a subscriber. Nothing happens if it was removed before."""
        self.end(subscriber, Ending.CLIENT)
        self.subscribers.discard(subscriber)

    def end(self, subscriber: Subscriber, ending: Ending, farewell: bytes = b"") -> None:
        """End a subscriber's response: its connection wakes, sends the farewell and closes.

        Args:
            subscriber: the one to end. Nothing happens if it is ENDED already.
            ending: the reason, for metrics and the log.
            farewell: the last bytes, unframed.
        """
        if subscriber.state is State.ENDED:
            return
        if subscriber.state is State.LIVE:
            self._audiences.leave(subscriber)
        self._stop_waiting(subscriber)
        subscriber.state, subscriber.resume = State.ENDED, None
        subscriber.ending, subscriber.farewell = ending, farewell
        subscriber.wake()

    def lag(self, subscriber: Subscriber) -> None:
        """Make a live subscriber LAGGING: its socket is full, or its window was rewritten."""
        if subscriber.state is not State.LIVE:
            return
        self._audiences.leave(subscriber)
        at = self.live_position(subscriber)
        states = () if subscriber.with_state else None
        subscriber.resume = Resume(self.context, subscriber.subscription, at, states=states)
        subscriber.state = State.LAGGING

    def live_position(self, subscriber: Subscriber) -> Positions:
        """Return the position of a LIVE subscriber."""
        heads = {name: self.windows[name].head for name in subscriber.subscription.streams}
        if self._round and subscriber.tick != self._clock and self._round[0] in heads:
            heads[self._round[0]] = self._round[1]  # this round has not reached it yet
        return heads

    def _join(self, subscriber: Subscriber) -> None:
        self._stop_waiting(subscriber)
        subscriber.state, subscriber.resume = State.LIVE, None
        subscriber.tick = self._clock  # a round in progress has nothing for it
        self._audiences.join(subscriber)

    # A batch arrives

    def fan_out(self, stream: str, frames: Sequence[Frame]) -> Iterator[None]:
        """Append a batch to the stream's window and write it to the live subscribers that want it.

        Args:
            stream: its name.
            frames: in order, newer than the window's head.

        Yields:
            Between slices, so that the caller can let others run.
        """
        window = self.windows[stream]
        before = window.head
        window.append(frames)
        self._pages.forget()
        if stream in self.states.folds:
            self.states.apply(stream, frames)
        self._clock += 1
        self._round = (stream, before)
        # All audiences are fixed before the first write. A subscriber that joins between two slices
        # has been sent the batch already, as part of a page.
        round_ = Round(self._clock)
        try:
            concerned = self._audiences.concerned(stream, [f for f in frames if f.wire])
            found, pulled = writes.deliveries(concerned, stream, self._pages)
            for subscriber in pulled:
                self.lag(subscriber)
                subscriber.wake()
            yield from round_.write(found)
        except BaseException:  # a mistake of ours: all subscribers catch up
            for subscriber in self._look_anew(stream):
                subscriber.wake()
            raise
        finally:
            self._round = None
            self.deliveries += round_.events
            self.delivered_bytes += round_.bytes
        for subscriber in round_.over:
            self.end(subscriber, Ending.COMPLETE)
        for subscriber in tuple(self._waiting[stream]):
            self._stop_waiting(subscriber)
            assert subscriber.resume is not None  # only a lagging subscriber waits
            subscriber.resume.grew(stream)
            subscriber.wake()

    # Catching up

    def advance(self, subscriber: Subscriber, max_bytes: int = PAGE_BYTES) -> Step:
        """Return the next step of a LAGGING subscriber.

        The caller must write the bytes of a `Send` before anything else happens: the subscriber may
        be LIVE already, and `fan_out` would write later events before these bytes.
        """
        assert subscriber.resume is not None
        step = subscriber.resume.step(max_bytes)
        match step:
            case Send():
                self._note_sent(subscriber, step)
            case Wait(_, streams):
                for stream in streams:
                    self._waiting[stream].add(subscriber)
        return step

    def _note_sent(self, subscriber: Subscriber, send: Send) -> None:
        for part in send.parts:  # without parts, nothing is sent, so a heartbeat stays due
            subscriber.tick = self._clock
            if isinstance(part, Page | StatePart):
                self.deliveries += part.events
                self.delivered_bytes += len(part.data)
            else:
                subscriber.last_at = part.at
        if send.over:
            self.end(subscriber, Ending.COMPLETE)
        elif send.joins:
            self._join(subscriber)

    def rewind(self, stream: str, position: EventId) -> list[Subscriber]:
        """Drop a stream's history after a position, and make all of its subscribers LAGGING.

        Returns:
            The subscribers to wake, a few in each turn of the loop: a task costs more than a write.
        """
        concerned = self._look_anew(stream)
        self.windows[stream].rewind(position)
        return self._rewritten(stream, concerned)

    def restart(
        self, stream: str, floor: EventId, *, complete: bool, parted: EventId | None = None
    ) -> list[Subscriber]:
        """Empty a window that does not join what Redis has now; return as `rewind` does."""
        concerned = self._look_anew(stream)
        self.windows[stream].restart(floor, complete=complete, parted=parted)
        return self._rewritten(stream, concerned)

    def _look_anew(self, stream: str) -> list[Subscriber]:
        concerned = [s for s in self.subscribers if stream in s.subscription.streams]
        for subscriber in concerned:
            self.lag(subscriber)
            self._stop_waiting(subscriber)
        return concerned

    def _rewritten(self, stream: str, concerned: list[Subscriber]) -> list[Subscriber]:
        self._pages.forget()
        self.states.rewritten(stream)
        for subscriber in concerned:
            if subscriber.resume:
                subscriber.resume.rewritten(stream)
        return concerned

    def adopt(self, stream: str, fold: Fold) -> None:
        """Offer a fold that was made anew, up to the head of its window."""
        self.states.adopt(stream, fold)
        for subscriber in tuple(self._waiting[stream]):
            self._stop_waiting(subscriber)
            subscriber.wake()

    def _stop_waiting(self, subscriber: Subscriber) -> None:
        for stream in subscriber.subscription.streams:
            self._waiting[stream].discard(subscriber)

    # Heartbeats

    def beat(self) -> Iterator[None]:
        """Write a heartbeat to each subscriber that was sent nothing for about `BEATS` calls.

        As `fan_out`, it yields between slices.
        """
        self._clock += 1
        quiet_since = self._beats[0] if len(self._beats) == self._beats.maxlen else 0
        self._beats.append(self._clock)
        due = [s for s in self.subscribers if s.tick < quiet_since and not s.blocked]
        for start in range(0, len(due), writes.SLICE):
            for subscriber in due[start : start + writes.SLICE]:
                if subscriber.state is not State.ENDED:
                    subscriber.tick = self._clock
                    data = heartbeat(subscriber, self.proven(subscriber), self.windows)
                    subscriber.write(subscriber.framing(data))
                    if subscriber.resume and subscriber.resume.beat():
                        self._stop_waiting(subscriber)
                        subscriber.wake()
            yield

    def proven(self, subscriber: Subscriber) -> Positions | None:
        """Return the position up to which everything was sent; None if there is none."""
        if subscriber.state is State.LIVE:
            return self.live_position(subscriber)
        return subscriber.resume.proven() if subscriber.resume else None
