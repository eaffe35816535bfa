"""Which open event streams have outlived their grants. Pure.

There is no timer for each client. Items that expire in the same quarter of a second are one set,
and a sweep takes the sets whose time has come. So an item costs its place in a set, and a sweep
costs nothing for the items that stay.
"""

from __future__ import annotations

from heapq import heappop, heappush
from math import ceil
from typing import Generic, TypeVar

SWEEP_S = 0.25
"""The time between two sweeps. An item is found at most twice this time late."""
_FAR_S = 1e12
_SPARE = 64

T = TypeVar("T")


class Expiries(Generic[T]):
    """Items by the time at which they expire, in seconds since 1970."""

    def __init__(self) -> None:
        self._sets: dict[int, set[T]] = {}
        self._order: list[int] = []  # a heap; it may have times whose set is gone

    def __len__(self) -> int:
        return sum(map(len, self._sets.values()))

    def add(self, item: T, expires_s: float) -> None:
        """Add an item. If its time has passed, the next sweep finds it."""
        slot = _slot(expires_s)
        if slot not in self._sets:
            self._sets[slot] = set()
            heappush(self._order, slot)
        self._sets[slot].add(item)

    def discard(self, item: T, expires_s: float) -> None:
        """Remove an item that was added with this time, if it is there."""
        slot = _slot(expires_s)
        found = self._sets.get(slot, set())
        found.discard(item)
        if not found:
            self._sets.pop(slot, None)
            if len(self._order) > 2 * len(self._sets) + _SPARE:
                self._order = sorted(self._sets)

    def due(self, now_s: float) -> list[T]:
        """Remove and return the items that have expired, the first ones first."""
        due = list[T]()
        while self._order and self._order[0] * SWEEP_S <= now_s:
            due += self._sets.pop(heappop(self._order), ())
        return due


def _slot(expires_s: float) -> int:
    """Return the number of the first sweep at which a time has passed."""
    return ceil(min(expires_s, _FAR_S) / SWEEP_S)
