"""Where a client that is behind goes on, is reset, waits, joins or is over: one step machine. Pure.

There is one `Resume` for each subscriber that catches up. Calls go in, values come out, and nothing
awaits. `step` says what to do next: send bytes, ask the log, or wait. Answers come in with
`answered` whenever the log gets to it, in any order, and changes of a stream with `changed`. It is
dropped when its subscriber becomes live, and made anew when the subscriber falls behind.

For each stream, the position lies in one `Situation`. `core.rules` says for each of them what is
asked, and what follows from the answer.
Streams don't wait for each other: what is covered is sent while another stream is asked about.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from broadcaster.core.cursor import Positions
from broadcaster.core.event import EventId
from broadcaster.core.log import Answer, Past, Question
from broadcaster.core.page import PAGE_BYTES, Page, Pages, page_of
from broadcaster.core.rules import RULES, Outcome, Said, Situation, question, said
from broadcaster.core.steps import Ask, For, Live, Part, Reset, Send, Step, Wait
from broadcaster.core.subscription import Subscription
from broadcaster.core.window import Place, Window
from broadcaster.core.wire import ResetReason, ResumeOutcome

_SITUATIONS = {
    Place.COVERED: Situation.COVERED,
    Place.UNKNOWN: Situation.UNKNOWN,
    Place.BEHIND: Situation.BEHIND,
    Place.AHEAD: Situation.AHEAD,
}
_REASONS = {
    Outcome.TRIMMED: ResetReason.TRIMMED,
    Outcome.ROLLBACK: ResetReason.ROLLBACK,
    Outcome.UNKNOWN: ResetReason.UNKNOWN,
}


class Context(NamedTuple):
    """What all subscribers of a hub share.

    Attributes:
        windows: of all streams, by name.
        pages: shares pages among those that want the same bytes.
        resumes: counts how clients that came with a cursor were served.
        resets: counts resets by stream and reason.
    """

    windows: Mapping[str, Window]
    pages: Pages
    resumes: Counter[str]
    resets: Counter[tuple[str, str]]


@dataclass(slots=True)
class _Open:
    """What is not settled about one stream.

    Attributes:
        situation: that it is in.
        reason: of the reset that needs the answer, if it is for one.
        question: that was asked, until it is answered or given up.
        answer: what the log has said, in a tuple; empty before.
    """

    situation: Situation
    reason: str = ""
    question: Question | None = None
    answer: tuple[Answer, ...] = ()


class Resume:
    """A subscriber that catches up.

    Attributes:
        position: where it is in each stream. It was sent everything up to there, or it has claimed
            that with a cursor.
    """

    __slots__ = (
        "_announce",
        "_context",
        "_dropped",
        "_open",
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
        fell_behind: bool = False,
    ) -> None:
        """Begin at a position.

        Args:
            context: of the hub.
            subscription: what is wanted.
            position: in each of its streams; belongs to this object from now on.
            resumed: the position is a client's claim, from a cursor.
            fell_behind: the subscriber was live until now, and was sent everything up to there.
        """
        self.position = position
        self._context = context
        self._subscription = subscription
        self._open: dict[str, _Open] = {}
        self._dropped: frozenset[str] = frozenset()
        self._announce = not fell_behind
        self._reached = fell_behind
        self._replayed = 0
        # Where the missed events come from, until that is counted. Empty without a cursor.
        self._source = ResumeOutcome.WINDOW if resumed else ""
        if resumed:  # any other position is from the history of now
            for stream in subscription.streams:
                self._note_dropped(stream)

    # Steps

    def step(self, max_bytes: int = PAGE_BYTES) -> Step:
        """Say what to do next.

        Args:
            max_bytes: about the most bytes of a page; 0 while the socket takes nothing.
        """
        if not max_bytes:
            return Wait(For.SOCKET)
        covered: list[str] = []
        reason = For.TAILER
        for stream in self._subscription.streams:
            found = self._settled(stream)
            if not isinstance(found, Outcome):
                return found
            if found is Outcome.WINDOW:
                covered.append(stream)
            elif found is Outcome.WAIT_LOG:
                reason = For.LOG
        return self._from_windows(covered, reason, max_bytes)

    def _settled(self, stream: str) -> Outcome | Step:
        """How a stream stands when nothing more can be found out, or what to do first."""
        while True:
            found = self._outcome(stream)
            if isinstance(found, Ask) or found not in _ACTIONS:
                return found
            step = _ACTIONS[found](self, stream, found)
            if step is not None:
                return step

    def _outcome(self, stream: str) -> Outcome | Ask:
        open_ = self._open.get(stream)
        situation = open_.situation if open_ else self._situation(stream)
        rule = RULES[situation]
        if rule.asks is None:
            return rule.then[Said.UNASKED]
        if open_ is None:
            open_ = self._open[stream] = _Open(situation)
        if open_.question is None:
            open_.question = question(rule, self.position[stream])
            return Ask(stream, open_.question)
        if not open_.answer:
            return Outcome.WAIT_LOG
        return rule.then[said(open_.answer[0], self.position[stream])]

    def _situation(self, stream: str) -> Situation:
        if stream in self._dropped:
            return Situation.DROPPED
        return _SITUATIONS[self._context.windows[stream].place(self.position[stream])]

    def _from_windows(self, covered: list[str], reason: For, max_bytes: int) -> Send | Wait:
        """The next page of the streams that are covered; at the heads of all, joining."""
        page = _NO_PAGE
        if covered:
            page = self._context.pages.after(self._subscription, self.position, covered, max_bytes)
            self._note_sent(page)
        sent: tuple[Part, ...] = (page,) if page.data else ()
        if page.over or not page.exhausted:
            return Send(sent, over=page.over)
        if len(covered) < len(self._subscription.streams):
            # A stream that is asked about wakes the subscriber by its answer.
            growing = tuple(s for s in self._subscription.streams if not self._asked(s))
            return Send(sent) if sent else Wait(reason, growing)
        if self._announce:
            self._announce = False
            self._count(self._source)
            at = self._subscription.cursor(self.position)
            sent += (Live(at, self._replayed),)
        return Send(sent, joins=True)

    def _asked(self, stream: str) -> bool:
        open_ = self._open.get(stream)
        return open_ is not None and open_.question is not None

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
        past = self._answer(stream)
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
        self._open[stream] = _Open(Situation.CONFIRMED)

    def _lost(self, stream: str, outcome: Outcome) -> Send | None:
        """Reset, if the window tells where that leads; else let the log be asked."""
        self._open.pop(stream, None)
        self._dropped -= {stream}
        window = self._context.windows[stream]
        at = window.resume_from(self.position[stream])
        if at is None and not window.complete:
            self._open[stream] = _Open(Situation.BEFORE_WINDOW, _REASONS[outcome])
            return None
        return self._reset(stream, _REASONS[outcome], window.floor if at is None else at)

    def _older(self, stream: str, _: Outcome) -> None:
        self._open[stream] = _Open(Situation.BEFORE_ALL, self._open[stream].reason)

    def _there(self, stream: str, outcome: Outcome) -> Send:
        reason, at = self._open[stream].reason, self._answer(stream)
        if outcome is Outcome.FLOOR:
            at = self._context.windows[stream].floor
        assert isinstance(at, EventId)
        return self._reset(stream, reason, at)

    def _answer(self, stream: str) -> Answer:
        return self._open.pop(stream).answer[0]

    def _reset(self, stream: str, reason: str, resumed: EventId) -> Send:
        requested, self.position[stream] = self.position[stream], resumed
        self._announce = True
        self._replayed = 0
        self._context.resets[stream, reason] += 1
        self._count(ResumeOutcome.RESET)
        at = self._subscription.cursor(self.position)
        return Send((Reset(stream, reason, requested, resumed, at),))

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
        open_ = self._open.get(ask.stream)
        if open_ is None or open_.question is not ask.question or open_.answer:
            return True
        open_.answer = (answer,)
        then = RULES[open_.situation].then
        return then[said(answer, self.position[ask.stream])] is not Outcome.WAIT_LOG

    def failed(self, ask: Ask) -> None:
        """The log could not tell, and the pause after that is over: ask anew."""
        open_ = self._open.get(ask.stream)
        if open_ is not None and open_.question is ask.question:
            open_.question, open_.answer = None, ()

    def grew(self, stream: str) -> None:
        """A batch was added to a stream's window."""
        open_ = self._open.get(stream)
        if open_ is not None and open_.situation is Situation.CONFIRMED:
            del self._open[stream]

    def rewritten(self, stream: str) -> None:
        """A stream's window was rewound or begun anew: what the log has said may be out of date."""
        self._open.pop(stream, None)
        self._note_dropped(stream)

    def _note_dropped(self, stream: str) -> None:
        if self._context.windows[stream].was_dropped(self.position[stream]):
            self._dropped |= {stream}

    def beat(self) -> bool:
        """Take note of a heartbeat.

        Returns:
            Whether to call `step`: the entry that the tailer has still to reach may be gone.
        """
        confirmed = [s for s, o in self._open.items() if o.situation is Situation.CONFIRMED]
        for stream in confirmed:
            del self._open[stream]
        return bool(confirmed)

    def proven(self) -> Positions | None:
        """The position that a heartbeat may carry: everything up to there was sent. Else None."""
        return self.position if self._reached and not self._dropped else None


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
