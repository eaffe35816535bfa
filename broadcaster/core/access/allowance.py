"""An allowance: so much per time, of which some may be used at once. Pure."""

from __future__ import annotations


class Allowance:
    """It fills at a steady rate, up to its size. What is spent beyond it has to be waited for."""

    __slots__ = ("_left", "_per_s", "_seen_s", "_size")

    def __init__(self, per_s: float, size: float, now_s: float) -> None:
        """Begin with a full one.

        Args:
            per_s: what is added each second.
            size: the most that can be left.
            now_s: seconds by a clock that never goes back.
        """
        self._per_s = per_s
        self._size = self._left = size
        self._seen_s = now_s

    def left(self, now_s: float) -> float:
        """Return what is left; below 0 if too much was spent."""
        since_s, self._seen_s = now_s - self._seen_s, now_s
        self._left = min(self._size, self._left + since_s * self._per_s)
        return self._left

    def spend(self, amount: float, now_s: float) -> float:
        """Spend some of it.

        Returns:
            The seconds until nothing is owed; 0 if nothing is.
        """
        self._left = self.left(now_s) - amount
        return max(0.0, -self._left / self._per_s)
