"""What the step machines of `core.opening` and `core.resume` say to do next: values only. Pure."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple, TypeAlias

from broadcaster.core.event import EventId
from broadcaster.core.log import Question
from broadcaster.core.page import Page


class Greeting(NamedTuple):
    """What the first bytes of a response have to say.

    Attributes:
        retry_ms: reconnection time.
        unreadable: a cursor that can't be read, or proves nothing, of which each stream's reset
            tells.
    """

    retry_ms: int
    unreadable: str | None = None


class Hello(NamedTuple):
    """The first bytes of a response.

    Attributes:
        data: its bytes.
    """

    data: bytes


class Reset(NamedTuple):
    """Continuity of one stream can't be proven; it goes on from another position.

    Attributes:
        data: its bytes.
        stream: the one concerned.
        reason: see `wire`.
        requested: the position that proves nothing.
        resumed: where it goes on.
    """

    data: bytes
    stream: str
    reason: str
    requested: EventId
    resumed: EventId


class Live(NamedTuple):
    """Everything up to here has been sent; what follows is new.

    Attributes:
        data: its bytes.
        replayed: events sent since the client began to catch up.
    """

    data: bytes
    replayed: int


Part: TypeAlias = Hello | Page | Reset | Live


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
