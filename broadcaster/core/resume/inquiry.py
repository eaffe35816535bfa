"""The questions and answers about each stream of a subscriber that catches up. Pure.

`core.resume.machine` is built on it. Each stream has a situation. If `core.resume.rules` asks the
log in that situation, the stream also has a question, and later its answer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from broadcaster.core.cursor import Positions
from broadcaster.core.history.window import Place, Window
from broadcaster.core.log import AnyAnswer, Question
from broadcaster.core.resume.page import Pages
from broadcaster.core.resume.rules import RULES, Outcome, Said, Situation, question, said
from broadcaster.core.resume.steps import Ask
from broadcaster.core.state.states import NO_STATES, HubStates

MAX_ASKED = 8
"""Questions that a subscriber of many streams may have open at a time."""

_SITUATIONS = {
    Place.COVERED: Situation.COVERED,
    Place.UNKNOWN: Situation.UNKNOWN,
    Place.BEHIND: Situation.BEHIND,
    Place.AHEAD: Situation.AHEAD,
}


class Context(NamedTuple):
    """The objects that all subscribers of a hub share.

    Attributes:
        windows: of all streams, by name.
        pages: shares pages among subscribers that need the same bytes.
        resumes: counts how clients that came with a cursor were served.
        resets: counts resets by stream and reason.
        states: of the streams that have one.
    """

    windows: Mapping[str, Window]
    pages: Pages
    resumes: Counter[str]
    resets: Counter[tuple[str, str]]
    states: HubStates = NO_STATES


@dataclass(slots=True)
class _Open:
    """An open question about one stream.

    Attributes:
        situation: the stream's situation.
        reason: the reason of the reset that needs the answer; empty if no reset does.
        question: the question that was asked; None before, and after a failure.
        answer: the log's answer, in a tuple; empty before it comes.
    """

    situation: Situation
    reason: str = ""
    question: Question | None = None
    answer: tuple[AnyAnswer, ...] = ()


class Inquiry:
    """Keeps the situation of each stream, and finds the outcome by `core.resume.rules`.

    Attributes:
        dropped: streams of which the client may have seen entries that Redis has since dropped.
    """

    __slots__ = ("_asked", "_open", "_position", "_windows", "dropped")

    def __init__(self, windows: Mapping[str, Window], position: Positions) -> None:
        """Ask nothing yet.

        Args:
            windows: of all streams, by name.
            position: of the subscriber; it changes while the subscriber is sent something.
        """
        self.dropped: frozenset[str] = frozenset()
        self._windows = windows
        self._position = position
        self._open: dict[str, _Open] = {}
        self._asked: set[str] = set()  # streams with a question that has no answer yet

    def outcome(self, stream: str) -> Outcome | Ask:
        """Return the outcome for a stream, or the question that has to be asked first."""
        open_ = self._open.get(stream)
        if open_ is None:
            situation = self._situation(stream)
            rule = RULES[situation]
            if rule.asks is None:
                return rule.then[Said.UNASKED]
            open_ = self._open[stream] = _Open(situation)
        rule = RULES[open_.situation]
        if rule.asks is None:
            return rule.then[Said.UNASKED]
        if open_.question is None:
            if len(self._asked) >= MAX_ASKED:
                return Outcome.WAIT_LOG
            self._asked.add(stream)
            open_.question = question(rule, self._position[stream])
            return Ask(stream, open_.question)
        if not open_.answer:
            return Outcome.WAIT_LOG
        return rule.then[said(open_.answer[0], self._position[stream])]

    def _situation(self, stream: str) -> Situation:
        if stream in self.dropped:
            return Situation.DROPPED
        return _SITUATIONS[self._windows[stream].place(self._position[stream])]

    def asks(self, stream: str) -> bool:
        """Return True if the log was asked about a stream, and its answer is not used yet."""
        open_ = self._open.get(stream)
        return open_ is not None and open_.question is not None

    def begin(self, stream: str, situation: Situation, reason: str = "") -> None:
        """Put a stream into a situation that does not follow from its position alone.

        Args:
            stream: its name.
            situation: the new situation.
            reason: the reason of the reset that needs the next answer.
        """
        self._forget(stream)
        self._open[stream] = _Open(situation, reason)

    def reason(self, stream: str) -> str:
        """Return the reason of the reset that needs the answer about a stream."""
        return self._open[stream].reason

    def take(self, stream: str) -> AnyAnswer:
        """Return the log's answer and forget the question."""
        return self._open.pop(stream).answer[0]

    def settle(self, stream: str) -> None:
        """Forget what was asked about a stream, and that its history was dropped."""
        self._forget(stream)
        self.dropped -= {stream}

    def _forget(self, stream: str) -> None:
        self._open.pop(stream, None)
        self._asked.discard(stream)

    # What happens meanwhile

    def answered(self, ask: Ask, answer: AnyAnswer) -> bool:
        """Take the log's answer. A late or repeated answer is ignored.

        Args:
            ask: the step that asked.
            answer: of the kind that its question wants.

        Returns:
            False if the log knows less than this node does. Call `failed` after a pause then.
        """
        open_ = self._open.get(ask.stream)
        if open_ is None or open_.question is not ask.question or open_.answer:
            return True
        open_.answer = (answer,)
        self._asked.discard(ask.stream)
        then = RULES[open_.situation].then
        return then[said(answer, self._position[ask.stream])] is not Outcome.WAIT_LOG

    def failed(self, ask: Ask) -> None:
        """Ask again at the next `step`. Call it after a pause if the log could not answer."""
        open_ = self._open.get(ask.stream)
        if open_ is not None and open_.question is ask.question:
            open_.question, open_.answer = None, ()
            self._asked.discard(ask.stream)

    def grew(self, stream: str) -> None:
        """Note that a batch was added to a stream's window."""
        open_ = self._open.get(stream)
        if open_ is not None and open_.situation is Situation.CONFIRMED:
            del self._open[stream]

    def rewritten(self, stream: str) -> None:
        """Note that a stream's window was rewritten: the log's answer may be out of date."""
        self._forget(stream)
        if self._windows[stream].dropped.just_now(self._position[stream]):
            self.dropped |= {stream}

    def note_returning(self, stream: str) -> None:
        """Add a stream to `dropped` if the client comes back with a position that was dropped."""
        if self._position[stream] in self._windows[stream].dropped:
            self.dropped |= {stream}

    def beat(self) -> bool:
        """Take note of a heartbeat.

        Returns:
            True if `step` is to be called: Redis may have lost the entry that it waits for.
        """
        confirmed = [s for s, o in self._open.items() if o.situation is Situation.CONFIRMED]
        for stream in confirmed:
            del self._open[stream]
        return bool(confirmed)
