"""The questions, answers and changes of a log of streams: values only. Pure.

A log has two halves. The live half yields each `Change` of a stream as it happens. The past half
answers a `Question` about one stream. The machines of `core.resume` ask the questions, and the
answers may come at any later time. `backend.log` has the interface and the log in Redis.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import NoneType
from typing import NamedTuple, TypeAlias

from broadcaster.core.event import EventId
from broadcaster.core.sse import Frame
from broadcaster.core.state.values import Value

# Questions are compared by class as well as by value, so they are dataclasses: two named tuples of
# different classes with equal fields are equal.


@dataclass(frozen=True, slots=True)
class Beginning:
    """Which position is just before the oldest retained entry? Answer: `EventId`, or None."""


@dataclass(frozen=True, slots=True)
class AtOrBefore:
    """Which retained entry is the newest that is not after a position? Answer: `EventId`, or None.

    Attributes:
        position: may be no entry itself.
    """

    position: EventId


@dataclass(frozen=True, slots=True)
class Entry:
    """Which entry has this id? Answer: its `Frame`, or None.

    Attributes:
        id: of the entry.
    """

    id: EventId


@dataclass(frozen=True, slots=True)
class Exists:
    """Is there an entry at a position, or is it just before the oldest one? Answer: `bool`.

    No id fits between a position and the entry just after it. So that entry proves the position if
    nothing older is retained.

    Attributes:
        position: that a client claims to have read to.
    """

    position: EventId


@dataclass(frozen=True, slots=True)
class PageAfter:
    """Which entries follow a position, and is that provably all of them? Answer: `Past`.

    Attributes:
        position: before the first entry of the page.
    """

    position: EventId


@dataclass(frozen=True, slots=True)
class Request:
    """Which run do the workers start for a key? Answer: the `EventId` that names it, or None.

    None means that too many requests wait already.

    Unlike the other questions it writes. So it is never shared among clients, and never repeated.

    Attributes:
        requests: the Redis key of the stream of requests.
        key: the key that the run is for.
    """

    requests: str
    key: str


@dataclass(frozen=True, slots=True)
class Known:
    """Is the request for a run still there, or has a worker begun the run? Answer: `bool`.

    Attributes:
        requests: the Redis key of the stream of requests.
        stream: the name of the stream that has the run's events.
        key: the key that the run is for.
        run: the id of the request.
    """

    requests: str
    stream: str
    key: str
    run: EventId


@dataclass(frozen=True, slots=True)
class StateOf:
    """What does the checkpoint of a stream have of some keys? Answer: `KeyState`, or None.

    None means that there is no checkpoint that can be used.

    Attributes:
        keys: one or more.
        rules: as a mark names them. The node adds them, and the shards.
        shards: of the channel.
    """

    keys: frozenset[str]
    rules: str = ""
    shards: int = 1


class KeyState(NamedTuple):
    """A part of a checkpoint.

    Attributes:
        position: the values are those of the log up to here. They may have later events, too.
        start: a position of the log after which all events after `position` are; None if some of
            them are lost.
        newest: the newest event of the stream that one of the values may have.
        since: the values are those of the log after this position; None means the whole log.
        values: of the keys.
    """

    position: EventId
    start: EventId | None
    newest: EventId
    since: EventId | None
    values: tuple[Value, ...]


class Past(NamedTuple):
    """A page of the entries after a position.

    Attributes:
        frames: in order.
        end: the id of the last entry that was read; the position itself if there was none.
        proven: True if no entry between the position and `end` was removed.
    """

    frames: list[Frame]
    end: EventId
    proven: bool


Question: TypeAlias = Beginning | AtOrBefore | Entry | Exists | PageAfter
"""A question about a stream, which a log answers."""
AnyQuestion: TypeAlias = Question | Request | Known | StateOf
"""A question about a stream, its checkpoint, or a run. The last goes to what takes requests."""
Answer: TypeAlias = EventId | Frame | Past | bool | None
"""An answer of a log. Each question says which of these answers it."""
AnyAnswer: TypeAlias = Answer | KeyState
"""An answer to any question."""

KINDS: Mapping[type[AnyQuestion], tuple[type, ...]] = {
    Beginning: (EventId, NoneType),
    AtOrBefore: (EventId, NoneType),
    Entry: (Frame, NoneType),
    Exists: (bool,),
    PageAfter: (Past,),
    Request: (EventId, NoneType),
    Known: (bool,),
    StateOf: (KeyState, NoneType),
}
"""The kinds of answers to each question."""


class Batch(NamedTuple):
    """The entries right after the head, in order. None between them and the head was missed.

    Attributes:
        frames: newer than the head.
    """

    frames: list[Frame]


class Rewind(NamedTuple):
    """The stream's history has changed after a position, for instance by a failover.

    Attributes:
        position: the newest position that both histories have.
    """

    position: EventId


class Restart(NamedTuple):
    """The stream does not join the window any more: begin again at a position.

    Attributes:
        floor: the position.
        frames: the frames after it, in order.
        complete: True if the log retains nothing older.
        parted: if the stream was made anew, where its former readers go on. None if it may be the
            same stream, of which entries were trimmed.
    """

    floor: EventId
    frames: list[Frame]
    complete: bool
    parted: EventId | None = None


Change: TypeAlias = Batch | Rewind | Restart
"""A change of a stream, as `Log.changes` yields it."""
