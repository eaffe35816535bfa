"""A bounded log in memory of a stream's newest frames, with an index by key. Pure.

A window has the frames between a position and its head, and can prove that none is missing:

    ------ floor ][ frame frame frame … frame ] head -----
      BEHIND              COVERED                AHEAD

The window holds everything that Redis has after `floor`, up to `head`. An id between the two that
no frame has is UNKNOWN: a client with this id has seen another history.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Sequence
from enum import Enum, auto
from heapq import merge
from itertools import islice

from broadcaster.core.event import ZERO, EventId
from broadcaster.core.history.dropped import Dropped
from broadcaster.core.sse import Frame

# The place of an evicted frame takes 53 bytes until the list is compacted. With a greater number, a
# small window would grow for a long time after it is full.
_COMPACT_EVERY = 256
PAGE_EVENTS = 1000
"""The most events of a page."""
# Removing the first place of a shorter list moves less than 2 KB. In a longer list, evicted places
# stay until they are half of it.
_LONG = 256
_EVICTED = Frame(ZERO, "", "", b"")


class Place(Enum):
    """The place of a position relative to a window."""

    COVERED = auto()
    """The window holds everything after it."""
    BEHIND = auto()
    """It is older than the window. Only Redis can tell what follows it."""
    AHEAD = auto()
    """It is newer than the window. Either this node is late, or Redis has lost the entry."""
    UNKNOWN = auto()
    """It is in the window's range, but no entry has this id."""


class Window:
    """The newest frames of one stream.

    Attributes:
        floor: the window holds everything after this position.
        head: the position that the tailer has read to.
        complete: True if Redis retains nothing before `floor`.
        dropped: the ids of entries that the window had, and that Redis has lost.
        bytes: the sum of the lengths of the frames' `wire`.
        max_events: the most frames.
        max_bytes: the most that `bytes` may be.
    """

    def __init__(self, max_events: int, max_bytes: int, floor: EventId = ZERO) -> None:
        """Begin with an empty window, after which Redis has nothing."""
        self.max_events = max_events
        self.max_bytes = max_bytes
        self.dropped = Dropped(max_events)
        self._begin(floor, complete=True)

    def __len__(self) -> int:
        return len(self._frames) - self._first

    def restart(
        self, floor: EventId, *, complete: bool = True, parted: EventId | None = None
    ) -> None:
        """Forget everything and begin at a position, for instance after a gap.

        Args:
            floor: the position.
            complete: Redis retains nothing before it.
            parted: if the stream was made anew, where its former readers go on; else None.
        """
        if parted is None:
            self.dropped.nothing()
        else:
            ids = (frame.id for frame in self.backwards())
            self.dropped.all(parted, self.head, [self.floor, self.head, *ids])
        self._begin(floor, complete=complete)

    def _begin(self, floor: EventId, *, complete: bool) -> None:
        self.floor = self.head = floor
        self.complete = complete
        self.bytes = 0
        # A frame's *place* is its index in _frames plus _base. Evicted ones are _EVICTED until the
        # list is compacted, so that evicting is O(1). _places holds the places of each key, oldest
        # first: bisection finds where a page begins, so its cost does not depend on what else the
        # key has. A key that has had one place only has it without a list, which saves 88 bytes.
        self._frames: list[Frame] = []
        self._places: dict[str, int | list[int]] = {}
        self._base = 0
        self._first = 0

    def append(self, frames: Sequence[Frame]) -> None:
        """Add newer frames and evict the oldest ones beyond the bounds."""
        # This and `_evict` are done to every event: 0.4 µs for both. Locals, and one unpacking for
        # all of a frame, halve that.
        index, size = self._places, 0
        for place, (_, _, key, wire) in enumerate(frames, self._base + len(self._frames)):
            if key:
                places = index.get(key)
                if isinstance(places, list):
                    places.append(place)
                elif places is None:
                    index[key] = place
                else:
                    index[key] = [places, place]
            size += len(wire)
        self._frames += frames
        self.bytes += size
        if frames:
            self.head = frames[-1].id
            self._evict()

    def place(self, position: EventId) -> Place:
        """Return where a position lies. Only from COVERED does the window prove continuity."""
        if position in (self.floor, self.head):
            return Place.COVERED
        if position > self.head:
            return Place.AHEAD
        if position < self.floor:
            return Place.BEHIND
        index = self._index_from(position)
        following = self._frames[index].id
        if position == following:
            return Place.COVERED
        # No entry fits between a boundary and the entry after it. But a lost entry may have had the
        # id just before, unless nothing older is retained, or no entry has such an id.
        may_begin = position.is_boundary or (self.complete and index == self._first)
        if may_begin and position == following.before():
            return Place.COVERED
        return Place.UNKNOWN

    def after(
        self, position: EventId, keys: Collection[str] = (), max_bytes: int = 1 << 62
    ) -> tuple[list[Frame], bool]:
        """Return the frames after a position, oldest first.

        Args:
            position: one that is COVERED.
            keys: only frames with one of these; none means all.
            max_bytes: stop after the frame that reaches this sum, or after a thousand frames; the
                page is only empty if nothing follows.

        Returns:
            The frames, and True if no more of them follow up to the head.
        """
        frames = self.following(position, keys)
        page = list(fitting(frames, max_bytes))
        return page, next(frames, None) is None

    def following(self, position: EventId, keys: Collection[str] = ()) -> Iterator[Frame]:
        """Yield all frames after a position, as `after`. The window must not change meanwhile."""
        index = self._index_from(position)
        if index < len(self._frames) and self._frames[index].id == position:
            index += 1
        if not keys:
            return map(self._frames.__getitem__, range(index, len(self._frames)))
        places = merge(*(self._places_from(key, self._base + index) for key in keys))
        return (self._frames[place - self._base] for place in places)

    def at_or_before(self, position: EventId) -> EventId | None:
        """Return the id of the newest entry that is not after a position.

        It is the floor if all frames are newer, and None if the position is before the floor.
        """
        if position < self.floor:
            return None
        if position >= self.head:
            return self.head
        index = self._index_from(position)
        if self._frames[index].id == position:
            return position
        return self._frames[index - 1].id if index > self._first else self.floor

    def resume_from(self, position: EventId) -> EventId | None:
        """Return where a reader goes on after a reset, so that it misses nothing.

        After a dropped history this is the position where the new history parted from it, because
        new entries may have lower ids than the entries that the reader has seen. For any other
        position it is that of `at_or_before`.
        """
        parted = self.dropped.parted(position, self.floor)
        if parted is None:
            return self.at_or_before(position)
        return max(parted, self.floor) if self.complete else parted

    def count_after(self, position: EventId) -> int:
        """Return the number of frames after a position that is COVERED."""
        return len(self._frames) - self._index_from(position.after())

    def get(self, position: EventId) -> Frame | None:
        """Return the frame with this id; None if the window has none."""
        index = self._index_from(position)
        if index < len(self._frames) and self._frames[index].id == position:
            return self._frames[index]
        return None

    def has(self, key: str) -> bool:
        """Return True if the window has a frame with this key."""
        return next(self._places_from(key, self._base + self._first), None) is not None

    def backwards(self) -> Iterator[Frame]:
        """Yield all frames, newest first. The window must not change meanwhile."""
        for index in range(len(self._frames) - 1, self._first - 1, -1):
            yield self._frames[index]

    def oldest(self) -> EventId | None:
        """Return the id of the oldest frame; None if the window is empty."""
        return self._frames[self._first].id if len(self) else None

    def rewind(self, position: EventId) -> None:
        """Drop the frames after a position, because a failover has changed the stream's history."""
        ids = []
        while len(self) and self._frames[-1].id > position:
            frame = self._frames.pop()
            ids.append(frame.id)
            self.bytes -= len(frame.wire)
            if frame.key:
                self._forget_newest(frame.key)
        if position < self.floor:  # all of it, and more that was evicted
            ids.append(self.floor)
            self.floor = position
        self.dropped.end(position, self.head, ids)
        self.head = position

    def _index_from(self, position: EventId) -> int:
        """Return the index of the first frame whose id is not below a position."""
        # A frame is a tuple that begins with its id, so it is not below (id,) if its id is not.
        return bisect_left(self._frames, (position,), self._first)

    def _places_from(self, key: str, place: int) -> Iterator[int]:
        """Return the places of a key from a place on, oldest first. Each is read when needed."""
        known = self._places.get(key, [])
        places = known if isinstance(known, list) else [known]
        return map(places.__getitem__, range(bisect_left(places, place), len(places)))

    def _forget_newest(self, key: str) -> None:
        places = self._places[key]
        if isinstance(places, list):
            places.pop()
            # A list that may be short now has no evicted places, see `_evict`.
            del places[: bisect_left(places, self._base + self._first)]
        if isinstance(places, int) or not places:
            del self._places[key]

    def _evict(self) -> None:
        frames, index, first = self._frames, self._places, self._first
        size, floor, most = self.bytes, self.floor, self.max_bytes
        spare = len(frames) - self.max_events
        while first < spare or size > most:
            floor, _, key, wire = frames[first]
            first += 1
            size -= len(wire)
            if key:
                places = index[key]
                if isinstance(places, int):
                    del index[key]
                elif len(places) < _LONG:
                    del places[0]
                    if not places:
                        del index[key]
                elif places[len(places) >> 1] < self._base + first:
                    del places[: bisect_left(places, self._base + first)]
        if first == self._first:
            return
        frames[self._first : first] = [_EVICTED] * (first - self._first)
        self._first, self.bytes, self.floor, self.complete = first, size, floor, False
        if first >= _COMPACT_EVERY and first * 2 > len(frames):
            self._compact()

    def _compact(self) -> None:
        del self._frames[: self._first]
        self._base += self._first
        self._first = 0


def fitting(frames: Iterable[Frame], max_bytes: int) -> Iterator[Frame]:
    """Yield frames up to the one that reaches a sum of bytes, or a thousand.

    A page has at most that sum and one frame, therefore.
    """
    size = 0
    for frame in islice(frames, PAGE_EVENTS):
        size += len(frame.wire)
        yield frame
        if size >= max_bytes:
            return
