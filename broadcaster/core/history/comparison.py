"""Compares a window with what Redis has, to find where two histories part. Pure.

After a failover Redis may hold another history than the window. An equal id proves little: two
masters that accept entries at the same time may give one id to different entries. A replicated
history is equal entry by entry. So this looks for `ENOUGH` equal entries in a row, or as many as
both have.

`XDEL` makes holes in a history, but replication loses ends and never makes a hole. So an entry that
Redis lacks is passed over if Redis has deleted it or a later one, and the entries on both sides of
the hole are equal. `XTRIM` does not count as deleting.
"""

from __future__ import annotations

from collections.abc import Iterable

from broadcaster.core.event import ZERO, EventId
from broadcaster.core.history.window import Window
from broadcaster.core.sse import Frame

ENOUGH = 1000
"""Equal entries in a row that put it beyond doubt that all older ones are equal."""


class Comparison:
    """The search for the newest common entry, from the head of a window backwards.

    Attributes:
        common: the newest entry of the window that is equal, with all older ones that were
            compared; None if there is none.
        over: True if older entries of Redis would change nothing.
    """

    def __init__(self, window: Window, deleted: EventId = ZERO, *, at_head: bool = False) -> None:
        """Begin at the head.

        Args:
            window: must not change meanwhile.
            deleted: the greatest id that was ever deleted from the stream in Redis.
            at_head: it is proven that Redis had the head's entry, and that it was deleted.
        """
        self._frames = window.backwards()
        self._deleted = deleted
        self._ours = next(self._frames, None)
        self._equal = 0
        self.common = window.head if at_head else None
        self.over = self._ours is None

    def add(self, theirs: Iterable[Frame]) -> None:
        """Compare with older entries that Redis has, newest first."""
        for their in theirs:
            self._compare(their)
            if self.over:
                return

    def _compare(self, their: Frame) -> None:
        while self._ours is not None and self._ours.id > their.id:
            if self._ours.id > self._deleted:
                self._part()
            self._ours = next(self._frames, None)
        if self._ours is None:
            self.over = True  # the window has nothing older
        elif their == self._ours:
            self.common = self.common or their.id
            self._equal += 1
            self._ours = next(self._frames, None)
            self.over = self._ours is None or self._equal >= ENOUGH
        else:
            self._part()
            if their.id == self._ours.id:
                self._ours = next(self._frames, None)

    def _part(self) -> None:
        self.common, self._equal = None, 0
