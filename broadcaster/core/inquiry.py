"""What a subscriber that catches up knows about each of its streams, and what it asks. Pure.

Part of `core.resume`. For each stream there is a situation, and where `core.rules` asks the log
about it, a question and perhaps its answer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from broadcaster.core.cursor import Positions
from broadcaster.core.log import Answer, Question
from broadcaster.core.page import Pages
from broadcaster.core.rules import RULES, Outcome, Said, Situation, question, said
from broadcaster.core.steps import Ask
from broadcaster.core.window import Place, Window

MAX_ASKED = 8
"""Questions that a subscriber of many streams may have open at a time."""

_SITUATIONS = {
    Place.COVERED: Situation.COVERED,
    Place.UNKNOWN: Situation.UNKNOWN,
    Place.BEHIND: Situation.BEHIND,
    Place.AHEAD: Situation.AHEAD,
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


class Inquiry:
    """Finds out how it stands with each stream.

    Attributes:
        dropped: streams of which the client has seen a history that was dropped since.
    """

    __slots__ = ("_asked", "_open", "_position", "_windows", "dropped")

    def __init__(self, windows: Mapping[str, Window], position: Positions) -> None:
        """Begin.

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
        """What follows from what is known about a stream, or what to ask first."""
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
        """Whether the log was asked about a stream, and what it said is not used yet."""
        open_ = self._open.get(stream)
        return open_ is not None and open_.question is not None

    def begin(self, stream: str, situation: Situation, reason: str = "") -> None:
        """A stream is in a situation now that does not follow from its position.

        Args:
            stream: the one.
            situation: that it is in.
            reason: of the reset that needs to know more.
        """
        self._forget(stream)
        self._open[stream] = _Open(situation, reason)

    def reason(self, stream: str) -> str:
        """The reason of the reset that needs to know more."""
        return self._open[stream].reason

    def take(self, stream: str) -> Answer:
        """Use the log's answer: the stream is settled."""
        return self._open.pop(stream).answer[0]

    def settle(self, stream: str) -> None:
        """Forget what was asked about a stream, and that its history was dropped."""
        self._forget(stream)
        self.dropped -= {stream}

    def _forget(self, stream: str) -> None:
        self._open.pop(stream, None)
        self._asked.discard(stream)

    # What happens meanwhile; `Resume` says what each one means

    def answered(self, ask: Ask, answer: Answer) -> bool:
        open_ = self._open.get(ask.stream)
        if open_ is None or open_.question is not ask.question or open_.answer:
            return True
        open_.answer = (answer,)
        self._asked.discard(ask.stream)
        then = RULES[open_.situation].then
        return then[said(answer, self._position[ask.stream])] is not Outcome.WAIT_LOG

    def failed(self, ask: Ask) -> None:
        open_ = self._open.get(ask.stream)
        if open_ is not None and open_.question is ask.question:
            open_.question, open_.answer = None, ()
            self._asked.discard(ask.stream)

    def grew(self, stream: str) -> None:
        open_ = self._open.get(stream)
        if open_ is not None and open_.situation is Situation.CONFIRMED:
            del self._open[stream]

    def rewritten(self, stream: str) -> None:
        self._forget(stream)
        self.note_dropped(stream)

    def note_dropped(self, stream: str) -> None:
        """Look whether the client has seen a history that the stream has dropped since."""
        window = self._windows[stream]
        if window.dropped and window.was_dropped(self._position[stream]):
            self.dropped |= {stream}

    def beat(self) -> bool:
        confirmed = [s for s, o in self._open.items() if o.situation is Situation.CONFIRMED]
        for stream in confirmed:
            del self._open[stream]
        return bool(confirmed)
