"""Passes: the newest event per key and type, for clients that lag far behind. Pure.

A pass is fixed when it begins. It is sent in the order of ids, so every id in it is a position: an
event that was left out is superseded by one with a higher id. While a pass is sent, the next one is
gathered. So the next pass needs nothing that the window drops meanwhile.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from operator import attrgetter
from weakref import WeakValueDictionary

from broadcaster.core.counters import from_zero
from broadcaster.core.event import EventId
from broadcaster.core.history.window import PAGE_EVENTS, Place, Window, fitting
from broadcaster.core.sse import Frame
from broadcaster.core.state.values import Rules
from broadcaster.core.subscription import Subscription
from broadcaster.core.wire import RESTART

SLICE = 2000
"""Events of a window that are taken in at once. It takes about 2 ms."""
_id = attrgetter("id")


@dataclass(frozen=True, slots=True, eq=False)
class Pass:
    """The newest events between two positions. It never changes, so clients share it.

    Attributes:
        end: the position after it.
        frames: its events, in order.
        superseded: the number of events that it leaves out.
    """

    end: EventId
    frames: Sequence[Frame]
    superseded: int

    def after(self, position: EventId, max_bytes: int) -> tuple[list[Frame], EventId]:
        """Return the next events, and the position after them.

        Args:
            position: before it ends.
            max_bytes: stop after the event that reaches this sum.
        """
        begin = bisect_right(self.frames, position, key=_id)
        found = list(fitting(self.frames[begin : begin + PAGE_EVENTS], max_bytes))
        whole = begin + len(found) == len(self.frames)
        return found, self.end if whole else found[-1].id


class Gathering:
    """The newest event per key and type after a position. It grows with its window.

    Attributes:
        after: the position.
        end: it has what comes up to here.
        bytes: of its events.
        full: True once it has more bytes than it may have. It takes in nothing more.
    """

    def __init__(
        self,
        stream: str,
        window: Window,
        subscription: Subscription,
        always: Collection[str],
        after: EventId,
        max_bytes: int,
    ) -> None:
        """Begin without an event.

        Args:
            stream: its name.
            window: of the stream. It holds everything after the position.
            subscription: selects the events.
            always: types of which every event is sent.
            after: the position.
            max_bytes: the event that reaches this sum is the last one.
        """
        self.after = self.end = after
        self.bytes = 0
        self.full = False
        self._stream = stream
        self._window = window
        self._subscription = subscription
        self._always = always
        self._max_bytes = max_bytes
        self._keys = subscription.keys_of[subscription.streams.index(stream)]
        self._newest: dict[tuple[str, str] | EventId, Frame] = {}
        self._superseded = 0
        self._every: list[Frame] | None = []  # as long as a page may hold all of them
        self._every_bytes = self._last_bytes = 0
        self._over = False
        self._cuts: dict[bool, Pass] = {}

    @property
    def lost(self) -> bool:
        """Return True if the window has dropped events that were not taken in yet."""
        return not self.full and self._window.place(self.end) is not Place.COVERED

    def gather(self) -> bool:
        """Take in the next events of the window. Return True if more of them are left."""
        window = self._window
        if self.end == window.head or self.full or self.lost:
            return False
        self._cuts.clear()
        frames = list(islice(window.following(self.end, self._keys), SLICE))
        for frame in frames:
            if frame.wire and not self._over and self._subscription.accepts(self._stream, frame):
                self._add(frame)
                if self.bytes > self._max_bytes:
                    self.full, self.end = True, frame.id
                    return False
        is_rest = len(frames) < SLICE
        self.end = window.head if is_rest else frames[-1].id
        return not is_rest

    def _add(self, frame: Frame) -> None:
        place = frame.id if frame.type in self._always else (frame.key, frame.type)
        older = self._newest.pop(place, None)
        if older is not None:
            self._superseded += 1
            self.bytes -= len(older.wire)
        self._newest[place] = frame  # so they are in the order of ids
        self._last_bytes = len(frame.wire)
        self.bytes += self._last_bytes
        self._over = self._subscription.ends_with(frame)
        if self._every is not None:
            self._every.append(frame)
            self._every_bytes += self._last_bytes
            if len(self._every) > PAGE_EVENTS or self._every_bytes > self._max_bytes:
                self._every = None

    def cut(self, page_bytes: int) -> Pass:
        """Return the pass that was gathered. It has every event if a page holds all of them.

        Args:
            page_bytes: about the most bytes of a page.
        """
        fits = self._every_bytes - self._last_bytes < page_bytes
        every = self._every if fits else None
        made = self._cuts.get(fits)
        if made is None:
            found = self._newest.values() if every is None else every
            superseded = self._superseded if every is None else 0
            made = self._cuts[fits] = Pass(self.end, tuple(found), superseded)
        return made


class Passes:
    """The streams of a hub that have passes.

    Attributes:
        streams: their names.
        superseded: events that clients were not sent because newer ones follow, by stream.
    """

    def __init__(self, windows: Mapping[str, Window], rules: Mapping[str, Rules]) -> None:
        """Find the streams whose channels coalesce.

        Args:
            windows: of all streams, by name.
            rules: of the streams that have a state, by name.
        """
        self._windows = windows
        self._always = {
            stream: frozenset({*of.removes, *of.terminal, RESTART.type})
            for stream, of in rules.items()
            if of.coalesce
        }
        self.streams = frozenset(self._always)
        self.superseded = from_zero(*windows)
        self._shared = WeakValueDictionary[tuple[str, Subscription, EventId], Gathering]()

    def gathering(
        self, stream: str, subscription: Subscription, after: EventId, max_bytes: int
    ) -> Gathering:
        """Return what gathers the newest events after a position that is COVERED.

        Clients with the same position share it: many come back at once after a node has failed.

        Args:
            stream: its name.
            subscription: selects the events.
            after: the position.
            max_bytes: the most bytes of its events, unless it is shared.
        """
        wanted = stream, subscription, after
        found = self._shared.get(wanted)
        if found is None or found.lost:
            window, always = self._windows[stream], self._always[stream]
            found = Gathering(stream, window, subscription, always, after, max_bytes)
            self._shared[wanted] = found
        return found

    def rewritten(self, stream: str) -> None:
        """Share nothing that was gathered before, because the history of a stream has changed."""
        for wanted in [wanted for wanted in self._shared if wanted[0] == stream]:
            self._shared.pop(wanted, None)
