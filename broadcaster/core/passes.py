"""Passes: the newest event per key and type, for clients that lag far behind. Pure.

A pass is fixed when it begins. It is sent in the order of ids, so every id in it is a position: an
event that was left out is superseded by one with a higher id. While a pass is sent, the next one is
gathered. So the next pass needs nothing that the window drops meanwhile.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from weakref import WeakValueDictionary

from broadcaster.core.counters import from_zero
from broadcaster.core.event import EventId
from broadcaster.core.sse import Frame
from broadcaster.core.state import Rules
from broadcaster.core.subscription import Subscription
from broadcaster.core.window import PAGE_EVENTS, Place, Window, fitting
from broadcaster.core.wire import RESTART

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
    """The newest event per key and type after a position. It grows with its window."""

    def __init__(
        self,
        stream: str,
        window: Window,
        subscription: Subscription,
        always: Collection[str],
        after: EventId,
    ) -> None:
        """Begin without an event.

        Args:
            stream: its name.
            window: of the stream. It holds everything after the position.
            subscription: selects the events.
            always: types of which every event is sent.
            after: the position.
        """
        self._stream = stream
        self._window = window
        self._subscription = subscription
        self._always = always
        self._end = after
        self._keys = subscription.keys_of[subscription.streams.index(stream)]
        self._newest: dict[tuple[str, str] | EventId, Frame] = {}
        self._superseded = 0
        self._over = False
        self._pass: Pass | None = None

    def catch_up(self) -> bool:
        """Take in what the window has got since the last call.

        Returns:
            False if the window has dropped a part of that.
        """
        window, newest = self._window, self._newest
        if self._end == window.head:
            return True
        if window.place(self._end) is not Place.COVERED:
            return False
        for frame in window.following(self._end, self._keys):
            if not frame.wire or self._over or not self._subscription.accepts(self._stream, frame):
                continue
            place = frame.id if frame.type in self._always else (frame.key, frame.type)
            if newest.pop(place, None) is not None:
                self._superseded += 1
            newest[place] = frame  # so they are in the order of ids
            self._over = self._subscription.ends_with(frame)
        self._end, self._pass = window.head, None
        return True

    def cut(self) -> Pass:
        """Return the pass that was gathered."""
        if self._pass is None:
            self._pass = Pass(self._end, tuple(self._newest.values()), self._superseded)
        return self._pass


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

    def gathering(self, stream: str, subscription: Subscription, after: EventId) -> Gathering:
        """Return what gathers the newest events after a position that is COVERED.

        Clients with the same position share it: many come back at once after a node has failed.
        """
        wanted = stream, subscription, after
        found = self._shared.get(wanted)
        if found is None or not found.catch_up():
            window, always = self._windows[stream], self._always[stream]
            found = Gathering(stream, window, subscription, always, after)
            found.catch_up()
            self._shared[wanted] = found
        return found

    def rewritten(self, stream: str) -> None:
        """Share nothing that was gathered before, because the history of a stream has changed."""
        for wanted in [wanted for wanted in self._shared if wanted[0] == stream]:
            self._shared.pop(wanted, None)
