"""The ids of a stream's entries that its history has lost. Pure.

A failover drops the end of a history. A stream that is deleted and made anew has lost all of it. A
client that comes back with the id of a lost entry has to get a reset. The ids themselves are kept,
and no range of them: a master whose clock was ahead leaves one id of the future behind, and
everything that the new history adds has a lower id.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from broadcaster.core.event import ZERO, EventId


class _Part(NamedTuple):
    """A part of a history that was lost at one time.

    Attributes:
        parted: the position where a reader of this part goes on.
        end: the greatest id of the part.
        ids: of its entries.
    """

    parted: EventId
    end: EventId
    ids: frozenset[EventId]


class Dropped:
    """The lost parts of one stream's history. If there are too many ids, the oldest part goes."""

    __slots__ = ("_anew", "_most", "_now", "_parts")

    def __init__(self, most: int) -> None:
        """Begin with nothing lost.

        Args:
            most: about how many ids are kept. The newest part is kept whole.
        """
        self._most = most
        self._parts: list[_Part] = []
        self._anew = False  # the stream was made anew, so `0-0` is a position of two histories
        self._now: frozenset[EventId] | None = frozenset()  # what was lost just now; None is all

    def __contains__(self, position: EventId) -> bool:
        """Return True if a client that comes back with this position may have seen a lost entry.

        The new history may have an entry with the same id. For a while the old master and the new
        one both accept entries, and both make ids from their clocks.
        """
        if position == ZERO:
            return self._anew
        return any(position in part.ids for part in self._parts)

    def end(self, parted: EventId, end: EventId, ids: Iterable[EventId]) -> None:
        """Note that the entries after a position were lost.

        Args:
            parted: the newest position that both histories have.
            end: the greatest id that was lost.
            ids: all that were lost.
        """
        self._now = frozenset(ids)
        earlier = [part._replace(parted=min(part.parted, parted)) for part in self._parts]
        self._keep([*earlier, _Part(parted, end, self._now)])

    def all(self, parted: EventId, end: EventId, ids: Iterable[EventId]) -> None:
        """Note that the stream was made anew: everything was lost, and `0-0` proves nothing.

        Args:
            parted: the position before everything that the new stream has.
            end: the greatest id that was lost.
            ids: those that are known.
        """
        self._now, self._anew = None, True
        earlier = [part._replace(parted=parted) for part in self._parts]
        self._keep([*earlier, _Part(parted, end, frozenset(ids))])

    def nothing(self) -> None:
        """Note that a window was rewritten, and that no lost entry is known."""
        self._now = frozenset()

    def just_now(self, position: EventId) -> bool:
        """Return True if a connected subscriber at this position is affected by the last change.

        The last change is the newest call of `end`, `all` or `nothing`.
        """
        return self._now is None or position in self._now

    def parted(self, position: EventId, floor: EventId) -> EventId | None:
        """Return where a reader of a lost part goes on; None if its position is in no lost part.

        A position after the end of a part may be of an entry that was lost with it, but that only
        another node has seen.

        Args:
            position: of the reader.
            floor: of the window. Parts that begin before it say nothing about other nodes.
        """
        parted = (
            part.parted
            for part in self._parts
            if position in part.ids or (position > part.end and part.parted >= floor)
        )
        return min(parted, default=None)

    def _keep(self, parts: list[_Part]) -> None:
        while len(parts) > 1 and sum(len(part.ids) for part in parts) > self._most:
            del parts[0]
        self._parts = parts
