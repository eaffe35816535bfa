"""How long to wait before trying again. Pure: chance is an argument."""

from __future__ import annotations

_DOUBLINGS = 30  # beyond it a float would overflow one day, and no wait is so long


def backoff_s(failures: int, least_s: float, most_s: float, chance: float = 1.0) -> float:
    """Seconds to wait before the next attempt: twice as long after each failure.

    Args:
        failures: attempts that had failed in a row before the one that failed just now.
        least_s: the longest wait after the first failure.
        most_s: the longest wait of all.
        chance: between 0 and 1, from `random.random()`. It spreads the wait over the upper half, so
            that a herd that failed in one moment does not come back in one moment.
    """
    longest_s = min(most_s, least_s * 2.0 ** min(failures, _DOUBLINGS))
    return longest_s * (1.0 + chance) / 2.0
