"""An event of a channel, and its id. Pure. Any module may import this one."""

from __future__ import annotations

import re
from typing import NamedTuple

from broadcaster.errors import InvalidCursorError

_LIMIT = 1 << 64
# At most 20 digits each after zeros: 2**64 has 20, and int() of a megabyte of digits would cost
# seconds. Redis reads up to 127 characters.
_NUMBER = r"0{0,100}([0-9]{1,20})"
_PATTERN = re.compile(rf"{_NUMBER}(?:-{_NUMBER})?", re.ASCII)


class EventId(NamedTuple):
    """The id of a Redis stream entry: milliseconds and a sequence number, both 64 bits unsigned.

    Ids compare as two numbers, never as text. https://redis.io/docs/latest/develop/data-types/streams/#entry-ids
    """

    ms: int
    seq: int

    @classmethod
    def parse(cls, text: str) -> EventId:
        """Read `"1710000000000-0"`, or `"1710000000000"`, which means the same.

        Redis reads a missing sequence number as 0, and permits zeros in front: see XREAD in
        https://redis.io/docs/latest/commands/xread/#incomplete-ids. Its words `$`, `+` and `-` are
        no ids.

        Raises:
            InvalidCursorError: it is not one or two unsigned 64-bit numbers, joined by a hyphen.
        """
        match = _PATTERN.fullmatch(text)
        if match:
            ms, seq = int(match[1]), int(match[2] or 0)
            if ms < _LIMIT and seq < _LIMIT:
                return cls(ms, seq)
        raise InvalidCursorError(f"{text[:64]!r} is not an event id like 1710000000000-0")

    @classmethod
    def of_entry(cls, raw: bytes) -> EventId:
        """Read an id as Redis sends it. It is not checked, because Redis sends only valid ids."""
        ms, _, seq = raw.partition(b"-")
        return cls(int(ms), int(seq))

    def __str__(self) -> str:
        return f"{self.ms}-{self.seq}"

    def after(self) -> EventId:
        """Return the least id above this one; for the greatest possible id, the id itself."""
        if self.seq < _LIMIT - 1:
            return EventId(self.ms, self.seq + 1)
        return EventId(self.ms + 1, 0) if self.ms < _LIMIT - 1 else self

    @property
    def is_boundary(self) -> bool:
        """Return True if no entry has this id, as it has the greatest sequence number.

        Redis counts sequence numbers up from 0, within each millisecond.
        """
        return self.seq == _LIMIT - 1

    def before(self) -> EventId:
        """Return the position just before this id; for `0-0`, the id itself.

        No entry can lie between the two.
        """
        if self.seq:
            return Boundary(self.ms, self.seq - 1)
        return Boundary(self.ms - 1, _LIMIT - 1) if self.ms else self


class Boundary(EventId):
    """A position just before an id. Perhaps no entry has it as its own id.

    A node can read from it, but never sends it alone as an `id:`. It equals the id with the same
    numbers.
    """

    __slots__ = ()


ZERO = EventId(0, 0)
"""The position before every possible entry, because Redis gives no entry the id `0-0`."""

CLOCK_TOLERANCE_S = 60.0
"""Seconds by which an id may be ahead of Redis's clock before that is logged."""
SEARCHABLE_AHEAD_S = 3600.0
"""The most seconds by which an id may be ahead, if its milliseconds are a time.

After a failover between servers whose clocks differ, ids are ahead by some seconds or minutes. A
search by time finds more than was asked for then, and misses nothing.
"""


DEFAULT_TYPE = "message"
"""The type of an event that names none: a browser gives it to `onmessage`."""


class Event(NamedTuple):
    """One fact of a channel, as a client will see it.

    Attributes:
        id: the id of its entry in the Redis stream; the SSE `id:` of a single stream.
        type: the SSE event name; `message` is the default and is not written out.
        key: what the event is about (an order id, a pet id); `""` means the whole channel.
        data: the text of the `data:` lines, UTF-8.
        channel: its name, if a `Listener` yields the event; else empty.
    """

    id: EventId
    type: str
    key: str
    data: bytes
    channel: str = ""


class Reset(NamedTuple):
    """It can't be proven that nothing was missed. Load your state anew; what follows is in order.

    Attributes:
        channel: the channel that it concerns.
        shard: the shard of it; None if the channel has no shards.
        reason: `trimmed`, `rollback`, `unknown`, `invalid` or `gone`.
        requested: the position that proves nothing.
        resumed: the position that the listener goes on after.
        state: the state of the channel follows, so nothing has to be loaded.
    """

    channel: str
    shard: int | None
    reason: str
    requested: str
    resumed: str
    state: bool = False


class StateFollows(NamedTuple):
    """The state of a channel follows, as events. They end with `Live`. Forget what you have.

    Attributes:
        channel: the channel that it concerns.
        shard: the shard of it; None if the channel has no shards.
        keys: the number of keys in the state.
        since: events up to this position may be missing in it; empty if none is.
        too_large: True if there is no state, because it would be too large.
    """

    channel: str
    shard: int | None
    keys: int
    since: str = ""
    too_large: bool = False


class Superseded(NamedTuple):
    """Events were skipped, because newer ones of the same key and type follow. Nothing is lost.

    Attributes:
        channel: the channel that it concerns.
        shard: the shard of it; None if the channel has no shards.
        events: how many were skipped.
    """

    channel: str
    shard: int | None
    events: int


class Live(NamedTuple):
    """Everything that was missed has been yielded; what follows is new.

    Attributes:
        replayed: events yielded before it, since the beginning or the last reset.
    """

    replayed: int
