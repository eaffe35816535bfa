"""The step machine of a subscriber that catches up: it sends, asks, waits, resets or joins. Pure.

There is one `Resume` for each such subscriber. Nothing in it awaits. `step` returns what to do
next: send bytes, ask the log, or wait. `answered` takes the log's answers, in any order. `grew` and
`rewritten` take the changes of a stream. The object is dropped when its subscriber becomes live,
and a new one is made when the subscriber falls behind.

`core.resume.rules` has the question for each situation, and the outcome of each answer. Streams
don't wait for each other: events in one window are sent while the log is asked about another
stream.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from broadcaster.core import sse
from broadcaster.core.cursor import Positions
from broadcaster.core.event import EventId
from broadcaster.core.log import Past
from broadcaster.core.resume.inquiry import Context, Inquiry
from broadcaster.core.resume.joining import Joining
from broadcaster.core.resume.page import PAGE_BYTES
from broadcaster.core.resume.passing import Passing
from broadcaster.core.resume.resets import Lost, hello, lost_by
from broadcaster.core.resume.rules import REASONS, Outcome, Situation
from broadcaster.core.resume.steps import Ask, For, Greeting, Hello, LivePart, Send, Step, Wait
from broadcaster.core.subscription import Subscription
from broadcaster.core.wire import ResumeOutcome


class Resume(Inquiry):
    """A subscriber that catches up.

    Attributes:
        position: the last id in each stream that was sent, or that the client claims to have.
    """

    __slots__ = (
        "_announce",
        "_context",
        "_greeting",
        "_held",
        "_joining",
        "_passing",
        "_reached",
        "_replayed",
        "_source",
        "_subscription",
        "_with_state",
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
        states: Iterable[str] | None = (),
    ) -> None:
        """Begin at a position.

        Args:
            context: of the hub.
            subscription: the client's request.
            position: one for each of its streams. The object keeps this dict and changes it.
            resumed: the position comes from a client's cursor, so it is not proven yet.
            greeting: the first bytes of the response are made from it. None for a subscriber that
                was live until now, and was sent everything up to its position.
            states: the streams whose state is sent first. None if no state is ever sent.
        """
        self.position = position
        self._context = context
        self._subscription = subscription
        super().__init__(context.windows, position)
        self._greeting = greeting
        self._held: Ask | None = None
        self._announce, self._reached = greeting is not None, greeting is None
        self._replayed = 0
        # The source of the missed events, until it is counted. Empty without a cursor.
        self._source = ResumeOutcome.WINDOW if resumed else ""
        if resumed:  # any other position is from the present history
            for stream in subscription.streams:
                self.note_returning(stream)
        self._joining: Joining | None = None
        self._with_state = states is not None
        coalesces = not context.states.passes.streams.isdisjoint(subscription.streams)
        self._passing = Passing(context, subscription) if coalesces and self._with_state else None
        for stream in states or ():
            self._join(stream, greeting and lost_by(greeting))

    # Steps

    def step(self, max_bytes: int = PAGE_BYTES) -> Step:
        """Return what to do next.

        Args:
            max_bytes: about the most bytes of a page.
        """
        if self._held is not None:
            held, self._held = self._held, None
            return held
        step = self._next(max_bytes)
        if self._greeting is None:
            return step
        # The first bytes carry no id, as the position is unproven.
        first = self._hello()
        if isinstance(step, Send):
            return step._replace(parts=(first, *step.parts))
        self._held = step if isinstance(step, Ask) else None
        return Send((first,))

    def _next(self, max_bytes: int) -> Step:
        passing = self._passing
        if passing and passing.gather():
            return Send(left_out=1.0)
        if self._joining is not None:
            return self._joined(self._joining)
        covered, reason = list[str](), For.TAILER
        for stream in self._subscription.streams:
            if passing and passing.is_full(stream, self.position[stream]):
                return self._join(stream, None)
            held = passing and passing.holds(stream, self.position[stream])
            found = Outcome.WINDOW if held else self._settled(stream)
            if not isinstance(found, Outcome):
                return found
            if found is Outcome.WINDOW:
                covered.append(stream)
            elif found is Outcome.WAIT_LOG:
                reason = For.LOG
        return self._from_windows(covered, reason, max_bytes)

    # The state

    def _join(self, stream: str, lost: Lost | None) -> Send:
        """Send the state of a stream before anything else, after a reset if there is one."""
        of = self._context, self._subscription, self.position, self._passing
        self._joining = self._joining or Joining(*of)
        self._joining.add(stream, lost)
        self._count(ResumeOutcome.STATE if lost is None else ResumeOutcome.RESET)
        return Send()

    def _joined(self, joining: Joining) -> Step:
        step = joining.step()
        if not joining.done:
            return step
        for stream in joining.streams:
            self.settle(stream)
        self._joining, self._reached, self._replayed = None, True, 0
        self._announce = len(joining.streams) < len(self._subscription.streams)
        self.position |= joining.positions
        return Send((joining.live(self._at()),), over=joining.over)

    def _hello(self, at: bytes = b"") -> Hello:
        """Return the first bytes. Without a position, the next part completes their block."""
        assert self._greeting is not None
        greeting, self._greeting = self._greeting, None
        if greeting.unreadable is None:
            return Hello(sse.retry(greeting.retry_ms, at), at)
        later = frozenset(self._joining.streams if self._joining else ())
        return hello(self._context, self._subscription, greeting, self.position, at, later)

    def _settled(self, stream: str) -> Outcome | Send | Ask:
        """Return the outcome for a stream, or the step that has to come first."""
        while True:
            found = self.outcome(stream)
            if isinstance(found, Ask) or found not in _ACTIONS:
                return found
            step = _ACTIONS[found](self, stream, found)
            if step is not None:
                return step

    def _from_windows(self, covered: list[str], reason: For, max_bytes: int) -> Send | Wait:
        """Return a page of the covered streams; it joins at the heads of all streams."""
        streams, cursor = self._subscription.streams, self._subscription.cursor
        at_all = len(covered) == len(streams)
        if self._passing:
            page = self._passing.after(self.position, covered, max_bytes)
        else:
            page = self._context.pages.after(self._subscription, self.position, covered, max_bytes)
        joins = at_all and page.exhausted and not page.over
        goes_live, greets = joins and self._announce, at_all and self._greeting is not None
        # `stream.live` has the position, if it follows at once.
        begin = cursor(self.position) if greets and not (goes_live and not page.data) else b""
        end = cursor(page.positions) if goes_live else b""
        if page.over or goes_live:
            self._count(self._source)
        first = (self._hello(begin),) if greets else ()
        self.position |= page.positions
        self._replayed += page.events
        self._reached = self._reached or bool(covered)
        live = (LivePart(sse.live(end, self._replayed), self._replayed, end),) if goes_live else ()
        self._announce = self._announce and not goes_live
        parts = (*first, *((page,) if page.data else ()), *live)
        if parts or joins or not page.exhausted:
            left_out = 0.0 if page.exhausted else page.left_out
            return Send(parts, joins, page.over, left_out)
        # If the log was asked about a stream, its answer wakes the subscriber.
        return Wait(reason, tuple(s for s in streams if not self.asks(s)))

    # What an answer leads to

    def _past(self, stream: str, _: Outcome) -> Send:
        """Send a page of the log."""
        past = self.take(stream)
        assert isinstance(past, Past)
        if self._passing and self._passing.has_state(stream):
            return self._join(stream, None)
        if self._source:
            self._source = ResumeOutcome.REDIS
        page, end = self._context.pages.of_past(self._subscription, self.position, stream, past)
        self.position |= page.positions
        self._replayed += page.events
        self._reached = True
        if page.over:
            self._count(self._source)
        else:
            self.position[stream] = end
        return Send((page,) if page.data else (), over=page.over)

    def _confirm(self, stream: str, _: Outcome) -> None:
        self.begin(stream, Situation.CONFIRMED)

    def _lost(self, stream: str, outcome: Outcome) -> Send | None:
        """Reset, if the window knows the new position. Otherwise the log is asked next."""
        if self._with_state and stream in self._context.states.folds:
            return self._join(stream, Lost(REASONS[outcome], self.position[stream]))
        window = self._context.windows[stream]
        at = window.resume_from(self.position[stream])
        if at is None and not window.complete:
            self.begin(stream, Situation.BEFORE_WINDOW, REASONS[outcome])
            return None
        return self._reset(stream, REASONS[outcome], window.floor if at is None else at)

    def _older(self, stream: str, _: Outcome) -> None:
        self.begin(stream, Situation.BEFORE_ALL, self.reason(stream))

    def _there(self, stream: str, outcome: Outcome) -> Send:
        reason, at = self.reason(stream), self.take(stream)
        if outcome is Outcome.FLOOR:
            at = self._context.windows[stream].floor
        assert isinstance(at, EventId)
        return self._reset(stream, reason, at)

    def _reset(self, stream: str, reason: str, resumed: EventId) -> Send:
        self.settle(stream)
        requested, self.position[stream] = self.position[stream], resumed
        self._announce = True
        self._replayed = 0
        self._context.resets[stream, reason] += 1
        self._count(ResumeOutcome.RESET)
        return Send((Lost(reason, requested).part(stream, resumed, self._at()),))

    def _at(self) -> bytes:
        return self._subscription.cursor(self.position)

    def _count(self, outcome: str) -> None:
        """Count once how a client that came with a cursor was served."""
        if self._source:
            self._context.resumes[outcome] += 1
            self._source = ""

    # What happens meanwhile; the rest of it is in `Inquiry`

    def rewritten(self, stream: str) -> None:
        """Note that a stream's window was rewritten: the log's answer may be out of date."""
        super().rewritten(stream)
        if self._passing:
            self._passing.rewritten(stream)
        if self._joining is not None:
            self._joining.rewritten(stream)

    def proven(self) -> Positions | None:
        """Return the position for a heartbeat, if everything up to it was sent; else None."""
        reached = self._reached and self._joining is None
        return self.position if reached and not self.dropped else None

    def claimed(self) -> bytes:
        """Return the id of what the client came with or was sent; empty if that is unreadable."""
        if self._joining is not None:
            return self._joining.at()
        unreadable = self._greeting is not None and self._greeting.unreadable is not None
        return b"" if unreadable else self._at()


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
