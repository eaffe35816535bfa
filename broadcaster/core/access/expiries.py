"""Finds the open event streams that have outlived their grants. Pure.

There is no timer for each client. Items that expire in the same quarter of a second share a slot,
and a sweep takes the slots whose time has come. So a sweep costs nothing for the items that stay.
Items are objects that are neither sets nor tuples.
"""

from __future__ import annotations

from heapq import heappop, heappush
from math import ceil
from typing import Any, Generic, TypeVar

SWEEP_S = 0.25
"""The time between two sweeps. An item is found at most twice this time late."""
_FAR_S = 1e12
_SPARE = 64

T = TypeVar("T")


class Expiries(Generic[T]):
    """Items by the time at which they expire, in seconds since 1970."""

    def __init__(self) -> None:
        self._slots: dict[int, Any] = {}  # a set, or an item that is alone, which is smaller
        self._order: list[int] = []  # a heap; it may have slots that are gone

    def __len__(self) -> int:
        return sum(len(f) if isinstance(f, set) else 1 for f in self._slots.values())

    def add(self, item: T, expires_s: float) -> None:
        """Add an item. If its time has passed, the next sweep finds it."""
        slot = _slot(expires_s)
        if slot not in self._slots:
            self._slots[slot] = item
            heappush(self._order, slot)
        elif isinstance(found := self._slots[slot], set):
            found.add(item)
        else:
            self._slots[slot] = {found, item}

    def discard(self, item: T, expires_s: float) -> None:
        """Remove an item that was added with this time, if it is there."""
        slot = _slot(expires_s)
        found = self._slots.get(slot)
        if isinstance(found, set):
            found.discard(item)
        if found in (item, set()):
            del self._slots[slot]
            if len(self._order) > 2 * len(self._slots) + _SPARE:
                self._order = sorted(self._slots)

    def due(self, now_s: float) -> list[T]:
        """Remove and return the items that have expired, the first ones first."""
        due = list[T]()
        while self._order and self._order[0] * SWEEP_S <= now_s:
            found = self._slots.pop(heappop(self._order), ())
            due += found if isinstance(found, set | tuple) else (found,)
        return due


def _slot(expires_s: float) -> int:
    """Return the number of the first sweep at which a time has passed."""
    return ceil(min(expires_s, _FAR_S) / SWEEP_S)
