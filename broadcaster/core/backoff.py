"""The wait before another attempt. Pure: the random number is an argument."""

from __future__ import annotations

_DOUBLINGS = 30  # a bound, because 2.0**n overflows a float one day; no wait is that long


def backoff_s(failures: int, least_s: float, most_s: float, chance: float = 1.0) -> float:
    """Return the seconds to wait before the next attempt. The wait doubles with each failure.

    Args:
        failures: the failed attempts in a row, without the one that failed just now.
        least_s: the longest wait after the first failure.
        most_s: the longest wait of all.
        chance: between 0 and 1, from `random.random()`. It spreads the wait over the upper half of
            its range: clients that failed in the same moment do not return in the same moment.
    """
    longest_s = min(most_s, least_s * 2.0 ** min(failures, _DOUBLINGS))
    return longest_s * (1.0 + chance) / 2.0
