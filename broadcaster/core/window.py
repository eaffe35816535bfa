"""A bounded log in memory of a stream's newest frames, with an index by key. Pure.

A window says what lies between a position and its head, and whether that is provably everything:

    ------ floor ][ frame frame frame … frame ] head -----
      BEHIND              COVERED                AHEAD

Everything that Redis holds after `floor` up to `head` is in here. An id between the two that no
frame has is UNKNOWN: whoever claims to have seen it saw another history.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Sequence
from enum import Enum, auto
from typing import NamedTuple

from broadcaster.core.event import ZERO, EventId
from broadcaster.core.sse import Frame

# The place of an evicted frame takes 53 bytes until then: with more of them a small window would
# grow for a long time after it is full.
_COMPACT_EVERY = 256
_PAGE_EVENTS = 1000
_EVICTED = Frame(ZERO, "", "", b"")


class Place(Enum):
    """Where a position lies, seen from a window."""

    COVERED = auto()
    """All that follows it is here."""
    BEHIND = auto()
    """Older than what is here: ask Redis."""
    AHEAD = auto()
    """Newer than what is here: this node may be late, or the entry may be gone. Ask Redis."""
    UNKNOWN = auto()
    """In our range, but not one of our entries."""


class Ask(NamedTuple):
    """A position that only Redis can tell about: see `Place`."""

    stream: str
    position: EventId
    place: Place


class Window:
    """The newest frames of one stream.

    Attributes:
        floor: the position from which on everything is here.
        head: the position that the tailer has read to.
        complete: nothing older is retained in Redis: reading from `floor` is reading everything.
        dropped: pairs of positions: after the first, up to the second, lay a history that Redis has
            dropped.
        bytes: the sum of the frames' lengths.
    """

    def __init__(self, max_events: int, max_bytes: int, floor: EventId = ZERO) -> None:
        self.max_events = max_events
        self.max_bytes = max_bytes
        self.restart(floor)

    def __len__(self) -> int:
        return len(self._frames) - self._first

    def restart(self, floor: EventId, *, complete: bool = True) -> None:
        """Forget everything and begin at a position, as after a gap that can't be closed."""
        self.dropped: list[tuple[EventId, EventId]] = []
        self.floor = self.head = floor
        self.complete = complete
        self.bytes = 0
        # A frame's *place* is its index in _frames plus _base. Evicted ones are _EVICTED until the
        # list is compacted, so that evicting is O(1). _previous holds the place of the frame
        # before it with the same key, which makes one chain per key, newest first: walking it
        # back from _newest costs as many steps as there are frames to send. An evicted place is
        # below _base + _first, so a chain needs no repair when its end is evicted.
        self._frames: list[Frame] = []
        self._previous: list[int] = []
        self._newest: dict[str, int] = {}
        self._base = 0
        self._first = 0

    def append(self, frames: Sequence[Frame]) -> None:
        """Add newer frames and evict the oldest ones beyond the bounds."""
        # This and `_evict` are done to every event: 0.4 µs each. Locals, and one unpacking for all
        # of a frame, halve that.
        newest, previous, size = self._newest, self._previous.append, 0
        for place, (_, _, key, wire) in enumerate(frames, self._base + len(self._frames)):
            previous(newest.get(key, -1) if key else -1)
            if key:
                newest[key] = place
            size += len(wire)
        self._frames += frames
        self.bytes += size
        if frames:
            self.head = frames[-1].id
            self._evict()

    def place(self, position: EventId) -> Place:
        """Tell where a position lies, and so whether continuity from it is proven here."""
        if position in (self.floor, self.head):
            return Place.COVERED
        if position > self.head:
            return Place.AHEAD
        if position < self.floor:
            return Place.BEHIND
        following = self._frames[self._index_from(position)]
        # Nothing fits between an id and the greatest one below it, so that position is as good.
        if position in (following.id, following.id.before()):
            return Place.COVERED
        return Place.UNKNOWN

    def after(
        self, position: EventId, keys: Collection[str] = (), max_bytes: int = 1 << 62
    ) -> tuple[list[Frame], bool]:
        """The frames after a position, oldest first.

        Args:
            position: one that is COVERED.
            keys: only frames with one of these; none means all.
            max_bytes: stop after the frame that reaches this sum, or after a thousand frames; the
                page is only empty if nothing follows.

        Returns:
            The frames, and whether they are all there are up to the head.
        """
        index = self._index_from(position)
        if index < len(self._frames) and self._frames[index].id == position:
            index += 1
        if keys:
            # The chains give newest first; frames sort by id, and no two have the same.
            found = sorted(f for key in keys for f in self._chain(key, self._base + index))
        else:
            found = self._frames[index : index + _PAGE_EVENTS]
        page = found[: _fitting(found, max_bytes)]
        wanted = len(found) if keys else len(self._frames) - index
        return page, len(page) == wanted

    def at_or_before(self, position: EventId) -> EventId | None:
        """The newest entry that is not after a position; None if that lies before the window."""
        if position < self.floor:
            return None
        if position >= self.head:
            return self.head
        index = self._index_from(position)
        if self._frames[index].id == position:
            return position
        return self._frames[index - 1].id if index > self._first else self.floor

    def was_dropped(self, position: EventId) -> bool:
        """Whether who stands there has, for all that can be known, seen a dropped history.

        The new history may have an entry with that id, too: while a new master takes entries and
        the old one still does, both give ids by their clocks.
        """
        return any(parted < position <= end for parted, end in self.dropped)

    def resume_from(self, position: EventId) -> EventId | None:
        """Where a reader goes on whose position proves nothing: all that it can miss follows.

        From a dropped history it goes back to where the new one parted from it, whose entries may
        have lower ids than what it has seen. Else: as `at_or_before`.
        """
        parted = [parted for parted, end in self.dropped if parted < position <= end]
        return min(parted) if parted else self.at_or_before(position)

    def get(self, position: EventId) -> Frame | None:
        """The frame with this id, if it is here."""
        index = self._index_from(position)
        if index < len(self._frames) and self._frames[index].id == position:
            return self._frames[index]
        return None

    def backwards(self) -> Iterator[Frame]:
        """All frames, newest first. The window must not change meanwhile."""
        for index in range(len(self._frames) - 1, self._first - 1, -1):
            yield self._frames[index]

    def oldest(self) -> EventId | None:
        """The id of the oldest frame."""
        return self._frames[self._first].id if len(self) else None

    def rewind(self, position: EventId) -> None:
        """Drop what is after a position: the stream's history has changed there (a failover)."""
        while len(self) and self._frames[-1].id > position:
            frame = self._frames.pop()
            previous = self._previous.pop()
            self.bytes -= len(frame.wire)
            if previous >= self._base + self._first:
                self._newest[frame.key] = previous
            else:
                self._newest.pop(frame.key, None)
        # A second failover must not make the first one forgotten; but what ends before the window
        # begins is nobody's position here.
        self.dropped = [(parted, end) for parted, end in self.dropped if end > self.floor]
        self.dropped.append((position, self.head))
        self.head = position

    def _index_from(self, position: EventId) -> int:
        """The index of the first frame whose id is not below a position."""
        # A frame is a tuple that begins with its id, so it is not below (id,) if its id is not.
        return bisect_left(self._frames, (position,), self._first)

    def _chain(self, key: str, from_place: int) -> Iterable[Frame]:
        place = self._newest.get(key, -1)
        while place >= from_place:
            yield self._frames[place - self._base]
            place = self._previous[place - self._base]

    def _evict(self) -> None:
        frames, newest, base, first = self._frames, self._newest, self._base, self._first
        size, floor, most = self.bytes, self.floor, self.max_events
        while len(frames) - first > most or size > self.max_bytes:
            floor, _, key, wire = frames[first]
            frames[first] = _EVICTED
            if newest.get(key) == base + first:
                del newest[key]
            first += 1
            size -= len(wire)
        if first == self._first:
            return
        self._first, self.bytes, self.floor, self.complete = first, size, floor, False
        if first >= _COMPACT_EVERY and first * 2 > len(frames):
            self._compact()

    def _compact(self) -> None:
        del self._frames[: self._first], self._previous[: self._first]
        self._base += self._first
        self._first = 0


def _fitting(frames: list[Frame], max_bytes: int) -> int:
    """How many frames to take to reach a sum of bytes: a page is at most one frame over it."""
    size = 0
    for count, frame in enumerate(frames[:_PAGE_EVENTS], 1):
        size += len(frame.wire)
        if size >= max_bytes:
            return count
    return min(len(frames), _PAGE_EVENTS)
