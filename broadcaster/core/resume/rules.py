"""The rules of resuming, as tables: a question for each situation, and its outcomes. Pure.

`core.resume.opening` and `core.resume.machine` use the tables. `make tables` writes them into
`docs/design/001-continuity.md`.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any, NamedTuple, TypeAlias

from broadcaster.core.event import EventId
from broadcaster.core.log import (
    AnyAnswer,
    AnyQuestion,
    AtOrBefore,
    Beginning,
    Entry,
    Exists,
    Known,
    PageAfter,
    Past,
    Question,
    Request,
    StateOf,
)
from broadcaster.core.wire import ResetReason


class Situation(Enum):
    """The situation of one stream of a subscriber. The value is its text in the table."""

    # Before the first byte: where a client without a position begins.
    LATEST = "`latest`"
    WHOLE = "`earliest`, or a time before the window, and the window has all that is retained"
    IN_WINDOW = "a time within the window"
    TIME = "a time before the window"
    EARLIEST = "`earliest`"
    RETURNING = "a cursor, where the subscription can be over"
    RETURNING_LATE = "the same, its entry is gone, and the state is too large for memory"
    ON_DEMAND = "no run, on a channel made on demand"
    RUN = "a run of which the window has no event"

    # From then on: what the position proves.
    COVERED = "everything after the position is in the window"
    DROPPED = "the client has seen a history that the stream has dropped since"
    UNKNOWN = "the position is in the window's range, but no entry's"
    BEHIND = "the position is older than the window"
    AHEAD = "the position is newer than the window"
    CONFIRMED = "it is newer than the window, and the log has its entry"
    BEFORE_WINDOW = "a reset has to go on before the window"
    BEFORE_ALL = "a reset has to go on before everything that is retained"


class Said(Enum):
    """The content of an answer. The value is its text in the table."""

    UNASKED = "nothing is asked"
    YES = "yes"
    NO = "no"
    PROVEN = "proven, and entries follow"
    NOTHING_MORE = "proven, but nothing follows"
    UNPROVEN = "not proven"
    POSITION = "a position"
    NONE = "none"


class Outcome(Enum):
    """The consequence for the stream. The value is its text in the table."""

    AT_HEAD = "it begins at the window's head"
    AT_FLOOR = "it begins at the window's floor"
    AT_TIME = "it begins at the newest entry that is not after the time"
    AT_ANSWER = "it begins there"
    EARLIEST = "as `earliest`"
    OVER = "204"
    GO_ON = "it goes on from its cursor"
    FOLLOW = "it follows the run of that name, from the window's head before the question"
    FULL = "the client is shed"
    RENEW = "as without a run, announced by `stream.reset`, `gone`"

    WINDOW = "a page of the window; at its head `stream.live`, and the subscriber joins"
    PAST = "the page, up to the window's present floor"
    TRIMMED = "`stream.reset`, `trimmed`"
    ROLLBACK = "`stream.reset`, `rollback`"
    UNKNOWN = "`stream.reset`, `unknown`"
    CONFIRM = "the client waits for the tailer"
    WAIT_TAILER = "a batch, or a heartbeat, makes the log be asked anew"
    WAIT_LOG = "the client waits, and the log is asked again later"
    THERE = "the reset goes on there"
    OLDER = "the beginning is asked for"
    FLOOR = "the reset goes on at the window's floor"


REASONS: Mapping[Outcome, ResetReason] = {
    Outcome.TRIMMED: ResetReason.TRIMMED,
    Outcome.ROLLBACK: ResetReason.ROLLBACK,
    Outcome.UNKNOWN: ResetReason.UNKNOWN,
}


class Rule(NamedTuple):
    """The question of one situation, and the outcome of each answer.

    Attributes:
        asks: the kind of question about the position; None if nothing is asked.
        then: the outcome of each possible answer.
    """

    asks: type[AnyQuestion] | None
    then: Mapping[Said, Outcome]


Table: TypeAlias = Mapping[Situation, Rule]

STARTS: Table = {
    Situation.LATEST: Rule(None, {Said.UNASKED: Outcome.AT_HEAD}),
    Situation.WHOLE: Rule(None, {Said.UNASKED: Outcome.AT_FLOOR}),
    Situation.IN_WINDOW: Rule(None, {Said.UNASKED: Outcome.AT_TIME}),
    Situation.TIME: Rule(
        AtOrBefore, {Said.POSITION: Outcome.AT_ANSWER, Said.NONE: Outcome.EARLIEST}
    ),
    Situation.EARLIEST: Rule(
        Beginning, {Said.POSITION: Outcome.AT_ANSWER, Said.NONE: Outcome.AT_HEAD}
    ),
    Situation.RETURNING: Rule(Entry, {Said.YES: Outcome.OVER, Said.NO: Outcome.GO_ON}),
    Situation.RETURNING_LATE: Rule(StateOf, {Said.YES: Outcome.OVER, Said.NO: Outcome.GO_ON}),
    Situation.ON_DEMAND: Rule(Request, {Said.POSITION: Outcome.FOLLOW, Said.NONE: Outcome.FULL}),
    Situation.RUN: Rule(Known, {Said.YES: Outcome.GO_ON, Said.NO: Outcome.RENEW}),
}
"""The rules for where a client begins in a stream, and whether it has seen the end already."""

RULES: Table = {
    Situation.COVERED: Rule(None, {Said.UNASKED: Outcome.WINDOW}),
    Situation.DROPPED: Rule(None, {Said.UNASKED: Outcome.ROLLBACK}),
    Situation.UNKNOWN: Rule(None, {Said.UNASKED: Outcome.UNKNOWN}),
    Situation.BEHIND: Rule(
        PageAfter,
        {
            Said.PROVEN: Outcome.PAST,
            Said.NOTHING_MORE: Outcome.WAIT_LOG,
            Said.UNPROVEN: Outcome.TRIMMED,
        },
    ),
    Situation.AHEAD: Rule(Exists, {Said.YES: Outcome.CONFIRM, Said.NO: Outcome.ROLLBACK}),
    Situation.CONFIRMED: Rule(None, {Said.UNASKED: Outcome.WAIT_TAILER}),
    Situation.BEFORE_WINDOW: Rule(
        AtOrBefore, {Said.POSITION: Outcome.THERE, Said.NONE: Outcome.OLDER}
    ),
    Situation.BEFORE_ALL: Rule(Beginning, {Said.POSITION: Outcome.THERE, Said.NONE: Outcome.FLOOR}),
}
"""The rules for where a subscriber goes on from its position."""


def question(rule: Rule, position: EventId) -> Question:
    """Return the question that a rule asks about a position."""
    kind: Any = rule.asks
    made: Question = Beginning() if kind is Beginning else kind(position)
    return made


def said(answer: AnyAnswer, position: EventId) -> Said:
    """Return what an answer means for a reader at a position."""
    match answer:
        case Past(_, end, proven):
            if not proven:
                return Said.UNPROVEN
            return Said.PROVEN if end != position else Said.NOTHING_MORE
        case bool():
            return Said.YES if answer else Said.NO
        case None:
            return Said.NONE
        case _:
            return Said.POSITION
