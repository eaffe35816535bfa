"""Where a client that is behind goes on, is reset, waits, joins or is over: one step machine. Pure.

There is one `Resume` for each subscriber that catches up. Calls go in, values come out, and nothing
awaits. `step` says what to do next: send bytes, ask the log, or wait. Answers come in with
`answered` whenever the log gets to it, in any order, and changes of a stream with `grew` and
`rewritten`. It is dropped when its subscriber becomes live, and made anew when that falls behind.

`core.rules` says what is asked in each situation, and what follows. Streams don't wait for each
other: what a window covers is sent while the log is asked about another stream.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from broadcaster.core import sse
from broadcaster.core.cursor import Positions
from broadcaster.core.event import EventId
from broadcaster.core.inquiry import Context, Inquiry
from broadcaster.core.log import Answer, Past
from broadcaster.core.page import PAGE_BYTES, Page, page_of
from broadcaster.core.rules import Outcome, Situation
from broadcaster.core.steps import (
    Ask,
    For,
    Greeting,
    Hello,
    Live,
    Part,
    Reset,
    Send,
    Step,
    Wait,
)
from broadcaster.core.subscription import Subscription
from broadcaster.core.wire import ResetReason, ResumeOutcome

_REASONS = {
    Outcome.TRIMMED: ResetReason.TRIMMED,
    Outcome.ROLLBACK: ResetReason.ROLLBACK,
    Outcome.UNKNOWN: ResetReason.UNKNOWN,
}


class Resume:
    """A subscriber that catches up.

    Attributes:
        position: where it is in each stream: it was sent everything up to there, or claims so.
    """

    __slots__ = (
        "_announce",
        "_context",
        "_greeting",
        "_held",
        "_inquiry",
        "_reached",
        "_replayed",
        "_source",
        "_subscription",
        "position",
    )

    def __init__(
        self,
        context: Context,
        subscription: Subscription,
        position: Positions,
        *,
        resumed: bool = False,
        greeting: Greeting | None = None,
    ) -> None:
        """Begin at a position.

        Args:
            context: of the hub.
            subscription: what is wanted.
            position: in each of its streams; belongs to this object from now on.
            resumed: the position is a client's claim, from a cursor.
            greeting: begins the response; None for a subscriber that was live until now, and was
                sent everything up to its position.
        """
        self.position = position
        self._context = context
        self._subscription = subscription
        self._inquiry = Inquiry(context.windows, position)
        self._greeting = greeting
        self._held: Ask | Wait | None = None
        self._announce = greeting is not None
        self._reached = greeting is None
        self._replayed = 0
        # Where the missed events come from, until that is counted. Empty without a cursor.
        self._source = ResumeOutcome.WINDOW if resumed else ""
        if resumed:  # any other position is from the history of now
            for stream in subscription.streams:
                self._inquiry.note_dropped(stream)

    # Steps

    def step(self, max_bytes: int = PAGE_BYTES) -> Step:
        """Say what to do next.

        Args:
            max_bytes: about the most bytes of a page; 0 while the socket takes nothing.
        """
        if not max_bytes:
            return Wait(For.SOCKET)
        if self._held is not None:
            held, self._held = self._held, None
            return held
        covered: list[str] = []
        reason = For.TAILER
        for stream in self._subscription.streams:
            found = self._settled(stream)
            if not isinstance(found, Outcome):
                return self._greeted(found)
            if found is Outcome.WINDOW:
                covered.append(stream)
            elif found is Outcome.WAIT_LOG:
                reason = For.LOG
        return self._from_windows(covered, reason, max_bytes)

    def _greeted(self, step: Step) -> Step:
        """The same step after the first bytes, which leave at once and have no id here: only a
        proven position is worth remembering, and any other gets a reset in a moment."""
        if self._greeting is None:
            return step
        hello = self._hello(b"")
        if isinstance(step, Send):
            return step._replace(parts=(hello, *step.parts))
        self._held = step
        return Send((hello,))

    def _hello(self, at: bytes) -> Hello:
        assert self._greeting is not None
        (retry_ms, unreadable), self._greeting = self._greeting, None
        data = sse.hello(retry_ms, at)
        if unreadable is not None:
            for stream in self._subscription.streams:
                told = unreadable[:64], str(self.position[stream])
                data += sse.reset(stream, ResetReason.INVALID, *told, b"")
                self._context.resets[stream, ResetReason.INVALID] += 1
            self._context.resumes[ResumeOutcome.RESET] += 1
        return Hello(data)

    def _settled(self, stream: str) -> Outcome | Step:
        """How a stream stands when nothing more can be found out, or what to do first."""
        while True:
            found = self._inquiry.outcome(stream)
            if isinstance(found, Ask) or found not in _ACTIONS:
                return found
            step = _ACTIONS[found](self, stream, found)
            if step is not None:
                return step

    def _from_windows(self, covered: list[str], reason: For, max_bytes: int) -> Step:
        """The next page of the streams that are covered; at the heads of all, joining."""
        streams, sent = self._subscription.streams, list[Part]()
        at_all = len(covered) == len(streams)
        if at_all and self._greeting:
            sent.append(self._hello(self._subscription.cursor(self.position)))
        page = _NO_PAGE
        if covered:
            page = self._context.pages.after(self._subscription, self.position, covered, max_bytes)
            self._note_sent(page)
        if page.data:
            sent.append(page)
        if page.over or not page.exhausted:
            return self._greeted(Send(tuple(sent), over=page.over))
        if not at_all:
            # A stream that is asked about wakes the subscriber by its answer.
            growing = tuple(s for s in streams if not self._inquiry.asks(s))
            return self._greeted(Send(tuple(sent)) if sent else Wait(reason, growing))
        if self._announce:
            self._announce = False
            self._count(self._source)
            at = self._subscription.cursor(self.position)
            sent.append(Live(sse.live(at, self._replayed), self._replayed))
        return Send(tuple(sent), joins=True)

    def _note_sent(self, page: Page) -> None:
        self.position |= page.positions
        self._replayed += page.events
        self._reached = True
        if page.over:
            self._count(self._source)

    # What an answer leads to

    def _past(self, stream: str, _: Outcome) -> Send:
        """Send a page of the log.

        What the window holds is left to it: the window's history is proven, and the page's may be
        one that has been dropped while it was on its way.
        """
        past = self._inquiry.take(stream)
        assert isinstance(past, Past)
        frames, end, floor = past.frames, past.end, self._context.windows[stream].floor
        if self.position[stream] < floor < end:
            frames = [frame for frame in frames if frame.id <= floor]
            end = floor
        if self._source:
            self._source = ResumeOutcome.REDIS
        placed = [(stream, frame) for frame in frames]
        page = page_of(self._subscription, self.position, placed)
        self._note_sent(page)
        if not page.over:
            self.position[stream] = end
        return Send((page,) if page.data else (), over=page.over)

    def _confirm(self, stream: str, _: Outcome) -> None:
        self._inquiry.begin(stream, Situation.CONFIRMED)

    def _lost(self, stream: str, outcome: Outcome) -> Send | None:
        """Reset, if the window tells where that leads; else let the log be asked."""
        self._inquiry.settle(stream)
        window = self._context.windows[stream]
        at = window.resume_from(self.position[stream])
        if at is None and not window.complete:
            self._inquiry.begin(stream, Situation.BEFORE_WINDOW, _REASONS[outcome])
            return None
        return self._reset(stream, _REASONS[outcome], window.floor if at is None else at)

    def _older(self, stream: str, _: Outcome) -> None:
        self._inquiry.begin(stream, Situation.BEFORE_ALL, self._inquiry.reason(stream))

    def _there(self, stream: str, outcome: Outcome) -> Send:
        reason, at = self._inquiry.reason(stream), self._inquiry.take(stream)
        if outcome is Outcome.FLOOR:
            at = self._context.windows[stream].floor
        assert isinstance(at, EventId)
        return self._reset(stream, reason, at)

    def _reset(self, stream: str, reason: str, resumed: EventId) -> Send:
        requested, self.position[stream] = self.position[stream], resumed
        self._announce = True
        self._replayed = 0
        self._context.resets[stream, reason] += 1
        self._count(ResumeOutcome.RESET)
        at = self._subscription.cursor(self.position)
        data = sse.reset(stream, reason, str(requested), str(resumed), at)
        return Send((Reset(data, stream, reason, requested, resumed),))

    def _count(self, outcome: str) -> None:
        """Count once how a client that came with a cursor was served."""
        if self._source:
            self._context.resumes[outcome] += 1
            self._source = ""

    # What happens meanwhile

    def answered(self, ask: Ask, answer: Answer) -> bool:
        """Take the log's answer. One that comes late or twice is passed over.

        Args:
            ask: what was asked.
            answer: of the kind that its question wants.

        Returns:
            False if the log knows less than this node does: call `failed` after a pause.
        """
        return self._inquiry.answered(ask, answer)

    def failed(self, ask: Ask) -> None:
        """The log could not tell, and the pause after that is over: ask anew."""
        self._inquiry.failed(ask)

    def grew(self, stream: str) -> None:
        """A batch was added to a stream's window."""
        self._inquiry.grew(stream)

    def rewritten(self, stream: str) -> None:
        """A stream's window was rewound or begun anew: what the log has said may be out of date."""
        self._inquiry.rewritten(stream)

    def beat(self) -> bool:
        """Take note of a heartbeat.

        Returns:
            Whether to call `step`: the entry that the tailer has still to reach may be gone.
        """
        return self._inquiry.beat()

    def proven(self) -> Positions | None:
        """The position that a heartbeat may carry: everything up to there was sent. Else None."""
        return self.position if self._reached and not self._inquiry.dropped else None


_ACTIONS: Mapping[Outcome, Callable[[Resume, str, Outcome], Send | None]] = {
    Outcome.PAST: Resume._past,
    Outcome.TRIMMED: Resume._lost,
    Outcome.ROLLBACK: Resume._lost,
    Outcome.UNKNOWN: Resume._lost,
    Outcome.CONFIRM: Resume._confirm,
    Outcome.THERE: Resume._there,
    Outcome.OLDER: Resume._older,
    Outcome.FLOOR: Resume._there,
}
_NO_PAGE = Page(b"", 0, {}, exhausted=True, over=False)
