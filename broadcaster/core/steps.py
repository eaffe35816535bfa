"""What the step machines of `core.opening` and `core.resume` say to do next: values only. Pure."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple, TypeAlias

from broadcaster.core import sse
from broadcaster.core.event import EventId
from broadcaster.core.log import Question
from broadcaster.core.page import Page


class Reset(NamedTuple):
    """Continuity of one stream can't be proven; it goes on from another position.

    Attributes:
        stream: the one concerned.
        reason: see `wire`.
        requested: the position that proves nothing.
        resumed: where it goes on.
        cursor: what restores all positions from here on.
    """

    stream: str
    reason: str
    requested: EventId
    resumed: EventId
    cursor: bytes

    @property
    def data(self) -> bytes:
        """Its bytes."""
        told = str(self.requested), str(self.resumed)
        return sse.reset(self.stream, self.reason, *told, self.cursor)


class Live(NamedTuple):
    """Everything up to the cursor has been sent; what follows is new.

    Attributes:
        cursor: what restores all positions.
        replayed: events sent since the client began to catch up.
    """

    cursor: bytes
    replayed: int

    @property
    def data(self) -> bytes:
        """Its bytes."""
        return sse.live(self.cursor, self.replayed)


Part: TypeAlias = Page | Reset | Live


class Send(NamedTuple):
    """Send this at once, and call `step` again unless `joins` or `over`.

    Attributes:
        parts: in order; may be none, where a filter leaves out all of a part of the window.
        joins: the subscriber is at the head of each stream: it has to become live before anything
            else happens.
        over: the response ends with it.
    """

    parts: tuple[Part, ...] = ()
    joins: bool = False
    over: bool = False

    @property
    def data(self) -> bytes:
        """The bytes of all parts."""
        return b"".join([part.data for part in self.parts])


class Ask(NamedTuple):
    """Ask the log, and hand its answer to `answered`, or the lack of one to `failed`.

    Attributes:
        stream: the one concerned.
        question: compared by identity when the answer comes, which may be late.
    """

    stream: str
    question: Question


class For(Enum):
    """What a subscriber waits for."""

    TAILER = "tailer"
    LOG = "log"
    SOCKET = "socket"
    WINDOW = "window"


class Wait(NamedTuple):
    """There is nothing to do until something happens.

    Attributes:
        reason: what it waits for.
        streams: a batch of one of these makes another step worth while.
    """

    reason: For
    streams: tuple[str, ...] = ()


Step: TypeAlias = Send | Ask | Wait
