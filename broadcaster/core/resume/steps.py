"""The steps that the machines of `core.resume` return to their caller: values only. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from typing import NamedTuple, Protocol, TypeAlias

from broadcaster.core.event import EventId, StateFollows
from broadcaster.core.log import AnyAnswer, AnyQuestion
from broadcaster.core.resume.page import Page
from broadcaster.core.sse import Frame
from broadcaster.core.wire import ResetReason

UNREADABLE_CHARS = 64
"""The most characters of an unreadable cursor that a reset repeats."""


class Greeting(NamedTuple):
    """The content of the first bytes of a response.

    Attributes:
        retry_ms: reconnection time.
        unreadable: the client's cursor, if it can't be read or proves nothing. Each stream gets a
            reset then.
        reason: the reason of that reset.
    """

    retry_ms: int
    unreadable: str | None = None
    reason: ResetReason = ResetReason.INVALID


class Hello(NamedTuple):
    """The first bytes of a response.

    Attributes:
        data: its bytes.
        at: the position in them; empty if there is none.
        later: the streams that are not reset in them, as their state follows.
    """

    data: bytes
    at: bytes
    later: frozenset[str] = frozenset()


class ResetPart(NamedTuple):
    """A `stream.reset`: continuity of one stream can't be proven.

    Attributes:
        data: its bytes.
        stream: the name of that stream.
        reason: see `wire`.
        requested: the position that proves nothing, or the text of a cursor that can't be read.
        resumed: the position from which the stream goes on.
        at: the position in all streams, as in its bytes.
        state: the state of the stream follows.
    """

    data: bytes
    stream: str
    reason: str
    requested: EventId | str
    resumed: EventId
    at: bytes
    state: bool = False


class LivePart(NamedTuple):
    """A `stream.live`: everything up to here was sent, and later events are new.

    Attributes:
        data: its bytes.
        replayed: events sent since the client began to catch up.
        at: the position, as in its bytes.
    """

    data: bytes
    replayed: int
    at: bytes


class StatePart(NamedTuple):
    """A part of the state of one stream. The first one begins with `stream.state`.

    Attributes:
        data: its bytes; no event in them has an id.
        stream: the name of that stream.
        events: the number of its events.
        frames: returns its events, with the ids that they had in the stream.
        begins: what `stream.state` says; None if this is not the first part.
        over: if no further part follows, True says that the response ends.
        at: the id of `stream.state`; empty if this is not the first part.
    """

    data: bytes
    stream: str
    events: int
    frames: Callable[[], Sequence[Frame]]
    begins: StateFollows | None
    over: bool
    at: bytes


Part: TypeAlias = Hello | Page | ResetPart | LivePart | StatePart


class Send(NamedTuple):
    """Send this at once, and call `step` again unless `joins` or `over`.

    Attributes:
        parts: in order. There are none if a filter leaves out all events of a part of the window.
        joins: the subscriber is at the head of each stream. It must become live before anything
            else happens.
        over: the response ends after these parts.
        left_out: of a page of the windows that is not the last one, the share of events that the
            filter left out. It is 0 otherwise.
    """

    parts: tuple[Part, ...] = ()
    joins: bool = False
    over: bool = False
    left_out: float = 0.0


class TakesAnswers(Protocol):
    """Takes the answers to its questions."""

    def answered(self, ask: Ask, answer: AnyAnswer) -> bool:
        """Take an answer. Return False if the log knows too little: call `failed` after a pause."""

    def failed(self, ask: Ask) -> None:
        """Note that there is no answer. It is asked again at the next step."""


class Ask(NamedTuple):
    """Ask the log, and pass its answer to `answered`. Call `failed` if there is no answer.

    Attributes:
        stream: its name.
        question: what to ask. A late answer is recognised by this object's identity.
        asker: gets the answer; None is the step machine itself.
    """

    stream: str
    question: AnyQuestion
    asker: TakesAnswers | None = None


class For(Enum):
    """The thing that a subscriber waits for."""

    TAILER = "tailer"
    STATE = "state"
    LOG = "log"
    WINDOW = "window"


class Wait(NamedTuple):
    """There is nothing to do until something happens.

    Attributes:
        reason: the thing that the subscriber waits for.
        streams: call `step` again after a batch of one of these.
    """

    reason: For
    streams: tuple[str, ...] = ()


Step: TypeAlias = Send | Ask | Wait
