"""The step machine before the first byte: it finds where a client begins, or refuses it. Pure.

There is one `Opening` for each request of an event stream. Nothing in it awaits.
`core.resume.machine` goes on from the positions that are found here.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from functools import partial
from typing import NamedTuple, TypeAlias

from broadcaster.core.access.grants import Holder
from broadcaster.core.cursor import Positions, Start
from broadcaster.core.event import SEARCHABLE_AHEAD_S, ZERO, EventId
from broadcaster.core.log import AnyAnswer, AnyQuestion, Known, Request
from broadcaster.core.resume.inquiry import Context
from broadcaster.core.resume.returning import Returning
from broadcaster.core.resume.rules import STARTS, Outcome, Said, Situation, question, said
from broadcaster.core.resume.steps import Ask, For, Wait
from broadcaster.core.run import key_of
from broadcaster.core.subscription import Subscription
from broadcaster.core.wanted import Wanted
from broadcaster.core.wire import ResetReason, Shed

WhyShed: TypeAlias = Callable[[Iterable[str]], Shed | None]
"""Returns the reason why new clients of some streams can't be served now; None if they can."""


class Refused(NamedTuple):
    """The request is wrong, and would fail again.

    Attributes:
        detail: the explanation for the client, with what was expected.
    """

    detail: str


class NoContent(NamedTuple):
    """The client has seen the end of what it subscribes to: 204."""


class Gone(NamedTuple):
    """The run of the client's cursor is gone. Open `Wanted.anew`, if it may have a new run."""


class Serve(NamedTuple):
    """The client can be served.

    Attributes:
        subscription: the client's request.
        positions: where it begins in each stream.
        resumed: the positions come from its cursor, so they are not proven yet.
        unreadable: its cursor, if that can't be read or proves nothing.
        reason: the reason of the reset that `unreadable` leads to.
        holder: the holder of the client's grants; None if these have no subject and no end.
        states: the streams whose state it is sent first.
    """

    subscription: Subscription
    positions: Positions
    resumed: bool = False
    unreadable: str | None = None
    reason: ResetReason = ResetReason.INVALID
    holder: Holder | None = None
    states: Collection[str] = ()


Verdict: TypeAlias = Refused | Shed | NoContent | Gone | Serve
Admission: TypeAlias = Ask | Wait | Verdict


class Opening:
    """A request of an event stream that has not been answered yet."""

    def __init__(self, context: Context, why_shed: WhyShed, wanted: Wanted, now_ms: int) -> None:
        """Decide nothing yet.

        Args:
            context: of the hub.
            why_shed: says why the node can't serve a new client.
            wanted: the content of the request.
            now_ms: milliseconds since 1970, by the clock that durations count back from.
        """
        self._context = context
        self._why_shed = why_shed
        self._wanted = wanted
        self._subscription = wanted.subscription
        self._positions: Positions = dict(wanted.positions)
        self._run = wanted.run
        self._now_ms = now_ms
        self._asked: dict[str, tuple[Situation, AnyQuestion, list[AnyAnswer]]] = {}
        self._states: list[str] = []  # streams whose state it is sent first
        self._earliest: set[str] = set()  # streams in which every entry is after the wanted time
        if wanted.run is not None:
            self._follow(wanted.run)
        self._returning: Returning | None = None
        if wanted.positions and wanted.subscription.terminal:
            (position,) = wanted.positions.values()
            self._returning = Returning(context, self._subscription, position)

    def step(self) -> Admission:
        """Return the verdict about the request, or what has to be asked or awaited first."""
        wanted = self._wanted
        reason = self._why_shed(self._subscription.streams)
        if reason is Shed.LOADING:
            return Wait(For.WINDOW)
        if reason:
            return reason
        if isinstance(wanted.start, int) and (detail := self._no_times()):
            return Refused(detail)
        asked = self._look_for_end()
        if asked is not None:
            return asked
        if self._returning is not None and self._returning.over:
            return NoContent()
        over = self._look_for_run()
        if over is not None:
            return over
        return self._find_positions() or self._request() or self._serve()

    def answered(self, ask: Ask, answer: AnyAnswer) -> None:
        """Take the log's answer. A late or repeated answer is ignored."""
        if asked := self._asked.get(ask.stream):
            _, question_, answers = asked
            if question_ is ask.question and not answers:
                answers.append(answer)

    def _answer(
        self, stream: str, situation: Situation, make: Callable[[], AnyQuestion]
    ) -> tuple[AnyAnswer] | Ask | Wait:
        """Return the answer to a question about a stream, in a tuple, or the step to get it."""
        known = self._asked.get(stream)
        if known is None or known[0] is not situation:
            self._asked[stream] = situation, make(), []
            return Ask(stream, self._asked[stream][1])
        return (known[2][0],) if known[2] else Wait(For.LOG)

    def _look_for_end(self) -> Ask | Wait | None:
        """Find out if the client has seen the terminal event; return the step to do so, if any."""
        returning = self._returning
        while returning is not None and (situation := returning.asks()) is not None:
            found = self._answer(returning.stream, situation, returning.question)
            if isinstance(found, Ask | Wait):
                return found
            returning.answered(*found)
        return None

    # Where does it begin?

    def _no_times(self) -> str:
        """Return why the streams can't be searched by time; empty if they can."""
        for stream in self._subscription.streams:
            newest = self._context.windows[stream].head
            if newest.ms > self._now_ms + SEARCHABLE_AHEAD_S * 1000:
                return (
                    f"the newest id of {stream}, {newest}, lies in the future, so no time can be "
                    "found there: give an event id, earliest or latest"
                )
        return ""

    def _find_positions(self) -> Ask | Wait | None:
        wait: Wait | None = None
        if len(self._positions) == len(self._subscription.streams):
            return None
        for channel in self._wanted.channels:
            start: Start | None = "latest" if channel.requests else self._wanted.start
            if start is None or (start == "state" and not channel.state):
                start = channel.start_at(self._now_ms)
            for stream in channel.streams:
                missing = stream not in self._positions
                if missing and stream in self._subscription.streams:
                    found = self._position(stream, start)
                    if isinstance(found, Ask):
                        return found
                    if isinstance(found, Wait):
                        wait = found
                    else:
                        self._positions[stream] = found
                        if start != "latest" and self._ended_by(stream, found):
                            self._states.append(stream)  # its end is not retained
        return wait

    def _position(self, stream: str, start: Start) -> EventId | Ask | Wait:
        window = self._context.windows[stream]
        if self._has_state(stream, start):
            self._states.append(stream)
            return window.head
        before = EventId(start, 0).before() if isinstance(start, int) else ZERO
        situation = self._situation(stream, start, before)
        rule, answer = STARTS[situation], Said.UNASKED
        there: AnyAnswer = None
        if rule.asks is not None:
            found = self._answer(stream, situation, lambda: question(rule, before))
            if isinstance(found, Ask | Wait):
                return found
            (there,) = found
            answer = said(there, before)
        match rule.then[answer]:
            case Outcome.AT_HEAD:
                return window.head
            case Outcome.AT_FLOOR:
                return window.floor
            case Outcome.AT_TIME:
                return window.at_or_before(before) or window.floor
            case Outcome.EARLIEST:
                self._earliest.add(stream)
                return self._position(stream, "earliest")
        assert isinstance(there, EventId)
        return there

    def _has_state(self, stream: str, start: Start) -> bool:
        """Return True if a client that begins in a stream is sent its state.

        A client that is reset is sent it as well, but a run that begins has none.
        """
        is_reset = (
            self._wanted.unreadable is not None and self._wanted.reason is not ResetReason.GONE
        )
        is_wanted = start == "state" or stream in self._wanted.states
        return stream in self._context.states.folds and (is_wanted or is_reset)

    def _ended_by(self, stream: str, position: EventId) -> bool:
        end = self._context.states.end(stream, self._subscription.keys)
        is_first = self._subscription.terminal and stream not in self._states
        return bool(is_first) and end is not None and end <= position

    def _situation(self, stream: str, start: Start, before: EventId) -> Situation:
        window = self._context.windows[stream]
        if start == "latest":
            return Situation.LATEST
        is_time = start != "earliest" and stream not in self._earliest
        if is_time and window.at_or_before(before) is not None:
            return Situation.IN_WINDOW
        if window.complete:
            return Situation.WHOLE
        return Situation.TIME if is_time else Situation.EARLIEST

    # Made on demand

    def _look_for_run(self) -> Ask | Wait | Gone | None:
        """Find out if the run of the cursor is gone; return that, or the step to do so, if any."""
        channel, run = self._subscription.on_demand, self._wanted.run
        if channel is None or run is None:
            return None
        (stream,) = channel.streams
        (of_events,) = self._subscription.keys
        seen = self._returning.seen if self._returning else None
        if self._context.windows[stream].has(of_events) or (seen and seen.key == of_events):
            return None
        (key,) = self._wanted.subscription.keys
        make = partial(Known, channel.requests, stream, key, run)
        found = self._answer(stream, Situation.RUN, make)
        if isinstance(found, Ask | Wait):
            return found
        (known,) = found
        then = STARTS[Situation.RUN].then[Said.YES if known else Said.NO]
        return Gone() if then is Outcome.RENEW else None

    def _request(self) -> Ask | Wait | Shed | None:
        channel = self._subscription.on_demand
        if channel is None or self._run is not None:
            return None
        (key,) = self._subscription.keys
        make = partial(Request, channel.requests, key)
        found = self._answer(channel.name, Situation.ON_DEMAND, make)
        if isinstance(found, Ask | Wait):
            return found
        (run,) = found
        if run is None:
            return Shed.REQUESTS
        assert isinstance(run, EventId)
        self._run = run
        self._follow(run)
        return None

    def _follow(self, run: EventId) -> None:
        (key,) = self._subscription.keys
        self._subscription = self._subscription.narrowed_to(key_of(key, run), run)

    def _serve(self) -> Serve:
        wanted = self._wanted
        resumed = bool(wanted.positions or wanted.states)
        rest = wanted.unreadable, wanted.reason, wanted.holder
        return Serve(self._subscription, self._positions, resumed, *rest, self._states)
