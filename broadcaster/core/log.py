"""What a log of streams is asked, what it answers, and how it changes: values only. Pure.

A log has two halves. The live half tells each `Change` of a stream as it happens. The past half
answers a `Question` about one stream. `core.resume` and `core.opening` ask, and are answered
whenever the log gets to it. `backend.log` has the interface, and two logs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from broadcaster.core.event import EventId
from broadcaster.core.sse import Frame

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
    """Is there an entry at a position, or just after it? Answer: `bool`.

    Where no id fits between a position and an entry, the entry proves the position.

    Attributes:
        position: that a client claims to have read to.
    """

    position: EventId


@dataclass(frozen=True, slots=True)
class PageAfter:
    """What follows a position, and is that provably everything? Answer: `Past`.

    Attributes:
        position: before the first entry of the page.
    """

    position: EventId


@dataclass(frozen=True, slots=True)
class Request:
    """Ask the workers of a channel to produce for a key. Answer: the `EventId` that names the run.

    Unlike the others it writes, so it is never shared among clients and never asked twice.

    Attributes:
        requests: the Redis key of the stream of requests.
        key: what is asked for.
    """

    requests: str
    key: str


class Past(NamedTuple):
    """A page of what follows a position.

    Attributes:
        frames: in order.
        end: the id of the last entry that was read; the position itself if there was none.
        proven: nothing between the position and `end` has been removed.
    """

    frames: list[Frame]
    end: EventId
    proven: bool


Question: TypeAlias = Beginning | AtOrBefore | Entry | Exists | PageAfter | Request
Answer: TypeAlias = EventId | Frame | Past | bool | None


class Batch(NamedTuple):
    """What follows the head, in order. Nothing was missed before it.

    Attributes:
        frames: newer than the head.
    """

    frames: list[Frame]


class Rewind(NamedTuple):
    """The stream's history has changed after a position, and goes on from there.

    Attributes:
        position: the newest one that both histories have.
    """

    position: EventId


class Restart(NamedTuple):
    """Nothing joins what came before: begin again at a position.

    Attributes:
        floor: the position.
        frames: what follows it, in order.
        complete: the log retains nothing older.
    """

    floor: EventId
    frames: list[Frame]
    complete: bool


Change: TypeAlias = Batch | Rewind | Restart
